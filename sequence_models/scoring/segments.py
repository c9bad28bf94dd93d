"""Segment scores of action segmentation: edit score and F1@k (Lea et al., arXiv:1611.05267; Farha and Gall's eval.py).

labels    0 0 1 1 1 0 2 2        0 = background
segments      [1,2,5) [2,6,8)    (label, start, end), half-open
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

OVERLAPS = (10, 25, 50)  # percent

Segment = tuple[int, int, int]


def segments(labels: np.ndarray, *, background: Collection[int] = ()) -> list[Segment]:
    """Cuts labels into maximal runs.

    Args:
        labels: int (T,); runs of -1 (unlabelled) are dropped.
        background: Classes whose runs are dropped too.

    Returns:
        (label, start, end) in time order, half-open; two runs separated by a dropped one stay separate.
    """
    if len(labels) == 0:
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1])
    ends = np.append(starts[1:], len(labels))
    runs = zip(labels[starts].tolist(), starts.tolist(), ends.tolist(), strict=True)
    return [run for run in runs if run[0] >= 0 and run[0] not in background]


def edit_score(truth: Sequence[Segment], predicted: Sequence[Segment]) -> float:
    """How similar the order of the segments is.

    Args:
        truth, predicted: Segments of one video.

    Returns:
        100 * (1 - Levenshtein distance / length of the longer list) on the labels; 100 if both are empty.
    """
    longer = max(len(truth), len(predicted))
    if longer == 0:
        return 100.0
    distance = _levenshtein(np.array([run[0] for run in predicted]), np.array([run[0] for run in truth]))
    return 100.0 * (1 - distance / longer)


def f1_counts(truth: Sequence[Segment], predicted: Sequence[Segment], *, overlap: float) -> tuple[int, int, int]:
    """Matches the segments of one video.

    A predicted segment, in time order, is a hit if the true segment with its label and the highest IoU reaches the
    overlap and is not yet matched.

    Args:
        truth, predicted: Segments of one video.
        overlap: Lowest IoU of a hit, 0 to 1.

    Returns:
        (hits, false positives, misses).
    """
    if not truth or not predicted:
        return 0, len(predicted), len(truth)
    labels, starts, ends = np.array(truth).T
    taken = np.zeros(len(truth), bool)
    for label, start, end in predicted:
        shared = np.minimum(ends, end) - np.maximum(starts, start)
        whole = np.maximum(ends, end) - np.minimum(starts, start)
        iou = np.where(labels == label, shared / whole, 0.0)
        best = int(np.argmax(iou))
        if iou[best] >= overlap:
            taken[best] = True
    hits = int(taken.sum())
    return hits, len(predicted) - hits, len(truth) - hits


def f1_from_counts(hits: int, false_positives: int, misses: int) -> float:
    """F1 in percent: 100 * 2 hits / (2 hits + false positives + misses), 100 if there is nothing to find."""
    involved = 2 * hits + false_positives + misses
    return 100.0 * 2 * hits / involved if involved else 100.0


def _levenshtein(one: np.ndarray, other: np.ndarray) -> int:
    """Edit distance of two sequences, one row of the table at a time."""
    steps = np.arange(len(other) + 1)
    row = steps.copy()
    for count, item in enumerate(one, start=1):
        replaced = row[:-1] + (other != item)
        reached = np.concatenate([[count], np.minimum(row[1:] + 1, replaced)])
        row = np.minimum.accumulate(reached - steps) + steps
    return int(row[-1])
