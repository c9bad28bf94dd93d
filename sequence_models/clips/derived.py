"""Channels that are made from what a clip is, beside its embeddings.

position   where in its recording a timestep is. An experiment with a protocol has a clock, and labels follow it. Time
           since the start, time to the end and the share of the whole, each as hats: of 1 s, 2 s, 4 s, ... or of
           fifteenths of the whole, the two nearest are on, in sum 1, so that a linear layer can pick any stretch.

   since the start   0 s /\\ 1 s /\\ 3 s /\\ 7 s /\\ ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sequence_models.records import Clip
from sequence_models.settings import POSITION, TrainSettings

DOUBLINGS = 15  # 2 ** 14 s are four and a half hours; what is later counts as that
SHARES = 16


def position_channels(pts_seconds: np.ndarray, *, causal: bool) -> np.ndarray:
    """Where in its recording each timestep is.

    Args:
        pts_seconds: float64 (T,), rising, at least one.
        causal: Leave out what only the end of the recording tells.

    Returns:
        float32 (T, P), 0 to 1.
    """
    since = pts_seconds - pts_seconds[0]
    channels = [_hats(np.log2(1 + since), DOUBLINGS)]
    if not causal:
        left = pts_seconds[-1] - pts_seconds
        share = since / max(float(since[-1]), 1e-9)
        channels += [_hats(np.log2(1 + left), DOUBLINGS), _hats(share * (SHARES - 1), SHARES)]
    return np.concatenate(channels, axis=1)


def derived_width(settings: TrainSettings) -> int:
    """How many channels `with_derived` adds."""
    if POSITION not in settings.derived_names:
        return 0
    return DOUBLINGS + (0 if settings.causal else DOUBLINGS + SHARES)


def with_derived(clips: Sequence[Clip], settings: TrainSettings) -> list[Clip]:
    """The clips with the channels that `derived` asks for; whole clips, since a piece does not know where it was."""
    if not settings.derived_names:
        return list(clips)
    return [replace(clip, embeddings=_joined(clip, settings)) for clip in clips]


def _joined(clip: Clip, settings: TrainSettings) -> np.ndarray:
    channels = position_channels(clip.pts_seconds, causal=settings.causal)
    return np.concatenate([clip.embeddings, channels.astype(clip.embeddings.dtype)], axis=1)


def _hats(places: np.ndarray, count: int) -> np.ndarray:
    """float32 (T, count): 1 at its own whole number, falling to 0 at its neighbours'."""
    places = np.minimum(places, count - 1)[:, None]
    return np.maximum(0, 1 - np.abs(places - np.arange(count))).astype(np.float32)
