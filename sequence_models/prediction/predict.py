"""Model and clips -> predictions, one per clip, without padding. The only place that unpads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from extract.errors import ClipError
from sequence_models.clips.batches import check_clips, pad_clips, padded_length
from sequence_models.clips.buffers import make_buffers, read_buffers, stays_in_store
from sequence_models.clips.windows import merge_pieces, prediction_pieces, select_steps
from sequence_models.records import Clip, PaddedBatch, Prediction

FRAMES_PER_BATCH = 65_536  # long recordings get fewer rows per batch, to bound memory
RAW_VALUES_PER_BATCH = 2**24  # raw frames: about 100 of 224 x 224 pixels, which grow 20-fold inside a CNN


def predict(model: Any, clips: Sequence[Clip], *, batch_size: int = 64) -> list[Prediction]:
    """Predict clips of any lengths.

    Args:
        model: Keras model from `fit_model`, `load_model` or `build_model`.
        clips: Clips of the width that the model was built for; labels are ignored. May be empty.
        batch_size: Maximum number of clips per step; it does not affect the result.

    Returns:
        One prediction per clip, in the order of `clips`.

    Raises:
        ClipError: A clip has no timesteps, another width, or non-finite values.
    """
    from sequence_models.models.compiled import compiled

    twin = compiled(model.architecture)
    twin.load(model)
    return predict_loaded(twin, clips, batch_size=batch_size)


def predict_loaded(twin: Any, clips: Sequence[Clip], *, batch_size: int = 64) -> list[Prediction]:
    """As `predict`, with a `CompiledModel` that has the model's variables."""
    if not clips:
        return []
    check_clips(clips, num_classes=np.iinfo(np.int64).max, embedding_dim=twin.embedding_dim)
    clips = twin.derived(clips)
    batches = None if stays_in_store(clips) else prediction_batches(twin, clips, batch_size=batch_size)
    return forward(twin, clips, batches)


@dataclass(frozen=True)
class PredictionBatch:
    """A standardised batch of pieces of clips.

    Args:
        batch: The batch, whose last rows may be empty.
        numbers: For every row in use the number of its piece among all pieces of the clips.
        lengths: Their timesteps.
    """

    batch: PaddedBatch
    numbers: tuple[int, ...]
    lengths: tuple[int, ...]


def prediction_batches(twin: Any, clips: Sequence[Clip], *, batch_size: int = 64) -> Iterator[PredictionBatch]:
    """What a `CompiledModel` computes to predict clips, for checked clips with their derived channels."""
    pieces = prediction_pieces(clips, twin.settings)
    row_shape = clips[0].embeddings.shape[1:]
    most_frames = RAW_VALUES_PER_BATCH // math.prod(row_shape) if len(row_shape) > 1 else FRAMES_PER_BATCH
    by_length = sorted(range(len(pieces)), key=lambda number: len(pieces[number].steps))
    while by_length:
        steps = padded_length(len(pieces[by_length[-1]].steps))
        size = max(1, min(batch_size, most_frames // steps))
        by_length, numbers = by_length[:-size], by_length[-size:]
        chosen = [select_steps(clips[pieces[number].row], pieces[number].steps) for number in numbers]
        rows = 1 << (len(chosen) - 1).bit_length()  # few distinct shapes: 1, 2, 4, ... rows
        batch = twin.standardised(pad_clips(chosen, rows=rows, steps=steps))
        yield PredictionBatch(batch, tuple(numbers), tuple(map(len, chosen)))


def forward(twin: Any, clips: Sequence[Clip], batches: Iterable[PredictionBatch] | None = None) -> list[Prediction]:
    """As `predict`, with a `CompiledModel` that has its weights, for checked clips with their derived channels.

    Args:
        twin: The model.
        clips: At least one.
        batches: From `prediction_batches`, if they are kept for several calls.
    """
    if batches is None and stays_in_store(clips):
        return _forward_in_turn(twin, clips)
    pieces = prediction_pieces(clips, twin.settings)
    said: dict[int, np.ndarray] = {}
    for each in prediction_batches(twin, clips) if batches is None else batches:
        logits = twin.logits(each.batch)[: len(each.numbers)]
        probabilities = expit(logits) if twin.settings.multi_label else softmax(logits, axis=-1)
        rows = zip(probabilities, each.lengths, strict=True)
        said |= zip(each.numbers, (row[:length] if row.ndim > 1 else row for row, length in rows), strict=True)
    merged = merge_pieces(clips, pieces, [said[number] for number in range(len(pieces))], task=twin.settings.task)
    multi_label = twin.settings.multi_label
    return [
        Prediction(clip.clip_id, probabilities, multi_label) for clip, probabilities in zip(clips, merged, strict=True)
    ]


def _forward_in_turn(twin: Any, clips: Sequence[Clip]) -> list[Prediction]:
    """As `forward`, with the embeddings of one buffer in memory at a time."""
    buffers, said = make_buffers(clips), dict[int, Prediction]()
    for numbers, held in zip(buffers, read_buffers(clips, buffers), strict=True):
        said |= zip(numbers, forward(twin, held, prediction_batches(twin, held)), strict=True)
    return [said[number] for number in range(len(clips))]


def average(predictions: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """Average the probabilities of several models for the same clips.

    Args:
        predictions: One list per model, the same clips in the same order.

    Returns:
        One prediction per clip; earlier decisions are dropped.

    Raises:
        ClipError: The lists contain different clips.
    """
    if len({tuple((p.clip_id, p.probabilities.shape) for p in each) for each in predictions}) != 1:
        raise ClipError("Predictions of different clips cannot be averaged; predict the same clips with every model.")
    return [
        replace(
            same[0],
            probabilities=np.asarray(np.mean([p.probabilities for p in same], axis=0), np.float32),
            decided=None,
        )
        for same in zip(*predictions, strict=True)
    ]
