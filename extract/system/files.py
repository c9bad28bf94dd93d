"""The one way to read and write files: only regular files are opened, and a file with its final name is complete.

Written to a temporary name, fsynced, renamed, the directory fsynced; the mode follows the umask.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import secrets
import shutil
import socket
import stat
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any

from extract.errors import WriteError

TEMPORARY_PATTERN = ".tmp-*"
_WRITER = re.compile(r"\.tmp-(?P<host>[^-]+)-(?P<pid>\d+)-")
# For files of a dead writer on this host, and files untouched for so long that no writer can be at work.
DEAD_WRITER_SECONDS = 600
ABANDONED_SECONDS = 7 * 24 * 3600
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NAMES = {errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG}  # and this very file's alone
# HDF5 hides the number inside its message, and reports a failed close as RuntimeError.
_ERRNO = re.compile(r"errno = (\d+)")
_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# What NumPy, zipfile, zlib and our own readers raise for an invalid file.
MALFORMED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
# A cell that starts like this is a formula in a spreadsheet; an apostrophe in front makes it text.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:)/+(.*)", re.DOTALL)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


class NotRegularError(OSError):
    """A pipe, socket or device where a file should be."""


def reason_of(error: BaseException) -> str:
    """Why something failed, in a few words: the system's own if available."""
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]


def check_regular(path: str | Path) -> None:
    """Refuses special files before opening them: reading a pipe may block forever, a device may never end.

    Raises:
        NotRegularError: It is a pipe, socket or device; `strerror` says which.
        OSError: It is a folder, or cannot be reached.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise NotRegularError(errno.EINVAL, f"it is {_SPECIAL.get(kind, 'special')}, not a regular file", str(path))


def open_regular(path: str | Path) -> BufferedReader:
    """Opens a regular file for reading bytes; raises like `check_regular` and `open`."""
    check_regular(path)
    return open(path, "rb")


def read_regular(path: str | Path) -> bytes:
    """The bytes of a regular file; raises like `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def read_text(path: str | Path) -> str:
    """The text of a regular UTF-8 file, with or without a byte order mark.

    Raises:
        OSError: As from `open_regular`.
        UnicodeDecodeError: It is not UTF-8.
    """
    return read_regular(path).decode("utf-8-sig")


def make_folder(path: Path) -> None:
    """Creates a folder and its parents if they do not exist.

    Raises:
        WriteError: In one sentence with the next step.
    """
    _refuse_address(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def check_target(path: Path) -> None:
    """Checks that a file can be written, before doing the work for it; creates its folder.

    Raises:
        WriteError: It cannot, in one sentence with the next step.
    """
    make_folder(path.parent)
    trial = _target(path).with_name(f".tmp-{writer_id()}-trial")
    try:
        trial.open("xb").close()
        trial.unlink()
    except OSError as error:
        raise write_error(path, error) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file in one go; raises like `sealed_file`."""
    with sealed_file(path) as temporary, temporary.open("xb") as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes valid UTF-8; undecodable bytes of file names are escaped. Raises like `sealed_file`."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, record: Any) -> None:
    """Writes JSON; undecodable bytes of names are escaped as JSON does, so that they read back unchanged.

    Raises:
        WriteError: As from `sealed_file`.
        ValueError: A number is not finite.
    """
    write_text(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False))


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Writes rows of cells; raises like `sealed_file`."""
    with (
        sealed_file(path) as temporary,
        open(temporary, "x", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        csv.writer(file).writerows(rows)


def guarded(cell: object) -> object:
    """A cell that no spreadsheet executes: text that starts like a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The inverse of `guarded`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def writer_id() -> str:
    """A unique name for this writer: host-pid-random, with exactly two dashes."""
    return f"{_host()}-{os.getpid()}-{secrets.token_hex(6)}"


@contextmanager
def sealed_file(path: Path, *, exclusive: bool = False) -> Iterator[Path]:
    """Yields a temporary name to write to, and renames the file once it is complete and on disk.

    Args:
        path: The final name.
        exclusive: Whether an existing file with that name is an error instead of being replaced.

    Yields:
        A name in the same directory that does not exist yet.

    Raises:
        FileExistsError: `exclusive`, and the final name is taken.
        WriteError: The file cannot be written, in one sentence with the next step; nothing is left behind.
    """
    path = _target(path)
    _tidy(path.parent)
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
    """Makes new names in a directory survive a power failure, if the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale_temporaries(folder: Path) -> None:
    """Removes files and folders that dead writers left half written; keeps whatever may belong to a live one.

    A file is removed if its writer ran on this host, is gone, and the file was not touched for 10 minutes (containers
    may share a host name but not process ids), or if nobody touched it for a week.
    """
    for path in folder.glob(TEMPORARY_PATTERN):
        match = _WRITER.match(path.name)
        try:
            age_seconds = time.time() - path.stat().st_mtime
            dead = match and match["host"] == _host() and not _is_alive(int(match["pid"]))
            if match and age_seconds > (DEAD_WRITER_SECONDS if dead else ABANDONED_SECONDS):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError:
            continue  # another writer was faster, or we may not remove it; readers ignore it


@lru_cache(maxsize=1024)
def _tidy(folder: Path) -> None:
    """Removes what killed writers left in a folder, before writing to it; once, since large folders list slowly."""
    remove_stale_temporaries(folder)


def is_of_its_name(error: WriteError) -> bool:
    """Whether a file cannot be written because of its name, so that others still can."""
    return error.number in _NAMES or error.number == errno.EISDIR


def write_error(path: Path, error: BaseException) -> WriteError:
    """The error for a failed write, with the next step."""
    if isinstance(error, WriteError):
        return error
    number = _error_number(error)
    reason = os.strerror(number) if number else reason_of(error)
    if number in _FULL:
        then = (
            "; what was finished before is safe: free some space or move the folder to a larger disk, then run the "
            "same command again."
        )
    elif number in _FORBIDDEN:
        then = ": change the permissions, or write somewhere else."
    elif number in _NAMES:
        then = ": the name is too long for this disk, or a file is in the place of a folder; choose another name."
    else:
        then = "; what was finished before is safe."
    return WriteError(f"{path} could not be written ({reason}){then}", number)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns any error inside into a failure to write this file or folder, as in `write_error`.

    Raises:
        WriteError: In one sentence with the next step.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise write_error(path, error) from error


def _target(path: Path) -> Path:
    """Where a file really goes: follows links, and never replaces a folder, pipe or device.

    Raises:
        WriteError: Something else has that name.
    """
    _refuse_address(path)
    if not os.path.lexists(path):
        return path
    path = Path(os.path.realpath(path))
    with suppress(FileNotFoundError):
        kind = stat.S_IFMT(os.stat(path).st_mode)
        if kind != stat.S_IFREG:
            what = "a folder" if kind == stat.S_IFDIR else _SPECIAL.get(kind, "special")
            raise WriteError(
                f"{path} is {what}, but a file must be written there: choose another name, or move it away.",
                errno.EISDIR,
            )
    return path


def _refuse_address(path: Path) -> None:
    """A path keeps only one slash of `s3://bucket` and would become a local folder."""
    if address := _ADDRESS.match(str(path)):
        raise WriteError(
            f"{address[1]}//{address[2]}: {address[1]}// is not supported, only local folders are; write to "
            "one, then copy it there."
        )


def _publish(temporary: Path, path: Path, *, exclusive: bool) -> None:
    if not exclusive:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links here: exclusive except for a race, which the caller's own check narrows
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
    if os.name == "nt":  # on Windows, os.kill(pid, 0) sends Ctrl-C
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
