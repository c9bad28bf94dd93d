"""How fast a decoded picture is brought to 224 px, and how far it then is from the exact average of areas.

    python benchmarks/resize_quality.py

On one core, from a picture as decoders give it (yuv420p) to RGB: what clipseq does, swscale's other filters, and OpenCV
behind a conversion to RGB. `error` is the root mean square distance, in grey levels, to averages computed in float64,
on a texture of 8 px grains; `lines` is the standard deviation that is left of a pattern of one pixel wide lines, which
should become plain grey.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from extract.decode.fit import FrameFitter

SIZE = 224
SIZES = ((2160, 3840), (1080, 1920), (720, 1280), (480, 854), (240, 320))
TURNS = 20


def main() -> None:
    """Measures every way on every size and prints the table."""
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[av.VideoFrame], np.ndarray]] = {
        "clipseq": clipseq(),
        "half chroma": swscale(Interpolation.AREA),
        "bilinear": swscale(Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT),
        "bicubic": swscale(Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT),
        "cv2 area": opencv(cv2.INTER_AREA),
        "cv2 linear": opencv(cv2.INTER_LINEAR),
    }
    for height, width in SIZES:
        grains = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        texture = cv2.resize(grains, (width, height), interpolation=cv2.INTER_CUBIC)
        lines = np.zeros((height, width, 3), np.uint8)
        lines[:, ::2] = 255
        pictures = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in (texture, lines)]
        coded_texture, coded_lines = (picture.reformat(format="yuv420p") for picture in pictures)
        exact = exact_average(texture)
        for name, way in ways.items():
            error = np.sqrt(((way(coded_texture) - exact) ** 2).mean())
            milliseconds = 1000 * best_seconds(way, coded_texture)
            size = f"{width}x{height}"
            print(
                f"{size:<10} {name:<11} {milliseconds:6.2f} ms  error {error:5.1f}  lines {way(coded_lines).std():5.1f}"
            )


def clipseq() -> Callable[[av.VideoFrame], np.ndarray]:
    """As extraction does it."""
    fitter, fitted = FrameFitter(SIZE), np.empty((SIZE, SIZE, 3), np.uint8)

    def fit(frame: av.VideoFrame) -> np.ndarray:
        fitter.fit(frame, fitted)
        return fitted

    return fit


def swscale(flags: Interpolation) -> Callable[[av.VideoFrame], np.ndarray]:
    """Scaled and converted in one step."""
    scaler = VideoReformatter()
    return lambda frame: scaler.reformat(frame, SIZE, SIZE, "rgb24", interpolation=flags, threads=1).to_ndarray()


def opencv(interpolation: int) -> Callable[[av.VideoFrame], np.ndarray]:
    """Converted, then scaled."""
    scaler = VideoReformatter()
    return lambda frame: cv2.resize(
        scaler.reformat(frame, format="rgb24", threads=1).to_ndarray(), (SIZE, SIZE), interpolation=interpolation
    )


def exact_average(frame: np.ndarray) -> np.ndarray:
    """float64 (SIZE, SIZE, 3): the mean over the area of every output pixel."""
    rows, columns = (_weights(pixels) for pixels in frame.shape[:2])
    return np.einsum("ah,hwc,bw->abc", rows, frame.astype(np.float64), columns, optimize=True)


def best_seconds(way: Callable[[av.VideoFrame], np.ndarray], frame: av.VideoFrame) -> float:
    """The shortest of some runs."""
    best = float("inf")
    for _ in range(TURNS):
        began = time.perf_counter()
        way(frame)
        best = min(best, time.perf_counter() - began)
    return best


def _weights(pixels: int) -> np.ndarray:
    edges, starts = np.arange(SIZE + 1) * pixels / SIZE, np.arange(pixels)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.clip(overlap, 0, None) * SIZE / pixels


if __name__ == "__main__":
    main()
