"""Writes one HDF5 file of a store: header, clip table, then the rows block by block, never all in memory.

Small items come first, so that the table of a truncated file can still name its clips.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import h5py
import numpy as np

from extract.records import Source
from extract.store.recipe import canonical_json, fingerprint
from extract.store.schema import COLUMNS, SCHEMA_VERSION, TRUTH
from extract.store.shard import Extent, table_digest

Block: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]  # embeddings (n, D), frame_indices (n,), pts_seconds (n,)


@dataclass(frozen=True, repr=False)
class Part:
    """One row of /clips and the rows it stands for.

    Args:
        clip_id: Name of the clip.
        source: What the clip was made from.
        part: 0, 1, 2, ... within the clip.
        last_part: Whether the clip ends with this part.
        first_row: Row of the clip that this part begins with.
        length: Number of rows.
        written_ns: Time of writing; of two complete versions of a clip, the later one counts.
        truth_json: The clip's truth record, in the last part; "" otherwise.
        blocks: Yields the rows in order, in blocks of any size.
        rules: Version of the rules it was decoded with.
    """

    clip_id: str
    source: Source
    part: int
    last_part: bool
    first_row: int
    length: int
    written_ns: int
    truth_json: str
    blocks: Callable[[], Iterable[Block]]
    rules: int = 1


def write_shard(
    path: Path,
    parts: Sequence[Part],
    *,
    recipe: Mapping[str, object],
    made: Sequence[Mapping[str, object]],
    dtype: np.dtype,
    row_shape: tuple[int, ...],
    failures_jsonl: bytes = b"",
) -> None:
    """Writes a new file; the caller renames it to its final name (`sealed_file`).

    Args:
        path: A name that does not exist.
        parts: The rows of /clips, in order.
        recipe: What determines the numbers.
        made: How the rows were made: writer, engine, library versions, seconds per stage.
        dtype: Type of the embeddings: float16, float32 or uint8.
        row_shape: Shape of one row: (D,), or (H, W, C) for raw frames.
        failures_jsonl: The failure ledger, for a packed store.

    Raises:
        OSError, RuntimeError: The disk is full or the file cannot be written.
    """
    frames = sum(part.length for part in parts)
    attributes = {
        "fingerprint": fingerprint(recipe),
        "recipe_json": canonical_json(dict(recipe)),
        "made_json": canonical_json(list(made)),
    }
    # In its own thread: Python raises Ctrl-C in the main thread only, so never in the middle of HDF5.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_write_file, path, attributes, parts, dtype, (frames, *row_shape), failures_jsonl).result()


def _write_file(
    path: Path,
    attributes: Mapping[str, str],
    parts: Sequence[Part],
    dtype: np.dtype,
    shape: tuple[int, ...],
    failures_jsonl: bytes,
) -> None:
    columns = _columns(parts)
    with _Target(path) as target, h5py.File(target, "w") as file:
        _write_table(file, attributes, columns, parts)
        if failures_jsonl:
            file.create_dataset("failures_jsonl", data=np.frombuffer(failures_jsonl, np.uint8))
        file.create_dataset("pts_seconds", shape=shape[:1], dtype="<f8")
        file.create_dataset("frame_index", shape=shape[:1], dtype="<i8")
        file.create_dataset("embeddings", shape=shape, dtype=dtype.newbyteorder("<"))
        columns["rows_digest"] = _write_rows(file, parts)
        file["clips/rows_digest"][...] = columns["rows_digest"]
        extent = Extent(0, shape, dtype.newbyteorder("<"))
        file.attrs.modify("digest", np.bytes_(table_digest(attributes, columns, extent)))


class _Target:
    """The file that HDF5 writes to; errors are raised only after HDF5 has closed it.

    After a failed write, HDF5 cannot close a file properly and has been seen to crash the process with a segmentation
    fault; so HDF5 never learns of a full disk. The methods are those that h5py's `fileobj` driver calls.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb+", buffering=0)
        self._error: OSError | None = None

    def __enter__(self) -> _Target:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if self._error is not None:
            raise self._error

    def write(self, content: memoryview) -> None:
        """Writes everything at the position of the last `seek`."""
        done = 0
        try:
            while self._error is None and done < len(content):
                done += self._file.write(content[done:])
        except OSError as error:
            self._error = error

    def readinto(self, buffer: memoryview) -> int:
        """Reads back what was written; HDF5 rarely does."""
        done = 0
        while done < len(buffer):
            got = self._file.readinto(buffer[done:])
            if not got:
                buffer[done:] = bytes(len(buffer) - done)
                break
            done += got
        return len(buffer)

    def read(self, size: int = -1) -> bytes:
        """Exists only to tell h5py that this is a file."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As for a file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As for a file."""
        return self._file.tell()

    def truncate(self, size: int) -> None:
        """Truncates or extends the file."""
        try:
            self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error

    def flush(self) -> None:
        """Nothing is buffered; `sealed_file` waits for the disk."""


class RowsDigest:
    """The digest of one part: embeddings, frame indices, timestamps and truth record, for any block size."""

    def __init__(self) -> None:
        self._hashers = [hashlib.blake2b(digest_size=16) for _ in range(3)]

    def update(self, block: Block) -> None:
        """Adds the next rows."""
        for hasher, array in zip(self._hashers, block, strict=True):
            hasher.update(np.ascontiguousarray(array).data)

    def hexdigest(self, truth: bytes) -> str:
        """32 hexadecimal digits for the rows so far and the truth record (b"" if there is none)."""
        joined = b"".join(hasher.digest() for hasher in self._hashers) + truth
        return hashlib.blake2b(joined, digest_size=16).hexdigest()


def _write_table(
    file: h5py.File, attributes: Mapping[str, str], columns: Mapping[str, np.ndarray], parts: Sequence[Part]
) -> None:
    """Writes the header and the clip table, leaving room for the digests, which are known only after the rows."""
    file.attrs["schema_version"] = np.int64(SCHEMA_VERSION)
    for name, text in {**attributes, "digest": "-" * 32}.items():
        file.attrs.create(name, np.bytes_(text.encode()), dtype=h5py.string_dtype("utf-8", len(text.encode())))
    clips = file.create_group("clips")
    for name, column in columns.items():
        clips.create_dataset(name, data=column)
    truth = "".join(part.truth_json for part in parts).encode("utf-8", "surrogateescape")
    clips.create_dataset(TRUTH, data=np.frombuffer(truth, np.uint8))


def _columns(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    lengths = np.array([part.length for part in parts], "<i8")
    truth = [len(part.truth_json.encode("utf-8", "surrogateescape")) for part in parts]
    values: dict[str, Sequence[object] | np.ndarray] = {
        "clip_id": [part.clip_id for part in parts],
        "start": np.cumsum(lengths) - lengths,
        "length": lengths,
        "part": [part.part for part in parts],
        "last_part": [part.last_part for part in parts],
        "first_row": [part.first_row for part in parts],
        "path": [part.source.path for part in parts],
        "size": [part.source.size for part in parts],
        "mtime_ns": [part.source.mtime_ns for part in parts],
        "digest": [part.source.digest for part in parts],
        "written_ns": [part.written_ns for part in parts],
        "rows_digest": ["-" * 32 for _ in parts],
        "truth_end": np.cumsum(np.array(truth, "<i8")),
        "rules": [part.rules for part in parts],
    }
    return {name: _column(values[name], dtype) for name, dtype in COLUMNS.items()}


def _column(values: Sequence[object] | np.ndarray, dtype: str) -> np.ndarray:
    if dtype != "text":
        return np.asarray(values, dtype)
    encoded = [str(value).encode("utf-8", "surrogateescape") for value in values]
    return np.array(encoded, h5py.string_dtype("utf-8", max([1, *map(len, encoded)])))


def _write_rows(file: h5py.File, parts: Sequence[Part]) -> np.ndarray:
    """Writes the blocks of all parts one after another; returns the digest of each."""
    digests, start = [], 0
    for part in parts:
        digest, end = RowsDigest(), start + part.length
        for block in part.blocks():
            stop = start + len(block[0])
            for name, array in zip(("embeddings", "frame_index", "pts_seconds"), block, strict=True):
                file[name][start:stop] = array
            digest.update(block)
            start = stop
        if start != end:
            raise ValueError(f"{part.clip_id}: the blocks of part {part.part} do not have {part.length} rows")
        digests.append(digest.hexdigest(part.truth_json.encode("utf-8", "surrogateescape")).encode())
    return np.array(digests, h5py.string_dtype("utf-8", 32))
