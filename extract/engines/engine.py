"""A Backbone in, a fast function out: uint8 (B, *frame_shape) -> float32 (B, D), with a fixed batch size.

The backbone `pixels` is not a model: its engine returns the pictures themselves, uint8 (B, H, W, C).

Two ways to compute the same float32 numbers, up to rounding: `keras` (any backend, any device) and `litert` (XNNPACK,
the fastest on a CPU), compiled once and cached, so that a CPU job starts without TensorFlow if ai-edge-litert is
installed. How closely the numbers of two calls agree depends on the engine: see `Engine`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

ROUNDING = 1e-5  # of the largest number in a batch: how much float32 rows of Keras may differ; 1e-6 has been seen
Compute = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Engine:
    """A backbone ready to compute; a row depends only on its frame.

    With `litert` this holds to the bit on one machine: in any batch, at any position, for any batch size and number of
    cores. With `pixels` it holds everywhere. With `keras` it holds up to rounding: the underlying library chooses its
    kernels by processor, number of cores and batch size, and some add in a different order for different rows of the
    batch. In float32, rows of one frame then differ by less than `ROUNDING` of the largest number in the batch. So only
    rows of `litert` and `pixels` may be compared byte by byte between two runs.

    Args:
        name: What computes, with versions: "litert (ai-edge-litert 2.3.0, CPU, 2 interpreters of 1 thread, float32)".
        kind: "keras", "litert", "onnx" or "pixels".
        batch_size: B, the number of rows per call.
        frame_shape: Shape of what a row is computed from: (S, S, 3), or for windows of F frames (F, S, S, 3).
        compute: uint8 (B, *frame_shape) -> float32 (B, D), unchecked; for `pixels` uint8 (B, S, S, C).
        streams: How many threads may call it at once, and should, to keep it busy.
        units: How many of these calls are computed at the same time: a GPU takes one after the other.
        on_one_core: A call keeps one core busy, which decoding may need too.
    """

    name: str
    kind: str
    batch_size: int
    frame_shape: tuple[int, ...]
    compute: Compute
    streams: int = 1
    units: int = 1
    on_one_core: bool = False

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Embeds one full batch; a row does not depend on the other rows, within the limits given by the class.

        Args:
            frames: uint8 (B, *frame_shape), RGB.

        Returns:
            float32 (B, D), or for `pixels` uint8 (B, S, S, C), owned by the caller.
        """
        expected = (self.batch_size, *self.frame_shape)
        if frames.shape != expected or frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8{expected}, got {frames.dtype}{frames.shape}")
        return self.compute(frames)


def batch_for(frame_shape: tuple[int, ...], *, at_224_px: int, fewest: int, most: int) -> int:
    """How many rows of this shape have as many pixels as `at_224_px` images of 224 px."""
    return max(fewest, min(most, at_224_px * 3 * 224**2 // prod(frame_shape)))
