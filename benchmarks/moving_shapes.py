"""Raw-frame and cached models on clips that only the order of their frames tells apart: a shape goes left or right.

    python benchmarks/moving_shapes.py [--models A,B,C] [--folder DIR]

Renders 80 videos in pairs, one the other played backwards, so that both classes hold the same pictures. Extracts
embeddings (efficientnet_lite0), frames and optical flow of 16 px, and prints one `clipseq compare` table: folds by
pair, 2 seeds. Models that pool over time are at chance on frames and embeddings, and every model that knows the order
falls to chance where the timesteps are shuffled. Optical flow holds the motion inside each timestep, so that
two_stream needs no order of them, here of two td_cnn_avgpool, and the verdict sentence says so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import pipeline

PAIRS, STEPS, SIDE, FPS = 40, 6, 96, 8
LOSSLESS = {"crf": "0", "preset": "ultrafast"}  # lossless, so that a pair holds the same pictures
MODELS = "lstm,meanpool,td_cnn_lstm,td_cnn_flatten_lstm,conv3d,td_cnn_avgpool,td_cnn_maxpool,two_stream"
SETTINGS = {
    "--epochs": 30, "--patience-updates": 999, "--batch-size": 8, "--learning-rate": 0.003, "--dropout": 0,
    "--stream": "td_cnn_avgpool",
}  # fmt: skip


def main() -> None:
    """Render, extract, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS, help="models of the comparison")
    parser.add_argument("--folder", type=Path, help="keep videos, stores and the run here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        render(folder / "videos")
        every = ["--every", "1"]
        run("extract", folder / "videos", "--output", folder / "embeddings", *every)
        pixels = ["--backbone", "pixels", "--image-size", "16", *every]
        run("extract", folder / "videos", "--output", folder / "frames", *pixels)
        run("extract", folder / "videos", "--output", folder / "flow", *pixels, "--input", "flow")
        stores = [folder / "embeddings", "--frames-store", folder / "frames", folder / "flow"]
        how = ["--task", "many-to-one", "--cv", "4", "--seeds", "2", "--group-from", r"(\d+)", "--run", folder / "run"]
        run("compare", *stores, *how, "--models", arguments.models, *sum(SETTINGS.items(), ()))


def run(*command: object) -> None:
    """One `clipseq` command; SystemExit where it fails."""
    code = pipeline.main([str(part) for part in command])
    if code:
        raise SystemExit(code)


def render(folder: Path) -> None:
    """Write videos/right/0.mp4 and videos/left/0.mp4 and so on; the ground grows brighter to the right."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] * 16 / SIDE
    for pair in range(PAIRS):
        start, speed, height = rng.uniform(2, 5), rng.uniform(1.2, 1.7), rng.uniform(4, 12)
        ground = 30 + 8 * x + rng.integers(0, 20, x.shape)
        blobs = [np.exp(-((x - start - speed * t) ** 2 + (y - height) ** 2) / 6) for t in range(STEPS)]
        frames = np.stack([np.clip(ground + 110 * blob, 0, 255) for blob in blobs]).astype(np.uint8)
        for name, shown in (("right", frames), ("left", frames[::-1])):
            write(folder / name / f"{pair}.mp4", shown)


def write(path: Path, frames: np.ndarray) -> None:
    """A lossless grey video of frames uint8 (T, H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", FPS, options=LOSSLESS)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.repeat(frame[..., None], 3, 2), format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
