"""Which frames of a clip go on which row of a contact sheet: one row per clip, or one per window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WindowCut:
    """How a clip is cut into windows, with a description.

    Args:
        spans: Timestamps, float64 (T,) -> at least one half-open span of timesteps.
        fact: The same in words.
    """

    spans: Callable[[np.ndarray], Sequence[tuple[int, int]]]
    fact: str


@dataclass(frozen=True)
class Window:
    """One window of a clip: its number, from 1, out of `count`, and its span in seconds, half-open."""

    number: int
    count: int
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class RowPlan:
    """One row of the sheet: the timesteps shown, increasing, how many there are in total, and their window."""

    shown: tuple[int, ...]
    timesteps: int
    window: Window | None = None


@dataclass(frozen=True)
class Picking:
    """What is shown of each clip.

    Args:
        max_frames: Maximum frames per row.
        cut: One row per window; None = one row per clip.
        max_windows: Maximum windows per clip.
    """

    max_frames: int
    cut: WindowCut | None = None
    max_windows: int = 1

    def plan(self, pts_seconds: np.ndarray) -> list[RowPlan]:
        """The rows of a clip.

        Args:
            pts_seconds: float64 (T,), increasing, of all its timesteps, at least one.

        Returns:
            At least one row.
        """
        if self.cut is None:
            return [RowPlan(tuple(spread(len(pts_seconds), self.max_frames)), len(pts_seconds))]
        spans = self.cut.spans(pts_seconds)
        step = float(np.median(np.diff(pts_seconds))) if len(pts_seconds) > 1 else 0.0
        rows = []
        for position in spread(len(spans), self.max_windows):
            start, stop = spans[position]
            shown = tuple(start + offset for offset in spread(stop - start, self.max_frames))
            window = Window(position + 1, len(spans), float(pts_seconds[start]), float(pts_seconds[stop - 1]) + step)
            rows.append(RowPlan(shown, stop - start, window))
        return rows


def spread(count: int, at_most: int) -> list[int]:
    """Choose evenly spaced positions.

    Args:
        count: How many there are.
        at_most: Maximum number to choose.

    Returns:
        Increasing positions from 0 to count - 1, including the first and last if at least two are chosen.
    """
    if count <= at_most:
        return list(range(count))
    return np.unique(np.linspace(0, count - 1, at_most).round().astype(int)).tolist()
