"""A model of ours written in layers and operations of plain Keras, with the same numbers: what every format is made of.

Plain Keras loads it without our layers. At inference dropout and the smoothing loss do nothing, our LSTM is a faster
form of Keras' own, our Conv1D is a dense layer, and all other layers of ours are a few operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from sequence_models.models import layers
from sequence_models.models.derived_layer import DerivedChannels, derived_channels
from sequence_models.models.recurrent import LSTM


def plain_model(model: keras.Model, name: str) -> keras.Model:
    """The same model without layers of ours.

    Args:
        model: A functional model of `build_model`, or a part of one; the result shares its remaining layers.
        name: Name of the result.
    """
    copied: dict[keras.layers.Layer, keras.layers.Layer] = {}

    def replaced(layer: Any) -> Any:
        other = _replacement(layer)
        if other is not layer:
            copied[other] = layer
        return other

    def called(layer: Any, *inputs: Any, **more: Any) -> Any:
        if written := WRITTEN_OUT.get(type(layer)):
            more.pop("training", None)
            return written(layer, *inputs, **more)
        outputs = layer(*inputs, **more)
        if layer in copied and layer.weights:
            layer.set_weights(copied[layer].get_weights())
        return outputs

    clone = keras.models.clone_model(model, clone_function=replaced, call_function=called)
    return keras.Model(clone.inputs, clone.outputs[0], name=name)


def _replacement(layer: Any) -> Any:
    """A layer of plain Keras in place of one of ours, without its weights; others as they are."""
    if isinstance(layer, keras.Model):
        return plain_model(layer, layer.name)
    if isinstance(layer, keras.layers.Bidirectional):
        forward, backward = _replacement(layer.forward_layer), _replacement(layer.backward_layer)
        return keras.layers.Bidirectional(forward, backward_layer=backward, name=layer.name)
    for ours, plain in ((LSTM, keras.layers.LSTM), (keras.layers.GRU, keras.layers.GRU)):
        if isinstance(layer, ours):  # a graph made for cuDNN would run on no other machine
            return plain.from_config({**layer.get_config(), "use_cudnn": False})
    return layer


def _constant(variable: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(variable))


def _as_given(layer: Any, inputs: Any, **more: Any) -> Any:
    return inputs


def _its_own_operations(layer: Any, inputs: Any, **more: Any) -> Any:
    return layer.call(inputs, **more)


def _standardised(layer: Any, embeddings: Any, *, mask: Any) -> Any:
    return layers.standardised(embeddings, mask, _constant(layer.mean), _constant(layer.scale))


def _derived(layer: Any, embeddings: Any, *, mask: Any) -> Any:
    reduction = (_constant(layer.center), _constant(layer.axes)) if layer.windows else None
    return derived_channels(embeddings, mask, reduction, width=layer.width, delta=layer.delta, causal=layer.causal)


def _convolved(layer: Any, inputs: Any) -> Any:
    """As in our Conv1D, for a sequence of unknown length."""
    (size,), (dilation,) = layer.kernel_size, layer.dilation_rate
    reach = dilation * (size - 1)
    before = reach if layer.padding == "causal" else reach // 2
    padded = ops.pad(inputs, ((0, 0), (before, reach - before), (0, 0)))
    taps = [padded[:, tap * dilation : (tap * dilation - reach) or None] for tap in range(size)]
    dense = keras.layers.Dense(layer.filters, activation=layer.activation, name=layer.name)
    outputs = dense(keras.layers.Concatenate()(taps))
    kernel, bias = layer.get_weights()
    dense.set_weights([kernel.reshape(-1, layer.filters), bias])
    return outputs


def _every_frame(layer: Any, frames: Any, *, mask: Any) -> Any:
    """Features (B, T, F) of frames (B, T, H, W, C): the CNN runs on padding too, and that is set to zero."""
    features = frames_through(layer.cnn, frames)
    return ops.where(ops.expand_dims(mask, -1), features, 0.0)


def frames_through(cnn: keras.Model, frames: Any) -> Any:
    """Features (B, T, F) of frames (B, T, H, W, C), all at once."""
    features = cnn(ops.cast(ops.reshape(frames, (-1, *frames.shape[2:])), "float32"))  # (B T, F)
    ones = ops.ones_like(frames[:, :, 0, 0, 0], dtype="int32")  # (B, T), of unknown size: counting says where each is
    row, step = ops.cumsum(ones, axis=0) - 1, ops.cumsum(ones, axis=1) - 1
    return ops.take(features, row * ops.sum(ones, axis=1, keepdims=True) + step, axis=0)


WRITTEN_OUT: dict[type, Callable[..., Any]] = {
    layers.Standardise: _standardised,
    DerivedChannels: _derived,
    layers.Conv1D: _convolved,
    layers.RealFrames: _every_frame,
    layers.Dropout: _as_given,
    layers.SmoothnessLoss: _as_given,
    **dict.fromkeys(
        (layers.Readout, layers.AttentionReadout, layers.PlacedAttention, layers.SegmentMean), _its_own_operations
    ),
}
