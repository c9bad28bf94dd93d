"""Scores of predictions, NumPy only, on unpadded arrays; each number comes with its protocol and a 95 % interval.

Every score here except Cohen's kappa is a mean of ratios A/B whose parts add up over groups. Its interval has Wilson's
form with the variance of a delete-one-group jackknife and Student's t over groups, so it covers even with few groups
and does not shrink to a point if every group is right. "groups" is their number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from extract.text import counted
from sequence_models.scoring.confidence import ratio_score, share_interval, t_quantile
from sequence_models.scoring.segments import OVERLAPS, edit_score, f1_counts, f1_from_counts, segments

_TOP = (3, 5)
PERCENT = re.compile(r"edit|f1@")  # begins the name of a score from 0 to 100


def clip_metrics(
    truth: np.ndarray,
    probabilities: np.ndarray,
    vocabulary: Sequence[str],
    groups: Sequence[str],
    *,
    decided: np.ndarray | None = None,
) -> dict[str, Any]:
    """Scores one prediction per clip.

    Args:
        truth: int (n,), class of each clip; clips with -1 are left out.
        probabilities: (n, K).
        vocabulary: K class names.
        groups: Group of each clip; "" makes a clip its own group.
        decided: int (n,), the class that was decided for; None takes the most probable one.

    Returns:
        "accuracy", "macro_f1" and, with enough classes, "top3_accuracy" and "top5_accuracy", 0 to 1; "kappa",
        -1 to 1; each {"value", "protocol", "ci95"}. "per_class_f1": class name -> the same; "confusion": (K, K) counts
        as lists, rows are the truth.

    Raises:
        ValueError: The lengths differ, or no clip has a label.
    """
    truth = np.asarray(truth)
    _check_lengths(truth, probabilities, groups, vocabulary=vocabulary)
    known = truth >= 0
    _check_any(known)
    predicted = np.argmax(probabilities, axis=1) if decided is None else decided
    member = _group_index(groups, known)
    tables = np.zeros((member.max() + 1, len(vocabulary), len(vocabulary)), np.int64)
    np.add.at(tables, (member, truth[known], predicted[known]), 1)
    scores = _table_metrics(tables, vocabulary, unit="clip", names=("accuracy", "macro_f1"))
    return scores | _top_accuracies(truth[known], np.asarray(probabilities)[known], member)


def frame_metrics(
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    vocabulary: Sequence[str],
    groups: Sequence[str],
    *,
    background: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores one prediction per timestep.

    Args:
        truths: Per clip, int (T,); timesteps with -1 are left out and separate segments.
        predictions: Per clip, int (T,), the chosen class.
        vocabulary: K class names.
        groups: Group of each clip; "" makes a clip its own group.
        background: Classes that are not segments, such as ("start", "end"); empty if every class is one.

    Returns:
        "frame_accuracy", "frame_accuracy_per_video" and "macro_f1", 0 to 1; "kappa", -1 to 1; "edit", "f1@10",
        "f1@25", "f1@50" (means over videos) and "f1@10_pooled" and so on, 0 to 100; "coverage", the share of timesteps
        that have a label; each {"value", "protocol", "ci95"}. "per_class_f1" and "confusion" as `clip_metrics`.

    Raises:
        ValueError: The lengths differ, no timestep has a label, or the background is not in the vocabulary.
    """
    for truth, predicted in zip(truths, predictions, strict=True):
        _check_lengths(truth, predicted, truth)
    _check_lengths(truths, predictions, groups)
    for name in background:
        if name not in vocabulary:
            raise ValueError(f"background {name!r} is not in the vocabulary {list(vocabulary)}")
    known = np.array([bool(np.any(truth >= 0)) for truth in truths])
    _check_any(known)
    clips = [(truths[i], predictions[i]) for i in np.flatnonzero(known).tolist()]
    member = _group_index(groups, known)
    tables = _sum_by_group(np.stack([confusion_matrix(*clip, len(vocabulary)) for clip in clips]), member)
    scores = _table_metrics(tables, vocabulary, unit="timestep", names=("frame_accuracy", "macro_f1"))
    scores |= _video_metrics(clips, member, background=[vocabulary.index(name) for name in background])
    return scores | {"coverage": _coverage(truths)}


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts how often each class was predicted as each class.

    Args:
        truth, predicted: int (n,); items with truth -1 are not counted.
        num_classes: K.

    Returns:
        int64 (K, K), rows are the truth.
    """
    known = truth >= 0
    cells = truth[known] * num_classes + predicted[known]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def over_clips(scores: dict[str, Any]) -> dict[str, Any]:
    """The same scores, saying "clips" if no clip has a group.

    Args:
        scores: From `clip_metrics`, `frame_metrics` or `multilabel_metrics`.
    """
    if "groups" not in scores:
        return {name: over_clips(value) if isinstance(value, dict) else value for name, value in scores.items()}
    return scores | {"unit": "clip", "protocol": re.sub(r"\bgroup(s?)\b", r"clip\1", scores["protocol"])}


def cohens_kappa(table: np.ndarray) -> float:
    """Agreement beyond chance (Cohen 1960): (observed - expected) / (1 - expected).

    Args:
        table: (K, K) counts, rows are the truth.

    Returns:
        -1 to 1; 0 if chance alone agrees fully, as with a single class, or if nothing is counted.
    """
    total = max(int(table.sum()), 1)
    observed = np.trace(table) / total
    expected = float(table.sum(axis=0) @ table.sum(axis=1)) / total**2
    return float((observed - expected) / (1 - expected)) if expected < 1 else 0.0


def _table_metrics(
    tables: np.ndarray, vocabulary: Sequence[str], *, unit: str, names: tuple[str, str]
) -> dict[str, Any]:
    """Accuracy, F1 per class and their mean from confusion matrices per group, (G, K, K)."""
    correct = np.diagonal(tables, axis1=1, axis2=2)  # (G, K)
    involved = tables.sum(axis=1) + tables.sum(axis=2)
    total = int(tables.sum())
    units = total if unit == "clip" else len(tables)
    present = involved.sum(axis=0) > 0
    return {
        names[0]: ratio_score(
            correct.sum(axis=1)[:, None],
            tables.sum(axis=(1, 2))[:, None],
            protocol=f"share of {counted(total, unit)} whose most probable class is right, pooled",
            units=units,
        ),
        names[1]: ratio_score(
            2 * correct,
            involved,
            protocol=f"mean F1 of the {counted(present.sum(), 'class')} occurring, over pooled {unit}s",
            units=units,
        ),
        "kappa": _kappa_score(tables, protocol=f"Cohen's kappa over {counted(total, f'pooled {unit}')}", units=units),
        "per_class_f1": {
            name: ratio_score(
                2 * correct[:, [k]], involved[:, [k]], protocol=f"F1 of one class over pooled {unit}s", units=units
            )
            for k, name in enumerate(vocabulary)
            if present[k]
        },
        "confusion": tables.sum(axis=0).tolist(),
    }


def _kappa_score(tables: np.ndarray, *, protocol: str, units: int) -> dict[str, Any]:
    """Cohen's kappa of confusion matrices per group, (G, K, K); not a mean of ratios, so it has its own interval."""
    groups, total = len(tables), tables.sum(axis=0)
    value = cohens_kappa(total)
    if groups < 2:
        return {"value": value, "protocol": f"{protocol}; one group, so no interval", "ci95": [-1.0, 1.0], "groups": 1}
    without_one = np.array([cohens_kappa(total - table) for table in tables])
    half = t_quantile(groups - 1) * np.sqrt((groups - 1) / groups * np.sum((without_one - without_one.mean()) ** 2))
    low, high = max(-1.0, float(value - half)), min(1.0, float(value + half))
    if value == 1.0:  # all correct is not certain: take the lower end of the accuracy's interval
        shares = total.sum(axis=1) / total.sum()
        lowest, _ = share_interval(1.0, 0.0, groups, units)
        low = float((lowest - shares @ shares) / (1 - shares @ shares))
    basis = f"95 % interval by a delete-one-group jackknife and Student's t over {groups} groups"
    return {"value": value, "protocol": f"{protocol}; {basis}", "ci95": [low, high], "groups": groups}


def _top_accuracies(truth: np.ndarray, probabilities: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """Share of clips whose class is among the k most probable; `member` (n,) is the group of each clip."""
    ranked = np.argsort(-probabilities, axis=1, kind="stable")  # (n, K); ties as in argmax
    places = np.argmax(ranked == truth[:, None], axis=1)
    scores = {}
    for most in _TOP:
        if most < probabilities.shape[1]:
            parts = _sum_by_group(np.stack([places < most, np.ones(len(places))], axis=1), member)
            protocol = f"share of {counted(places, 'clip')} whose class is among the {most} most probable, pooled"
            scores[f"top{most}_accuracy"] = ratio_score(
                parts[:, :1], parts[:, 1:], protocol=protocol, units=len(places)
            )
    return scores


def _video_metrics(
    clips: Sequence[tuple[np.ndarray, np.ndarray]], member: np.ndarray, *, background: Sequence[int]
) -> dict[str, Any]:
    """Scores per video and of segments; `member` (n,) is the group of each clip."""
    videos, shown = len(clips), counted(clips, "video")
    without = "background is no segment" if background else "every class is a segment"
    pieces = [
        (_segments_of(truth, truth, background), _segments_of(predicted, truth, background))
        for truth, predicted in clips
    ]

    def mean(values: Sequence[float], protocol: str, scale: float) -> dict[str, Any]:
        parts = _sum_by_group(np.array([(value / scale, 1.0) for value in values]), member)
        return ratio_score(parts[:, :1], parts[:, 1:], protocol=protocol, units=videos, scale=scale)

    accuracies = [float(np.mean(predicted[truth >= 0] == truth[truth >= 0])) for truth, predicted in clips]
    scores = {
        "frame_accuracy_per_video": mean(accuracies, f"frame accuracy per video, mean over {shown}", 1.0),
        "edit": mean(
            [edit_score(*pair) for pair in pieces], f"edit score per video, mean over {shown}, {without}", 100.0
        ),
    }
    for percent in OVERLAPS:
        counts = np.array([f1_counts(*pair, overlap=percent / 100) for pair in pieces])  # (n, 3)
        values = [f1_from_counts(*row) for row in counts]
        name = f"segment F1 at IoU {percent / 100:.2f}"
        scores[f"f1@{percent}"] = mean(values, f"{name} per video, mean over {shown}, {without}", 100.0)
        scores[f"f1@{percent}_pooled"] = _pooled_f1(
            _sum_by_group(counts, member), f"{name}, pooled over {shown}, {without}", videos
        )
    return scores


def _pooled_f1(counts: np.ndarray, protocol: str, videos: int) -> dict[str, Any]:
    hits = 2 * counts[:, :1]
    involved = hits + counts[:, 1:2] + counts[:, 2:]
    if not involved.any():  # no segments anywhere, and none predicted
        hits, involved = np.ones_like(hits), np.ones_like(involved)
    return ratio_score(hits, involved, protocol=protocol, units=videos, scale=100.0)


def _segments_of(labels: np.ndarray, truth: np.ndarray, background: Sequence[int]) -> list[tuple[int, int, int]]:
    return segments(np.where(truth < 0, -1, labels), background=background)


def _coverage(truths: Sequence[np.ndarray]) -> dict[str, Any]:
    labelled = sum(int(np.sum(truth >= 0)) for truth in truths)
    total = sum(len(truth) for truth in truths)
    return {
        "value": labelled / total,
        "protocol": f"share of {counted(total, 'timestep')} that have a label; a count, so its interval is a point",
        "ci95": [labelled / total, labelled / total],
    }


def _group_index(groups: Sequence[str], known: np.ndarray) -> np.ndarray:
    """The group of each known clip as a number, (n,); a clip without a group is its own."""
    keys = [(group, -1 if group else index) for index, group in enumerate(groups) if known[index]]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def _sum_by_group(rows: np.ndarray, member: np.ndarray) -> np.ndarray:
    sums = np.zeros((member.max() + 1, *rows.shape[1:]), rows.dtype)
    np.add.at(sums, member, rows)
    return sums


def _check_lengths(truth: Any, probabilities: Any, groups: Any, *, vocabulary: Sequence[str] | None = None) -> None:
    if not len(truth) == len(probabilities) == len(groups):
        raise ValueError(
            f"{len(truth)} truths, {len(probabilities)} predictions and {len(groups)} groups differ in length"
        )
    if vocabulary is not None and np.shape(probabilities)[1:] != (len(vocabulary),):
        raise ValueError(f"probabilities must be (n, {len(vocabulary)}), got {np.shape(probabilities)}")


def _check_any(known: np.ndarray) -> None:
    if not known.any():
        raise ValueError("no clip has a label, so there is nothing to score")
