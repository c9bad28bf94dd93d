"""From probabilities per timestep to decisions: median filter, thresholds, shortest bouts; all chosen on validation.

A causal model is left as it is, since a filter looks ahead; only the thresholds of multi-label are chosen for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from extract.system.typed_json import typed_record
from sequence_models.records import Clip, Prediction
from sequence_models.scoring.multilabel import best_threshold
from sequence_models.scoring.segments import edit_score, segments

MEDIAN_WIDTHS = (1, 3, 5, 9, 15, 25, 45, 75, 125)
BOUT_PERCENTILES = (0, 5, 10, 25)  # of the lengths that each class's bouts have in the training clips


@dataclass(frozen=True)
class Decision:
    """How probabilities of timesteps become labels.

    Args:
        median: Width in timesteps of the median filter over each class's probabilities, odd; 1 = none.
        minimum_steps: Shortest bout of each class in timesteps, K of them; 0 = any.
        thresholds: From which probability on a class is there, K of them, for multi-label; empty: the most probable
            class is there.
    """

    median: int = 1
    minimum_steps: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = ()

    def apply(self, prediction: Prediction) -> Prediction:
        """The prediction with its labels decided; its probabilities stay as they are."""
        probabilities = median_filter(prediction.probabilities, self.median)
        if not self.thresholds:
            labels = drop_short_bouts(probabilities.argmax(axis=1), probabilities, self.minimum_steps)
            return replace(prediction, decided=labels)
        there = probabilities >= np.array(self.thresholds)  # (T, K)
        for k, steps in enumerate(self.minimum_steps):
            odds = np.stack([1 - probabilities[:, k], probabilities[:, k]], axis=1)
            there[:, k] = drop_short_bouts(there[:, k].astype(np.int64), odds, (0, steps)) > 0
        return replace(prediction, decided=there)

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Decision:
        """The inverse of `to_record`; ValueError where it is not."""
        return typed_record(cls, record, "decision")


def choose_decision(
    clips: Sequence[Clip], predictions: Sequence[Prediction], *, training: Sequence[Clip], causal: bool
) -> Decision:
    """Choose on validation clips what is best for the mean of macro-F1 and edit score (multi-label: for macro-F1).

    Args:
        clips: Validation clips with labels (T,) or (T, K).
        predictions: Theirs, of a model that was not trained on them.
        training: Clips that tell how long the bouts of each class are.
        causal: The model may not look ahead, so nothing is filtered.

    Returns:
        The simplest of the best; without validation clips, and for a causal model, no filter.
    """
    if not clips:
        return Decision(thresholds=(0.5,) * training[0].labels.shape[1] if training[0].labels.ndim == 2 else ())
    decision = _with_thresholds(Decision(), clips, predictions)
    if causal:
        return decision
    longest = max(map(len, clips))
    widths = [replace(decision, median=width) for width in MEDIAN_WIDTHS if width <= longest]
    decision = _best([_with_thresholds(each, clips, predictions) for each in widths], clips, predictions)
    lengths = bout_lengths((clip.labels for clip in training), num_classes=predictions[0].probabilities.shape[1])
    minimums = [
        replace(decision, minimum_steps=tuple(int(np.percentile(each, p)) if len(each) else 0 for each in lengths))
        for p in BOUT_PERCENTILES[1:]
    ]
    return _best([decision, *minimums], clips, predictions)


def typical_decision(decisions: Sequence[Decision]) -> Decision:
    """The median of what several folds chose, for the models that are fitted on all clips."""
    if not decisions:
        return Decision()
    num_classes = max(len(each.minimum_steps) for each in decisions)
    minimums = [each.minimum_steps or (0,) * num_classes for each in decisions]
    return Decision(
        median=sorted(each.median for each in decisions)[len(decisions) // 2],
        minimum_steps=tuple(int(value) for value in np.median(minimums, axis=0)),
        thresholds=tuple(float(value) for value in np.median([each.thresholds for each in decisions], axis=0)),
    )


def median_filter(probabilities: np.ndarray, width: int) -> np.ndarray:
    """The median over time of each column of (T, K); the ends are mirrored."""
    if width == 1:
        return probabilities
    from scipy.ndimage import median_filter as filter_median

    return filter_median(probabilities, size=(width, 1), mode="reflect")


def drop_short_bouts(labels: np.ndarray, probabilities: np.ndarray, minimum_steps: Sequence[int]) -> np.ndarray:
    """Give bouts that are too short to a neighbour, the shortest first.

    Args:
        labels: int (T,).
        probabilities: (T, K); the neighbour that is more probable in the bout gets it.
        minimum_steps: Of each class; empty = any length.

    Returns:
        int (T,); a bout without neighbours stays.
    """
    labels = labels.copy()
    for length in range(1, max(minimum_steps, default=0)):
        for label, start, end in segments(labels):
            if end - start != length or minimum_steps[label] <= length:
                continue
            beside = [*labels[max(start - 1, 0) : start], *labels[end : end + 1]]
            if beside and label not in beside:  # it has grown if a neighbour was given to it
                labels[start:end] = max(beside, key=lambda other: probabilities[start:end, other].sum())
    return labels


def bout_lengths(labels: Iterable[np.ndarray], *, num_classes: int) -> list[np.ndarray]:
    """Lengths in timesteps of the bouts of every class.

    Args:
        labels: Per clip int (T,), or (T, K) of 0 and 1.
        num_classes: K.

    Returns:
        K arrays.
    """
    lengths: list[list[int]] = [[] for _ in range(num_classes)]
    for each in labels:
        for k, start, end in bouts(each):
            lengths[k].append(end - start)
    return [np.array(each, np.int64) for each in lengths]


def bouts(labels: np.ndarray) -> list[tuple[int, int, int]]:
    """(class, start, end) of every bout, half-open, of labels int (T,) or (T, K) of 0 and 1."""
    if labels.ndim == 1:
        return segments(labels)
    columns = (segments(np.where(column > 0, k, -1)) for k, column in enumerate(labels.T))
    return [run for runs in columns for run in runs]


def _with_thresholds(decision: Decision, clips: Sequence[Clip], predictions: Sequence[Prediction]) -> Decision:
    if not predictions[0].multi_label:
        return decision
    known = np.concatenate([clip.labels.min(axis=1) >= 0 for clip in clips])
    truth = np.concatenate([clip.labels for clip in clips])[known] > 0
    scores = np.concatenate([median_filter(each.probabilities, decision.median) for each in predictions])[known]
    return replace(decision, thresholds=tuple(best_threshold(*pair) for pair in zip(truth.T, scores.T, strict=True)))


def _best(options: Sequence[Decision], clips: Sequence[Clip], predictions: Sequence[Prediction]) -> Decision:
    """The option that scores best; of equal ones the first."""
    scores = [_score(clips, [option.apply(each) for each in predictions]) for option in options]
    return options[int(np.argmax(scores))]


def _score(clips: Sequence[Clip], predictions: Sequence[Prediction]) -> float:
    num_classes = predictions[0].probabilities.shape[1]
    pairs = [(clip.labels, each.labels) for clip, each in zip(clips, predictions, strict=True)]
    if predictions[0].multi_label:
        return _macro_f1([(truth > 0, said) for truth, said in pairs])
    classes = np.arange(num_classes)
    known = [(truth[truth >= 0], np.where(truth < 0, -1, said), truth, said[truth >= 0]) for truth, said in pairs]
    frames = _macro_f1([(truth[:, None] == classes, said[:, None] == classes) for truth, _, _, said in known])
    edits = [edit_score(segments(truth), segments(said)) for _, said, truth, _ in known]
    return (frames + float(np.mean(edits)) / 100) / 2


def _macro_f1(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean F1 of the classes that occur, over pairs of bool (n, K)."""
    hits = sum((truth & said).sum(axis=0) for truth, said in pairs)
    present = sum(truth.sum(axis=0) for truth, _ in pairs)
    involved = present + sum(said.sum(axis=0) for _, said in pairs)
    return float(np.mean(2 * hits[present > 0] / involved[present > 0])) if np.any(present) else 0.0
