"""Clips as a tf.data.Dataset, padded like everywhere else by `pad_clips`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from extract.errors import UsageError
from extract.system.quiet_start import import_tensorflow
from sequence_models.clips.batches import check_clips, pad_clips, padded_length
from sequence_models.labels.intervals import UNLABELLED
from sequence_models.records import Clip


def tf_dataset(clips: Sequence[Clip], *, num_classes: int, batch_size: int, seed: int | None = None) -> Any:
    """Padded batches as TensorFlow's models take them.

    Args:
        clips: At least one, with labels of one kind: (), (T,) or (T, K).
        num_classes: K.
        batch_size: B; the last batch has the remaining clips.
        seed: Shuffles the clips anew in every pass; None keeps their order.

    Returns:
        A tf.data.Dataset of known length, of ((embeddings, mask), y): float32 (B, T, D) padded with zeros, or uint8
        (B, T, H, W, C); bool (B, T), True = real; int32 (B,) or (B, T), multi-label float32 (B, T, K). y is -1 on
        padding and where there is no label, which `keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)` leaves
        out.

    Raises:
        UsageError: batch_size is below 1.
        ClipError, LabelError: As from `check_clips`.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size {batch_size} must be at least 1")
    check_clips(clips, num_classes=num_classes)
    tf = import_tensorflow()
    first = clips[0]
    per_step, rows = first.labels.ndim > 0, first.embeddings.shape[1:]
    inputs = tf.TensorSpec((None, None, *rows), tf.float32 if len(rows) == 1 else tf.uint8, name="embeddings")
    mask = tf.TensorSpec((None, None), tf.bool, name="mask")
    label_shape = (None, None, *first.labels.shape[1:]) if per_step else (None,)
    labels = tf.TensorSpec(label_shape, tf.float32 if first.labels.ndim == 2 else tf.int32, name="y")
    rng = None if seed is None else np.random.default_rng(seed)

    def batches() -> Iterator[Any]:
        order = np.arange(len(clips)) if rng is None else rng.permutation(len(clips))
        for start in range(0, len(order), batch_size):
            chosen = [clips[row] for row in order[start : start + batch_size]]
            batch = pad_clips(chosen, rows=len(chosen), steps=padded_length(max(map(len, chosen))))
            known = batch.sample_weight.reshape(batch.sample_weight.shape + (1,) * (batch.labels.ndim > 2)) > 0
            yield (batch.embeddings, batch.mask), np.where(known, batch.labels, batch.labels.dtype.type(UNLABELLED))

    dataset = tf.data.Dataset.from_generator(batches, output_signature=((inputs, mask), labels))
    return dataset.apply(tf.data.experimental.assert_cardinality(-(-len(clips) // batch_size)))
