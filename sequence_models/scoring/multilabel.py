"""Scores of overlapping classes, each a separate yes or no. NumPy only, on unpadded arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from extract.text import counted
from sequence_models.scoring.confidence import ratio_score, t_quantile


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Area under the precision-recall steps: the sum over thresholds of precision times the gain in recall.

    Args:
        truth: bool (n,), at least one of them True.
        scores: (n,), equal ones form one threshold.

    Returns:
        0 to 1, like scikit-learn's `average_precision_score`.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    recall = hits[last_of_tie] / hits[-1]
    precision = hits[last_of_tie] / (last_of_tie + 1)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def mean_average_precision(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean average precision of the classes that occur.

    Args:
        truth: bool (n, K).
        probabilities: (n, K).

    Returns:
        0 to 1; 0 if no class occurs.
    """
    occurring = np.flatnonzero(truth.any(axis=0))
    if not len(occurring):
        return 0.0
    return float(np.mean([average_precision(truth[:, k], probabilities[:, k]) for k in occurring]))


def best_threshold(truth: np.ndarray, scores: np.ndarray) -> float:
    """The threshold with the best F1, halfway to the next lower score; 0.5 if the class never occurs.

    Args:
        truth: bool (n,).
        scores: (n,), 0 to 1.

    Returns:
        `scores >= threshold` is the decision.
    """
    if not truth.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    hits, ranked = np.cumsum(truth[order]), scores[order]
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    f1[:-1][np.diff(ranked) == 0] = 0  # equal scores cannot be separated
    best = int(np.argmax(f1))
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def multilabel_metrics(
    truths: Sequence[np.ndarray],
    probabilities: Sequence[np.ndarray],
    decided: Sequence[np.ndarray],
    vocabulary: Sequence[str],
    groups: Sequence[str],
) -> dict[str, Any]:
    """Scores a yes or no per class and timestep.

    Args:
        truths: Per clip, (T, K) of 0 and 1; timesteps with a -1 are left out.
        probabilities: Per clip, (T, K).
        decided: Per clip, bool (T, K).
        vocabulary: K class names.
        groups: Group of each clip; "" makes a clip its own group.

    Returns:
        "mean_average_precision", "macro_f1" and "coverage", and by class name "per_class_ap" and "per_class_f1", each
        {"value", "protocol", "ci95"}, 0 to 1.

    Raises:
        ValueError: No timestep has a label.
    """
    known = [truth.min(axis=1, initial=0) >= 0 for truth in truths]
    if not any(rows.any() for rows in known):
        raise ValueError("no clip has a label, so there is nothing to score")
    by_group: dict[tuple[str, int], list[int]] = {}
    for number, group in enumerate(groups):
        if known[number].any():
            by_group.setdefault((group, -1 if group else number), []).append(number)

    def joined(arrays: Sequence[np.ndarray], members: Sequence[int]) -> np.ndarray:
        return np.concatenate([arrays[number][known[number]] for number in members])

    said = [(joined(truths, m) > 0, joined(probabilities, m), joined(decided, m) > 0) for m in by_group.values()]
    classes = [k for k in range(len(vocabulary)) if any(truth[:, k].any() for truth, _, _ in said)]
    labelled, total = sum(int(rows.sum()) for rows in known), sum(map(len, truths))
    share = {"value": labelled / total, "protocol": f"share of {counted(total, 'timestep')} that have a label; a count"}
    return {
        "mean_average_precision": _jackknife_score(
            [(truth, scores) for truth, scores, _ in said],
            lambda parts: mean_average_precision(*(np.concatenate(each) for each in zip(*parts, strict=True))),
            protocol=f"mean over {counted(classes, 'class')} of average precision over pooled timesteps",
        ),
        "macro_f1": _f1(said, classes, f"mean F1 of the {counted(classes, 'class')} occurring, validation thresholds"),
        "per_class_ap": {
            vocabulary[k]: _jackknife_score(
                [(truth[:, [k]], scores[:, [k]]) for truth, scores, _ in said],
                lambda parts: mean_average_precision(*(np.concatenate(each) for each in zip(*parts, strict=True))),
                protocol="average precision of one class over pooled timesteps",
            )
            for k in classes
        },
        "per_class_f1": {vocabulary[k]: _f1(said, [k], "F1 of one class over pooled timesteps") for k in classes},
        "coverage": share | {"ci95": [labelled / total] * 2},
    }


def _f1(said: Sequence[tuple[np.ndarray, ...]], classes: Sequence[int], protocol: str) -> dict[str, Any]:
    hits = np.array([2 * (truth & yes).sum(axis=0)[classes] for truth, _, yes in said])  # (G, C)
    involved = np.array([(truth.sum(axis=0) + yes.sum(axis=0))[classes] for truth, _, yes in said])
    return ratio_score(hits, involved, protocol=protocol, units=len(said))


def _jackknife_score(parts: Sequence[Any], score: Callable[[Sequence[Any]], float], *, protocol: str) -> dict[str, Any]:
    """A score between 0 and 1 of pooled groups, with an interval from leaving out one group at a time."""
    value, groups = score(parts), len(parts)
    if groups < 2:
        return {"value": value, "protocol": f"{protocol}; one group, so no interval", "ci95": [0.0, 1.0], "groups": 1}
    without_one = np.array([score([*parts[:g], *parts[g + 1 :]]) for g in range(groups)])
    half = t_quantile(groups - 1) * np.sqrt((groups - 1) / groups * np.sum((without_one - without_one.mean()) ** 2))
    basis = f"95 % interval by a delete-one-group jackknife and Student's t over {groups} groups"
    return {
        "value": value,
        "protocol": f"{protocol}; {basis}",
        "ci95": [max(0.0, float(value - half)), min(1.0, float(value + half))],
        "groups": groups,
    }
