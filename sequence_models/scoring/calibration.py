"""How well probabilities are calibrated, and how well two classes are separated at any threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from sequence_models.scoring.multilabel import average_precision

BINS = 15


def calibration_scores(truth: np.ndarray, probabilities: np.ndarray, *, unit: str, positive: str) -> dict[str, Any]:
    """Calibration error and, for two classes, the areas under their curves.

    Args:
        truth: int (n,), class indices, none of them -1.
        probabilities: (n, K).
        unit: Name of an example, such as "clip".
        positive: Name of the second of two classes, the positive class of the curves.

    Returns:
        "calibration_error" 0 to 1; for two classes that both occur also "roc_auc" and "pr_auc"; each with its protocol.
    """
    scores = {
        "calibration_error": _score(
            calibration_error(truth, probabilities),
            "mean distance between the share that is right and the probability given, of the most probable class, over "
            f"{BINS} bins of equal width, weighted by {unit}s (Guo et al. 2017)",
        )
    }
    if probabilities.shape[1] == 2 and len(np.unique(truth)) == 2:
        is_positive, given = truth == 1, probabilities[:, 1]
        area = "over pooled " + unit + f"s, with {positive} as the positive class"
        scores["roc_auc"] = _score(roc_auc(is_positive, given), f"area under the ROC curve {area}")
        scores["pr_auc"] = _score(average_precision(is_positive, given), f"average precision {area}")
    return scores


def calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error: 0 if 70 % of the predictions made with 70 % confidence are right, and so on.

    Args:
        truth: int (n,).
        probabilities: (n, K).
    """
    given, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((given * BINS).astype(int), BINS - 1)
    apart = np.bincount(bins, right - given, minlength=BINS)
    return float(np.abs(apart).sum() / len(truth))


def roc_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """The fraction of pairs, one true and one false, in which the true one scores higher; ties count half.

    Args:
        truth: bool (n,), with both values.
        scores: (n,).
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # from 1; ties get the mean rank
    positives = int(truth.sum())
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


def _score(value: float, protocol: str) -> dict[str, Any]:
    return {"value": value, "protocol": protocol, "ci95": [None, None]}
