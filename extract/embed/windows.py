"""Frames of one clip to windows of several frames, for models that take several at once.

sampled frames     0  1  2  3  4  5  6  7  8  9
F=3, stride=2      0     2     4                      window 0, at the middle of its first and last frame
hop=3                       3     5     7             window 1
                                     6 ...            not whole: left out
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from extract.backbones.backbone import Backbone
from extract.records import SampledFrames


@dataclass(frozen=True)
class WindowRule:
    """Which sampled frames form a window.

    Args:
        frames: F, frames of a window.
        stride: Sampled frames from one frame of a window to the next.
        hop: Sampled frames from the start of one window to that of the next.
    """

    frames: int
    stride: int
    hop: int

    @property
    def span(self) -> int:
        """Sampled frames from the first to the last of a window, both included."""
        return (self.frames - 1) * self.stride + 1

    def count(self, sampled: int) -> int:
        """How many windows a clip of so many sampled frames gets: the whole ones, but at least one."""
        return max(1, (sampled - self.span) // self.hop + 1) if sampled else 0


def window_rule(backbone: Backbone) -> WindowRule | None:
    """The windows that a backbone takes; None if it takes single frames."""
    if backbone.file is None or not backbone.file.spec.has_time:
        return None
    spec = backbone.file.spec
    return WindowRule(spec.frames or 1, spec.stride or 1, spec.hop or 1)


class WindowCutter:
    """Cuts the frames of one clip, as they come, into windows; holds no more frames than a window spans.

    A window is whole: frames after the last whole one are in none. Only a clip shorter than one window gets one that
    repeats its last frame. The time of a window is halfway between its first and last frame, and so is its frame index,
    rounded down.
    """

    def __init__(self, rule: WindowRule) -> None:
        self._rule = rule
        self._held: SampledFrames | None = None  # from the start of the next window on, as far as they have come
        self._skip = 0  # frames before the next window that have not come yet
        self._given = 0

    def take(self, chunk: SampledFrames) -> Iterator[SampledFrames]:
        """The windows that the next frames complete, one at a time: frames uint8 (1, F, S, S, 3)."""
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        held = _joined(self._held, _rows(chunk, slice(skipped, None)))
        rule, starts = self._rule, range(0, len(held) - self._rule.span + 1, self._rule.hop)
        after = len(starts) * rule.hop
        self._skip += max(0, after - len(held))
        self._held = _rows(held, slice(after, None))
        self._given += len(starts)
        for start in starts:
            yield _window(held, np.arange(start, start + rule.span, rule.stride))

    def end(self) -> Iterator[SampledFrames]:
        """After the last frame: the one window of a clip that is shorter than a window, else none."""
        if self._held is not None and not self._given and len(self._held):
            places = np.arange(0, self._rule.span, self._rule.stride)
            yield _window(self._held, np.minimum(places, len(self._held) - 1))


def _window(frames: SampledFrames, places: np.ndarray) -> SampledFrames:
    ends = places[[0, -1]]
    index, time = frames.frame_indices[ends].sum() // 2, frames.pts_seconds[ends].mean()
    return SampledFrames(frames.frames[places][None], np.array([index]), np.array([time]))


def _rows(frames: SampledFrames, part: slice) -> SampledFrames:
    """Copies, so that no chunk is kept whole for a few of its frames."""
    return SampledFrames(frames.frames[part].copy(), frames.frame_indices[part], frames.pts_seconds[part])


def _joined(held: SampledFrames | None, more: SampledFrames) -> SampledFrames:
    if held is None or not len(held):
        return more
    return SampledFrames(
        np.concatenate([held.frames, more.frames]),
        np.concatenate([held.frame_indices, more.frame_indices]),
        np.concatenate([held.pts_seconds, more.pts_seconds]),
    )
