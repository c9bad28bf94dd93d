"""What every reader gives: frames in output order, each with the time it claims and its picture as it was decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import av


class DecodedFrame(NamedTuple):
    """One frame.

    Args:
        pts_seconds: The decoder's own timestamp minus the stream's start, NaN where it has none.
        picture: As it is coded: of any size and kind of pixels, before any rotation.
        position: Rank among all frames of the video where it is known (after seeking), else None.
    """

    pts_seconds: float
    picture: av.VideoFrame
    position: int | None = None


@dataclass
class FrameStream:
    """Frames of one video, and what went wrong so far.

    Args:
        decoder: Name and version.
        beat: To be called with every step, so that a slow file is not taken for a stalled one.
        frames: The frames, in output order.
        damaged: How many frames the decoder flagged as damaged.
        interlaced: How many frames hold two fields.
        errors: How often decoding failed.
        last_error: What it said last.
    """

    decoder: str
    beat: Callable[[], None]
    frames: Iterator[DecodedFrame] = field(default_factory=lambda: iter(()))
    damaged: int = 0
    interlaced: int = 0
    errors: int = 0
    last_error: str = ""

    def note_error(self, text: str) -> None:
        """Count one failure.

        Args:
            text: What the decoder said.
        """
        self.errors += 1
        self.last_error = text
