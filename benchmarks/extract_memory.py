"""Peak memory of extracting a clip of 300,000 frames against one of 3,000, with embeddings of D = 1280.

    python benchmarks/extract_memory.py [--frames 300000] [--limit-mb 60]
    python benchmarks/extract_memory.py --video LONG.mp4 [--limit-mb 100]

The second form takes a real video and the real default backbone: all of its frames against its first 300.

Decoding, packing and writing are the real ones, on real files of 16x16 pixels; the backbone is a repetition of the
picture's 192 numbers, so that the memory of no library hides that of the job. Every extraction runs in a process of its
own. Linux only: the peak is VmHWM, which, unlike ru_maxrss, does not begin with the memory of the parent. Its own
check: every frame is in the store.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

FEW_FRAMES = 3_000
FIRST_FRAMES = 300
EMBEDDING_DIM = 1280
CHILD = "--extract"


def main() -> int:
    """Makes the clips, extracts each in a fresh process, prints peaks and their difference; 1 if that is too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300_000)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--limit-mb", type=float, default=60.0)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if settings.video:
            (few, less), (many, most) = (peak_of(settings.video, Path(folder), only=n) for n in (FIRST_FRAMES, 0))
        else:
            clips = [write_clip(Path(folder) / f"{n}.mp4", n) for n in (FEW_FRAMES, settings.frames)]
            (few, less), (many, most) = (peak_of(clip, Path(folder)) for clip in clips)
            if (few, many) != (FEW_FRAMES, settings.frames):
                sys.exit(f"{few} and {many} frames are in the stores")
    print(f"{many} frames take {most - less:.1f} MB more than {few} (limit {settings.limit_mb:g} MB)")
    return 1 if most - less > settings.limit_mb else 0


def peak_of(video: Path, folder: Path, *, only: int | None = None) -> tuple[int, float]:
    """Frames and peak in MB of one extraction in a fresh process.

    Args:
        video: The clip.
        folder: Where the store goes.
        only: None for the repeated picture as backbone; else the real one, for the first so many frames, 0 for all.
    """
    began = time.monotonic()
    output = folder / f"features-{video.stem}-{only}"
    command = [sys.executable, __file__, CHILD, str(video), str(output), *([] if only is None else [str(only)])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    frames, peak_kb = map(int, done.stdout.split())
    peak = peak_kb * 1024 / 1e6
    print(f"{frames:>7} frames: peak {peak:6.1f} MB, {time.monotonic() - began:.0f} s", flush=True)
    return frames, peak


def write_clip(path: Path, frames: int) -> Path:
    """A clip of grey frames; 8 bytes or so per frame."""
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (16, 16))
    pictures = [np.full((16, 16, 3), grey, np.uint8) for grey in (0, 80, 160, 240)]
    for number in range(frames):
        writer.write(pictures[number // 100 % 4])
    writer.release()
    return path


def extract_one(video: Path, output: Path, only: int | None) -> None:
    """Extracts one clip with the real job; prints how many rows the store has and the peak in kB."""
    from extract.decode.packets import scan_packets
    from extract.jobs import job
    from extract.store.reader import open_store
    from extract.videos.listing import find_videos
    from extract.videos.rule import SamplingRule

    items = find_videos(video)
    if only is None:
        use_repetition()
    elif only:
        end = float(scan_packets(video, lambda: None).pts_seconds[only])
        items = [replace(item, end_seconds=end) for item in items]
    settings = job.ExtractSettings(output=output, sampling=SamplingRule("every", 1))
    for result in job.extract(items, settings):
        if result.status != "done":
            sys.exit(f"{result.clip_id}: {result.status} {result.reason}")
    peak_kb = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(sum(open_store(output).lengths().values()), peak_kb)


def use_repetition() -> None:
    """Puts a backbone in place that repeats the picture's numbers."""
    import numpy as np

    from extract.backbones.backbone import Backbone
    from extract.backbones.registry import load_backbone
    from extract.engines import registry
    from extract.engines.engine import Engine
    from extract.engines.keras_engine import CPU_BATCH
    from extract.jobs import engine

    tiny = load_backbone("tiny")
    wide = Backbone("wide", tiny.weights_digest, tiny.image_size, EMBEDDING_DIM, tiny.build)

    def compute(frames: np.ndarray) -> np.ndarray:
        rows = frames.reshape(len(frames), -1).astype(np.float32)  # (B, 192)
        return np.tile(rows, -(-EMBEDDING_DIM // rows.shape[1]))[:, :EMBEDDING_DIM]

    engine.load_backbone = lambda name, **more: wide  # type: ignore[assignment]
    registry.make_engine = lambda backbone, *, batch_size, **more: Engine(  # type: ignore[assignment]
        "repetition", "keras", batch_size or CPU_BATCH, backbone.frame_shape, compute
    )


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        extract_one(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if sys.argv[4:] else None)
    else:
        sys.exit(main())
