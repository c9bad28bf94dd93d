"""Channels derived from a clip, in addition to its embeddings.

position   where in its recording a timestep is. In an experiment with a protocol, labels follow the clock. Time since
           the start, time to the end and fraction of the whole, each as hat functions (1 s, 2 s, 4 s, ... or fifteenths
           of the whole): the two nearest are active and sum to 1, so that a linear layer can pick any stretch.

   since the start   0 s /\\ 1 s /\\ 3 s /\\ 7 s /\\ ...

delta      how much each channel has changed since the previous timestep, without its sign: motion, for free.
windows    means and deviations of the channels and of delta over short, middle and long windows around each timestep,
           or up to it for causal models: what a recurrence has to learn first. Wide embeddings are reduced before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from extract.store.lazy_rows import LazyRows, all_rows
from sequence_models.clips.motion import (
    MOST_CHANNELS,
    REACHES,
    WINDOWS_PER_CHANNEL,
    Reduction,
    step_sizes,
    window_statistics,
)
from sequence_models.records import Clip
from sequence_models.settings import DELTA, POSITION, WINDOWS, TrainSettings

DOUBLINGS = 15  # 2 ** 14 s is four and a half hours; later times are clipped
SHARES = 16


def position_channels(pts_seconds: np.ndarray, *, causal: bool) -> np.ndarray:
    """Where in its recording each timestep is.

    Args:
        pts_seconds: float64 (T,), rising, at least one.
        causal: Leave out what depends on the end of the recording.

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


def derived_width(settings: TrainSettings, embedding_dim: int) -> int:
    """Number of channels that `with_derived` adds to embeddings of width D."""
    widths = {
        POSITION: position_width(settings),
        DELTA: embedding_dim,
        WINDOWS: min(embedding_dim, MOST_CHANNELS) * WINDOWS_PER_CHANNEL,
    }
    return sum(widths[name] for name in settings.derived_names)


def position_width(settings: TrainSettings) -> int:
    """Number of channels that tell the position: models take them with the embeddings, and derive the others."""
    if POSITION not in settings.derived_names:
        return 0
    return DOUBLINGS + (0 if settings.causal else DOUBLINGS + SHARES)


def with_derived(clips: Sequence[Clip], settings: TrainSettings, reduction: Reduction | None = None) -> list[Clip]:
    """The clips with the channels in `derived`; clips must be whole, since a piece has lost what is around it.

    Args:
        clips: Clips with embeddings (T, D); those of clips that stay in their store are derived when they are read.
        settings: Name the channels.
        reduction: Of embeddings, before windows are computed.
    """
    if not settings.derived_names:
        return list(clips)
    return [replace(clip, embeddings=_joined(clip, settings, reduction)) for clip in clips]


class DerivedStream:
    """`with_derived` for causal settings, one timestep at a time.

    Args:
        settings: Name the channels.
        reduction: Of embeddings, before windows are computed.
    """

    def __init__(self, settings: TrainSettings, reduction: Reduction | None = None) -> None:
        self._settings, self._reduction = settings, reduction
        self._start = 0.0
        self._before: np.ndarray | None = None
        self._reduced: deque[np.ndarray] = deque(maxlen=2 * max(REACHES) + 2)  # one before the longest window

    def push(self, row: np.ndarray, pts_seconds: float) -> np.ndarray:
        """The next timestep's embedding (D,) with its derived channels, of the same type."""
        names, channels = self._settings.derived_names, [row]
        if self._before is None:
            self._start, self._before = pts_seconds, row
        if POSITION in names:
            times = np.array([self._start, pts_seconds])
            channels.append(position_channels(times, causal=True)[-1])
        if DELTA in names:
            channels.append(step_sizes(np.stack([self._before, row]))[-1])
        if WINDOWS in names and self._reduction is not None:
            self._reduced.append(self._reduction(row[None])[0])
            channels.append(window_statistics(np.stack(self._reduced), causal=True)[-1])
        self._before = row
        return np.concatenate([each.astype(row.dtype, copy=False) for each in channels])


def _joined(clip: Clip, settings: TrainSettings, reduction: Reduction | None) -> np.ndarray:
    rows, every = clip.embeddings, all_rows(len(clip))
    if not isinstance(rows, LazyRows):
        return _joined_at(clip, settings, reduction, every)
    width = rows.shape[1] + derived_width(settings, rows.shape[1])
    return LazyRows(partial(_joined_at, clip, settings, reduction), every, (width,), rows.dtype, rows.place)


def _joined_at(clip: Clip, settings: TrainSettings, reduction: Reduction | None, steps: np.ndarray) -> np.ndarray:
    """Some timesteps (n,) with their derived channels; read with what their windows reach over."""
    reach = 2 * max(REACHES) + 1
    first, last = int(steps.min(initial=len(clip))), int(steps.max(initial=-1))
    first, end = max(0, first - reach), min(len(clip), last + 1 + reach)
    rows, names = np.asarray(clip.embeddings[first:end]), settings.derived_names
    channels = [rows]
    if POSITION in names:
        channels.append(position_channels(clip.pts_seconds, causal=settings.causal)[first:end])
    if DELTA in names:
        channels.append(step_sizes(rows))
    if WINDOWS in names and reduction is not None:
        channels.append(window_statistics(reduction(rows), causal=settings.causal, dtype=rows.dtype))
    joined = np.concatenate([each.astype(rows.dtype, copy=False) for each in channels], axis=1)
    return joined if len(joined) == len(steps) else joined[steps - first]


def _hats(places: np.ndarray, count: int) -> np.ndarray:
    """float32 (T, count): hat k is 1 at k and falls to 0 at k - 1 and k + 1."""
    places = np.minimum(places, count - 1)[:, None]
    return np.maximum(0, 1 - np.abs(places - np.arange(count))).astype(np.float32)
