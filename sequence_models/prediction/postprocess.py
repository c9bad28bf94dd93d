"""From probabilities per timestep to labels, by the method that does best on validation clips.

With one label per timestep the candidates are, simplest first: the most probable class; Viterbi with one price for
every change of label; a median filter, then minimum bout lengths; Viterbi with prices from the training labels. Class
frequencies in the training labels can be divided out first (posterior / prior ** a), so that rare classes are found. A
causal model only uses prices, and waits for at most `--lag` timesteps. Multi-label uses the filter, with a threshold
per class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from extract.system.typed_json import typed_record
from extract.text import counted
from sequence_models.prediction.calibrate import calibrated, choose_threshold, fit_temperature
from sequence_models.prediction.filters import bout_lengths, drop_short_bouts, median_filter
from sequence_models.prediction.viterbi import decode, equal_prices, prices_of
from sequence_models.records import Clip, Prediction
from sequence_models.scoring.multilabel import best_threshold
from sequence_models.scoring.segments import edit_score, segments

CRITERION = "the mean of accuracy, macro-F1 and edit score on validation clips"
MACRO_F1_CRITERION = "macro-F1 on validation clips"
BOUT_PERCENTILES = (5, 10, 25)  # of the bout lengths of each class in the training clips
PENALTIES = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 80.0)
PRICE_SCALES = (1.0, 3.0, 10.0, 30.0)
PRIOR_POWERS = (0.0, 0.5, 1.0)
LEAST = 1e-4  # lowest probability: limits the evidence of a single timestep against a class
WIDTH_STEP = 1.7  # ratio of successive median-filter widths
NONE, PRICE, FILTER, PRICES = "none", "one price", "filter", "prices of the training labels"


@dataclass(frozen=True)
class Decision:
    """How probabilities of timesteps become labels.

    Args:
        median: Width in timesteps of the median filter over each class's probabilities, odd; 1 = none.
        minimum_steps: K minimum bout lengths in timesteps, one per class; 0 = any.
        thresholds: K probabilities from which a class counts as present, for multi-label; empty: take the most probable
            class.
        prices: K x K, the cost of changing from one class to another, in units of log probability; empty: no Viterbi.
        log_prior: K numbers to subtract from the log probabilities; empty: none.
        lag: Number of later timesteps that a label may wait for; None = all.
        temperature: Log probabilities (for multi-label, log odds) are first divided by it, to calibrate them; 1 =
            unchanged.
        threshold: Probability from which the second of two classes is chosen; None: 0.5.
    """

    median: int = 1
    minimum_steps: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = ()
    prices: tuple[tuple[float, ...], ...] = ()
    log_prior: tuple[float, ...] = ()
    lag: int | None = None
    temperature: float = 1.0
    threshold: float | None = None

    @property
    def kind(self) -> str:
        """The kind of method."""
        if self.prices:
            moves = {price for i, row in enumerate(self.prices) for j, price in enumerate(row) if i != j}
            return PRICE if len(moves) <= 1 else PRICES
        return FILTER if self.median > 1 or any(self.minimum_steps) else NONE

    def describe(self, step_seconds: float | None = None) -> str:
        """A short description; with the seconds from timestep to timestep, widths are in seconds too."""

        def width(steps: int) -> str:
            return counted(steps, "timestep") + ("" if step_seconds is None else f" ({steps * step_seconds:.2g} s)")

        text = {
            NONE: "the most probable class",
            FILTER: f"median of {width(self.median)}" + (", shortest bouts" if any(self.minimum_steps) else ""),
            PRICE: f"Viterbi, {self.prices[0][1]:g} a change" if len(self.prices) > 1 else "Viterbi",
            PRICES: "Viterbi with the changes of the training labels",
        }[self.kind]
        waiting = "" if self.lag is None or not self.prices else f", {width(self.lag)} late"
        if self.threshold is not None:
            text = f"the second class from a probability of {self.threshold:.2f} on"
        return text + (", prior corrected" if any(self.log_prior) else "") + waiting

    def apply(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """The predictions, of clips or of timesteps, with calibrated probabilities and decided labels."""
        predictions = calibrated(predictions, self.temperature)
        if self.prices:
            return _decided_by_prices([self], predictions)[0]
        return [replace(each, decided=self._decided(each.probabilities)) for each in predictions]

    def _decided(self, probabilities: np.ndarray) -> np.ndarray:
        if probabilities.ndim == 2:
            return self._filtered(probabilities)
        if self.threshold is None:
            return np.asarray(probabilities.argmax())
        return np.asarray(int(probabilities[1] >= self.threshold))

    def _filtered(self, probabilities: np.ndarray) -> np.ndarray:
        probabilities = median_filter(probabilities, self.median)
        if self.threshold is not None:
            labels = (probabilities[:, 1] >= self.threshold).astype(np.int64)
            return drop_short_bouts(labels, probabilities, self.minimum_steps)
        if not self.thresholds:
            scores = log_scores(probabilities, self.log_prior) if self.log_prior else probabilities
            return drop_short_bouts(scores.argmax(axis=1), probabilities, self.minimum_steps)
        there = probabilities >= np.array(self.thresholds)  # (T, K)
        for k, steps in enumerate(self.minimum_steps):
            odds = np.stack([1 - probabilities[:, k], probabilities[:, k]], axis=1)
            there[:, k] = drop_short_bouts(there[:, k].astype(np.int64), odds, (0, steps)) > 0
        return there

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Decision:
        """The inverse of `to_record`; ValueError if the record is invalid."""
        return typed_record(cls, record, "decision")


def choose_decision(
    clips: Sequence[Clip],
    predictions: Sequence[Prediction],
    *,
    training: Sequence[Clip],
    causal: bool,
    lag: int = 0,
    background: int | None = None,
    threshold: str = "",
) -> Decision:
    """Choose the decision that is best on validation clips by `CRITERION` (multi-label: by macro-F1).

    Args:
        clips: Validation clips with labels (), (T,) or (T, K).
        predictions: Their predictions, by a model that was not trained on them.
        training: Clips that provide class frequencies, bout lengths and transitions.
        causal: The model must not look ahead.
        lag: Number of later timesteps that a causal decision may wait for.
        background: The class whose bouts are not segments.
        threshold: Rule for the threshold of the second of two classes: "f1" or "precision=0.9"; "" = 0.5.

    Returns:
        The best, and of ties the simplest; without validation clips, the most probable class.
    """
    multi_label = training[0].labels.ndim == 2
    if not clips:
        return Decision(thresholds=(0.5,) * training[0].labels.shape[1] if multi_label else ())
    temperature = fit_temperature(clips, predictions)
    predictions = calibrated(predictions, temperature)
    chosen = None if not threshold else choose_threshold(clips, predictions, threshold)
    if training[0].labels.ndim == 0:
        return Decision(temperature=temperature, threshold=chosen)
    judge = _Judge(clips, background)
    if multi_label:
        options = [_with_thresholds(Decision(), clips, predictions)]
        if not causal:
            options = _filter_options(clips, predictions, training, judge)
        decision = judge.best(options, predictions)
    elif chosen is not None:
        decision = Decision(threshold=chosen)
    else:
        decision = _choose_way(clips, predictions, training, judge, lag=lag if causal else None)
    return replace(decision, temperature=temperature)


def _choose_way(
    clips: Sequence[Clip],
    predictions: Sequence[Prediction],
    training: Sequence[Clip],
    judge: _Judge,
    *,
    lag: int | None,
) -> Decision:
    options = _price_options(predictions, training, lag=lag)
    if lag is None:
        options += _filter_options(clips, predictions, training, judge)
    order = [NONE, PRICE, FILTER, PRICES]
    options.sort(key=lambda option: (order.index(option.kind), any(option.log_prior)))  # stable: the simplest first
    return judge.best(options, predictions)


def typical_decision(decisions: Sequence[Decision]) -> Decision:
    """The kind that most folds chose, with median parameters, for the models that are fitted on all clips."""
    if not decisions:
        return Decision()
    kind, _ = Counter((each.kind, bool(each.log_prior)) for each in decisions).most_common(1)[0]
    alike = [each for each in decisions if (each.kind, bool(each.log_prior)) == kind]
    num_classes, thresholds = max(len(each.minimum_steps) for each in alike), [each.threshold for each in alike]
    minimums = [each.minimum_steps or (0,) * num_classes for each in alike]
    return Decision(
        median=sorted(each.median for each in alike)[len(alike) // 2],
        minimum_steps=tuple(int(value) for value in np.median(minimums, axis=0)),
        thresholds=_medians([each.thresholds for each in alike]),
        prices=tuple(_medians(rows) for rows in zip(*(each.prices for each in alike), strict=True)),
        log_prior=_medians([each.log_prior for each in alike]),
        lag=alike[0].lag,
        temperature=float(np.median([each.temperature for each in decisions])),
        threshold=None if None in thresholds else float(np.median(thresholds)),  # type: ignore[arg-type]
    )


def _medians(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.median(rows, axis=0))


def log_scores(probabilities: np.ndarray, log_prior: Sequence[float]) -> np.ndarray:
    """What labels are decided by: log probabilities (T, K), with the log prior of each class subtracted if given."""
    scores = np.log(np.maximum(probabilities, LEAST).astype(np.float64))
    return scores - np.array(log_prior) if len(log_prior) else scores


def _price_options(predictions: Sequence[Prediction], training: Sequence[Clip], *, lag: int | None) -> list[Decision]:
    """No price, one price, and prices from the training labels, each with and without prior correction."""
    num_classes = predictions[0].probabilities.shape[1]
    labels = [clip.labels for clip in training]
    counts = np.bincount(np.concatenate([each[each >= 0] for each in labels]), minlength=num_classes) + 1.0
    own = prices_of(labels, num_classes)
    prices = [*equal_prices(PENALTIES, num_classes), *(own * scale for scale in PRICE_SCALES)]
    options = []
    for power in PRIOR_POWERS:
        log_prior = tuple((power * np.log(counts / counts.sum())).tolist()) if power else ()
        options.append(Decision(log_prior=log_prior, lag=lag))
        options += [Decision(prices=_rows(each), log_prior=log_prior, lag=lag) for each in prices]
    return options


def _filter_options(
    clips: Sequence[Clip], predictions: Sequence[Prediction], training: Sequence[Clip], judge: _Judge
) -> list[Decision]:
    """The best median filter, and the same with several minimum bout lengths; multi-label with its thresholds."""
    lengths = bout_lengths((clip.labels for clip in training), num_classes=predictions[0].probabilities.shape[1])
    filters = [_with_thresholds(Decision(median=width), clips, predictions) for width in _widths(clips, lengths)]
    best = judge.best(filters, predictions)
    shortest = [tuple(int(np.percentile(each, p)) if len(each) else 0 for each in lengths) for p in BOUT_PERCENTILES]
    return [best, *(replace(best, minimum_steps=steps) for steps in shortest)]


def _widths(clips: Sequence[Clip], lengths: Sequence[np.ndarray]) -> list[int]:
    """Odd widths of median filters, up to twice the median bout length and no longer than the longest clip."""
    bouts = np.concatenate([*lengths, np.ones(1, np.int64)])
    most = min(max(map(len, clips)), 2 * int(np.median(bouts)) + 1)
    widths, width = [1], 3.0
    while width <= most:
        widths.append(int(width) // 2 * 2 + 1)
        width = max(width * WIDTH_STEP, width + 2)
    return widths


def _rows(prices: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in prices.tolist())


def _with_thresholds(decision: Decision, clips: Sequence[Clip], predictions: Sequence[Prediction]) -> Decision:
    if not predictions[0].multi_label:
        return decision
    known = np.concatenate([clip.labels.min(axis=1) >= 0 for clip in clips])
    truth = np.concatenate([clip.labels for clip in clips])[known] > 0
    scores = np.concatenate([median_filter(each.probabilities, decision.median) for each in predictions])[known]
    return replace(decision, thresholds=tuple(best_threshold(*pair) for pair in zip(truth.T, scores.T, strict=True)))


def _alike(options: Sequence[Decision]) -> list[list[int]]:
    """Groups of options that differ only in their prices."""
    rows: dict[Any, list[int]] = {}
    for row, option in enumerate(options):
        rows.setdefault((option.kind, option.log_prior, option.lag), []).append(row)
    return list(rows.values())


def _decided_by_prices(options: Sequence[Decision], predictions: Sequence[Prediction]) -> list[list[Prediction]]:
    """The predictions as decided by each option; all share one prior and lag."""
    scores = [log_scores(each.probabilities, options[0].log_prior) for each in predictions]
    labels = decode(scores, np.array([option.prices for option in options]), lag=options[0].lag)  # per clip (P, T)
    return [
        [replace(each, decided=said[number]) for each, said in zip(predictions, labels, strict=True)]
        for number in range(len(options))
    ]


class _Judge:
    """Scores decisions on validation clips.

    Args:
        clips: With their labels.
        background: The class whose bouts are not segments.
    """

    def __init__(self, clips: Sequence[Clip], background: int | None) -> None:
        self._clips = clips
        self._background = () if background is None else (background,)

    def best(self, options: Sequence[Decision], predictions: Sequence[Prediction]) -> Decision:
        """The option with the best score; of ties the first."""
        scores = np.zeros(len(options))
        for rows in _alike(options):  # all prices of one kind are decoded together
            if options[rows[0]].prices:
                decided = _decided_by_prices([options[row] for row in rows], predictions)
            else:
                decided = [options[row].apply(predictions) for row in rows]
            scores[rows] = [self._score(each) for each in decided]
        return options[int(np.argmax(scores))]

    def _score(self, predictions: Sequence[Prediction]) -> float:
        pairs = [(clip.labels, each.labels) for clip, each in zip(self._clips, predictions, strict=True)]
        if predictions[0].multi_label:
            return _macro_f1([(truth > 0, said) for truth, said in pairs])
        classes = np.arange(predictions[0].probabilities.shape[1])
        known = [(truth[truth >= 0], said[truth >= 0]) for truth, said in pairs]
        frames = _macro_f1([(truth[:, None] == classes, said[:, None] == classes) for truth, said in known])
        right = np.mean(np.concatenate([truth == said for truth, said in known]))
        named = [(truth, np.where(truth < 0, -1, said)) for truth, said in pairs]
        edits = [edit_score(*(segments(each, background=self._background) for each in pair)) for pair in named]
        return round((frames + float(right) + float(np.mean(edits)) / 100) / 3, 6)


def _macro_f1(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean F1 of the classes that occur, over pairs of bool (n, K)."""
    hits = sum((truth & said).sum(axis=0) for truth, said in pairs)
    present = sum(truth.sum(axis=0) for truth, _ in pairs)
    involved = present + sum(said.sum(axis=0) for _, said in pairs)
    return float(np.mean(2 * hits[present > 0] / involved[present > 0])) if np.any(present) else 0.0
