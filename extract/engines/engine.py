"""A Backbone in, a fast function out: uint8 (B, H, W, 3) -> float32 (B, D), always of one batch size.

The backbone `pixels` is no model: its engine gives the pictures themselves, uint8 (B, H, W, C).

Two ways to compute the same float32 numbers, to rounding: `keras` (any backend, any device) and `litert` (XNNPACK, the
fastest on a CPU), compiled once and cached, so that a job on a CPU starts without TensorFlow where ai-edge-litert is
installed. How far the numbers of two calls agree is part of each engine: see `Engine`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-5  # of the largest number in a batch: how far float32 rows of Keras may differ; 1e-6 has been seen
Compute = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Engine:
    """A backbone ready to compute; what a row holds depends on its frame alone.

    `litert` keeps that to the bit on one machine: in any batch, at any place, of any size, on any number of cores.
    `pixels` keeps it everywhere. `keras` keeps it to rounding: the library below chooses its kernels by processor,
    number of cores and batch size, and some add in another order for another row of the batch. In float32 rows of one
    frame then differ by less than `ROUNDING` of the largest number in the batch. So only rows of `litert` and `pixels`
    may be compared byte by byte between two runs.

    Args:
        name: What computes, with versions: "litert (ai-edge-litert 2.3.0, CPU, 2 interpreters of 1 thread, float32)".
        kind: "keras", "litert" or "pixels".
        batch_size: B, the number of rows of every call.
        image_size: S, the side of the images.
        compute: uint8 (B, S, S, 3) -> float32 (B, D), unchecked; of `pixels` uint8 (B, S, S, C).
        streams: As many threads may call it at once, and should, to keep it busy.
        units: How many of their calls are computed at the same time: a GPU takes one after the other.
        on_one_core: A call keeps one core busy, which decoding may need too.
    """

    name: str
    kind: str
    batch_size: int
    image_size: int
    compute: Compute
    streams: int = 1
    units: int = 1
    on_one_core: bool = False

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Embeds one full batch; a row's embedding does not depend on the other rows, as far as the class says.

        Args:
            frames: uint8 (B, S, S, 3), RGB.

        Returns:
            float32 (B, D), or uint8 (B, S, S, C) of `pixels`, owned by the caller.
        """
        expected = (self.batch_size, self.image_size, self.image_size, 3)
        if frames.shape != expected or frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8{expected}, got {frames.dtype}{frames.shape}")
        return self.compute(frames)


def batch_for(image_size: int, *, at_224_px: int, fewest: int, most: int) -> int:
    """How many images of this size have as many pixels as so many of 224 px."""
    return max(fewest, min(most, at_224_px * 224**2 // image_size**2))
