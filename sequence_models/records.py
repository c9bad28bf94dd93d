"""The types shared by all rooms of stage two: clips, padded batches, predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, repr=False)
class Clip:
    """One labelled sequence.

    Args:
        clip_id: Name of the clip in its store.
        embeddings: float16 or float32 (T, D), or `LazyRows` of them where all clips would not fit in memory; for raw
            frames `LazyRows` of uint8 (T, H, W, C), or such an array.
        pts_seconds: float64 (T,).
        frame_indices: int64 (T,).
        labels: Class indices into the vocabulary, -1 = unlabelled: int64 () for many-to-one, int64 (T,) for
            many-to-many; for multi-label int8 (T, K) of 0 and 1, rows of -1 where unlabelled.
        group: Clips of one group always stay on the same side of a split; "" without groups.
        split: "train", "validation", "test", or "" if the labels give none.
        label_steps: int32 (F,), the timestep that stands for each original frame 0 to F - 1: the last one at or before
            it, the first one for frames before all, the last one for frames past the features. Original frames are
            those that frame labels count; for labels in seconds those of the source video, or, for imported features,
            the timesteps themselves. None without interval labels.
        frame_labels: int32 (F,), or int8 (F, K) for multi-label: the label of each original frame at its own position,
            -1 = unlabelled; outside the features only intervals count, not the background.
        rows_digest: Of the rows as stored, with their frame indices and times; "" for clips not from a store.
    """

    clip_id: str
    embeddings: np.ndarray
    pts_seconds: np.ndarray
    frame_indices: np.ndarray
    labels: np.ndarray
    group: str = ""
    split: str = ""
    label_steps: np.ndarray | None = None
    frame_labels: np.ndarray | None = None
    rows_digest: str = ""

    def __post_init__(self) -> None:
        steps, labels = len(self.embeddings), self.labels
        if self.embeddings.ndim not in (2, 4) or labels.ndim > 2 or labels.shape[:1] not in ((), (steps,)):
            raise ValueError(
                f"{self.clip_id}: embeddings must be (T, D) or (T, H, W, C) and labels (), (T,) or (T, K), "
                f"got {self.embeddings.shape} and {labels.shape}"
            )
        if (self.label_steps is None) != (self.frame_labels is None):
            raise ValueError(f"{self.clip_id}: label_steps and frame_labels must both be given, or neither")
        if self.label_steps is None or self.frame_labels is None:
            return
        if self.label_steps.ndim != 1 or self.frame_labels.shape != (len(self.label_steps), *labels.shape[1:]):
            raise ValueError(
                f"{self.clip_id}: label_steps must be (F,) and frame_labels (F,) or, like the labels, (F, K), "
                f"got {self.label_steps.shape} and {self.frame_labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def embedding_dim(self) -> EmbeddingDim:
        """D, or (H, W, C) of raw frames."""
        row_shape = self.embeddings.shape[1:]
        return row_shape[0] if len(row_shape) == 1 else row_shape

    def __repr__(self) -> str:
        return f"Clip({self.clip_id!r}, embeddings={self.embeddings.shape}, labels={self.labels.shape})"


@dataclass(frozen=True, repr=False)
class PaddedBatch:
    """Clips padded to one length; row i is input clip i.

    Args:
        embeddings: float32 (B, T, D), or raw frames uint8 (B, T, H, W, C), padded with zeros.
        mask: bool (B, T), True = real.
        labels: int32 (B,) or (B, T), multi-label float32 (B, T, K); 0 where the label is unknown.
        sample_weight: float32 (B,) or (B, T), 0 on padding and on unlabelled examples.
    """

    embeddings: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    sample_weight: np.ndarray

    def __post_init__(self) -> None:
        rows, steps = self.embeddings.shape[:2]
        if self.mask.shape != (rows, steps) or self.labels.shape[:2] not in ((rows,), (rows, steps)):
            raise ValueError(f"{self!r} has inconsistent shapes")
        if self.sample_weight.shape != self.labels.shape[:2]:
            raise ValueError(
                f"sample_weight {self.sample_weight.shape} must have the shape of labels {self.labels.shape}"
            )

    def __repr__(self) -> str:
        return f"PaddedBatch(embeddings={self.embeddings.shape}, mask={self.mask.shape}, labels={self.labels.shape})"


@dataclass(frozen=True, repr=False)
class Prediction:
    """A model's prediction for one clip.

    Args:
        clip_id: Name of the clip.
        probabilities: float32 (K,) for many-to-one, (T, K) for many-to-many; rows sum to 1 unless multi-label.
        multi_label: Every class has a probability of its own.
        decided: The labels chosen by post-processing, shaped like `labels`; None = no post-processing.
    """

    clip_id: str
    probabilities: np.ndarray
    multi_label: bool = False
    decided: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """The decision: class index int64 () or (T,), most probable unless `decided`; multi-label bool (T, K)."""
        return self.raw_labels if self.decided is None else self.decided

    @property
    def raw_labels(self) -> np.ndarray:
        """The decision from the probabilities alone, shaped like `labels`."""
        return self.probabilities >= 0.5 if self.multi_label else self.probabilities.argmax(axis=-1)

    def __repr__(self) -> str:
        return f"Prediction({self.clip_id!r}, probabilities={self.probabilities.shape})"


EmbeddingDim = int | tuple[int, ...]  # D, or (H, W, C) of raw frames


def has_groups(clips: Iterable[Clip]) -> bool:
    """Whether any clip has a group; otherwise each is its own."""
    return any(clip.group for clip in clips)
