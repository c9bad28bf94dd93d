"""How embeddings move: steps from timestep to timestep, and statistics over windows of several lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from sequence_models.records import Clip

REACHES = (8, 32, 128)  # timesteps to each side; causal windows are as long, but end at their timestep
MOST_CHANNELS = 64  # wider embeddings are reduced before windows are computed
CHANNELS_AT_ONCE, ROWS_AT_ONCE = 16, 1 << 14
SAMPLED_ROWS = 4_000
LEAST_SPREAD = 1e-4  # of an axis, relative to the first
WINDOWS_PER_CHANNEL = 2 * 2 * len(REACHES)  # mean and deviation, of the channel and of its steps


def step_sizes(embeddings: np.ndarray) -> np.ndarray:
    """|embedding(t) - embedding(t - 1)|, 0 at the first timestep; (T, D) -> float32 (T, D)."""
    values = embeddings.astype(np.float32)
    return np.abs(np.diff(values, axis=0, prepend=values[:1]))


def window_statistics(values: np.ndarray, *, causal: bool, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Means and standard deviations of channels and of their steps over windows of `REACHES`.

    Args:
        values: (T, R), about 0, so that sums of squares stay exact.
        causal: Windows end at their timestep; else it is in their middle. At the ends of a clip they are shorter.
        dtype: Of the result.

    Returns:
        (T, R * WINDOWS_PER_CHANNEL).
    """
    both, steps = np.concatenate([values, step_sizes(values)], axis=1), np.arange(len(values))
    found = np.empty((len(values), len(REACHES), 2, both.shape[1]), dtype)
    for start in range(0, both.shape[1], CHANNELS_AT_ONCE):  # of a long clip, sums of all channels are large
        channels = slice(start, start + CHANNELS_AT_ONCE)
        some = both[:, channels].astype(np.float64)
        sums, squares = (np.cumsum(np.pad(each, ((1, 0), (0, 0))), axis=0) for each in (some, np.square(some)))
        for number, reach in enumerate(REACHES):
            first = np.maximum(steps - (2 * reach if causal else reach), 0)
            end = steps + 1 if causal else np.minimum(steps + reach + 1, len(values))
            count = (end - first)[:, None]
            mean = (sums[end] - sums[first]) / count
            variance = np.maximum((squares[end] - squares[first]) / count - np.square(mean), 0)
            for place, each in enumerate((mean, np.sqrt(variance))):
                found[:, number, place, channels] = each.astype(np.float32)
    return found.reshape(len(values), -1)


@dataclass(frozen=True)
class Reduction:
    """Few channels in place of many: standardised, and of wide embeddings the main axes of their variation.

    Args:
        center: float32 (D,).
        axes: float32 (D, R), R at most `MOST_CHANNELS`.
    """

    center: np.ndarray
    axes: np.ndarray

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """(T, D) -> float32 (T, R); as float32, a long clip of all D would be large."""
        starts = range(0, max(1, len(embeddings)), ROWS_AT_ONCE)
        parts = (np.asarray(embeddings[start : start + ROWS_AT_ONCE], np.float32) for start in starts)
        return np.concatenate([(part - self.center) @ self.axes for part in parts])


def fit_reduction(rows: np.ndarray) -> Reduction:
    """A reduction for embeddings like some rows (n, D)."""
    values = rows.astype(np.float64)
    center, deviation = values.mean(axis=0), values.std(axis=0)
    scale = 1 / np.where(deviation > 1e-6, deviation, 1)
    axes = np.diag(scale)
    if len(scale) > MOST_CHANNELS:
        standard = (values - center) * scale
        _, lengths, directions = np.linalg.svd(standard, full_matrices=False)
        directions = directions[:MOST_CHANNELS]
        largest = np.abs(directions).argmax(axis=1, keepdims=True)
        directions *= np.sign(np.take_along_axis(directions, largest, axis=1))  # the sign of an axis is arbitrary
        spread = lengths[:MOST_CHANNELS] / np.sqrt(len(rows))
        real = spread > LEAST_SPREAD * spread[0]  # few rows span few axes; the others stay 0
        axes = np.zeros((len(scale), MOST_CHANNELS))
        axes[:, : len(spread)][:, real] = scale[:, None] * directions[real].T / spread[real]
    return Reduction(center.astype(np.float32), axes.astype(np.float32))


def sampled_rows(
    clips: Sequence[Clip], *, features: Callable[[np.ndarray], np.ndarray] | None = None, most: int = SAMPLED_ROWS
) -> np.ndarray:
    """Evenly spaced timesteps of all clips, float32 (n, D).

    Args:
        clips: At least one.
        features: What is taken of a timestep, if not its embedding.
        most: About how many to take; of more clips than that, only some are used.
    """
    clips = clips[:: -(-len(clips) // most)]
    stride = max(1, -(-sum(map(len, clips)) // most))
    rows = []
    for number, clip in enumerate(clips):
        chosen = np.asarray(clip.embeddings[np.arange(number % min(stride, len(clip)), len(clip), stride)])
        rows.append(chosen.astype(np.float32) if features is None else features(chosen))
    return np.concatenate(rows)
