"""Peak memory of extracting a clip of 300,000 frames against one of 3,000, with embeddings of D = 1280.

    python benchmarks/extract_memory.py [--frames 300000] [--limit-mb 60]

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
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

FEW_FRAMES = 3_000
EMBEDDING_DIM = 1280
CHILD = "--extract"


def main() -> int:
    """Makes the clips, extracts each in a fresh process, prints peaks and their difference; 1 if that is too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300_000)
    parser.add_argument("--limit-mb", type=float, default=60.0)
    settings = parser.parse_args()
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for frames in (FEW_FRAMES, settings.frames):
            video = write_clip(Path(folder) / f"{frames}.mp4", frames)
            began = time.monotonic()
            command = [sys.executable, __file__, CHILD, str(video), str(Path(folder) / f"features-{frames}")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            kept, peak_kb = map(int, done.stdout.split())
            if kept != frames:
                sys.exit(f"{video.name}: {kept} frames are in the store")
            peaks[frames] = peak_kb * 1024 / 1e6
            print(f"{frames:>7} frames: peak {peaks[frames]:6.1f} MB, {time.monotonic() - began:.0f} s")
    more = peaks[settings.frames] - peaks[FEW_FRAMES]
    print(f"{settings.frames} frames take {more:.1f} MB more than {FEW_FRAMES} (limit {settings.limit_mb:g} MB)")
    return 1 if more > settings.limit_mb else 0


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


def extract_one(video: Path, output: Path) -> None:
    """Extracts one clip with the real job; prints how many rows the store has and the peak in kB."""
    import numpy as np

    from extract import engines, job
    from extract.backbones import Backbone, load_backbone
    from extract.sampling import SamplingRule
    from extract.store_read import open_store
    from extract.videos import find_videos

    tiny = load_backbone("tiny")
    wide = Backbone("wide", tiny.weights_digest, tiny.image_size, EMBEDDING_DIM, tiny.build)

    def begin(frames: np.ndarray) -> Callable[[], np.ndarray]:
        rows = frames.reshape(len(frames), -1).astype(np.float32)  # (B, 192)
        rows = np.tile(rows, -(-EMBEDDING_DIM // rows.shape[1]))[:, :EMBEDDING_DIM]
        return lambda: rows

    job.load_backbone = lambda name, **more: wide  # type: ignore[assignment]
    engines.make_engine = lambda backbone, *, batch_size, **more: engines.Engine(  # type: ignore[assignment]
        "repetition", "keras", batch_size, backbone.image_size, begin
    )
    settings = job.ExtractSettings(output=output, sampling=SamplingRule("every", 1))
    for result in job.extract(find_videos(video), settings):
        if result.status != "done":
            sys.exit(f"{result.clip_id}: {result.status} {result.reason}")
    peak_kb = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(sum(open_store(output).lengths().values()), peak_kb)


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        extract_one(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(main())
