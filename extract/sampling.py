"""Which frames of a clip are taken: pure functions from timestamps and a rule to frame indices.

fps=2      |.|...|...|...     the first frame at or after k/2 s, none twice
every=3    |..|..|..|..|..    indices 0, 3, 6 of the clip
num_frames=3   ..|....|....|..    the frame on display at the centre of each third
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from extract.errors import UsageError

KINDS = ("fps", "every", "num_frames")
ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True)
class SamplingRule:
    """How frames are chosen; `str(rule)` is its name in recipes, `SamplingRule.parse` reads it back.

    Args:
        kind: "fps" (frames per second), "every" (every n-th frame) or "num_frames" (so many per clip).
        value: A positive number; a whole one for "every" and "num_frames".
    """

    kind: str
    value: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"sampling {self.kind!r} is unknown, use one of {', '.join(KINDS)}")
        if not (math.isfinite(self.value) and self.value > 0):
            raise UsageError(f"sampling {self.kind}={self.value:g} must be above zero")
        if self.kind != "fps" and self.value != int(self.value):
            raise UsageError(f"sampling {self.kind}={self.value:g} must be a whole number")

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}" if self.value != int(self.value) else f"{self.kind}={int(self.value)}"

    @classmethod
    def parse(cls, text: str) -> SamplingRule:
        """The inverse of `str(rule)`.

        Args:
            text: Such as "fps=8", "every=3" or "num_frames=16".

        Raises:
            UsageError: The text is no rule.
        """
        kind, _, value = text.partition("=")
        try:
            return cls(kind, float(value))
        except ValueError:
            raise UsageError(f"sampling {text!r} must look like fps=8, every=3 or num_frames=16") from None


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
        pts_seconds: float64 (M,), rising, the timestamps of all frames of the video.
        rule: The sampling rule.
        start_seconds: Start of the clip.
        end_seconds: End of the clip, exclusive.
        duration_seconds: End of the video's last frame.
        rounding_seconds: A frame that is early by no more than this is not early: half a tick of the clock in which
            the file stores time (Matroska rounds to 1 ms, and would lose every third frame of 30 at 30 frames/s).

    Returns:
        int64 (N,), rising, indices into `pts_seconds`.
    """
    inside = frames_inside(pts_seconds, start_seconds, end_seconds)
    times = pts_seconds[inside]
    if rule.kind == "every":
        return inside[:: int(rule.value)]
    if rule.kind == "fps":
        slots = np.floor((times - start_seconds + rounding_seconds) * rule.value)
        return inside[np.diff(slots, prepend=-1.0) > 0]
    if len(inside) <= rule.value:
        return inside
    length = min(end_seconds, duration_seconds) - start_seconds
    centres = start_seconds + (np.arange(int(rule.value)) + 0.5) * length / rule.value
    shown = np.searchsorted(times, centres + rounding_seconds, side="right") - 1
    return inside[np.unique(np.maximum(shown, 0))]


def frames_inside(pts_seconds: np.ndarray, start_seconds: float, end_seconds: float) -> np.ndarray:
    """The frames with start <= time < end.

    Args:
        pts_seconds: float64 (M,), rising.
        start_seconds: Start of the clip.
        end_seconds: End of the clip, exclusive.

    Returns:
        int64 (N,), consecutive indices.
    """
    first, last = np.searchsorted(pts_seconds, [start_seconds, end_seconds], side="left")
    return np.arange(first, last, dtype=np.int64)


class FramePicker:
    """The same choice made frame by frame, for a decoder that finds only while reading which frames exist.

    Args:
        rule: The sampling rule.
        start_seconds: Start of the clip.
        wanted_seconds: For "num_frames": the timestamps that `sample_indices` chose. Where a wanted frame is lost
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
        self._reached = -1

    def takes(self, pts_seconds: float) -> bool:
        """Whether the clip's next frame is taken; to be asked once for each frame of the clip, in order.

        Args:
            pts_seconds: The frame's timestamp.
        """
        self._seen += 1
        if self._rule.kind == "every":
            return (self._seen - 1) % int(self._rule.value) == 0
        if self._wanted is not None:
            reached = int(np.searchsorted(self._wanted, pts_seconds + self._rounding, side="right")) - 1
        else:
            reached = math.floor((pts_seconds - self._start + self._rounding) * self._rule.value)
        taken = reached > self._reached
        self._reached = max(reached, self._reached)
        return taken
