"""Reads the rows of clips as they were written, block by block, and checks them against their digests."""

from __future__ import annotations

from collections.abc import Iterator

from extract.store.reader import Store
from extract.store.schema import TRUTH
from extract.store.shard import Shard, ShardFile, damaged
from extract.store.shard_writer import Block, RowsDigest

BLOCK_BYTES = 16 << 20


def part_blocks(shard: Shard, file: ShardFile, row: int) -> Iterator[Block]:
    """The rows of one part, in blocks of at most 16 MiB of embeddings.

    Args:
        shard: The shard that holds it.
        file: The same, open.
        row: Row of its clip table.

    Yields:
        embeddings (n, D), frame_indices (n,), pts_seconds (n,).
    """
    start = int(shard.columns["start"][row])
    end = start + int(shard.columns["length"][row])
    step = max(1, BLOCK_BYTES // max(1, shard.embeddings.row_bytes))
    for first in range(start, end, step):
        number = min(step, end - first)
        embeddings = file.read(shard.embeddings, first, number)
        indices, times = (file.read(shard.extents[name], first, number) for name in ("frame_index", "pts_seconds"))
        yield embeddings, indices, times


def checked_blocks(store: Store, clip_id: str) -> Iterator[Block]:
    """The rows of a clip, part by part; each part is checked against its digest once read.

    Raises:
        StoreError: The store has no such clip.
        DamagedShardError: The rows or the truth record of a part are not those that were written.
    """
    for part in store.parts(clip_id):
        yield from checked_part(store.shards[part.shard], part.row, clip_id, RowsDigest())


def rows_digest(store: Store, clip_id: str) -> str:
    """The digest of a clip's rows, frame indices and timestamps, however they are packed or split into parts.

    Raises:
        As from `checked_blocks`.
    """
    whole, parts = RowsDigest(), store.parts(clip_id)
    for part in parts:
        of_part = whole if len(parts) == 1 else RowsDigest()  # so that most clips are hashed once
        for block in checked_part(store.shards[part.shard], part.row, clip_id, of_part):
            if of_part is not whole:
                whole.update(block)
    return whole.hexdigest(f"{store.dtype}{store.row_shape}".encode())


def checked_part(shard: Shard, row: int, clip_id: str, digest: RowsDigest) -> Iterator[Block]:
    """The rows of one row of a clip table, like `part_blocks`, added to a digest and checked once read.

    Raises:
        DamagedShardError: They, or the truth record, are not those that were written.
    """
    file = ShardFile(shard.path)
    for block in part_blocks(shard, file, row):
        digest.update(block)
        yield block
    if digest.hexdigest(truth_bytes(shard, file, row)) != shard.columns["rows_digest"][row].decode():
        raise damaged(shard.path, f"the digest of {clip_id} is wrong")


def truth_bytes(shard: Shard, file: ShardFile, row: int) -> bytes:
    """The truth record of one row of a clip table; b"" if it has none."""
    start, end = shard.truth_span(row)
    return file.read(shard.extents[TRUTH], start, end - start).tobytes()
