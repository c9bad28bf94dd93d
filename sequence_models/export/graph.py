"""One Keras model of everything that `predict` does with a run: arrays in, probabilities out.

embeddings (B, T, D) + position, delta, windows -> standardised -> phases of --stride -> model of each seed -> mean
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from sequence_models.clips.derived import DOUBLINGS, SHARES
from sequence_models.export.plain import frames_through, plain_model
from sequence_models.models.build import Architecture
from sequence_models.settings import MANY_TO_ONE, POSITION, TrainSettings

EMBEDDINGS, FRAMES, LENGTHS, SECONDS, PROBABILITIES = "embeddings", "frames", "lengths", "seconds", "probabilities"


def prediction_graph(models: Sequence[Any], *, backbone: Any = None) -> keras.Model:
    """What `predict` computes with some models of one architecture, and the mean of their probabilities.

    Args:
        models: At least one, from `load_model`.
        backbone: A Keras model from `Backbone.build`; the graph then takes frames in place of embeddings.

    Returns:
        A model of plain Keras on a dict of arrays, padded in any way: embeddings float32 (B, T, D), or frames uint8
        (B, T, H, W, C); lengths int32 (B,), at least 1; with position channels also seconds float32 (B, T), the time of
        every timestep. It gives probabilities float32 (B, K) or (B, T, K); those on padding mean nothing.
    """
    architecture: Architecture = models[0].architecture
    settings, width = architecture.settings, architecture.embedding_dim
    lengths = keras.Input((), dtype="int32", name=LENGTHS)
    if backbone is not None:
        width = tuple(backbone.input_shape[1:])
    if isinstance(width, tuple):
        sequence = keras.Input((None, *width), dtype="uint8", name=FRAMES)
        steps = _steps(sequence[:, :, 0, 0, 0])
    else:
        sequence = keras.Input((None, width), dtype="float32", name=EMBEDDINGS)
        steps = _steps(sequence[:, :, 0])
    inputs = {sequence.name: sequence, LENGTHS: lengths}
    if backbone is not None:
        stored = ops.cast(frames_through(backbone, sequence), "float16")  # as in a store
        sequence = ops.cast(stored, "float32")
    mask = steps < ops.expand_dims(lengths, -1)  # (B, T)
    if POSITION in settings.derived_names:
        inputs[SECONDS] = keras.Input((None,), dtype="float32", name=SECONDS)
        places = _position(inputs[SECONDS], mask, causal=settings.causal)
        sequence = layers.Concatenate()([sequence, places])
    said = [
        _fit_probabilities(model, f"fit{number}", sequence, mask, steps, lengths) for number, model in enumerate(models)
    ]
    mean = layers.Average()(said) if len(said) > 1 else said[0]
    named = layers.Activation("linear", name=PROBABILITIES)(mean)
    return keras.Model(inputs, named, name="clipseq")


def _steps(channel: Any) -> Any:
    """int32 (B, T): 0, 1, 2, ... in every row, for (B, T) of any size."""
    return ops.cumsum(ops.ones_like(channel, dtype="int32"), axis=1) - 1


def _fit_probabilities(model: Any, name: str, sequence: Any, mask: Any, steps: Any, lengths: Any) -> Any:
    """(B, K) or (B, T, K) from one model."""
    settings: TrainSettings = model.architecture.settings
    inputs, front = list(model.inputs), None
    if not settings.on_frames:
        inputs[0] = model.get_layer("standardise").output
        front = plain_model(keras.Model(model.inputs, inputs[0]), f"{name}_channels")
        sequence = front([sequence, mask])
    back = plain_model(keras.Model(inputs, model.outputs[0]), name)
    if settings.stride == 1:
        return _probabilities(back([sequence, mask]), settings)
    return _mean_of_phases(back, sequence, mask, steps, lengths, settings)


def _probabilities(logits: Any, settings: TrainSettings) -> Any:
    return ops.sigmoid(logits) if settings.multi_label else ops.softmax(logits, axis=-1)


def _mean_of_phases(back: Any, sequence: Any, mask: Any, steps: Any, lengths: Any, settings: TrainSettings) -> Any:
    """Every Nth timestep from each of the first N: their labels side by side, or the mean of those that a clip has."""
    stride, rest = settings.stride, [(0, 0)] * (len(sequence.shape) - 2)
    sequence = ops.pad(sequence, [(0, 0), (0, stride - 1), *rest])
    mask = ops.pad(mask, [(0, 0), (0, stride - 1)])
    said, weights = [], []
    for phase in range(stride):  # each ceil(T / stride) timesteps long
        span = slice(phase, -(stride - 1 - phase) or None)
        real = mask[:, span][:, ::stride]
        shown = real | ops.equal(_steps(real), 0)  # no row without a timestep
        said.append(_probabilities(back([sequence[:, span][:, ::stride], shown]), settings))
        weights.append(ops.cast(ops.expand_dims(lengths, -1) > phase, "float32"))  # (B, 1)
    if settings.task == MANY_TO_ONE:
        total = sum(weight * each for weight, each in zip(weights, said, strict=True))
        return total / sum(weights)
    beside = layers.Reshape((-1, said[0].shape[-1]))(layers.Concatenate()(said))  # (B, at least T, K)
    return ops.take(beside, steps[0], axis=1)


def _position(seconds: Any, mask: Any, *, causal: bool) -> Any:
    """`position_channels` of clips (B, T), which start at their first timestep and end at the last real one."""
    first = seconds[:, :1]
    since = ops.where(mask, seconds - first, 0.0)  # (B, T)
    end = ops.max(since, axis=1, keepdims=True)
    channels = [_hats(_log2_of(since), DOUBLINGS)]
    if not causal:
        share = since / ops.maximum(end, 1e-9)
        channels += [_hats(_log2_of(end - since), DOUBLINGS), _hats(share * (SHARES - 1), SHARES)]
    return ops.concatenate(channels, axis=-1)


def _log2_of(seconds: Any) -> Any:
    return ops.log(1 + seconds) * 1.4426950408889634  # of one more; ONNX and LiteRT have no log2


def _hats(places: Any, count: int) -> Any:
    """(B, T, count): hat k is 1 at k and falls to 0 at k - 1 and k + 1."""
    near = ops.expand_dims(ops.minimum(places, count - 1), -1) - np.arange(count, dtype=np.float32)
    return ops.maximum(1 - ops.abs(near), 0.0)
