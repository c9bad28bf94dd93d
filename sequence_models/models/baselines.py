"""Baselines that need no sequence model: the floor under every score.

Most are one linear layer and a softmax on a fixed summary of the embeddings, fitted as an L2-penalised logistic
regression on standardised summaries; `window_trees` is a forest. All are stored as plain arrays. Raw frames are first
averaged down to at most 16 x 16 pixels: a floor that needs no CNN and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from extract.errors import LabelError, UsageError
from sequence_models.clips.derived import position_channels
from sequence_models.clips.motion import (
    WINDOWS_PER_CHANNEL,
    Reduction,
    fit_reduction,
    sampled_rows,
    step_sizes,
    window_statistics,
)
from sequence_models.models.forest import Forest, fit_forest
from sequence_models.models.summaries import standardise, summarise
from sequence_models.records import Clip, Prediction
from sequence_models.settings import MANY_TO_MANY, MANY_TO_ONE

INVERSE_PENALTY = 0.01  # scikit-learn's C, for clips; there are far more channels than clips
FRAME_INVERSE_PENALTY = 1.0
MAX_FRAMES, MAX_WINDOWED = 50_000, 15_000
MAX_FRAME_VALUES = 20_000_000
MAX_ITERATIONS = 1000
SMALL_SIDE = 16  # of raw frames after averaging
FRAMES_AT_ONCE = 256
NEVER = -30.0  # logit of a class that is not in the training clips
Summary = Callable[[np.ndarray], np.ndarray]


def frame_features(embeddings: np.ndarray) -> np.ndarray:
    """The features that summaries are computed from.

    Args:
        embeddings: (T, D), or raw frames uint8 (T, H, W, C), which are averaged over roughly equal areas.

    Returns:
        float32 (T, D), or (T, h * w * C) with h and w at most 16.
    """
    if embeddings.ndim == 2:
        return np.array(embeddings, np.float32)
    parts = [
        _averaged(np.asarray(embeddings[start : start + FRAMES_AT_ONCE]))
        for start in range(0, len(embeddings), FRAMES_AT_ONCE)
    ]
    return np.concatenate(parts)


def _averaged(frames: np.ndarray) -> np.ndarray:
    means: np.ndarray = frames.astype(np.float32)
    for axis in (1, 2):
        side = frames.shape[axis]
        starts = np.arange(min(side, SMALL_SIDE)) * side // min(side, SMALL_SIDE)
        counts = np.diff(np.append(starts, side)).astype(np.float32)
        means = np.add.reduceat(means, starts, axis=axis) / np.expand_dims(counts, tuple({0, 1, 2, 3} - {axis}))
    return means.reshape(len(frames), -1)


def no_summary(embeddings: np.ndarray) -> np.ndarray:
    """No features, (T, 0): only the class frequencies remain."""
    return np.zeros((len(embeddings), 0), np.float32)


def mean_pool(embeddings: np.ndarray) -> np.ndarray:
    """The mean over time, (T, D) -> (1, D)."""
    return embeddings.mean(axis=0, keepdims=True)


def mean_max_std(embeddings: np.ndarray) -> np.ndarray:
    """Mean, maximum and standard deviation over time, (T, D) -> (1, 3 D)."""
    return np.concatenate([embeddings.mean(axis=0), embeddings.max(axis=0), embeddings.std(axis=0)])[None]


def thirds(embeddings: np.ndarray) -> np.ndarray:
    """The means of the first, middle and last third, (T, D) -> (1, 3 D)."""
    bounds = [number * len(embeddings) // 3 for number in range(4)]
    parts = [embeddings[start : max(end, start + 1)] for start, end in pairwise(bounds)]
    return np.concatenate([part.mean(axis=0) for part in parts])[None]


def thirds_delta(embeddings: np.ndarray) -> np.ndarray:
    """`thirds`, and how much every channel moves in each of them, (T, D) -> (1, 6 D)."""
    return thirds(np.concatenate([embeddings, step_sizes(embeddings)], axis=1))


def each_frame(embeddings: np.ndarray) -> np.ndarray:
    """Every frame by itself, (T, D)."""
    return embeddings


BASELINES: dict[str, dict[str, Summary]] = {
    MANY_TO_ONE: {
        "majority": no_summary,
        "meanpool_logreg": mean_pool,
        "meanmaxstd_logreg": mean_max_std,
        "thirds_logreg": thirds,
        "thirds_delta_logreg": thirds_delta,
    },
    MANY_TO_MANY: {"majority": no_summary, "framewise_logreg": each_frame},
}
CLOCK, CAUSAL_CLOCK = "clock_logreg", "clock_since_start_logreg"  # see only the time in the recording
CLOCKS = {CLOCK: False, CAUSAL_CLOCK: True}  # whether it cannot see where the recording ends
WINDOW_LOGREG, WINDOW_TREES = WINDOWED = ("window_logreg", "window_trees")
ADDED_LATER = ("thirds_delta_logreg", *CLOCKS, *WINDOWED)  # runs of earlier versions lack them
ORDERED_BASELINES = ("thirds_logreg", "thirds_delta_logreg", *CLOCKS, *WINDOWED)


def baseline_names(task: str, *, causal: bool = False) -> list[str]:
    """The baselines of a task; per timestep one is a clock, which knows where the recording ends unless `causal`.

    Raises:
        UsageError: The task is unknown; lists the known ones.
    """
    if task not in BASELINES:
        raise UsageError(f"task is {task!r}; it must be one of {', '.join(BASELINES)}.")
    return [*BASELINES[task], *([] if task == MANY_TO_ONE else [CAUSAL_CLOCK if causal else CLOCK, *WINDOWED])]


@dataclass(frozen=True)
class View:
    """What a baseline on windows sees of a clip, as a model does with the same settings.

    Args:
        reduction: Of its embeddings.
        causal: Nothing after a timestep.
        position: Also where in the recording it is.
    """

    reduction: Reduction
    causal: bool
    position: bool

    def __call__(self, clip: Clip, steps: Any) -> np.ndarray:
        """float32 (n, F) for some timesteps."""
        values = self.reduction(clip.embeddings if clip.embeddings.ndim == 2 else frame_features(clip.embeddings))
        parts = [values, window_statistics(values, causal=self.causal)]
        if self.position:
            parts.append(position_channels(clip.pts_seconds, causal=self.causal))
        return np.concatenate([part[steps] for part in parts], axis=1)


@dataclass(frozen=True)
class Linear:
    """A logistic regression on F features.

    Args:
        mean, scale: float32 (F,), of the training examples.
        weights: float32 (F, K).
        bias: float32 (K,).
        multi_label: Every class has its own probability.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    multi_label: bool = False

    @property
    def size(self) -> int:
        """How many numbers were fitted."""
        return int(self.weights.size + self.bias.size)

    def predict(self, examples: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, K) of examples (n, F)."""
        logits = (examples - self.mean) / self.scale @ self.weights + self.bias
        return np.asarray(expit(logits) if self.multi_label else softmax(logits, axis=-1), np.float32)


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline.

    Args:
        task: "many-to-one" or "many-to-many".
        name: Name in `baseline_names`.
        classifier: Of its summaries.
        view: Of clips, for baselines on windows.
        multi_label: Every class has its own probability.
    """

    task: str
    name: str
    classifier: Linear | Forest
    view: View | None = None
    multi_label: bool = False

    def predict(self, clips: Sequence[Clip]) -> list[Prediction]:
        """Predicts clips.

        Args:
            clips: Clips with embeddings (T, D) or raw frames.

        Returns:
            Probabilities (K,) per clip, or (T, K), in the order of the clips.
        """
        return [Prediction(clip.clip_id, self._probabilities(clip), self.multi_label) for clip in clips]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for `numpy.savez`, no pickle."""
        arrays = {"task": np.array(self.task), "name": np.array(self.name), "multi_label": np.array(self.multi_label)}
        names = [field.name for field in fields(self.classifier) if field.name != "multi_label"]
        arrays |= {name: getattr(self.classifier, name) for name in names}
        if self.view is not None:
            arrays |= {"center": self.view.reduction.center, "axes": self.view.reduction.axes}
            arrays |= {"causal": np.array(self.view.causal), "position": np.array(self.view.position)}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Baseline:
        """The inverse of `to_arrays`."""
        multi_label, view = bool(arrays["multi_label"]), None
        classifier: Linear | Forest
        if "roots" in arrays:
            classifier = Forest(**{field.name: arrays[field.name] for field in fields(Forest)})
        else:
            numbers = {key: arrays[key] for key in ("mean", "scale", "weights", "bias")}
            classifier = Linear(**numbers, multi_label=multi_label)
        if "axes" in arrays:
            reduction = Reduction(arrays["center"], arrays["axes"])
            view = View(reduction, bool(arrays["causal"]), bool(arrays["position"]))
        return cls(str(arrays["task"]), str(arrays["name"]), classifier, view, multi_label)

    def _probabilities(self, clip: Clip) -> np.ndarray:
        examples = _summary(self.name, clip, task=self.task, view=self.view)
        probabilities = self.classifier.predict(examples)
        return probabilities if self.task == MANY_TO_MANY else probabilities[0]


def fit_baseline(
    name: str, clips: Sequence[Clip], num_classes: int, *, seed: int, causal: bool = False, position: bool = False
) -> Baseline:
    """Fits a baseline.

    Args:
        name: Name in `baseline_names` of the task, from the shape of the labels; (T, K) is multi-label.
        clips: Training clips; unlabelled clips and timesteps are ignored.
        num_classes: K; classes that are not in the training clips get a probability near 0.
        seed: Samples the timesteps if there are too many, or summaries are wide; grows the trees.
        causal: Windows end at their timestep.
        position: Baselines on windows also see where in the recording a timestep is.

    Returns:
        The baseline, reproducible for a given seed.

    Raises:
        UsageError: The name is unknown.
        LabelError: No clip has a label.
    """
    from threadpoolctl import threadpool_limits

    task = MANY_TO_MANY if clips and clips[0].labels.ndim else MANY_TO_ONE
    known = dict.fromkeys([*baseline_names(task), *baseline_names(task, causal=True)])
    if name not in known:
        raise UsageError(f"baseline {name!r} is unknown for {task}; choose one of {', '.join(known)}.")
    labelled = [clip for clip in clips if np.any(clip.labels >= 0)]
    if not labelled:
        raise LabelError("no training clip has a label; check the labels and the split.")
    view = None
    if name in WINDOWED:
        view = View(fit_reduction(sampled_rows(labelled, features=frame_features)), causal, position)
    examples, labels = _examples(name, labelled, task=task, seed=seed, view=view)
    classifier: Linear | Forest
    with threadpool_limits(1):  # many small products: threads wait for each other
        if name == WINDOW_TREES:
            classifier = fit_forest(examples, labels, num_classes, seed=seed)
        else:
            penalty = INVERSE_PENALTY if task == MANY_TO_ONE or view is not None else FRAME_INVERSE_PENALTY
            classifier = _fit_standardised(examples, labels, num_classes, inverse_penalty=penalty)
    return Baseline(task, name, classifier, view, multi_label=labels.ndim == 2)


def _fit_standardised(examples: np.ndarray, labels: np.ndarray, num_classes: int, *, inverse_penalty: float) -> Linear:
    standard, mean, scale = standardise(examples)
    fit = _fit_each_class if labels.ndim == 2 else _fit_linear
    weights, bias = fit(standard, labels, num_classes, inverse_penalty=inverse_penalty)
    return Linear(mean, scale, weights, bias, multi_label=labels.ndim == 2)


def _summary(name: str, clip: Clip, steps: Any = slice(None), *, task: str, view: View | None = None) -> np.ndarray:
    """float32 (n, F) for some timesteps, or (1, F) for a clip."""
    if view is not None:
        return view(clip, steps)
    if name in CLOCKS:
        return position_channels(clip.pts_seconds, causal=CLOCKS[name])[steps]
    summary = BASELINES[task][name]
    chosen = clip.embeddings[steps]
    return summary(chosen if summary is no_summary else frame_features(chosen))


def _examples(
    name: str, clips: Sequence[Clip], *, task: str, seed: int, view: View | None
) -> tuple[np.ndarray, np.ndarray]:
    """Summaries float32 (n, F) and labels int64 (n,), multi-label (n, K), of labelled clips or timesteps."""
    if task == MANY_TO_ONE:
        labels = np.array([int(clip.labels) for clip in clips])
        return summarise(clips, lambda clip: _summary(name, clip, task=task)[:1]), labels
    width = None if view is None else view.reduction.axes.shape[1] * (1 + WINDOWS_PER_CHANNEL)
    chosen = _chosen_frames(clips, seed, width=width)
    used = [pair for pair in zip(clips, chosen, strict=True) if len(pair[1])]
    rows = [_summary(name, clip, steps, task=task, view=view) for clip, steps in used]
    return np.concatenate(rows), np.concatenate([c.labels[steps] for c, steps in zip(clips, chosen, strict=True)])


def _chosen_frames(clips: Sequence[Clip], seed: int, *, width: int | None = None) -> list[np.ndarray]:
    """Labelled timesteps of each clip, a random sample if there are too many in total, or too wide ones."""
    known = [clip.labels >= 0 if clip.labels.ndim == 1 else clip.labels.min(axis=1) >= 0 for clip in clips]
    steps = [np.flatnonzero(each) for each in known]
    total = sum(map(len, steps))
    if width is None:
        most = min(MAX_FRAMES, MAX_FRAME_VALUES // frame_features(clips[0].embeddings[:1]).shape[1])
    else:
        most = min(MAX_WINDOWED, MAX_FRAME_VALUES // width)
    if total <= most:
        return steps
    drawn = np.zeros(total, bool)
    drawn[np.random.default_rng(seed).choice(total, most, replace=False)] = True
    masks = np.split(drawn, np.cumsum([len(part) for part in steps])[:-1])
    return [part[mask] for part, mask in zip(steps, masks, strict=True)]


def _fit_linear(
    features: np.ndarray, labels: np.ndarray, num_classes: int, *, inverse_penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (F, K) and bias (K,) of a multinomial logistic regression; without features, the class frequencies."""
    counts = np.bincount(labels, minlength=num_classes)
    present = np.flatnonzero(counts)
    weights = np.zeros((features.shape[1], num_classes), np.float32)
    bias = np.full(num_classes, NEVER, np.float32)
    if features.shape[1] == 0 or len(present) == 1:
        bias[present] = np.log(counts[present] / counts.sum())
        return weights, bias
    from sklearn.linear_model import LogisticRegression

    axes = _row_space(features)
    reduced = features if axes is None else features @ axes
    model = LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS).fit(reduced, labels)
    rows, offsets = model.coef_ if axes is None else model.coef_ @ axes.T, model.intercept_
    if len(present) == 2:  # one row for the second class against the first
        rows, offsets = np.concatenate([-rows, rows]) / 2, np.concatenate([-offsets, offsets]) / 2
    weights[:, present], bias[present] = rows.T, offsets
    return weights, bias


def _fit_each_class(
    features: np.ndarray, labels: np.ndarray, num_classes: int, *, inverse_penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (F, K) and bias (K,) of one logistic regression per class, labels (n, K)."""
    weights, bias = np.zeros((features.shape[1], num_classes), np.float32), np.zeros(num_classes, np.float32)
    for k in range(num_classes):
        two_weights, two_bias = _fit_linear(features, labels[:, k].astype(np.int64), 2, inverse_penalty=inverse_penalty)
        weights[:, k], bias[k] = two_weights[:, 1] - two_weights[:, 0], two_bias[1] - two_bias[0]
    return weights, bias


def _row_space(features: np.ndarray) -> np.ndarray | None:
    """Axes (F, r) that span n < F examples: the L2-penalised solution lies in their span; fitting there is fast.

    None for more examples, and for those mapped from a file.
    """
    if len(features) >= features.shape[1] or isinstance(features, np.memmap):
        return None
    return np.linalg.svd(features, full_matrices=False)[2].T
