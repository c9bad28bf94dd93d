"""Which frames of a clip are taken: pure functions from timestamps and a rule to frame indices.

fps=2          |.|...|...|...     the first frame at or after k/2 s, no frame twice
every=3        |..|..|..|..|..    indices 0, 3, 6 of the clip
num_frames=3   ..|....|....|..    the frame on display at the centre of each third; a pause counts as one frame

A rule may skip frames first, and keep only the first of those it takes:

skip_frames=4,every=3                  ....|..|..|..|    as if the clip began with its frame 4
every=3,first_frames=2                 |..|..........    the first 2 of every third
every=1,first_frames=3                 |||...........    the first 3 frames
skip_frames=4,every=1,first_frames=3   ....|||.......    frames 4, 5, 6
"""

from __future__ import annotations

import math

import numpy as np

from extract.videos.rule import SamplingRule

ROUNDING_SECONDS = 1e-6
PAUSE_SECONDS, PAUSE_INTERVALS = 1.0, 10  # a frame on display for longer than both is followed by a pause


def sample_indices(
    pts_seconds: np.ndarray,
    rule: SamplingRule,
    *,
    start_seconds: float = 0.0,
    end_seconds: float = math.inf,
    duration_seconds: float,
    rounding_seconds: float = ROUNDING_SECONDS,
) -> np.ndarray:
    """The frames that a rule takes from a clip.

    Args:
        pts_seconds: float64 (M,), increasing, the timestamps of all frames of the video.
        rule: The sampling rule.
        start_seconds: Start of the clip.
        end_seconds: End of the clip, exclusive.
        duration_seconds: End of the video's last frame.
        rounding_seconds: How early a frame may be and still count as on time: half a tick of the file's clock
            (Matroska rounds to 1 ms, which would lose every third of 30 frames at 30 frames/s).

    Returns:
        int64 (N,), increasing indices into `pts_seconds`; fewer than asked for, or none, if the clip has no more.
    """
    inside = frames_inside(pts_seconds, start_seconds, end_seconds)[rule.skip_frames :]
    if not len(inside):
        return inside
    times = pts_seconds[inside]
    start = float(times[0]) if rule.skip_frames else start_seconds
    if rule.kind == "num_frames":
        end = min(end_seconds, duration_seconds)
        return inside[_at_centres(times, int(rule.value), start, end, rounding_seconds)]
    if rule.kind == "every":
        taken = inside[:: int(rule.value)]
    else:
        slots = np.floor((times - start + rounding_seconds) * rule.value)
        taken = inside[np.diff(slots, prepend=-1.0) > 0]
    return taken[: rule.first_frames]


def frames_inside(pts_seconds: np.ndarray, start_seconds: float, end_seconds: float) -> np.ndarray:
    """The frames with start <= time < end.

    Args:
        pts_seconds: float64 (M,), increasing.
        start_seconds: Start of the clip.
        end_seconds: End of the clip, exclusive.

    Returns:
        int64 (N,), consecutive indices.
    """
    first, last = np.searchsorted(pts_seconds, [start_seconds, end_seconds], side="left")
    return np.arange(first, last, dtype=np.int64)


class FramePicker:
    """The same choice made frame by frame, for a decoder that learns only while reading which frames exist.

    Args:
        rule: The sampling rule.
        start_seconds: Start of the clip.
        wanted_seconds: For "num_frames": the timestamps that `sample_indices` chose. If a wanted frame is lost,
            the next one takes its place.
        rounding_seconds: As in `sample_indices`.
    """

    def __init__(
        self,
        rule: SamplingRule,
        *,
        start_seconds: float = 0.0,
        wanted_seconds: np.ndarray | None = None,
        rounding_seconds: float = ROUNDING_SECONDS,
    ) -> None:
        self._rule = rule
        self._start = start_seconds
        self._wanted = wanted_seconds
        self._rounding = rounding_seconds
        self._seen = 0
        self._taken = 0
        self._reached = -1

    @property
    def has_all(self) -> bool:
        """Whether the rule's `first_frames` have been taken, so that no more will be."""
        return self._rule.first_frames is not None and self._taken >= self._rule.first_frames

    def takes(self, pts_seconds: float) -> bool:
        """Whether the clip's next frame is taken; call it once for each frame of the clip, in order.

        Args:
            pts_seconds: The frame's timestamp.
        """
        self._seen += 1
        if self._wanted is not None:
            return self._reaches(int(np.searchsorted(self._wanted, pts_seconds + self._rounding, side="right")) - 1)
        seen = self._seen - self._rule.skip_frames
        if seen < 1 or self.has_all:
            return False
        if seen == 1 and self._rule.skip_frames:
            self._start = pts_seconds
        if self._rule.kind == "every":
            taken = (seen - 1) % int(self._rule.value) == 0
        else:
            taken = self._reaches(math.floor((pts_seconds - self._start + self._rounding) * self._rule.value))
        self._taken += taken
        return taken

    def _reaches(self, slot: int) -> bool:
        """Whether a slot is beyond all earlier ones."""
        is_new = slot > self._reached
        self._reached = max(slot, self._reached)
        return is_new


def _at_centres(times: np.ndarray, count: int, start: float, end: float, rounding_seconds: float) -> np.ndarray:
    """int64 (N,), which of the increasing `times` are on display at the centres of `count` equal parts of [start, end).

    Always `count` of them, if there are that many: a pause in the timestamps counts as one usual interval, and if a
    frame is on display at several centres, the frames after it are used for the others.
    """
    if len(times) <= count:
        return np.arange(len(times))
    displayed = np.diff(times, append=max(end, times[-1]))
    usual = float(np.median(np.diff(times)))
    displayed[displayed > max(PAUSE_SECONDS, PAUSE_INTERVALS * usual)] = usual
    times = times[0] + np.concatenate([[0.0], np.cumsum(displayed)])  # without the pauses; the end is the last
    centres = start + (np.arange(count) + 0.5) * (times[-1] - start) / count
    shown = np.maximum(np.searchsorted(times[:-1], centres + rounding_seconds, side="right") - 1, 0)
    ranks = np.arange(count)
    shown = np.maximum.accumulate(shown - ranks) + ranks  # no frame twice
    return np.minimum(shown, len(times) - 1 - count + ranks)
