"""The LSTM in one operation: Keras' weights and numbers, gradients included."""

import keras
import numpy as np
import pytest

from sequence_models.models.recurrent import LSTM

ONLY_TENSORFLOW = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends run Keras' own")
LENGTHS = (5, 1, 9, 7)
UNITS = 3


def pair(width, **how):
    """Keras' layer and ours, with equal weights that are not those of a fresh layer."""
    layers = [cell(UNITS, return_sequences=True, **how) for cell in (keras.layers.LSTM, LSTM)]
    rng = np.random.default_rng(1)
    for layer in layers:
        layer.build((None, None, width))
    weights = [rng.normal(size=weight.shape) for weight in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def inputs(width):
    sequences = np.random.default_rng(0).normal(size=(len(LENGTHS), max(LENGTHS), width)).astype(np.float32)
    return sequences, np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]


@ONLY_TENSORFLOW
@pytest.mark.parametrize("width", [2, 40], ids=["narrow", "wider than its gates"])
@pytest.mark.parametrize("backwards", [False, True])
def test_outputs_and_gradients_are_those_of_keras(width, backwards):
    """TensorFlow's own gradient of this operation is wrong: it takes two of the four gates for each other."""
    import tensorflow as tf

    sequences, mask = inputs(width)
    real = mask[:, ::-1] if backwards else mask
    towards = np.random.default_rng(2).normal(size=(*mask.shape, UNITS)).astype(np.float32) * real[..., None]
    found = []
    for layer in pair(width, go_backwards=backwards):
        given = tf.constant(sequences)
        with tf.GradientTape() as tape:
            tape.watch(given)
            outputs = layer(given, mask=mask)
            loss = tf.reduce_sum(outputs * towards)
        weights = [weight.value for weight in layer.trainable_weights]
        found.append([outputs.numpy()[real], *(each.numpy() for each in tape.gradient(loss, [given, *weights]))])
    for theirs, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@ONLY_TENSORFLOW
def test_padded_timesteps_give_zeros_whatever_they_hold():
    sequences, mask = inputs(2)
    _, layer = pair(2)
    outputs = layer(np.where(mask[..., None], sequences, 1e3), mask=mask).numpy()
    assert not outputs[~mask].any()
    np.testing.assert_array_equal(outputs, layer(sequences, mask=mask).numpy())


def test_without_a_mask_it_is_keras_layer():
    theirs, ours = pair(2)
    sequences, _ = inputs(2)
    np.testing.assert_allclose(theirs(sequences), ours(sequences), atol=1e-6)
