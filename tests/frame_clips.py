"""Clips of raw frames for the tests: plain noise, and a shape that moves left or right over a shaded ground."""

from __future__ import annotations

import numpy as np

from sequence_models.clips import Clip

SHAPE = (8, 8, 3)


def frame_clip(steps: int, label: int | None = None, *, seed: int = 0, classes: int = 3, shape=SHAPE) -> Clip:
    """A clip of random frames; label None = one random label per timestep, the first of them unlabelled."""
    rng = np.random.default_rng((seed, steps))
    labels = np.array(label) if label is not None else rng.integers(0, classes, steps)
    if label is None:
        labels[0] = -1
    frames = rng.integers(0, 256, (steps, *shape), dtype=np.uint8)
    return Clip(f"{seed}-{steps}.mp4", frames, np.arange(steps) / 8, np.arange(steps), labels)


def frame_clips(lengths: tuple[int, ...], task: str, *, seed: int = 0, shape=SHAPE) -> list[Clip]:
    """One clip per length; many-to-one labels go 0, 1, 2, 0, ..."""
    one = task == "many-to-one"
    return [
        frame_clip(steps, row % 3 if one else None, seed=seed + row, shape=shape) for row, steps in enumerate(lengths)
    ]
