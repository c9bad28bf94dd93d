"""Clips of raw frames for the tests: plain noise, and a shape that moves left or right over a shaded ground."""

from __future__ import annotations

import numpy as np

from extract.decode.transforms import flow
from extract.records import SampledFrames
from sequence_models.records import Clip

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


def moving_clips(count: int, *, seed: int = 0, side: int = 16, steps: int = 6, motion: str = "rgb") -> list[Clip]:
    """Clips of a bright blob that goes right (0) or left (1); the clips come in pairs, one the other played backwards.

    So the frames of both classes are the same, and only their order tells. The ground grows brighter to the right.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    clips = []
    for row in range(0, count, 2):
        start, speed, height = rng.uniform(2, 5), rng.uniform(1.2, 1.7), rng.uniform(4, side - 4)
        ground = 30 + 8 * x + rng.integers(0, 20, (side, side))
        blobs = [np.exp(-((x - start - speed * t) ** 2 + (y - height) ** 2) / 6) for t in range(steps)]
        there = np.stack([np.clip(ground + 110 * blob, 0, 255) for blob in blobs]).astype(np.uint8)
        for label, frames in enumerate((there, there[::-1])):
            colour = np.repeat(frames[..., None], 3, axis=-1)
            clips.append(_moving(f"{seed}-{row}-{label}", colour, label, motion))
    return clips


def _moving(clip_id: str, frames: np.ndarray, label: int, motion: str) -> Clip:
    times, indices = np.arange(len(frames)) / 8, np.arange(len(frames))
    pictures = flow()(SampledFrames(frames, indices, times)).frames
    chosen = {"rgb": frames, "flow": pictures, "both": np.concatenate([frames, pictures], axis=-1)}[motion]
    return Clip(clip_id, np.ascontiguousarray(chosen), times, indices, np.array(label))
