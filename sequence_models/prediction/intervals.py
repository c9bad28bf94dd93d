"""Predictions per timestep -> intervals, as label formats are written from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from extract.records import VideoTruth
from sequence_models.labels.clip_names import is_whole, span_of
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS, LabelRow, LabelTable
from sequence_models.prediction.filters import bouts
from sequence_models.records import Clip, Prediction


def prediction_table(
    clips: Sequence[Clip],
    predictions: Sequence[Prediction],
    vocabulary: Sequence[str],
    *,
    kind: str,
    truths: Mapping[str, VideoTruth],
    nothing: str = "",
    path: Path,
) -> LabelTable:
    """The runs of each predicted class.

    Args:
        clips: The clips.
        predictions: One per clip, many-to-many.
        vocabulary: K class names.
        kind: BY_SECONDS, or BY_FRAMES for frames of the source video.
        truths: clip_id -> what is known of its video.
        nothing: For multi-label, the name of timesteps without any class; "" leaves them out.
        path: What messages call it.

    Returns:
        A timestep lasts until the next one, the last one until the end of the video; in frames, the first one also
        covers what comes before it.
    """
    rows = []
    for clip, prediction in zip(clips, predictions, strict=True):
        borders = _borders(clip, kind, truths.get(clip.clip_id))
        labels = prediction.labels.astype(int)
        found = [(vocabulary[k], start, end) for k, start, end in bouts(labels)]
        if nothing and labels.ndim == 2:
            found += [(nothing, start, end) for _, start, end in bouts(np.where(labels.any(axis=1), -1, 0))]
        rows += [
            LabelRow(clip.clip_id, name, 0, start=borders[start], end=borders[end], at="prediction")
            for name, start, end in sorted(found, key=lambda bout: bout[1:])
        ]
    return LabelTable(path, kind, tuple(rows))


def _borders(clip: Clip, kind: str, truth: VideoTruth | None) -> list[float]:
    """Where each timestep begins, and where the last one ends; (T + 1,)."""
    positions = (clip.pts_seconds if kind == BY_SECONDS else clip.frame_indices).astype(np.float64)
    step = float(np.median(np.diff(positions))) if len(positions) > 1 else 1.0
    end = positions[-1] + step
    if truth is not None and kind == BY_SECONDS and truth.duration_seconds:
        end = min(truth.duration_seconds, span_of(clip.clip_id)[1])
    elif truth is not None and kind == BY_FRAMES and is_whole(clip.clip_id):
        end = float(truth.decoded_frames)
    if kind == BY_FRAMES and is_whole(clip.clip_id):
        positions[0] = 0.0
    return [*positions.tolist(), max(end, positions[-1] + (1.0 if kind == BY_FRAMES else 1e-3))]
