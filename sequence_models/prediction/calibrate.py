"""Calibration of probabilities, and the threshold between two classes; both are chosen on validation clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax

from extract.errors import UsageError
from sequence_models.records import Clip, Prediction
from sequence_models.scoring.multilabel import best_threshold

TEMPERATURES = (0.25, 8.0)
TRUST = 0.5  # prior standard deviation of the log temperature
LEAST = 1e-7  # lowest probability
F1, PRECISION = "f1", "precision="


def calibrated(predictions: Sequence[Prediction], temperature: float) -> list[Prediction]:
    """The predictions with their log probabilities (for multi-label, log odds) divided by a temperature."""
    if temperature == 1:
        return list(predictions)
    return [replace(each, probabilities=_scaled(each, temperature)) for each in predictions]


def fit_temperature(clips: Sequence[Clip], predictions: Sequence[Prediction]) -> float:
    """The temperature with the lowest cross-entropy on labelled examples (Guo et al. 2017), shrunk to 1 for few clips.

    Args:
        clips: With labels (), (T,) or (T, K).
        predictions: One per clip.

    Returns:
        Above 1 if the model is overconfident, below 1 if it is underconfident.
    """
    pairs = [(np.atleast_1d(clip.labels), each) for clip, each in zip(clips, predictions, strict=True)]
    known = [labels >= 0 if labels.ndim == 1 else labels.min(axis=1) >= 0 for labels, _ in pairs]
    truth = np.concatenate([labels[mask] for (labels, _), mask in zip(pairs, known, strict=True)])
    rows = [np.atleast_2d(each.probabilities)[mask] for (_, each), mask in zip(pairs, known, strict=True)]
    said = Prediction("all", np.concatenate(rows), predictions[0].multi_label)
    if not len(truth):
        return 1.0

    def loss(log_temperature: float) -> float:
        given = np.clip(_scaled(said, float(np.exp(log_temperature))), LEAST, 1 - LEAST)
        right = given[np.arange(len(truth)), truth] if truth.ndim == 1 else np.where(truth > 0, given, 1 - given)
        return float(-np.log(right).sum() / len(clips) + (log_temperature / TRUST) ** 2 / 2 / len(clips))

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-3})
    return round(float(np.exp(found.x)), 3)


def choose_threshold(clips: Sequence[Clip], predictions: Sequence[Prediction], rule: str) -> float:
    """The lowest probability at which the second of two classes is chosen.

    Args:
        clips: Validation clips with labels () or (T,).
        predictions: One per clip.
        rule: "f1" for the best F1 of the second class; or "precision=P" for the lowest threshold with that precision.

    Raises:
        UsageError: There are not exactly two classes.
    """
    if predictions[0].probabilities.shape[-1] != 2 or predictions[0].multi_label:
        raise UsageError(f"--threshold {rule} needs exactly two classes, one per timestep or clip; leave it out.")
    truth = np.concatenate([np.atleast_1d(clip.labels) for clip in clips])
    scores = np.concatenate([np.atleast_2d(each.probabilities)[:, 1] for each in predictions])[truth >= 0]
    truth = truth[truth >= 0] == 1
    if rule == F1:
        return best_threshold(truth, scores)
    wanted = float(rule.removeprefix(PRECISION))
    order = np.argsort(-scores, kind="stable")
    precision = np.cumsum(truth[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    enough = np.flatnonzero((precision >= wanted) & last_of_equals)
    return float(scores[order][enough[-1]]) if len(enough) else 1.0


def _scaled(prediction: Prediction, temperature: float) -> np.ndarray:
    given = np.clip(prediction.probabilities.astype(np.float64), LEAST, 1 - LEAST)
    if prediction.multi_label:
        return expit(logit(given) / temperature).astype(np.float32)
    return softmax(np.log(given) / temperature, axis=-1).astype(np.float32)
