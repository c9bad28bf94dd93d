"""Joins a feature store and its labels into clips ready to batch; labels meet embeddings by time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, repr=False)
class Clip:
    """One labelled sequence.

    Args:
        clip_id: Name of the clip in its store.
        embeddings: float16 or float32 (T, D).
        pts_seconds: float64 (T,).
        frame_indices: int64 (T,).
        labels: int64 class indices into the vocabulary, -1 = unlabelled: shape () for many-to-one, (T,) for many-to-many.
        group: Clips of one group never part over a split; "" where there are no groups.
        split: "train", "validation", "test", or "" where the labels name none.
    """

    clip_id: str
    embeddings: np.ndarray
    pts_seconds: np.ndarray
    frame_indices: np.ndarray
    labels: np.ndarray
    group: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        steps = len(self.embeddings)
        if self.embeddings.ndim != 2 or self.labels.shape not in ((), (steps,)):
            raise ValueError(
                f"{self.clip_id}: embeddings must be (T, D) and labels () or (T,), "
                f"got {self.embeddings.shape} and {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.embeddings)

    def __repr__(self) -> str:
        return f"Clip({self.clip_id!r}, embeddings={self.embeddings.shape}, labels={self.labels.shape})"
