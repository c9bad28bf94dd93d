"""Registry: name -> builder of a Keras model on embeddings.

Every model takes [embeddings (B, T, D) float32, mask (B, T) bool] and returns LOGITS: (B, K) for many-to-one, (B, T, K)
for many-to-many; `predict` turns them into probabilities, by softmax or, for multi-label, by sigmoid. Dropout drops the
same units at every timestep, so that its noise does not depend on padding; there is no batch normalisation, since batch
statistics would include the padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
from keras import layers, ops

from sequence_models.models.layers import (
    AttentionReadout,
    Conv1D,
    Dropout,
    PlacedAttention,
    Readout,
    SegmentMean,
    SmoothnessLoss,
    Standardise,
)
from sequence_models.models.recurrent import LSTM
from sequence_models.settings import MANY_TO_ONE, TrainSettings

PYRAMID_LEVELS = (1, 2, 3)
PROBE_HEADS = 4

Builder = Callable  # (sequence (B, T, D), mask (B, T), settings, num_classes, seeds) -> logits


class Seeds:
    """Gives every layer its own seed: Keras draws the same numbers for equal seeds and shapes."""

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)

    def next(self) -> int:
        """A new seed."""
        return int(self._random.integers(2**31))


def embedding_logits(embeddings, mask, settings: TrainSettings, num_classes: int, seeds: Seeds, *, name: str):
    """The logits of one model in the registry.

    Args:
        embeddings: (B, T, D).
        mask: (B, T).
        settings: Sizes.
        num_classes: K.
        seeds: For weights and dropout.
        name: A key of `MODELS`.

    Returns:
        Logits (B, K) or (B, T, K).
    """
    sequence = Standardise(name="standardise")(embeddings, mask=mask)
    sequence = drop(sequence, settings.channel_dropout, seeds)
    return MODELS[name](sequence, mask, settings, num_classes, seeds)


def _recurrent(cell: type[layers.RNN], *, bidirectional: bool) -> Builder:
    """A builder: recurrent layers of `cell`, then the read-out or one dense layer per timestep.

    A skip connection bypasses the recurrence: with a few dozen clips, most of what can be learnt needs no memory.
    """

    def build(sequence, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
        sequence = _recurrence(cell, sequence, mask, settings, seeds, bidirectional=bidirectional)
        if settings.task == MANY_TO_ONE:
            backward = settings.hidden if bidirectional else 0
            sequence = _read_out(sequence, mask, settings, seeds, backward=backward)  # (B, C)
        return last_layer(sequence, mask, settings, num_classes, seeds, name="logits")

    return build


def _on_parts(cell: type[layers.RNN], *, bidirectional: bool) -> Builder:
    """A builder: the same layers over the means of a few equal parts of the clip, whose outputs are kept in order."""

    def build(sequence, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
        parts = SegmentMean(settings.parts)(sequence, mask=mask)  # (B, S, D)
        real = ops.ones_like(parts[:, :, 0], dtype="bool")
        outputs = _recurrence(cell, parts, real, settings, seeds, bidirectional=bidirectional)
        whole = layers.Flatten()(SegmentMean(settings.parts)(outputs, mask=real))  # restores the static number of parts
        return last_layer(whole, mask, settings, num_classes, seeds, name="logits")

    return build


def _recurrence(cell: type[layers.RNN], sequence, mask, settings: TrainSettings, seeds: Seeds, *, bidirectional: bool):
    projected = sequence = _project(sequence, settings, seeds)
    for _ in range(settings.layers):
        recurrent = _directions(cell, settings, bidirectional, seeds)
        sequence = recurrent(sequence, mask=mask)  # keras #23235: pass the mask to every recurrent layer explicitly
        sequence = drop(sequence, settings.dropout, seeds)
    return layers.Concatenate()([projected, sequence])


def _directions(cell: type[layers.RNN], settings: TrainSettings, bidirectional: bool, seeds: Seeds) -> layers.Layer:
    def one(go_backwards: bool) -> layers.RNN:
        return cell(
            settings.hidden,
            return_sequences=True,
            go_backwards=go_backwards,
            kernel_initializer=keras.initializers.GlorotUniform(seeds.next()),
            recurrent_initializer=keras.initializers.Orthogonal(seed=seeds.next()),
            seed=seeds.next(),
        )

    return layers.Bidirectional(one(False), backward_layer=one(True)) if bidirectional else one(False)


def _pooled(readout: str) -> Builder:
    """A builder: projection, read-out and one dense layer, no recurrence."""

    def build(sequence, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
        if readout == "mean":  # the same numbers as the mean of projections, for a fraction of the work
            pooled = _project(Readout(readout)(sequence, mask=mask), settings, seeds)
        else:
            pooled = _read_out(_project(sequence, settings, seeds), mask, replace(settings, readout=readout), seeds)
        return last_layer(pooled, mask, settings, num_classes, seeds, name="logits")

    return build


def _pyramid(sequence, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
    """One dense layer on the means of the whole clip, its halves and thirds."""
    parts = [SegmentMean(level)(sequence, mask=mask) for level in PYRAMID_LEVELS]
    parts = _project(layers.Concatenate(axis=1)(parts), settings, seeds)  # (B, 6, P)
    return last_layer(layers.Flatten()(parts), mask, settings, num_classes, seeds, name="logits")


def _probe(sequence, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
    """Attention over timesteps and their places, and one dense layer."""
    projected = _project(sequence, settings, seeds)
    of_layer = (seeds.next(), seeds.next(), seeds.next())
    read = PlacedAttention(settings.hidden, PROBE_HEADS, seeds=of_layer)(projected, mask=mask)
    return last_layer(read, mask, settings, num_classes, seeds, name="logits")


def _mstcn(sequence, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
    """Stages of dilated residual layers, each on the class probabilities of the previous one (MS-TCN, CVPR 2019)."""
    features = _tcn_stage(sequence, mask, settings, seeds)
    if settings.task == MANY_TO_ONE:  # later stages refine labels per timestep; here there are none
        pooled = _read_out(features, mask, settings, seeds)
        return last_layer(pooled, mask, settings, num_classes, seeds, name="logits")
    logits = last_layer(features, mask, settings, num_classes, seeds, name="logits_1")
    for stage in range(2, settings.tcn_stages + 1):
        guess = ops.sigmoid(logits) if settings.multi_label else ops.softmax(logits)
        features = _tcn_stage(masked(guess, mask), mask, settings, seeds)
        logits = last_layer(features, mask, settings, num_classes, seeds, name=f"logits_{stage}")
    return logits


def _tcn_stage(sequence, mask, settings: TrainSettings, seeds: Seeds):
    sequence = masked(dense(settings.hidden, seeds)(sequence), mask)
    for layer in range(settings.tcn_layers):
        convolution = Conv1D(
            settings.hidden,
            kernel_size=3,
            dilation_rate=2**layer,
            padding="causal" if settings.causal else "same",
            activation="relu",
            kernel_initializer=keras.initializers.GlorotUniform(seeds.next()),
        )
        change = dense(settings.hidden, seeds)(convolution(sequence))
        sequence = masked(sequence + drop(change, settings.dropout, seeds), mask)  # a bias would leak from padding
    return sequence


def masked(sequence, mask):
    """(B, T, C) with padding set to zero."""
    return ops.where(ops.expand_dims(mask, -1), sequence, 0.0)


def _project(sequence, settings: TrainSettings, seeds: Seeds):
    """Project (B, T, D) to (B, T, P), or leave it unchanged without a projection."""
    if not settings.projection:
        return sequence
    return drop(dense(settings.projection, seeds)(sequence), settings.dropout, seeds)


def _read_out(sequence, mask, settings: TrainSettings, seeds: Seeds, *, backward: int = 0):
    if settings.readout == "attention":
        layer = AttentionReadout(settings.hidden, seeds=(seeds.next(), seeds.next()))
    else:
        layer = Readout(settings.readout, backward=backward)
    return layer(sequence, mask=mask)


def last_layer(features, mask, settings: TrainSettings, num_classes: int, seeds: Seeds, *, name: str):
    """The last dense layer, and the smoothing loss if there is one label per timestep."""
    if settings.task == MANY_TO_ONE or not settings.smoothing_loss:
        return dense(num_classes, seeds, name=name)(features)
    smooth = SmoothnessLoss(settings.smoothing_loss, multi_label=settings.multi_label, name=name)
    return smooth(dense(num_classes, seeds)(features), mask=mask)


def drop(tensor, rate: float, seeds: Seeds):
    """Drop whole channels of (B, T, C) over time, or units of (B, C)."""
    if not rate:
        return tensor
    return Dropout(rate, seed=seeds.next())(tensor)


def dense(units: int, seeds: Seeds, *, name: str | None = None) -> layers.Dense:
    """A dense layer with its own seed."""
    return layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seeds.next()), name=name)


MODELS: dict[str, Builder] = {
    "lstm": _recurrent(LSTM, bidirectional=False),
    "bilstm": _recurrent(LSTM, bidirectional=True),
    "gru": _recurrent(layers.GRU, bidirectional=False),
    "bigru": _recurrent(layers.GRU, bidirectional=True),
    "lstm_parts": _on_parts(LSTM, bidirectional=False),
    "bilstm_parts": _on_parts(LSTM, bidirectional=True),
    "gru_parts": _on_parts(layers.GRU, bidirectional=False),
    "bigru_parts": _on_parts(layers.GRU, bidirectional=True),
    "attention": _pooled("attention"),
    "meanpool": _pooled("mean"),
    "maxpool": _pooled("max"),
    "pyramid": _pyramid,
    "probe": _probe,
    "mstcn": _mstcn,
}
