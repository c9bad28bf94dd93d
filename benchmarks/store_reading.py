"""Reading 10,000 random clips from a store against one HDF5 dataset per clip, in one run; and how fast stores open.

    python benchmarks/store_reading.py [--clips 10000] [--frames 16] [--dim 256]

Both hold the same float16 rows and timestamps. Each side opens its file once, and the two take turns, so that both see
the same load and a warm page cache. Its own check: both give the same rows.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from extract.records import Source
from extract.store.pack import pack
from extract.store.reader import Store, open_store
from extract.store.writer import StoreWriter

READS = 10_000
TURNS = 5


def main() -> None:
    """Makes the stores in a temporary folder, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--dim", type=int, default=256)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare_reading(Path(folder), settings.clips, settings.frames, settings.dim)
        time_opening(Path(folder) / "packed", shards=1, clips_per_shard=100_000)
        time_opening(Path(folder) / "shards", shards=1000, clips_per_shard=100)


def compare_reading(folder: Path, num_clips: int, num_frames: int, dim: int) -> None:
    """Prints seconds for 10,000 random clips: a dataset per clip, a directory of shards, a packed file."""
    rows = np.random.default_rng(0).standard_normal((num_frames, dim)).astype(np.float16)
    make_store(folder / "features", 10, num_clips // 10, rows)
    make_dataset_per_clip(folder / "per_clip.h5", open_store(folder / "features"))
    pack(folder / "features", folder / "packed.h5")
    directory, packed = open_store(folder / "features"), open_store(folder / "packed.h5")
    chosen = random.Random(0).choices(directory.clip_ids, k=READS)
    with h5py.File(folder / "per_clip.h5") as file:
        check_equal(chosen[:50], directory, packed, file)
        ways: dict[str, Callable[[str], object]] = {
            "one dataset per clip": lambda clip_id: (file[clip_id]["embeddings"][()], file[clip_id]["pts_seconds"][()]),
            "directory of shards": directory.read,
            "packed file": packed.read,
        }
        seconds = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, read in ways.items():
                seconds[name].append(time_reads(read, chosen))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{READS} random clips of ({num_frames}, {dim}) float16, median of {TURNS} turns")
    for name, value in median.items():
        ratio = median["one dataset per clip"] / value
        print(f"  {name:<22}{value:7.3f} s  {READS / value:9.0f} clips/s  ratio {ratio:.1f}")


def make_store(path: Path, shards: int, clips_per_shard: int, rows: np.ndarray) -> None:
    """A store of equal clips in so many shards."""
    indices = np.arange(len(rows))
    with StoreWriter(path, {"backbone": "none"}, engine="none", flush_seconds=1e9) as writer:
        for number in range(shards * clips_per_shard):
            clip_id = f"class{number % 50:02d}/video_{number:06d}.mp4"
            writer.append(clip_id, rows + np.float16(number % 7), indices, indices / 8, Source(clip_id, number, number))
            writer.finish(clip_id, None)
            if (number + 1) % clips_per_shard == 0:
                writer.seal()


def make_dataset_per_clip(path: Path, store: Store) -> None:
    """The usual layout: a group per clip with its datasets."""
    with h5py.File(path, "w") as file:
        for clip_id in store.clip_ids:
            clip = store.read(clip_id)
            group = file.create_group(clip_id)
            group["embeddings"], group["pts_seconds"] = clip.embeddings, clip.pts_seconds
            group["frame_index"] = clip.frame_indices


def check_equal(chosen: list[str], directory: Store, packed: Store, file: h5py.File) -> None:
    """Stops where the three do not hold the same rows."""
    for clip_id in chosen:
        expected = file[clip_id]["embeddings"][()].tobytes()
        if not expected == directory.read(clip_id).embeddings.tobytes() == packed.read(clip_id).embeddings.tobytes():
            sys.exit(f"{clip_id} differs between the layouts")


def time_reads(read: Callable[[str], object], chosen: list[str]) -> float:
    """Seconds for all reads."""
    start = time.perf_counter()
    for clip_id in chosen:
        read(clip_id)
    return time.perf_counter() - start


def time_opening(path: Path, *, shards: int, clips_per_shard: int) -> None:
    """Prints how long a store takes to open, the first time and later."""
    make_store(path, shards, clips_per_shard, np.zeros((1, 4), np.float16))
    seconds = [time_reads(open_store, [str(path)]) for _ in range(TURNS)]
    print(
        f"opening {shards * clips_per_shard} clips in {len(list(path.glob('shard-*')))} shards: "
        f"first {seconds[0]:.2f} s, then {min(seconds[1:]):.2f} s"
    )


if __name__ == "__main__":
    main()
