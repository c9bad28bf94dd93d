"""Model and clips -> predictions, one per clip and never padded. The only place that unpads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extract.errors import ClipError
from sequence_models.batches import check_clips, pad_clips, padded_length
from sequence_models.clips import Clip

FRAMES_PER_BATCH = 65_536  # long recordings go in fewer rows, so that memory stays bounded


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a model says about one clip.

    Args:
        clip_id: Name of the clip.
        probabilities: float32 (K,) for many-to-one, (T, K) for many-to-many; rows sum to 1.
    """

    clip_id: str
    probabilities: np.ndarray

    def __repr__(self) -> str:
        return f"Prediction({self.clip_id!r}, probabilities={self.probabilities.shape})"


def predict(model: Any, clips: Sequence[Clip], *, batch_size: int = 64) -> list[Prediction]:
    """Predict clips of any lengths.

    Args:
        model: Keras model from `fit_model`, `load_model` or `build_model`.
        clips: Clips of the width that the model was built for; labels are ignored. May be empty.
        batch_size: The most clips per step; it does not change the result.

    Returns:
        One prediction per clip, in the order of `clips`.

    Raises:
        ClipError: A clip has no timestep, another width, or values that are not finite.
    """
    from sequence_models.compiled import compiled

    if not clips:
        return []
    architecture = model.architecture
    check_clips(clips, num_classes=np.iinfo(np.int64).max, embedding_dim=architecture.embedding_dim)
    twin = compiled(architecture)
    twin.load(model)
    return forward(twin, clips, batch_size=batch_size)


def forward(twin: Any, clips: Sequence[Clip], *, batch_size: int = 64) -> list[Prediction]:
    """Predict checked clips with a `CompiledModel` that has its weights already; otherwise as `predict`."""
    by_length = sorted(range(len(clips)), key=lambda row: len(clips[row]))
    predictions: dict[int, Prediction] = {}
    while by_length:
        steps = padded_length(len(clips[by_length[-1]]))
        size = max(1, min(batch_size, FRAMES_PER_BATCH // steps))
        by_length, rows = by_length[:-size], by_length[-size:]
        for row, probabilities in zip(rows, _forward_batch(twin, [clips[row] for row in rows], steps), strict=True):
            predictions[row] = Prediction(clips[row].clip_id, probabilities)
    return [predictions[row] for row in range(len(clips))]


def average(predictions: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """Average the probabilities that several models give the same clips.

    Args:
        predictions: One list per model, the same clips in the same order.

    Returns:
        One prediction per clip.

    Raises:
        ClipError: The lists are of different clips.
    """
    if len({tuple((p.clip_id, p.probabilities.shape) for p in each) for each in predictions}) != 1:
        raise ClipError("Predictions of different clips cannot be averaged; predict the same clips with every model.")
    return [
        Prediction(same[0].clip_id, np.asarray(np.mean([p.probabilities for p in same], axis=0), np.float32))
        for same in zip(*predictions, strict=True)
    ]


def _forward_batch(twin: Any, clips: Sequence[Clip], steps: int) -> list[np.ndarray]:
    rows = 1 << (len(clips) - 1).bit_length()  # few distinct shapes: 1, 2, 4, ... rows
    probabilities = softmax(twin.logits(pad_clips(clips, rows=rows, steps=steps)))[: len(clips)]
    if probabilities.ndim == 2:
        return list(probabilities)
    return [each[: len(clip)] for each, clip in zip(probabilities, clips, strict=True)]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits (..., K), in their dtype."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
