"""Writes files so that what has its final name is complete: aside, fsynced, renamed, the directory fsynced."""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from extract.errors import StoreError

TEMPORARY_PATTERN = ".tmp-*"
_WRITER = re.compile(r"\.tmp-(?P<host>[^-]+)-(?P<pid>\d+)-")
# A writer on this host that is gone, or a file that nobody touched for so long that no writer can be at work.
DEAD_WRITER_SECONDS = 600
ABANDONED_SECONDS = 7 * 24 * 3600
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
# HDF5 hides the number inside its message, and reports a failed close as RuntimeError.
_ERRNO = re.compile(r"errno = (\d+)")


def writer_id() -> str:
    """A name that no other writer has: host-pid-random, with exactly two dashes."""
    return f"{_host()}-{os.getpid()}-{secrets.token_hex(6)}"


@contextmanager
def sealed_file(path: Path, *, exclusive: bool = False) -> Iterator[Path]:
    """Gives a temporary name to write to, and the file its final name once it is complete and on the disk.

    Args:
        path: The final name.
        exclusive: Whether an existing file of that name is an error instead of being replaced.

    Yields:
        A name in the same directory that does not exist yet.

    Raises:
        FileExistsError: `exclusive`, and the final name is taken.
        StoreError: The file cannot be written, in one sentence with the next step; nothing is left behind.
    """
    temporary = path.with_name(f".tmp-{writer_id()}-{path.name[-40:]}")
    try:
        yield temporary
        _fsync(temporary)
        _publish(temporary, path, exclusive=exclusive)
        fsync_directory(path.parent)
    except FileExistsError:
        raise
    except (OSError, RuntimeError) as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def fsync_directory(path: Path) -> None:
    """Makes new names in a directory survive a power cut, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale_temporaries(folder: Path) -> None:
    """Removes what dead writers left half written; whatever may belong to a living one stays.

    A file goes when its writer ran on this host, is gone, and the file was not touched for 10 minutes (containers may
    share a host name and not their process numbers), or when nobody touched it for a week.
    """
    for path in folder.glob(TEMPORARY_PATTERN):
        match = _WRITER.match(path.name)
        try:
            age_seconds = time.time() - path.stat().st_mtime
            dead = match and match["host"] == _host() and not _is_alive(int(match["pid"]))
            if match and age_seconds > (DEAD_WRITER_SECONDS if dead else ABANDONED_SECONDS):
                path.unlink()
        except OSError:
            continue  # another writer was faster, or it is not ours to remove; readers never look at it


def write_error(path: Path, error: BaseException) -> StoreError:
    """A failed write as one sentence that names the next step."""
    number = _error_number(error)
    reason = os.strerror(number) if number else str(error).splitlines()[0]
    if number in _FULL:
        return StoreError(
            f"{path} could not be written ({reason}); everything sealed before is safe: "
            "free some space, or copy the store to a larger disk, and run the same command again."
        )
    if number in _FORBIDDEN:
        return StoreError(f"{path} could not be written ({reason}): change the permissions, or use another --output.")
    return StoreError(f"{path} could not be written ({reason}); everything sealed before is safe.")


def _publish(temporary: Path, path: Path, *, exclusive: bool) -> None:
    if not exclusive:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links here: exclusive but for a race, which the caller's own check narrows
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(temporary, path)


def _fsync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _error_number(error: BaseException | None) -> int:
    while error is not None:
        number = getattr(error, "errno", None)
        found = _ERRNO.search(str(error))
        if number or found:
            return number or int(found[1])  # type: ignore[index]
        error = error.__cause__ or error.__context__
    return 0


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # there os.kill(pid, 0) is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:48] or "host"
