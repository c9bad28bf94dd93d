"""Reads an evaluated run directory for a report, and checks that its parts match."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import RunError
from extract.system.files import read_regular
from sequence_models.experiments.prepare import refuse_changed_clips
from sequence_models.runs.checks import refuse_changed_weights
from sequence_models.runs.files import read_arrays, read_record
from sequence_models.runs.results import evaluate_first, read_metrics
from sequence_models.runs.run import Run, read_run
from sequence_models.scoring.metrics import confusion_matrix


@dataclass(frozen=True, repr=False)
class ReportedClip:
    """One test clip with its truth and prediction; many-to-one has T = 1.

    Args:
        clip_id: Name of the clip.
        group: Its group, "" if there are none.
        fold: Name of the fold that tested it, "" if no fold names it.
        truth: int64 (T,), -1 = unlabelled; multi-label (T, K) of 0 and 1, rows of -1 = unlabelled.
        predicted: int64, same shape as the truth: the labels after post-processing.
        probabilities: float32 (T, K), before post-processing.
        pts_seconds: float64 (T,); timestep numbers in a run without a rate.
    """

    clip_id: str
    group: str
    fold: str
    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    pts_seconds: np.ndarray

    @cached_property
    def labelled(self) -> np.ndarray:
        """bool (T,): which steps have a true label."""
        return self.truth >= 0 if self.truth.ndim == 1 else self.truth.min(axis=1) >= 0

    @cached_property
    def accuracy(self) -> float | None:
        """Share of the labelled steps (multi-label: of their yes-or-no answers) that are right; None if unlabelled."""
        right = (self.predicted == self.truth)[self.labelled]
        return float(right.mean()) if len(right) else None

    @cached_property
    def confidence(self) -> float:
        """Mean probability of the prediction: the class, or for multi-label each yes or no."""
        if self.predicted.ndim == 2:
            return float(np.where(self.predicted > 0, self.probabilities, 1 - self.probabilities).mean())
        return float(np.take_along_axis(self.probabilities, self.predicted[:, None], axis=1).mean())

    def __repr__(self) -> str:
        return f"ReportedClip({self.clip_id!r}, probabilities={self.probabilities.shape})"


@dataclass(frozen=True, repr=False)
class EvaluatedRun:
    """A run directory in memory.

    Args:
        run: run.json.
        metrics: metrics.json.
        clips: The test clips, in the order of predictions.npz; those without any step are left out.
        logs: Name of the log -> its columns, float64 (n,), empty cells nan; logs without a line are left out.
    """

    run: Run
    metrics: Mapping[str, Any]
    clips: tuple[ReportedClip, ...]
    logs: Mapping[str, Mapping[str, np.ndarray]]

    def groups_of(self, clip_ids: Iterable[str]) -> set[str]:
        """The distinct groups of some clips of the run, without "no group"."""
        return {_group_of(self.run, clip_id) for clip_id in clip_ids} - {""}


def read_evaluated_run(path: Path, *, refuse_stale: bool = True) -> EvaluatedRun:
    """Reads a trained and evaluated run.

    Args:
        path: The run directory.
        refuse_stale: Whether features, labels and weights must be as they were.

    Returns:
        Everything the report shows.

    Raises:
        RunError: The directory is not a run, was not evaluated, or its files do not match.
    """
    run = read_run(path)
    if refuse_stale:
        _refuse_stale(run)
    metrics = read_metrics(path)
    clips = read_predictions(run)
    return EvaluatedRun(run=run, metrics=metrics, clips=clips, logs=read_logs(path))


def confusion_counts(clips: Sequence[ReportedClip], *, num_classes: int) -> np.ndarray:
    """Counts truth against prediction over all labelled clips or frames.

    Args:
        clips: Test clips with one label per step.
        num_classes: K.

    Returns:
        int64 (K, K), rows = truth, columns = prediction.
    """
    truth, predicted = (np.concatenate([getattr(clip, name) for clip in clips]) for name in ("truth", "predicted"))
    return confusion_matrix(truth, predicted, num_classes)


def _refuse_stale(run: Run) -> None:
    """Raises if features, labels or weights have changed since the run."""
    refuse_changed_clips(run)
    for fold in run.folds:
        for seed in range(run.fits):
            if run.model_path(fold.name, seed).exists():
                refuse_changed_weights(run, fold.name, seed)


def read_logs(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The course of every fit of a run directory: name of the log -> its columns; empty logs are left out.

    A column "kept" says which row the weights of a finished fit are of.
    """
    logs = {log.stem: columns for log in sorted((path / "logs").glob("*.csv")) if (columns := _read_log(log))}
    for name, columns in logs.items():
        moment = "update" if "update" in columns else "epoch"
        note = path / "models" / f"{name}.json"
        kept = read_record(note, again="train again").get(f"best_{moment}") if note.exists() else None
        columns["kept"] = columns[moment] == kept
    return logs


def _group_of(run: Run, clip_id: str) -> str:
    return str(run.clips.get(clip_id, {}).get("group") or "")


def read_predictions(run: Run) -> tuple[ReportedClip, ...]:
    """The test clips of an evaluated run, in the order of predictions.npz, without those that have no step.

    Raises:
        RunError: The run was not evaluated, or its files do not match.
    """
    path = run.path / "predictions.npz"
    arrays = read_arrays(path, again=evaluate_first(run.path), run_id=run.run_id)
    try:
        arrays["pts_seconds"] = arrays[run.times_name]
        steps, shape = int(arrays["lengths"].sum()), arrays["probabilities"].shape
        wanted = shape if run.settings.multi_label else shape[:1]
        fits = steps and shape == (steps, run.num_classes) and arrays["pts_seconds"].shape == (steps,)
        if not fits or {arrays[name].shape for name in ("truth", "decided")} != {wanted}:
            shapes = ", ".join(f"{name} {arrays[name].shape}" for name in ("probabilities", "truth", "decided"))
            raise RunError(
                f"{path} does not match a run with {run.num_classes} classes ({steps} steps, {shapes}): "
                f"{evaluate_first(run.path)}"
            )
    except KeyError as error:
        raise RunError(f"{path} has no {error}: {evaluate_first(run.path)}") from None
    return _cut(arrays, run)


def _cut(arrays: Mapping[str, np.ndarray], run: Run) -> tuple[ReportedClip, ...]:
    """Splits the pooled arrays into clips."""
    folds_of: dict[str, list[str]] = {}
    for fold in run.folds:  # official splits may test a clip in several folds; predictions are in the folds' order
        for clip_id in fold.test:
            folds_of.setdefault(clip_id, []).append(fold.name)
    ids = [str(clip_id) for clip_id in arrays["clip_ids"]]
    ends = np.cumsum(arrays["lengths"])
    return tuple(
        ReportedClip(
            clip_id=clip_id,
            group=_group_of(run, clip_id),
            fold=folds_of[clip_id].pop(0) if folds_of.get(clip_id) else "",
            truth=arrays["truth"][end - length : end],
            predicted=arrays["decided"][end - length : end],
            probabilities=arrays["probabilities"][end - length : end],
            pts_seconds=arrays["pts_seconds"][end - length : end],
        )
        for clip_id, length, end in zip(ids, arrays["lengths"], ends, strict=True)
        if length
    )


def _read_log(path: Path) -> dict[str, np.ndarray]:
    """The columns of a log as numbers, nan where a cell holds none; lines without a moment are left out."""
    rows = list(csv.DictReader(read_regular(path).decode("utf-8", "replace").splitlines()))
    moment = next((name for name in ("update", "epoch") if rows and name in rows[0]), None)
    if moment is None:
        return {}
    rows = [row for row in rows if 0 < _number(row[moment]) < 1e9]
    return {name: np.array([_number(row[name]) for row in rows]) for name in rows[0] if name} if rows else {}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
