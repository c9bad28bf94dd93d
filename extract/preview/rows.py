"""Which frames of a clip stand on which row of a contact sheet: one row per clip, or one per window of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WindowCut:
    """How a clip is cut into windows, and that in words.

    Args:
        spans: Timestamps, float64 (T,) -> at least one half-open span of timesteps.
        fact: The same for a reader.
    """

    spans: Callable[[np.ndarray], Sequence[tuple[int, int]]]
    fact: str


@dataclass(frozen=True)
class Window:
    """One window of a clip: its number, from 1, among all `count` of them, and its time in seconds, half-open."""

    number: int
    count: int
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class RowPlan:
    """One row of the sheet: the timesteps that are shown, rising, how many there are, and the window that they are."""

    shown: tuple[int, ...]
    timesteps: int
    window: Window | None = None


@dataclass(frozen=True)
class Picking:
    """What is shown of every clip.

    Args:
        max_frames: Frames per row at most.
        cut: One row per window; None = one row per clip.
        max_windows: Windows per clip at most.
    """

    max_frames: int
    cut: WindowCut | None = None
    max_windows: int = 1

    def plan(self, pts_seconds: np.ndarray) -> list[RowPlan]:
        """The rows of a clip.

        Args:
            pts_seconds: float64 (T,), rising, of all its timesteps, at least one.

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
    """Choose some of many.

    Args:
        count: How many there are.
        at_most: How many are wanted.

    Returns:
        Rising positions from 0 to count - 1, the first and last among them where there is room for two.
    """
    if count <= at_most:
        return list(range(count))
    return np.unique(np.linspace(0, count - 1, at_most).round().astype(int)).tolist()
