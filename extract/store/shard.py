"""Opens one HDF5 file of a store and validates it: header and clip table, then rows by their offset in the file.

HDF5 only tells where things are. All datasets are contiguous, so rows are read with plain positioned reads: threads
read in parallel (HDF5 has one lock per process), and an open file survives a fork.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5p, h5s, h5t

from extract.errors import DamagedShardError, SchemaError, StoreError
from extract.store.schema import COLUMNS, OPTIONAL_COLUMNS, TRUTH, check_schema_version
from extract.system.files import NotRegularError, check_regular, open_regular, read_regular

SIGNATURE = b"\x89HDF\r\n\x1a\n"
ATTRIBUTES = ("fingerprint", "recipe_json", "made_json", "digest")
# What h5py raises for invalid files.
_MALFORMED = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError)
_MAX_TEXT_BYTES = 1 << 20
_MAX_SALVAGED_BYTES = 128 << 20
_SEEK_LOCK = threading.Lock()


@dataclass(frozen=True)
class Extent:
    """Where a contiguous dataset is in its file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])


@dataclass(frozen=True, repr=False)
class Shard:
    """One readable file of a store.

    Args:
        path: The file.
        attributes: fingerprint, recipe_json, made_json, digest.
        extents: Where /embeddings, /pts_seconds, /frame_index, /clips/truth_json and perhaps /failures_jsonl are.
        columns: The columns of /clips, one entry per row of the table (text as bytes).
    """

    path: Path
    attributes: Mapping[str, str]
    extents: Mapping[str, Extent]
    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns["start"])

    def __repr__(self) -> str:
        return f"Shard({self.path.name}, {len(self)} rows of /clips, {self.embeddings.dtype}{self.embeddings.shape})"

    @property
    def embeddings(self) -> Extent:
        """Where /embeddings is."""
        return self.extents["embeddings"]

    def texts(self, column: str) -> list[str]:
        """One text column as a list."""
        return [value.decode("utf-8", "surrogateescape") for value in self.columns[column].tolist()]

    def text(self, column: str, row: int) -> str:
        """One cell of a text column."""
        return bytes(self.columns[column][row]).decode("utf-8", "surrogateescape")

    def truth_span(self, row: int) -> tuple[int, int]:
        """Where the truth record of a table row is in /clips/truth_json, half-open, in bytes."""
        ends = self.columns["truth_end"]
        return (int(ends[row - 1]) if row else 0), int(ends[row])


class ShardFile:
    """An open file of a store: positioned reads, safe across threads and forks; closed when garbage-collected."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        try:
            check_regular(path)
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise unreadable_shard(path, error) from error

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, extent: Extent, start: int, length: int) -> np.ndarray:
        """Rows [start, start + length) of a dataset, in one read."""
        rows = np.empty((length, *extent.shape[1:]), extent.dtype)
        self.read_into(rows, extent, start)
        return rows

    def read_into(self, rows: np.ndarray, extent: Extent, start: int) -> None:
        """Fills a C-contiguous array of the dataset's type with its rows, starting at `start`, in one read.

        Raises:
            DamagedShardError: The file ends too early or cannot be read there.
        """
        if not rows.nbytes:
            return
        view, done = rows.view(np.uint8).reshape(-1).data, 0
        offset = extent.offset + start * extent.row_bytes
        try:
            while done < len(view):
                got = self._read_into(view[done:], offset + done)
                if got == 0:
                    raise damaged(self.path, "it ends before its rows do")
                done += got
        except OSError as error:
            raise damaged(self.path, error.strerror or str(error)) from error

    def _read_into(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [view], offset)
        with _SEEK_LOCK:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            block = os.read(self._descriptor, len(view))
        view[: len(block)] = block
        return len(block)


def open_shard(path: Path) -> Shard:
    """Reads the header and the clip table of one file of a store, and checks both.

    Args:
        path: A shard or a packed store.

    Returns:
        The shard; no file stays open.

    Raises:
        SchemaError: The file is not HDF5, not a clipseq store, or has a newer schema.
        DamagedShardError: It is a store but malformed, truncated or altered.
        StoreError: It may not be read.
    """
    _check_signature(path)
    try:
        file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY, _access())
    except _MALFORMED as error:
        raise damaged(path, _first_line(error)) from error
    try:
        return _read_shard(path, file)
    except _MALFORMED as error:
        raise damaged(path, _first_line(error)) from error
    finally:
        file.close()


def salvage_clip_ids(path: Path) -> list[str]:
    """The names in the clip table of a damaged file, if they can be recovered: for a message, not for reading.

    A truncated file still has its table, at the front: HDF5 opens it once it is padded to the length in its header.
    """
    try:
        image = read_regular(path)
        end = int.from_bytes(image[40:48], "little")  # superblock version 0: end of file
        image += bytes(max(0, min(end, _MAX_SALVAGED_BYTES) - len(image)))
        file = h5f.open_file_image(image)
        where = _extent(_hard_group(h5g.open(file, b"/"), b"clips"), b"clip_id", "text", len(image))
        names = np.frombuffer(image, where.dtype, where.shape[0], where.offset).tolist()
        return [name.decode() for name in names if name]
    except _MALFORMED:
        return []


def table_digest(attributes: Mapping[str, str], columns: Mapping[str, np.ndarray], embeddings: Extent) -> str:
    """The shard digest: over the attributes, the row shape and the clip table.

    The table holds a digest of each part's rows and truth record, so this covers the file's whole content.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for name in ATTRIBUTES[:-1]:
        hasher.update(f"{name}={attributes[name]}\n".encode())
    hasher.update(f"embeddings {embeddings.dtype.str} {embeddings.shape}\n".encode())
    for name in filter(columns.__contains__, COLUMNS):
        hasher.update(f"{name} {columns[name].dtype.str} {columns[name].shape}\n".encode())
        hasher.update(np.ascontiguousarray(columns[name]).view(np.uint8).data)
    return hasher.hexdigest()


def damaged(path: Path, what: str) -> DamagedShardError:
    """The error for a damaged file, with the next step."""
    return DamagedShardError(
        f"{path} is damaged ({what}). Run `clipseq verify --repair` on the store, then the same `clipseq extract`."
    )


def unreadable_shard(path: Path, error: OSError) -> StoreError:
    """The error for a file that the system cannot read, with the next step."""
    if isinstance(error, NotRegularError):
        return DamagedShardError(f"{path} does not belong in a store ({error.strerror}): remove it.")
    if error.errno == errno.ENOENT:
        return StoreError(f"{path} does not exist (any more): check the path, or reopen the store.")
    return StoreError(f"{path} cannot be read ({error.strerror}): check its permissions and its disk.")


def _check_signature(path: Path) -> None:
    try:
        with open_regular(path) as file:
            start = file.read(len(SIGNATURE))
    except OSError as error:
        raise unreadable_shard(path, error) from error
    if start != SIGNATURE:
        raise SchemaError(f"{path} is not an HDF5 file, so not a clipseq store.")


def _access() -> h5p.PropFAID:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_file_locking(False, True)  # finished files never change, and some network disks cannot lock
    return access


def _read_shard(path: Path, file: h5f.FileID) -> Shard:
    root = h5g.open(file, b"/")
    if not h5a.exists(root, b"schema_version"):
        raise SchemaError(f"{path} is an HDF5 file, but not a clipseq store.")
    check_schema_version(_read_integer(root, b"schema_version"), name=str(path))
    if file.get_create_plist().get_userblock():
        raise damaged(path, "it has a user block")
    attributes = {name: _read_text(root, name.encode()) for name in ATTRIBUTES}
    size = file.get_filesize()
    clips = _hard_group(root, b"clips")
    extents = {
        "pts_seconds": _extent(root, b"pts_seconds", "<f8", size),
        "frame_index": _extent(root, b"frame_index", "<i8", size),
        TRUTH: _extent(clips, TRUTH.encode(), "|u1", size),
        "embeddings": _embeddings_extent(root, size),
    }
    if b"failures_jsonl" in root:
        extents["failures_jsonl"] = _extent(root, b"failures_jsonl", "|u1", size)
    where = {
        name: _extent(clips, name.encode(), dtype, size)
        for name, dtype in COLUMNS.items()
        if name not in OPTIONAL_COLUMNS or name.encode() in clips
    }
    handle = ShardFile(path)
    columns = {name: handle.read(extent, 0, extent.shape[0]) for name, extent in where.items()}
    shard = Shard(path, attributes, extents, columns)
    _check_table(shard)
    lacking = {name: np.full(len(shard), value) for name, value in OPTIONAL_COLUMNS.items() if name not in columns}
    return replace(shard, columns=columns | lacking)


def _check_table(shard: Shard) -> None:
    columns, truth_bytes = shard.columns, shard.extents[TRUTH].shape[0]
    frames = shard.embeddings.shape[0]
    if len({len(column) for column in columns.values()}) != 1:
        raise damaged(shard.path, "the columns of /clips differ in length")
    if any(shard.extents[name].shape != (frames,) for name in ("pts_seconds", "frame_index")):
        raise damaged(shard.path, "/pts_seconds or /frame_index differs in length from /embeddings")
    lengths, ends = columns["length"], columns["truth_end"]
    if (lengths < 0).any() or (lengths > frames).any() or (columns["start"] != np.cumsum(lengths) - lengths).any():
        raise damaged(shard.path, "the rows of /clips overlap or leave gaps")
    if int(lengths.sum()) != frames or (ends < 0).any() or (np.diff(ends) < 0).any() or (ends > truth_bytes).any():
        raise damaged(shard.path, "/clips points outside the file's rows")
    if (columns["first_row"] < 0).any() or (columns["part"] < 0).any():
        raise damaged(shard.path, "/clips holds a negative row or part")
    if table_digest(shard.attributes, columns, shard.embeddings) != shard.attributes["digest"]:
        raise damaged(shard.path, "the digest of its clip table is wrong")


def _hard_group(parent: h5g.GroupID, name: bytes) -> h5g.GroupID:
    _check_hard_link(parent, name)
    return h5g.open(parent, name)


def _check_hard_link(parent: h5g.GroupID, name: bytes) -> None:
    if parent.links.get_info(name).type != h5l.TYPE_HARD:
        raise ValueError(f"{name.decode()} is a link to somewhere else")


def _embeddings_extent(root: h5g.GroupID, size: int) -> Extent:
    stored = _open_dataset(root, b"embeddings").get_type()
    for dtype in ("<f2", "<f4", "|u1"):
        if stored.equal(_type(dtype)):
            return _extent(root, b"embeddings", dtype, size, max_dimensions=4)
    raise ValueError("embeddings is neither float16, float32 nor uint8")


def _extent(parent: h5g.GroupID, name: bytes, dtype: str, size: int, *, max_dimensions: int = 1) -> Extent:
    """Where a dataset is; refuses anything but a plain contiguous one within this file."""
    text = name.decode()
    dataset = _open_dataset(parent, name)
    layout, space, kind = dataset.get_create_plist(), dataset.get_space(), dataset.get_type()
    if layout.get_layout() != h5d.CONTIGUOUS or layout.get_external_count():
        raise ValueError(f"{text} is not contiguous within this file")
    if space.get_simple_extent_type() != h5s.SIMPLE or not 1 <= space.get_simple_extent_ndims() <= max_dimensions:
        raise ValueError(f"{text} has the wrong number of dimensions")
    shape = tuple(int(n) for n in space.get_simple_extent_dims())
    if dtype == "text":
        if not _is_text(kind):
            raise ValueError(f"{text} is not fixed-length text")
        dtype = f"|S{kind.get_size()}"
    elif not kind.equal(_type(dtype)):
        raise ValueError(f"{text} is not of type {np.dtype(dtype)}")
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    offset = dataset.get_offset() if num_bytes else 0
    if offset is None or offset < 0 or offset + num_bytes > size:
        raise ValueError(f"{text} reaches beyond the end of the file")
    return Extent(offset, shape, np.dtype(dtype))


def _open_dataset(parent: h5g.GroupID, name: bytes) -> h5d.DatasetID:
    _check_hard_link(parent, name)
    return h5d.open(parent, name)


@lru_cache
def _type(dtype: str) -> h5t.TypeID:
    return h5t.py_create(np.dtype(dtype))


def _is_text(kind: h5t.TypeID) -> bool:
    return kind.get_class() == h5t.STRING and not kind.is_variable_str() and 0 < kind.get_size() <= _MAX_TEXT_BYTES


def _read_integer(root: h5g.GroupID, name: bytes) -> int:
    attribute = h5a.open(root, name)
    if attribute.shape != () or not attribute.get_type().equal(_type("<i8")):
        raise ValueError(f"attribute {name.decode()} is not an integer")
    value = np.zeros((), "<i8")
    attribute.read(value)
    return int(value)


def _read_text(root: h5g.GroupID, name: bytes) -> str:
    attribute = h5a.open(root, name)
    kind = attribute.get_type()
    if attribute.shape != () or not _is_text(kind):
        raise ValueError(f"attribute {name.decode()} is not fixed-length text")
    value = np.zeros((), f"|S{kind.get_size()}")
    attribute.read(value, mtype=kind)
    return value.item().decode()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip("'\"").splitlines()
    return lines[0] if lines else type(error).__name__
