"""Baselines that need no sequence model: the floor under every score.

Each baseline is one linear layer and a softmax on a fixed summary of the embeddings, fitted as an L2-penalised
logistic regression on standardised summaries, so all are stored as the same four arrays. Raw frames are first averaged
down to at most 16 x 16 pixels: a floor that needs no CNN and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from extract.errors import LabelError, UsageError
from sequence_models.clips.derived import position_channels
from sequence_models.records import Clip, Prediction
from sequence_models.settings import MANY_TO_MANY, MANY_TO_ONE

INVERSE_PENALTY = 0.01  # scikit-learn's C, for clips; there are far more channels than clips
FRAME_INVERSE_PENALTY = 1.0
MAX_FRAMES = 50_000
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
        return embeddings.astype(np.float32)
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
    """The means of the first, middle and last third, (T, D) -> (1, 3 D); the only summary that depends on order."""
    bounds = [number * len(embeddings) // 3 for number in range(4)]
    parts = [embeddings[start : max(end, start + 1)] for start, end in pairwise(bounds)]
    return np.concatenate([part.mean(axis=0) for part in parts])[None]


def each_frame(embeddings: np.ndarray) -> np.ndarray:
    """Every frame by itself, (T, D)."""
    return embeddings


BASELINES: dict[str, dict[str, Summary]] = {
    MANY_TO_ONE: {
        "majority": no_summary,
        "meanpool_logreg": mean_pool,
        "meanmaxstd_logreg": mean_max_std,
        "thirds_logreg": thirds,
    },
    MANY_TO_MANY: {"majority": no_summary, "framewise_logreg": each_frame},
}
CLOCK, CAUSAL_CLOCK = "clock_logreg", "clock_since_start_logreg"  # see only the time in the recording
CLOCKS = {CLOCK: False, CAUSAL_CLOCK: True}  # whether it cannot see where the recording ends


def baseline_names(task: str, *, causal: bool = False) -> list[str]:
    """The baselines of a task; per timestep one is a clock, which knows where the recording ends unless `causal`.

    Raises:
        UsageError: The task is unknown; lists the known ones.
    """
    if task not in BASELINES:
        raise UsageError(f"task is {task!r}; it must be one of {', '.join(BASELINES)}.")
    return [*BASELINES[task], *([] if task == MANY_TO_ONE else [CAUSAL_CLOCK if causal else CLOCK])]


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline on F features per summary.

    Args:
        task: "many-to-one" or "many-to-many".
        name: Name in `baseline_names`.
        mean, scale: float32 (F,), of the training summaries.
        weights: float32 (F, K).
        bias: float32 (K,).
        multi_label: Every class has its own probability.
    """

    task: str
    name: str
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
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
        names = {"task": np.array(self.task), "name": np.array(self.name), "multi_label": np.array(self.multi_label)}
        return names | {"mean": self.mean, "scale": self.scale, "weights": self.weights, "bias": self.bias}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Baseline:
        """The inverse of `to_arrays`."""
        numbers = {key: arrays[key] for key in ("mean", "scale", "weights", "bias")}
        return cls(str(arrays["task"]), str(arrays["name"]), **numbers, multi_label=bool(arrays["multi_label"]))

    def _probabilities(self, clip: Clip) -> np.ndarray:
        summary = _summary(self.name, clip, task=self.task)
        logits = (summary - self.mean) / self.scale @ self.weights + self.bias
        probabilities = np.asarray(expit(logits) if self.multi_label else softmax(logits, axis=-1), np.float32)
        return probabilities if self.task == MANY_TO_MANY else probabilities[0]


def fit_baseline(name: str, clips: Sequence[Clip], num_classes: int, *, seed: int) -> Baseline:
    """Fits a baseline.

    Args:
        name: Name in `baseline_names` of the task, from the shape of the labels; (T, K) is multi-label.
        clips: Training clips; unlabelled clips and timesteps are ignored.
        num_classes: K; classes that are not in the training clips get a probability near 0.
        seed: Samples the frames of `framewise_logreg` if there are more than 50,000, or fewer for wide embeddings.

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
    summaries, labels = _examples(name, clips, task=task, seed=seed)
    mean, scale = summaries.mean(axis=0), summaries.std(axis=0)
    scale[scale < 1e-6] = 1.0
    penalty = INVERSE_PENALTY if task == MANY_TO_ONE else FRAME_INVERSE_PENALTY
    fit = _fit_each_class if labels.ndim == 2 else _fit_linear
    with threadpool_limits(1 if task == MANY_TO_ONE else None):  # threads do not pay off on a few dozen rows
        weights, bias = fit((summaries - mean) / scale, labels, num_classes, inverse_penalty=penalty)
    return Baseline(task, name, mean, scale, weights, bias, multi_label=labels.ndim == 2)


def _summary(name: str, clip: Clip, steps: Any = slice(None), *, task: str) -> np.ndarray:
    """float32 (n, F) for some timesteps, or (1, F) for a clip."""
    if name in CLOCKS:
        return position_channels(clip.pts_seconds, causal=CLOCKS[name])[steps]
    return BASELINES[task][name](frame_features(clip.embeddings[steps]))


def _examples(name: str, clips: Sequence[Clip], *, task: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Summaries float32 (n, F) and labels int64 (n,), multi-label (n, K), of labelled clips or timesteps."""
    labelled = [clip for clip in clips if np.any(clip.labels >= 0)]
    if not labelled:
        raise LabelError("no training clip has a label; check the labels and the split.")
    if task == MANY_TO_ONE:
        rows = [_summary(name, clip, task=task)[:1] for clip in labelled]
        return np.concatenate(rows), np.array([int(clip.labels) for clip in labelled])
    chosen = _chosen_frames(labelled, seed)
    rows = [_summary(name, clip, steps, task=task) for clip, steps in zip(labelled, chosen, strict=True)]
    return np.concatenate(rows), np.concatenate([c.labels[steps] for c, steps in zip(labelled, chosen, strict=True)])


def _chosen_frames(clips: Sequence[Clip], seed: int) -> list[np.ndarray]:
    """Labelled timesteps of each clip, a random sample if there are too many in total."""
    known = [clip.labels >= 0 if clip.labels.ndim == 1 else clip.labels.min(axis=1) >= 0 for clip in clips]
    steps = [np.flatnonzero(each) for each in known]
    total = sum(map(len, steps))
    most = min(MAX_FRAMES, MAX_FRAME_VALUES // frame_features(clips[0].embeddings[:1]).shape[1])
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
    model = LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS).fit(features @ axes, labels)
    rows, offsets = model.coef_ @ axes.T, model.intercept_
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


def _row_space(features: np.ndarray) -> np.ndarray:
    """Axes (F, r) that span n < F examples: the L2-penalised solution lies in their span; fitting there is fast."""
    if len(features) >= features.shape[1]:
        return np.eye(features.shape[1], dtype=features.dtype)
    return np.linalg.svd(features, full_matrices=False)[2].T
