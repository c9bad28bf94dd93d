"""Small stores for the tests of the store: clips of different lengths whose rows tell where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from extract.records import Source, VideoTruth
from extract.store.reader import open_store
from extract.store.shard import open_shard
from extract.store.writer import StoreWriter

RECIPE: dict[str, object] = {"backbone": "tiny", "sampling": "fps=8", "image_size": 8}
SOURCE = Source("/videos/a.mp4", 1000, 2000, "d1")
TRUTH = VideoTruth("opencv 5", "h264", 64, 48, declared_frames=9, decoded_frames=7, lost_spans=((1.5, 2.0),))
LENGTHS = {"boxing/b.mp4": 5, "clap/#20_ü [x].avi": 3, "hug/a.mp4": 7}


def rows_of(clip_id: str, length: int, *, dim: int = 4) -> np.ndarray:
    """float32 (length, dim), different for every clip and row, exact in float16."""
    seed = sum(clip_id.encode())
    return (np.arange(length * dim).reshape(length, dim) * 7 + seed) % 500 / np.float32(8)


def append(writer: StoreWriter, clip_id: str, first: int, last: int, source: Source = SOURCE) -> None:
    """Appends rows [first, last) of a clip: every third frame of a video of 24 frames per second."""
    rows = np.arange(first, last)
    writer.append(clip_id, rows_of(clip_id, last)[first:], rows * 3, rows / 8, source)


def add_clip(writer: StoreWriter, clip_id: str, length: int, source: Source = SOURCE) -> None:
    """A whole clip."""
    append(writer, clip_id, 0, length, source)
    writer.finish(clip_id, TRUTH)


def make_store(path: Path, lengths: dict[str, int] | None = None, **settings: object) -> Path:
    """A store with one shard."""
    with StoreWriter(path, RECIPE, engine="keras", **settings) as writer:  # type: ignore[arg-type]
        for clip_id, length in (lengths or LENGTHS).items():
            add_clip(writer, clip_id, length)
    return path


def assert_clip(path: Path, clip_id: str, length: int) -> None:
    """Checks every row of a clip."""
    clip = open_store(path).read(clip_id)
    np.testing.assert_array_equal(clip.embeddings, rows_of(clip_id, length).astype(np.float16))
    np.testing.assert_array_equal(clip.frame_indices, np.arange(length) * 3)
    np.testing.assert_array_equal(clip.pts_seconds, np.arange(length) / 8)


def shard_of(path):
    return next(path.glob("shard-*.h5"))


def change_row(shard, clip_id, dataset="embeddings", value=b"\x01"):
    """Overwrites the first bytes of a clip's rows."""
    opened = open_shard(shard)
    extent, row = opened.extents[dataset], opened.texts("clip_id").index(clip_id)
    content = bytearray(shard.read_bytes())
    offset = extent.offset + int(opened.columns["start"][row]) * extent.row_bytes
    content[offset : offset + len(value)] = value
    shard.write_bytes(content)


def content(path):
    """Every clip of a store, to the byte."""
    store = open_store(path)
    clips = {clip_id: store.read(clip_id) for clip_id in store.clip_ids}
    return {
        clip_id: (
            c.embeddings.tobytes(),
            c.frame_indices.tobytes(),
            c.pts_seconds.tobytes(),
            c.truth,
            store.source(clip_id),
        )
        for clip_id, c in clips.items()
    }
