"""Bouts of behaviour: how often, for how long and how soon each class occurs in each clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from extract.system.files import guarded, write_csv
from sequence_models.prediction.filters import bouts
from sequence_models.records import Clip, Prediction


def bout_columns(unit: str) -> tuple[str, ...]:
    """The header of a file of bouts; `unit` is "seconds", or "timesteps" if there is no rate."""
    return "clip_id", "of", "class", "count", f"total_{unit}", f"mean_{unit}", f"latency_{unit}"


def write_bouts(
    path: Path,
    clips: Sequence[Clip],
    predictions: Sequence[Prediction],
    vocabulary: Sequence[str],
    *,
    with_truth: bool,
    unit: str,
) -> None:
    """Write a CSV of `bout_columns`, one row per clip and class of the prediction and, if asked, of the truth.

    Args:
        path: The file.
        clips: Clips with labels (T,) or (T, K).
        predictions: One per clip.
        vocabulary: K class names.
        with_truth: The clips' labels are known.
        unit: Unit of the clips' times, "seconds" or "timesteps".

    Raises:
        WriteError: As for `sealed_file`.
    """
    rows: list[Sequence[object]] = [bout_columns(unit)]
    for clip, prediction in zip(clips, predictions, strict=True):
        if with_truth:
            rows += bout_rows(clip.clip_id, clip.labels, clip.pts_seconds, vocabulary, of="truth")
        labels = prediction.labels.astype(int)
        rows += bout_rows(clip.clip_id, labels, clip.pts_seconds, vocabulary, of="prediction")
    write_csv(path, [[guarded(cell) for cell in row] for row in rows])


def bout_rows(clip_id: str, labels: np.ndarray, pts_seconds: np.ndarray, vocabulary: Sequence[str], *, of: str) -> list:
    """One row per class.

    Args:
        clip_id: Name of the clip.
        labels: int (T,), -1 = unlabelled, or multi-label (T, K) of 0 and 1.
        pts_seconds: float64 (T,), or timestep numbers; the last timestep gets the typical (median) length.
        vocabulary: K class names.
        of: "truth" or "prediction".

    Returns:
        Rows of `bout_columns`; mean and latency (start of the first bout, from time 0) are "" without bouts.
    """
    step = float(np.median(np.diff(pts_seconds))) if len(pts_seconds) > 1 else 0.0
    ends = np.append(pts_seconds, pts_seconds[-1] + step)
    found = bouts(labels)
    rows = []
    for k, name in enumerate(vocabulary):
        spans = [(ends[start], ends[end]) for label, start, end in found if label == k]
        total = float(sum(end - start for start, end in spans))
        some = [f"{total / len(spans):.3f}", f"{spans[0][0]:.3f}"] if spans else ["", ""]
        rows.append([clip_id, of, name, len(spans), f"{total:.3f}", *some])
    return rows
