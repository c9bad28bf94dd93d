"""Gives every decoded frame the time of its packet, strictly increasing, and reports what is missing."""

from __future__ import annotations

import math
from array import array

import numpy as np

from extract.decode.packets import PacketIndex

GAP = 1.5  # times the usual interval: a packet without a frame is a loss only if time is missing too


class FrameClock:
    """Times of the frames of one video in output order.

    Args:
        index: The packet index.

    Attributes:
        moved: How many frames came without an increasing timestamp.
        stopped: Whether reading ended on purpose after the last frame so far: what follows does not count as lost.
    """

    def __init__(self, index: PacketIndex) -> None:
        self._index = index
        self._times = array("d")
        self.moved = 0
        self._unwritten: list[float] = []
        self.stopped = False

    def __len__(self) -> int:
        return len(self._times)

    def next_time(self, pts_seconds: float) -> float:
        """The time of the next frame.

        Args:
            pts_seconds: The decoder's timestamp, NaN if it has none.

        Returns:
            Its packet's time; if that is missing or not after the previous frame (after damage), the next packet's.
        """
        seconds = self._true_time(pts_seconds)
        self._times.append(seconds)
        return seconds

    def lose(self, seconds: float) -> None:
        """Count as lost a frame that already has a time: it turned out to hold no picture."""
        self._unwritten.append(seconds)

    def lost_spans(self, end_seconds: float = math.inf) -> tuple[tuple[float, float], ...]:
        """Spans in which packets gave no frame.

        Args:
            end_seconds: Where reading ended.

        Returns:
            Half-open spans in seconds.
        """
        if self._index.timestamps != "real" or not self._times:
            return ()
        if self.stopped:
            end_seconds = min(end_seconds, math.nextafter(self._times[-1], math.inf))
        packets = self._index.pts_seconds[self._index.pts_seconds < end_seconds]
        decoded = self._came()
        usual = float(np.median(np.diff(decoded))) if len(decoded) > 1 else 0.0
        missing = np.flatnonzero(~np.isin(packets, decoded))
        ends = np.append(self._index.pts_seconds, self._index.duration_seconds)
        spans = []
        for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
            if not len(run):
                continue
            before, after = int(run[0]) - 1, int(run[-1]) + 1
            if before < 0 or ends[after] - packets[before] > GAP * usual:
                spans.append((float(packets[run[0]]), float(ends[after])))
        return tuple(spans)

    def lost_among(self, wanted_seconds: np.ndarray) -> tuple[tuple[float, float], ...]:
        """Which of the wanted frames did not come.

        Args:
            wanted_seconds: float64 (N,), times of the wanted frames.

        Returns:
            Half-open spans in seconds, each from the frame to the one after it.
        """
        missing = wanted_seconds[~np.isin(wanted_seconds, self._came())]
        packets = np.append(self._index.pts_seconds, self._index.duration_seconds)
        after = packets[np.searchsorted(packets, missing, side="right")]
        return tuple((float(a), float(b)) for a, b in zip(missing, after, strict=True))

    def _came(self) -> np.ndarray:
        """Times of the frames that are not lost."""
        return np.setdiff1d(np.frombuffer(self._times, np.float64), self._unwritten)

    def _true_time(self, pts_seconds: float) -> float:
        packets, slack = self._index.pts_seconds, self._index.tick_seconds / 2
        before = self._times[-1] if self._times else -math.inf
        if self._index.timestamps != "real":
            place = len(self._times)
            return float(packets[place]) if place < len(packets) else before + 1 / self._index.average_rate
        seconds = pts_seconds
        if not math.isnan(pts_seconds):
            near = min(int(np.searchsorted(packets, pts_seconds - slack)), len(packets) - 1)
            if abs(packets[near] - pts_seconds) <= slack:
                seconds = float(packets[near])
        if seconds > before:
            return seconds
        self.moved += 1
        following = int(np.searchsorted(packets, before, side="right"))
        return float(packets[following]) if following < len(packets) else before + 1 / self._index.average_rate
