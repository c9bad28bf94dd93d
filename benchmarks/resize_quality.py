"""How fast a decoded picture is brought to 224 px, and how far it then is from the exact average of areas.

    python benchmarks/resize_quality.py

Three ways on one core: what clipseq does, OpenCV's INTER_AREA in one step, and bilinear without averaging. `error` is
the root mean square distance, in grey levels, to averages computed in float64, on a texture of 4 px grains; `lines` is
the standard deviation that is left of a pattern of one pixel wide lines, which should become plain grey.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np

from extract.transforms import fit_frame

SIZE = 224
SIZES = ((2160, 3840), (1080, 1920), (720, 1280), (480, 854), (240, 320))
TURNS = 20


def main() -> None:
    """Measures every way on every size and prints the table."""
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "clipseq": lambda frame: fit_frame(frame, image_size=SIZE),
        "INTER_AREA": lambda frame: cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA),
        "bilinear": lambda frame: cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR),
    }
    for height, width in SIZES:
        grains = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        texture = cv2.resize(grains, (width, height), interpolation=cv2.INTER_CUBIC)
        lines = np.zeros((height, width, 3), np.uint8)
        lines[:, ::2] = 255
        exact = exact_average(texture)
        for name, way in ways.items():
            error = np.sqrt(((way(texture) - exact) ** 2).mean())
            milliseconds = 1000 * best_seconds(way, texture)
            size = f"{width}x{height}"
            print(f"{size:<10} {name:<11} {milliseconds:6.2f} ms  error {error:5.1f}  lines {way(lines).std():5.1f}")


def exact_average(frame: np.ndarray) -> np.ndarray:
    """float64 (SIZE, SIZE, 3): the mean over the area of every output pixel."""
    rows, columns = (_weights(pixels) for pixels in frame.shape[:2])
    return np.einsum("ah,hwc,bw->abc", rows, frame.astype(np.float64), columns, optimize=True)


def best_seconds(way: Callable[[np.ndarray], np.ndarray], frame: np.ndarray) -> float:
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
