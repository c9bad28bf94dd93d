"""Bouts of behaviour: how often, for how long, how soon and how far apart each class occurs, and what follows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extract.system.files import guarded, write_csv
from sequence_models.prediction.filters import bouts
from sequence_models.records import Clip, Prediction


@dataclass(frozen=True)
class ClassBouts:
    """The bouts of one class in one or several clips.

    Args:
        lengths: float64 (count,), in the unit of the clips' times.
        latencies: One per clip that has a bout: the start of its first one, from time 0.
        gaps: From the end of each bout to the start of the next one of the class in the same clip.
        followed_by: int64 (K,), the class of the bout that follows each one, not later than the next labelled
            timestep; with several classes at once the next one to begin when it has ended or later.
    """

    lengths: np.ndarray
    latencies: np.ndarray
    gaps: np.ndarray
    followed_by: np.ndarray

    @property
    def values(self) -> tuple[float, ...]:
        """Total, mean, median, latency and mean interval between bouts; NaN where there is none."""
        mean, median, latency, interval = (
            float(how(values)) if len(values) else np.nan
            for how, values in (
                (np.mean, self.lengths),
                (np.median, self.lengths),
                (np.mean, self.latencies),
                (np.mean, self.gaps),
            )
        )
        return float(self.lengths.sum()), mean, median, latency, interval


def bout_columns(unit: str, vocabulary: Sequence[str]) -> tuple[str, ...]:
    """The header of a file of bouts; `unit` is "seconds", or "timesteps" if there is no rate."""
    names = ("total", "mean", "median", "latency", "interval")
    numbers = tuple(f"{name}_{unit}" for name in names)
    return ("clip_id", "of", "class", "count", *numbers, *(f"then_{name}" for name in vocabulary))


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
    rows: list[Sequence[object]] = [bout_columns(unit, vocabulary)]
    for clip, prediction in zip(clips, predictions, strict=True):
        if with_truth:
            rows += bout_rows(clip.clip_id, clip.labels, clip.pts_seconds, vocabulary, of="truth")
        labels = prediction.labels.astype(int)
        rows += bout_rows(clip.clip_id, labels, clip.pts_seconds, vocabulary, of="prediction")
    write_csv(path, [[guarded(cell) for cell in row] for row in rows])


def bout_rows(clip_id: str, labels: np.ndarray, pts_seconds: np.ndarray, vocabulary: Sequence[str], *, of: str) -> list:
    """One row of `bout_columns` per class, "" where a number has no bouts to be of; arguments as in `class_bouts`."""
    rows = []
    for name, found in zip(vocabulary, class_bouts([(labels, pts_seconds)], len(vocabulary)), strict=True):
        numbers = ["" if np.isnan(value) else f"{value:.3f}" for value in found.values]
        rows.append([clip_id, of, name, len(found.lengths), *numbers, *found.followed_by.tolist()])
    return rows


def class_bouts(clips: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int) -> list[ClassBouts]:
    """The bouts of every class, over all clips given.

    Args:
        clips: Labels int (T,), -1 = unlabelled, or multi-label (T, K) of 0 and 1; and their times float64 (T,) in
            seconds or timesteps. The last timestep gets the typical (median) length.
        num_classes: K.
    """
    lengths: list[list[float]] = [[] for _ in range(num_classes)]
    latencies: list[list[float]] = [[] for _ in range(num_classes)]
    gaps: list[list[float]] = [[] for _ in range(num_classes)]
    followed_by = np.zeros((num_classes, num_classes), np.int64)
    for labels, times in clips:
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        ends = np.append(times, times[-1] + step)
        found = sorted(bouts(labels), key=lambda bout: bout[1:])
        last_end: dict[int, float] = {}
        for k, start, end in found:
            lengths[k].append(float(ends[end] - ends[start]))
            if k in last_end:
                gaps[k].append(float(ends[start]) - last_end[k])
            else:
                latencies[k].append(float(ends[start]))
            last_end[k] = float(ends[end])
        for k, then in _successions(found, adjacent=labels.ndim == 1):
            followed_by[k, then] += 1
    return [
        ClassBouts(np.array(lengths[k]), np.array(latencies[k]), np.array(gaps[k]), followed_by[k])
        for k in range(num_classes)
    ]


def _successions(found: Sequence[tuple[int, int, int]], *, adjacent: bool) -> Iterator[tuple[int, int]]:
    """Pairs of a bout's class and that of its successor, for bouts sorted by their start."""
    starts = np.array([start for _, start, _ in found])
    for k, _, end in found:
        then = int(np.searchsorted(starts, end))
        if then < len(found) and (not adjacent or found[then][1] == end):
            yield k, found[then][0]
