"""Clips and predictions -> scores, depending on the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sequence_models.records import Clip, Prediction, has_groups
from sequence_models.scoring.calibration import calibration_scores
from sequence_models.scoring.metrics import clip_metrics, frame_metrics, over_clips
from sequence_models.scoring.multilabel import mean_average_precision, multilabel_metrics
from sequence_models.scoring.paired import paired_difference
from sequence_models.settings import MANY_TO_ONE, TrainSettings


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 of the classes that occur in the truth.

    Args:
        truth: int (n,) class indices.
        predicted: int (n,) class indices.

    Returns:
        Between 0 and 1.
    """
    scores = []
    for label in np.unique(truth):
        hits = np.sum((truth == label) & (predicted == label))
        scores.append(2 * hits / (np.sum(truth == label) + np.sum(predicted == label)))
    return float(np.mean(scores))


def validation_score(pairs: Sequence[tuple[Clip, Prediction]]) -> dict[str, float]:
    """How good probabilities are on labelled clips.

    Args:
        pairs: Clips, at least one with a label, and their predictions.

    Returns:
        "loss", the mean cross-entropy; "score", macro-F1 or, for multi-label, mean average precision; pooled.
    """
    truth = labelled_steps([clip for clip, _ in pairs])
    probabilities = np.concatenate([np.atleast_2d(said.probabilities) for _, said in pairs])  # (n, K)
    known = truth.min(axis=1) >= 0 if truth.ndim == 2 else truth >= 0
    truth, probabilities = truth[known], np.clip(probabilities[known], 1e-7, 1 - 1e-7)
    if truth.ndim == 2:
        loss = -np.log(np.where(truth > 0, probabilities, 1 - probabilities)).mean()
        return {"loss": float(loss), "score": mean_average_precision(truth > 0, probabilities)}
    loss = -np.log(probabilities[np.arange(len(truth)), truth]).mean()
    return {"loss": float(loss), "score": macro_f1(truth, probabilities.argmax(axis=1))}


def labelled_steps(clips: Sequence[Clip]) -> np.ndarray:
    """The labels of all clips, one after another: int64 (N,)."""
    return np.concatenate([np.atleast_1d(clip.labels) for clip in clips])


def score_predictions(
    clips: Sequence[Clip], predictions: Sequence[Prediction], vocabulary: Sequence[str], *, background: str | None
) -> dict[str, Any]:
    """Score predictions of labelled clips.

    Args:
        clips: The true labels, in the order of the predictions.
        predictions: Probabilities (K,) or (T, K).
        vocabulary: K class names.
        background: Class that the segment metrics leave out.

    Returns:
        Name -> {"value", "protocol", "ci95"}, from `clip_metrics`, `frame_metrics` or `multilabel_metrics`.
    """
    groups = [clip.group or clip.clip_id for clip in clips]
    if clips[0].labels.ndim == 0:
        truth = np.array([int(clip.labels) for clip in clips])
        rows = np.stack([p.probabilities for p in predictions])
        scores = clip_metrics(truth, rows, vocabulary, groups, decided=np.array([p.labels for p in predictions]))
        scores |= _calibration(truth, rows, vocabulary, unit="clip")
    else:
        truths, decided = [clip.labels for clip in clips], [each.labels for each in predictions]
        if truths[0].ndim == 2:
            probabilities = [each.probabilities for each in predictions]
            scores = multilabel_metrics(truths, probabilities, decided, vocabulary, groups)
        else:
            named = () if background is None else (background,)
            scores = frame_metrics(truths, decided, vocabulary, groups, background=named)
            said = np.concatenate([each.probabilities for each in predictions])
            scores |= _calibration(np.concatenate(truths), said, vocabulary, unit="timestep")
    return scores if has_groups(clips) else over_clips(scores)


def _calibration(
    truth: np.ndarray, probabilities: np.ndarray, vocabulary: Sequence[str], *, unit: str
) -> dict[str, Any]:
    known = truth >= 0
    return calibration_scores(truth[known], probabilities[known], unit=unit, positive=vocabulary[-1])


def answers_name(settings: TrainSettings) -> str:
    """The name of the share of right answers that `compare_predictions` compares."""
    if settings.multi_label:
        return "share of right yes or no answers"
    return "accuracy" if settings.task == MANY_TO_ONE else "frame accuracy"


def compare_predictions(
    clips: Sequence[Clip], ours: Sequence[Prediction], theirs: Sequence[Prediction]
) -> dict[str, Any]:
    """How many more answers are right in one set of predictions than in another, on the same labelled clips.

    Answers are clips, labelled timesteps or, for multi-label, each class of a labelled timestep; a clip without a group
    is its own group.

    Returns:
        The result of `paired_difference`, and the share of right answers in "ours" and "theirs".
    """
    right: dict[str, np.ndarray] = {}  # group -> right of ours, right of theirs, answers
    for clip, mine, other in zip(clips, ours, theirs, strict=True):
        known = np.atleast_1d(clip.labels) >= 0
        hits = [(np.atleast_1d(each.labels) == clip.labels)[known].sum() for each in (mine, other)]
        group = clip.group or clip.clip_id
        right[group] = right.get(group, np.zeros(3, np.int64)) + np.array([*hits, known.sum()])
    counts = np.array([row for row in right.values() if row[2]])
    total = counts.sum(axis=0)
    shares = {"ours": float(total[0] / total[2]), "theirs": float(total[1] / total[2])}
    unit = "group" if has_groups(clips) else "clip"
    return paired_difference(counts[:, 0] - counts[:, 1], counts[:, 2], unit=unit) | shares
