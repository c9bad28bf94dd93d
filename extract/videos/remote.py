"""Reads videos behind s3:// and https:// through fsspec, the only place that imports it.

A file is read in blocks, the next one ahead in the background. A request that fails is repeated with growing waits,
and then for fewer bytes, so that a connection that always breaks after a while still brings everything. A server that
cannot give parts of a file gives the whole one, into a temporary file without a name.
"""

from __future__ import annotations

import errno
import glob
import io
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, TypeVar

from extract.errors import RemoteReadError, UnreadableVideoError, UsageError
from extract.records import Source
from extract.system.addresses import Address
from extract.system.files import reason_of

ETAG = "etag:"  # in front of a digest that is the server's, not a hash of the content
BLOCK_BYTES = 4 << 20
BLOCKS_HELD = 16  # of every open file
SMALLEST_REQUEST = 64 << 10
ATTEMPTS = 5
FIRST_WAIT_SECONDS = 0.5
CONNECT_SECONDS, SILENT_SECONDS = 10, 15  # less than the watchdog's patience
WHOLE_BYTES = 4 << 30  # the largest file taken whole from a server that cannot give parts
_PASSING = {408, 425, 429}  # HTTP; so are all from 500 on

Value = TypeVar("Value")


def file_system(address: Address) -> Any:
    """fsspec's file system for an address, with the credentials of its environment and configuration.

    Raises:
        UsageError: The packages for it are not installed.
    """
    try:
        import fsspec

        settings: dict[str, Any] = {"use_listings_cache": False}
        if address.scheme != "s3":
            import aiohttp

            settings["timeout"] = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
            settings["encoded"] = "%" in address.url  # encoded again, a signature would no longer fit
        return fsspec.filesystem(address.scheme, **settings)
    except ImportError:
        raise UsageError(f"{address} is read through fsspec: pip install 'clipseq[remote]'") from None


def look_up(address: Address) -> Source:
    """What the server says of a file now.

    Returns:
        Its size; the time of its last change, 0 if the server names none; as digest "etag:" and its ETag, if any.

    Raises:
        RemoteReadError: The server does not give it.
        UsageError: As from `file_system`.
    """
    return source_from(address, ask(address, lambda: file_system(address).info(address.url)))


def source_from(address: Address, info: dict[str, Any]) -> Source:
    """The same from fsspec's record of a file, such as one of a listing.

    Raises:
        UnreadableVideoError: It is a folder, or empty.
    """
    if info.get("type") == "directory":
        raise UnreadableVideoError(f"{address} is a folder; give its videos")
    if info.get("size") == 0:
        raise UnreadableVideoError(f"{address} is empty (0 bytes); replace or remove it")
    etag = info.get("ETag") or ""
    return Source(str(address), int(info.get("size") or 0), _changed_ns(info), f"{ETAG}{etag}" if etag else "")


def list_files(address: Address) -> list[tuple[str, Address, Source | None]] | None:
    """The files below a folder of S3, or those that a glob matches.

    Args:
        address: A folder, a glob or a file; what exists as written is not a glob.

    Returns:
        For every file its name below the folder, or below the glob's part without wildcards, its address, and what the
        listing says of it (None if it is empty); None if the address is a file.

    Raises:
        RemoteReadError: Nothing is there, or the server does not answer.
        UsageError: As from `file_system`.
    """
    system = file_system(address)
    is_glob = glob.has_magic(address.url) and not ask(address, lambda: system.exists(address.url))
    if not is_glob and ask(address, lambda: system.info(address.url))["type"] == "file":
        return None
    find = system.glob if is_glob else system.find
    found = ask(address, lambda: find(address.url, detail=True))
    parts = address.url.rstrip("/").partition("://")[2].split("/")
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parts[:-1])) if is_glob else parts
    start = len("/".join(fixed)) + 1
    files = ((Address(f"{address.scheme}://{key}"), key, info) for key, info in found.items() if info["type"] == "file")
    return [(key[start:], file, source_from(file, info) if info["size"] else None) for file, key, info in files]


def ask(address: Address, request: Callable[[], Value]) -> Value:
    """The answer to a request, which is repeated while that may help.

    Raises:
        RemoteReadError: It fails for good, with the reason.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return request()
        except UsageError:
            raise
        except Exception as error:  # each of fsspec's file systems has exceptions of its own
            _wait_or_raise(address, error, attempt)
    raise AssertionError


class RemoteFile:
    """A remote video, open: read by any number of `open` files, one after the other, through one cache.

    Args:
        address: Where it is.
        beat: Called whenever something has come, so that a slow server is not mistaken for a dead one.

    Attributes:
        source: What it was when it was opened.
        size: Bytes.

    Raises:
        RemoteReadError: The server does not give it.
    """

    def __init__(self, address: Address, beat: Callable[[], None] = lambda: None) -> None:
        from fsspec.caching import caches

        self.address = address
        self._error: RemoteReadError | None = None
        self._beat, self._is_closed, self._request_bytes = beat, False, BLOCK_BYTES
        self._copy: IO[bytes] | None = None
        self._copying = threading.Lock()
        self._system = file_system(address)
        self.source = look_up(address)
        sizes = {"block_size": BLOCK_BYTES, "size": self.source.size or None, "cache_type": "none"}
        self._parts = ask(address, lambda: self._system.open(address.url, **sizes))
        if not hasattr(self._parts, "_fetch_range"):  # the server says that it gives whole files only
            self._take_whole()
        self.size = os.fstat(self._copy.fileno()).st_size if self._copy else self.source.size
        self._cache = caches["background"](BLOCK_BYTES, self._fetch, self.size, maxblocks=BLOCKS_HELD)

    def __str__(self) -> str:
        return str(self.address)

    def is_dir(self) -> bool:
        """False."""
        return False

    def open(self) -> RemoteReader:
        """A file object at its beginning."""
        return RemoteReader(self)

    def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end); once the server has failed, none: FFmpeg takes that for the end, and `check` raises."""
        if self._error is not None or start >= end:
            return b""
        try:
            return self._cache._fetch(start, end)
        except RemoteReadError as error:
            self._error = error
            return b""

    def check(self) -> None:
        """Raise if what was read so far is not what the file holds.

        Raises:
            RemoteReadError: The server has failed.
        """
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop reading ahead, and drop what was read."""
        self._is_closed = True
        self._cache.close()
        self._parts.close()
        if self._copy is not None:
            self._copy.close()

    def _fetch(self, start: int, end: int) -> bytes:
        """Bytes [start, end), in one request or, after failures, in several; also in the thread that reads ahead."""
        parts, failures, end = [], 0, min(end, self.size)
        while start < end:
            try:
                part = self._request(start, min(end, start + self._request_bytes))
            except RemoteReadError:
                raise
            except Exception as error:
                failures += 1
                _wait_or_raise(self.address, error, ATTEMPTS if self._is_closed else failures)
                self._request_bytes = max(SMALLEST_REQUEST, self._request_bytes // 4)
                continue
            finally:
                self._beat()
            parts.append(part)
            start, failures = start + len(part), 0
        return b"".join(parts)

    def _request(self, start: int, end: int) -> bytes:
        if self._copy is None:
            try:
                part = self._parts._fetch_range(start, end)
            except ValueError:  # it sends the whole file whatever is asked for
                self._take_whole()
        if self._copy is not None:
            part = os.pread(self._copy.fileno(), end - start, start)
        if len(part) != end - start:
            raise ConnectionError(f"{len(part):,} of {end - start:,} bytes came")
        return part

    def _take_whole(self) -> None:
        """Copy the file into a temporary one."""
        with self._copying:
            if self._copy is not None:
                return
            copy = tempfile.TemporaryFile(prefix="clipseq-")  # noqa: SIM115 - closed with this object
            try:
                ask(self.address, lambda: self._copy_into(copy))
            except BaseException:
                copy.close()
                raise
            self._copy = copy

    def _copy_into(self, copy: IO[bytes]) -> None:
        copy.seek(0)
        copy.truncate()
        with self._system.open(self.address.url, block_size=0) as stream:
            while chunk := stream.read(1 << 20):
                self._beat()
                if copy.tell() + len(chunk) > WHOLE_BYTES:
                    raise RemoteReadError(
                        f"{self.address} is larger than {WHOLE_BYTES >> 30} GiB, and its server cannot give parts of "
                        "a file (no Range requests); download it and extract the copy"
                    )
                copy.write(chunk)
        copy.flush()
        if self.source.size and copy.tell() != self.source.size:
            raise ConnectionError(f"{copy.tell():,} of {self.source.size:,} bytes came")


class RemoteReader(io.RawIOBase):
    """A file object on a `RemoteFile`, for FFmpeg; several may not be used at the same time."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._position = file, 0
        self.name = file.address.name  # its ending is a hint at the format

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As for a file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """As for a file, and like `RemoteFile.read`."""
        end = min(self._position + len(buffer), self._file.size)
        content = self._file.read(self._position, end)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


@contextmanager
def readable(place: Path | Address, beat: Callable[[], None] = lambda: None) -> Iterator[Path | RemoteFile]:
    """A local path as it is, or a remote video, open while the block runs.

    Raises:
        RemoteReadError: Its server failed, at any time within the block.
    """
    if isinstance(place, Path):
        yield place
        return
    file = RemoteFile(place, beat)
    try:
        yield file
        file.check()
    except Exception:
        file.check()  # rather than what FFmpeg makes of half a file
        raise
    finally:
        file.close()


def _wait_or_raise(address: Address, error: Exception, attempt: int) -> None:
    """Wait before the next attempt, each time longer; or raise if none is left or would help."""
    if isinstance(error, RemoteReadError):
        raise error
    if attempt < ATTEMPTS and _may_pass(error):
        time.sleep(FIRST_WAIT_SECONDS * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))
        return
    tried = f" in {ATTEMPTS} attempts" if attempt == ATTEMPTS and _may_pass(error) else ""
    then = "check the address, the credentials and the server"
    raise RemoteReadError(f"{address} cannot be read{tried} ({_reason(address, error)}); {then}") from error


def _root(error: BaseException) -> BaseException:
    """What fsspec hides behind a FileNotFoundError for any failed request over HTTP."""
    cause = error.__cause__
    return cause if isinstance(error, FileNotFoundError) and cause is not None and _is_of_network(cause) else error


def _is_of_network(error: BaseException) -> bool:
    """Whether a connection or a server failed, not a file; by name, since each library has its own exceptions."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return False
    names = {base.__name__ for base in type(error).__mro__}
    is_clients = bool(names & {"ClientConnectionError", "ClientPayloadError", "ClientResponseError", "HTTPClientError"})
    return is_clients or isinstance(error, OSError | TimeoutError) or "ConnectionError" in names


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may help: not if the server says that it has no such file, or not for us."""
    root = _root(error)
    status = getattr(root, "status", None)
    if isinstance(status, int):
        return status in _PASSING or status >= 500
    return _is_of_network(root) and getattr(root, "errno", None) != errno.ENOSPC


def _reason(address: Address, error: Exception) -> str:
    """Why, in a few words; never with the address, whose query may be a secret."""
    root = _root(error)
    if isinstance(status := getattr(root, "status", None), int):
        return f"HTTP status {status}"
    if isinstance(root, FileNotFoundError):
        return "there is no such file"
    said = "the connection broke" if type(root).__name__ == "ClientPayloadError" else reason_of(root)
    has_address = "://" in said or address.url.partition("://")[2] in said
    return type(root).__name__ if has_address or not said else said


def _changed_ns(info: dict[str, Any]) -> int:
    """When a file was last changed, nanoseconds since 1970; 0 if the server does not say."""
    changed = info.get("LastModified") or info.get("Last-Modified")
    if isinstance(changed, str):
        try:
            changed = parsedate_to_datetime(changed)
        except ValueError:
            return 0
    return int(changed.timestamp()) * 10**9 if isinstance(changed, datetime) else 0
