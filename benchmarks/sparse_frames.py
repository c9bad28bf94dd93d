"""How much faster 16 frames of a long video come by seeking than a pass over all frames, and whether they are right.

    python benchmarks/sparse_frames.py ../shared/data/odd_videos/videos/mp4__long_1080p_lowbitrate.mp4

Both sides use one decoding thread; the pass converts no frame. `--check` compares the pictures with those of a pass.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from extract.decode.packets import scan_packets
from extract.decode.pyav import read_all
from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.records import SampledFrames, VideoItem
from extract.videos.rule import SamplingRule

REPEATS = 3


def seconds_of_pass(path: Path) -> float:
    """Wall-clock seconds to decode every frame."""
    index = scan_packets(path, lambda: None)
    began = time.perf_counter()
    for _ in read_all(path, index, lambda: None).frames:
        pass
    return time.perf_counter() - began


def sample(path: Path, *, is_sparse: bool = True) -> tuple[SampledFrames, float]:
    """16 frames and the wall-clock seconds that they took; a deinterlaced video is never sought in."""
    settings = DecodeSettings(SamplingRule("num_frames", 16), deinterlace="none" if is_sparse else "bwdif")
    began = time.perf_counter()
    with open_clip(VideoItem(path.name, path), settings) as reader:
        (chunk,) = reader
    return chunk, time.perf_counter() - began


def main(path: Path, *, check: bool) -> None:
    """Print the times, their ratio and, if asked, the greatest difference between the pictures."""
    sought = [sample(path) for _ in range(REPEATS)]
    whole, few = min(seconds_of_pass(path) for _ in range(REPEATS)), min(seconds for _, seconds in sought)
    print(f"all frames {whole:.2f} s  16 frames {few:.2f} s  ratio {whole / few:.1f}")
    if check:
        full, chunk = sample(path, is_sparse=False)[0], sought[0][0]
        apart = np.abs(full.frames.astype(int) - chunk.frames).mean(axis=(1, 2, 3)).max()
        same = np.array_equal(full.pts_seconds, chunk.pts_seconds)
        print(f"same timestamps {same}  greatest mean difference of a picture {apart:.3f} grey levels")


if __name__ == "__main__":
    main(Path(sys.argv[1]), check="--check" in sys.argv)
