"""What every decoder gives: frames in output order, each with the time it claims and a way to fetch its picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class DecodedFrame(NamedTuple):
    """One frame; `picture()` may be called until the next frame is asked for.

    Args:
        pts_seconds: The decoder's own timestamp minus the stream's start, NaN where it has none.
        picture: Gives uint8 (H, W, 3), before any rotation; a new array, or one that is valid until the next frame.
        position: Rank among all frames of the video where the decoder knows it (after seeking), else None.
    """

    pts_seconds: float
    picture: Callable[[], np.ndarray]
    position: int | None = None


@dataclass
class FrameStream:
    """Frames of one video from one decoder, and what went wrong so far.

    Args:
        decoder: Name and version.
        beat: To be called with every step, so that a slow file is not taken for a stalled one.
        is_bgr: Whether pictures have blue first.
        frames: The frames, in output order.
        damaged: How many frames the decoder flagged as damaged.
        errors: How often decoding failed.
        last_error: What it said last.
    """

    decoder: str
    beat: Callable[[], None]
    is_bgr: bool = False
    frames: Iterator[DecodedFrame] = field(default_factory=lambda: iter(()))
    damaged: int = 0
    errors: int = 0
    last_error: str = ""

    def note_error(self, text: str) -> None:
        """Count one failure.

        Args:
            text: What the decoder said.
        """
        self.errors += 1
        self.last_error = text
