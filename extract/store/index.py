"""The clip tables of all shards in one file, .index.npz: a cache, so that 1,000 shards open as fast as ten.

A shard is taken from it only if its size and mtime_ns have not changed. Readers write it if they have permission;
deleting it costs only time, and `clipseq verify` never reads it.
"""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from extract.errors import WriteError
from extract.store.schema import COLUMNS, EMBEDDING_DTYPES, SCHEMA_VERSION, TRUTH
from extract.store.shard import ATTRIBUTES, Extent, Shard, open_shard, unreadable_shard
from extract.system.files import MALFORMED, open_regular, sealed_file
from extract.system.typed_json import parse_json

INDEX_NAME = ".index.npz"
# With fewer shards than this missing from the index, opening them is faster than rewriting it.
MIN_NEW_SHARDS = 64

logger = logging.getLogger(__name__)


class ShardIndex:
    """Opens the shards of one store directory, from its index if that is up to date.

    Args:
        folder: The store's directory.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / INDEX_NAME
        self._known = _load(self._path)
        self._used: list[tuple[Shard, int, int]] = []
        self._num_new = 0

    def open_shard(self, path: Path) -> Shard:
        """`store_shard.open_shard`, or the same from the index."""
        try:
            stat = path.stat()
        except OSError as error:
            raise unreadable_shard(path, error) from error
        shard = self._known.get((path.name, stat.st_size, stat.st_mtime_ns))
        if shard is None:
            shard = open_shard(path)
            self._num_new += 1
        self._used.append((shard, stat.st_size, stat.st_mtime_ns))
        return shard

    def save(self) -> None:
        """Rewrites the index if that is possible and worth it."""
        if self._num_new < MIN_NEW_SHARDS:
            return
        try:
            with sealed_file(self._path) as temporary, zipfile.ZipFile(temporary, "x") as file:
                for name, array in _arrays(self._used):
                    with file.open(f"{name}.npy", "w", force_zip64=True) as part:
                        np.lib.format.write_array(part, array, allow_pickle=False)
        except WriteError as error:  # a read-only store is read without it
            logger.debug("%s", error)


def indexed_clip_ids(folder: Path, name: str) -> list[str]:
    """The clips that a shard held when it was indexed; empty if it never was."""
    shards = [shard for key, shard in _load(folder / INDEX_NAME).items() if key[0] == name]
    return shards[0].texts("clip_id") if shards else []


def _arrays(shards: Sequence[tuple[Shard, int, int]]) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of the file, one at a time: together they take as much memory as the store's tables."""
    records = [
        {
            "file": [shard.path.name, size, mtime_ns],
            "rows": len(shard),
            "attributes": [shard.attributes[name] for name in ATTRIBUTES],
            "extents": {name: [where.offset, *where.shape] for name, where in shard.extents.items()},
            "dtype": shard.embeddings.dtype.str,
        }
        for shard, size, mtime_ns in shards
    ]
    header = json.dumps({"schema_version": SCHEMA_VERSION, "shards": records}).encode()
    yield "header", np.frombuffer(header, np.uint8)
    for name in COLUMNS:
        yield name, np.concatenate([shard.columns[name] for shard, *_ in shards])


def _load(path: Path) -> dict[tuple[str, int, int], Shard]:
    """The shards in an index by name, size and mtime_ns; none if it is missing or unusable."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
            header = parse_json(arrays["header"].tobytes())
            columns = {name: _column(arrays[name], dtype) for name, dtype in COLUMNS.items()}
        if header["schema_version"] != SCHEMA_VERSION:
            return {}
        records = header["shards"]
        ends = np.cumsum([int(record["rows"]) for record in records], dtype=np.int64).tolist()
        if {len(column) for column in columns.values()} != {ends[-1]}:
            return {}
        bounds = zip([0, *ends], ends, records, strict=False)
        shards = [_shard(path, record, {n: c[start:end] for n, c in columns.items()}) for start, end, record in bounds]
        return {tuple(record["file"]): shard for record, shard in zip(records, shards, strict=True)}
    except FileNotFoundError:
        return {}
    except MALFORMED as error:
        logger.debug("%s is not used: %s", path, error)
        return {}


def _column(column: np.ndarray, dtype: str) -> np.ndarray:
    if column.ndim != 1 or (column.dtype.kind != "S" if dtype == "text" else column.dtype != np.dtype(dtype)):
        raise ValueError(f"a column is {column.dtype}{column.shape}, not {dtype}")
    return column


def _shard(path: Path, record: Mapping, columns: dict[str, np.ndarray]) -> Shard:
    if record["dtype"] not in {np.dtype(name).newbyteorder("<").str for name in EMBEDDING_DTYPES}:
        raise ValueError(f"{record['dtype']} is not a row type")
    dtypes = {"embeddings": record["dtype"], "pts_seconds": "<f8", "frame_index": "<i8", TRUTH: "|u1"}
    extents = {}
    for name, dtype in dtypes.items():
        offset, *shape = map(int, record["extents"][name])
        extent = Extent(offset, tuple(shape), np.dtype(dtype))
        if offset < 0 or min(shape) < 0 or offset + extent.shape[0] * extent.row_bytes > record["file"][1]:
            raise ValueError(f"{name} reaches beyond the end of its file")
        extents[name] = extent
    frames, truth_bytes = record["extents"]["embeddings"][1], record["extents"][TRUTH][1]
    starts, lengths, ends = columns["start"], columns["length"], columns["truth_end"]
    if len(lengths) and (
        min(starts.min(), lengths.min(), ends.min()) < 0
        or max(starts.max(), lengths.max(), (starts + lengths).max()) > frames
        or ends.max() > truth_bytes
    ):
        raise ValueError("a row reaches beyond the end of its shard")
    attributes = dict(zip(ATTRIBUTES, map(str, record["attributes"]), strict=True))
    return Shard(path.with_name(Path(record["file"][0]).name), attributes, extents, columns)
