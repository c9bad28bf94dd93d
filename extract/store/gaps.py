"""Missing values of features: found in one pass, and filled in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def count_missing(blocks: Iterable[np.ndarray]) -> int:
    """The number of NaN in blocks of rows."""
    return sum(int(np.isnan(block).sum()) for block in blocks if block.dtype.kind == "f")


class Gaps:
    """Which columns are likelihoods of points (x, y, likelihood), whose 1.0 next to a missing point is not believed.

    Args:
        blocks: All rows, (n, D) at a time.
        width: D.
    """

    def __init__(self, blocks: Iterable[np.ndarray], width: int) -> None:
        self._likelihoods = np.zeros(width, bool)
        thirds = max(0, width - 2)
        is_point, is_share, ones = np.ones(thirds, bool), np.ones(thirds, bool), np.zeros(thirds, np.int64)
        for block in blocks:
            gaps = np.isnan(block)
            x, y, third = gaps[:, :-2], gaps[:, 1:-1], block[:, 2:]
            beside = y & ~gaps[:, 2:]  # a number next to a missing point
            is_point &= np.all(x == y, axis=0)
            is_share &= np.all(np.where(beside, third == 1, gaps[:, 2:] | (third >= 0) & (third <= 1)), axis=0)
            ones += beside.sum(axis=0)
        self._likelihoods[2:] = is_point & is_share & (ones > 0)

    def opened(self, rows: np.ndarray) -> np.ndarray:
        """The rows, with NaN for the likelihood of missing points."""
        for column in np.flatnonzero(self._likelihoods):
            rows[np.isnan(rows[:, column - 1]), column] = np.nan
        return rows


def interpolated(rows: np.ndarray) -> np.ndarray:
    """The rows without gaps; a column that is all gap becomes 0."""
    steps, missing, rows = np.arange(len(rows)), np.isnan(rows), rows.copy()
    for column in np.flatnonzero(missing.any(axis=0)):
        known = ~missing[:, column]
        rows[~known, column] = np.interp(steps[~known], steps[known], rows[known, column]) if known.any() else 0
    return rows
