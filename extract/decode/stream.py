"""What every reader returns: frames in output order, each with its own timestamp and its decoded picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import av


class DecodedFrame(NamedTuple):
    """One frame.

    Args:
        pts_seconds: The decoder's own timestamp minus the stream's start, NaN if it has none.
        picture: As coded: any size and pixel format, before rotation.
        position: Position among all frames of the video if known (after seeking), else None.
    """

    pts_seconds: float
    picture: av.VideoFrame
    position: int | None = None


@dataclass
class FrameStream:
    """Frames of one video, and what went wrong so far.

    Args:
        decoder: Name and version.
        beat: Called at every step, so that a slow file is not mistaken for a stalled one.
        frames: The frames, in output order.
        damaged: How many frames the decoder flagged as damaged.
        interlaced: How many frames hold two fields.
        errors: How often decoding failed.
        last_error: The last error message.
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
