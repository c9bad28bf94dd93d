"""Features (T, D) in an untrusted .npy or .npz: the header is checked against the file, rows are read in blocks.

Nothing is unpickled, memory-mapped (truncating a mapped file kills the process) or held in memory as a whole.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from extract.errors import UnstorableClipError
from extract.system.files import MALFORMED, open_regular, reason_of

BLOCK_BYTES = 8 << 20
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class ArrayFile:
    """A two-dimensional array in a file, with only its header read.

    Args:
        path: The file.
        member: Its name inside an .npz, "" for an .npy.
        dtype: Type of its numbers.
        shape: (T, D), after transposing.
        by_column: Whether it is stored column by column, not row by row.
        offset: Where the numbers begin, in bytes.
    """

    path: Path
    member: str
    dtype: np.dtype
    shape: tuple[int, int]
    by_column: bool
    offset: int

    def blocks(self) -> Iterator[np.ndarray]:
        """The rows in order, (n, D) in the file's own type, a few megabytes at a time.

        Raises:
            UnstorableClipError: The file is truncated or damaged.
        """
        steps, width = self.shape
        size, count = self.dtype.itemsize, max(1, BLOCK_BYTES // (width * self.dtype.itemsize))
        with malformed(self.path), self._data() as (file, offset):
            for start in range(0, steps, count):
                rows = min(count, steps - start)
                if not self.by_column:
                    file.seek(offset + start * width * size)
                    yield self._numbers(file, rows * width).reshape(rows, width)
                    continue
                columns = np.empty((rows, width), self.dtype)
                for column in range(width):
                    file.seek(offset + (column * steps + start) * size)
                    columns[:, column] = self._numbers(file, rows)
                yield columns

    def _numbers(self, file: IO[bytes], count: int) -> np.ndarray:
        content = file.read(count * self.dtype.itemsize)
        if len(content) != count * self.dtype.itemsize:
            raise ValueError("it is truncated")
        return np.frombuffer(content, self.dtype)

    @contextmanager
    def _data(self) -> Iterator[tuple[IO[bytes], int]]:
        """The file and where the numbers begin; .npz data stored by column is unpacked to disk first."""
        if not self.member:
            with open_regular(self.path) as plain:
                yield plain, self.offset
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as packed:
            if not self.by_column:
                yield packed, self.offset
                while packed.read(BLOCK_BYTES):  # to the end, where zipfile verifies the checksum
                    pass
                return
            with tempfile.TemporaryFile() as unpacked:
                shutil.copyfileobj(packed, unpacked)
                yield unpacked, self.offset


def find_array(path: Path, *, key: str | None = None, transpose: bool = False) -> ArrayFile:
    """The features of a file; reads only headers.

    Args:
        path: An .npy or .npz file.
        key: Which array of an .npz; None: its only two-dimensional array.
        transpose: Whether the file holds (D, T).

    Raises:
        UnstorableClipError: The file is malformed, pickled, truncated, or holds no real numbers in two dimensions.
    """
    with malformed(path), open_regular(path) as file:
        start = file.read(4)
        file.seek(0)
        if start not in _ZIP_STARTS:
            return _described(path, "", file, path.stat().st_size, transpose=transpose)
        with zipfile.ZipFile(file) as archive:
            return _described_member(path, archive, key, transpose=transpose)


@contextmanager
def malformed(path: Path) -> Iterator[None]:
    """Turns whatever a broken file raises into our error; NumPy, zipfile and zlib have their own exception classes."""
    try:
        yield
    except MALFORMED as error:
        raise UnstorableClipError(
            f"{path} cannot be read as features ({reason_of(error)}): rewrite it with numpy.save."
        ) from error


def _described_member(path: Path, archive: zipfile.ZipFile, key: str | None, *, transpose: bool) -> ArrayFile:
    shapes = {}
    for info in archive.infolist():
        with archive.open(info) as file:
            shapes[info.filename.removesuffix(".npy")] = _header(file)[0]
    if key is not None and key not in shapes:
        raise UnstorableClipError(f"{path} has no array {key!r}, only {', '.join(shapes)}: check --key.")
    found = [name for name, shape in shapes.items() if len(shape) == 2] if key is None else [key]
    if len(found) != 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UnstorableClipError(f"{path} holds {listed or 'no array'}: name the features with --key.")
    info = next(info for info in archive.infolist() if info.filename.removesuffix(".npy") == found[0])
    with archive.open(info) as file:
        return _described(path, info.filename, file, info.file_size, transpose=transpose)


def _described(path: Path, member: str, file: IO[bytes], size: int, *, transpose: bool) -> ArrayFile:
    shape, by_column, dtype = _header(file)
    if len(shape) != 2 or dtype.kind not in "fiub" or not math.prod(shape):
        raise UnstorableClipError(f"{path} holds {dtype} {shape}, but features must be numbers (T, D).")
    announced, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if announced > held:
        raise ValueError(f"it declares {announced:,} bytes of numbers but holds {held:,}")
    steps, width = shape[::-1] if transpose else shape
    return ArrayFile(path, member, dtype, (steps, width), by_column != transpose, file.tell())


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and type."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"it has format version {version[0]}.{version[1]}, which is for named fields")
    return _HEADERS[version](file)
