"""Small clips for the tests of stage two."""

from __future__ import annotations

import numpy as np

from sequence_models.records import Clip


def make_clip(steps: int, label: int | None = None, *, dim: int = 5, seed: int = 0, classes: int = 3) -> Clip:
    """A clip of random embeddings; label None = one random label per timestep, the first of them unlabelled."""
    rng = np.random.default_rng((seed, steps))
    labels = np.array(label) if label is not None else rng.integers(0, classes, steps)
    if label is None:
        labels[0] = -1
    return Clip(
        clip_id=f"{seed}-{steps}.mp4",
        embeddings=rng.normal(size=(steps, dim)).astype(np.float32),
        pts_seconds=np.arange(steps) / 8,
        frame_indices=np.arange(steps),
        labels=labels,
    )


def make_clips(lengths: tuple[int, ...], task: str, *, dim: int = 5, seed: int = 0, classes: int = 3) -> list[Clip]:
    """One clip per length; many-to-one labels go 0, 1, 2, 0, ..."""
    return [
        make_clip(steps, row % classes if task == "many-to-one" else None, dim=dim, seed=seed + row, classes=classes)
        for row, steps in enumerate(lengths)
    ]


def ordered_clips(count: int, task: str, *, seed: int = 0) -> list[Clip]:
    """Clips whose class is the order of two halves: 0 rises, 1 falls; the mean over time is the same."""
    rng = np.random.default_rng(seed)
    clips = []
    for row in range(count):
        steps, label = int(rng.integers(6, 14)), row % 2
        slope = np.linspace(-2, 2, steps) * (1 if label == 0 else -1)
        embeddings = rng.normal(0, 0.3, (steps, 4)) + slope[:, None] * np.array([1, -1, 0, 0])
        labels = np.array(label) if task == "many-to-one" else np.full(steps, label)
        clips.append(Clip(f"{row}.mp4", embeddings.astype(np.float16), np.arange(steps) / 8, np.arange(steps), labels))
    return clips
