"""Filters over time: the median of probabilities, and the removal of short bouts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sequence_models.scoring.segments import segments


def median_filter(probabilities: np.ndarray, width: int) -> np.ndarray:
    """The running median over time of each column of (T, K); the ends are mirrored."""
    if width == 1:
        return probabilities
    from scipy.ndimage import median_filter as filter_median

    return filter_median(probabilities, size=(width, 1), mode="reflect")


def drop_short_bouts(labels: np.ndarray, probabilities: np.ndarray, minimum_steps: Sequence[int]) -> np.ndarray:
    """Merge bouts that are too short into a neighbour, the shortest first.

    Args:
        labels: int (T,).
        probabilities: (T, K); the neighbour with the higher probability during the bout wins.
        minimum_steps: Shortest bout of each class; empty = any length.

    Returns:
        int (T,); a bout without neighbours is kept.
    """
    labels = labels.copy()
    for length in range(1, max(minimum_steps, default=0)):
        for label, start, end in segments(labels):
            if end - start != length or minimum_steps[label] <= length:
                continue
            beside = [*labels[max(start - 1, 0) : start], *labels[end : end + 1]]
            if beside and label not in beside:  # if it is, the bout has grown by merging
                labels[start:end] = max(beside, key=lambda other: probabilities[start:end, other].sum())
    return labels


def bout_lengths(labels: Iterable[np.ndarray], *, num_classes: int) -> list[np.ndarray]:
    """Lengths in timesteps of the bouts of every class.

    Args:
        labels: Per clip, int (T,), or (T, K) of 0 and 1.
        num_classes: K.

    Returns:
        K arrays.
    """
    lengths: list[list[int]] = [[] for _ in range(num_classes)]
    for each in labels:
        for k, start, end in bouts(each):
            lengths[k].append(end - start)
    return [np.array(each, np.int64) for each in lengths]


def bouts(labels: np.ndarray) -> list[tuple[int, int, int]]:
    """(class, start, end) of every bout, half-open, of labels int (T,) or (T, K) of 0 and 1."""
    if labels.ndim == 1:
        return segments(labels)
    columns = (segments(np.where(column > 0, k, -1)) for k, column in enumerate(labels.T))
    return [run for runs in columns for run in runs]
