"""Layers that Keras lacks. Each takes the mask (B, T), True = real, and its output does not depend on the padding.

They are registered with Keras: a model's `.keras` file can be loaded after importing this module.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from sequence_models.models.recurrent import LSTM  # noqa: F401  registered with the rest

FRAMES_AT_ONCE = 64  # per CNN call at inference
LARGEST_STEP = 16.0  # T-MSE per class is capped here, so that real changes of label cost little
PLACES = 9  # in time, from the start of a clip to its end
LOWEST = -1e9  # below any activation, but finite, so that the gradient of a masked step is zero and not NaN


@keras.saving.register_keras_serializable(package="clipseq")
class Standardise(keras.layers.Layer):
    """Subtracts the mean and divides by the standard deviation of the training embeddings; padding becomes 0.

    The statistics are non-trainable weights: they are saved with the weights, and a compiled function reads their
    current values (a `Normalization` layer that is adapted twice keeps the old ones).
    """

    supports_masking = True

    def build(self, embeddings_shape):
        """Create the weights, mean 0 and scale 1 until `set_statistics`."""
        shape = (embeddings_shape[-1],)
        self.mean = self.add_weight(name="mean", shape=shape, initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones", trainable=False)

    def set_statistics(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Set the statistics, both (D,); a channel that never varies is only shifted."""
        self.mean.assign(mean)
        self.scale.assign(1 / np.where(deviation > 1e-6, deviation, 1))

    def call(self, embeddings, mask):
        """Standardise (B, T, D)."""
        return standardised(embeddings, mask, self.mean, self.scale)


def standardised(embeddings, mask, mean, scale):
    """What `Standardise` computes from (B, T, D), (B, T) and twice (D,)."""
    return ops.where(ops.expand_dims(mask, -1), (embeddings - mean) * scale, 0.0)


@keras.saving.register_keras_serializable(package="clipseq")
class Dropout(keras.layers.Dropout):
    """Drops whole channels of (B, T, C) over time, or units of (B, C), in one pass over the tensor.

    The noise is the same at every timestep, so that it does not depend on the padding.
    """

    def call(self, inputs, training=False):
        """The inputs with some channels set to zero and the others scaled up."""
        if not training:
            return inputs
        shape = ops.shape(inputs)
        noise = keras.random.uniform((shape[0], *(1 for _ in shape[1:-1]), shape[-1]), seed=self.seed_generator)
        return inputs * (ops.cast(noise >= self.rate, inputs.dtype) / (1 - self.rate))


@keras.saving.register_keras_serializable(package="clipseq")
class Conv1D(keras.layers.Conv1D):
    """`keras.layers.Conv1D` with dilation and one stride, "same" or "causal", as one matrix product.

    TensorFlow rearranges the sequence for every dilated convolution, which on a CPU takes longer than the product.
    """

    def call(self, inputs):
        """Convolve (B, T, C) to (B, T, filters)."""
        (size,), (dilation,) = self.kernel_size, self.dilation_rate
        reach, whole = dilation * (size - 1), ops.shape(inputs)
        before = reach if self.padding == "causal" else reach // 2
        padded = ops.pad(inputs, ((0, 0), (before, reach - before), (0, 0)))
        taps = [ops.slice(padded, (0, tap * dilation, 0), whole) for tap in range(size)]
        kernel = ops.reshape(self.kernel, (-1, self.filters))
        return self.activation(ops.matmul(ops.concatenate(taps, axis=-1), kernel) + self.bias)


@keras.saving.register_keras_serializable(package="clipseq")
class RealFrames(keras.layers.Layer):
    """Runs a CNN on the real frames of a batch only.

    Frames are gathered by the mask and their features scattered back, so that padding costs no time and batch
    normalisation never sees it; at inference frames are processed a few at a time, so that a recording of any length
    fits in memory. The number of real frames varies between batches, but JAX compiles fixed shapes only: with JAX the
    CNN runs on padding too, its output there is set to zero, and statistics cannot be updated.

    Args:
        cnn: Model: frames (R, H, W, C), 0..255 -> features (R, F).
        update_statistics: In training, batch normalisation uses and updates the statistics of the batch; otherwise
            the CNN runs in inference mode, though its weights may be trained.
    """

    supports_masking = True

    def __init__(self, cnn: keras.Model, *, update_statistics: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.cnn = cnn
        self.update_statistics = update_statistics
        self.supports_jit = keras.backend.backend() == "jax"  # Keras asks every layer before compiling

    def get_config(self):
        """The configuration of the layer, including the CNN."""
        cnn = keras.saving.serialize_keras_object(self.cnn)
        return {**super().get_config(), "cnn": cnn, "update_statistics": self.update_statistics}

    @classmethod
    def from_config(cls, config):
        """The layer with its own CNN."""
        return cls(**{**config, "cnn": keras.saving.deserialize_keras_object(config["cnn"])})

    def build(self, frames_shape):
        """Nothing to do: the CNN is already built."""

    def compute_output_shape(self, frames_shape, mask_shape=None):
        """(B, T, F)."""
        return (*frames_shape[:2], self.cnn.output_shape[-1])

    def call(self, frames, mask, training=None):
        """Features (B, T, F) of frames (B, T, H, W, C); zeros on padding."""
        if self.supports_jit:
            return self._everywhere(frames, mask, training)
        batch, steps = ops.shape(mask)[0], ops.shape(mask)[1]
        (real,) = ops.nonzero(ops.reshape(mask, (-1,)))  # (R,)
        pictures = ops.reshape(frames, (-1, *frames.shape[2:]))  # (B T, H, W, C)
        nothing = ops.zeros((batch * steps, self.cnn.output_shape[-1]))
        if training:  # batch normalisation needs all frames of the batch at once
            features = self._with_features(nothing, pictures, real, training=self.update_statistics)
        else:
            features = self._in_parts(nothing, pictures, real)
        return ops.reshape(features, (batch, steps, features.shape[-1]))

    def _everywhere(self, frames, mask, training):
        """Features (B, T, F) computed for all frames; every shape is known, as always with JAX."""
        pictures = ops.reshape(frames, (-1, *frames.shape[2:]))  # (B T, H, W, C)
        whole = training or pictures.shape[0] <= FRAMES_AT_ONCE
        features = self.cnn(ops.cast(pictures, "float32"), training=False) if whole else self._fixed_parts(pictures)
        features = ops.reshape(features, (*mask.shape, features.shape[-1]))
        return ops.where(ops.expand_dims(mask, -1), features, 0.0)

    def _fixed_parts(self, pictures):
        """Features (B T, F), computed a few at a time; the last part starts earlier, so that it has the same size."""
        total = pictures.shape[0]

        def add(start, features):
            first = ops.minimum(start, total - FRAMES_AT_ONCE)
            part = ops.slice(pictures, (first, 0, 0, 0), (FRAMES_AT_ONCE, *pictures.shape[1:]))
            said = self.cnn(ops.cast(part, "float32"), training=False)
            return start + FRAMES_AT_ONCE, ops.slice_update(features, (first, 0), said)

        nothing = ops.zeros((total, self.cnn.output_shape[-1]))
        return ops.while_loop(lambda start, features: start < total, add, (0, nothing))[1]

    def _in_parts(self, nothing, pictures, real):
        """Features (B T, F) of the real frames, computed a few at a time."""
        _, features = ops.while_loop(
            lambda start, features: start < ops.shape(real)[0],
            lambda start, features: (
                start + FRAMES_AT_ONCE,
                self._with_features(features, pictures, real[start : start + FRAMES_AT_ONCE], training=False),
            ),
            (0, nothing),
        )
        return features

    def _with_features(self, features, pictures, chosen, *, training: bool):
        """The features (B T, F) with those of the chosen frames filled in."""
        gathered = ops.cast(ops.take(pictures, chosen, axis=0), "float32")  # (n, H, W, C)
        return ops.scatter_update(features, ops.expand_dims(chosen, -1), self.cnn(gathered, training=training))


@keras.saving.register_keras_serializable(package="clipseq")
class Readout(keras.layers.Layer):
    """One vector per clip from its real timesteps.

    Args:
        kind: "last", "mean" or "max".
        backward: How many channels, the last ones, run backwards in time: their last output is at the first timestep.
    """

    supports_masking = True

    def __init__(self, kind: str, *, backward: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.backward = backward

    def get_config(self):
        """What makes the layer again."""
        return {**super().get_config(), "kind": self.kind, "backward": self.backward}

    def compute_mask(self, sequence, mask=None):
        """There is no time left to mask."""
        return None

    def call(self, sequence, mask):
        """Read (B, T, C) out to (B, C)."""
        real = ops.expand_dims(mask, -1)
        if self.kind == "max":
            return ops.max(ops.where(real, sequence, LOWEST), axis=1)
        weights = ops.cast(real, sequence.dtype)  # (B, T, 1)
        if self.kind == "mean":
            return ops.sum(sequence * weights, axis=1) / ops.sum(weights, axis=1)
        return self._last(sequence, ops.cumsum(weights, axis=1), weights)

    def _last(self, sequence, position, weights):
        is_last = weights * ops.cast(ops.equal(position, ops.sum(weights, axis=1, keepdims=True)), sequence.dtype)
        last = ops.sum(sequence * is_last, axis=1)
        if not self.backward:
            return last
        first = ops.sum(sequence * weights * ops.cast(ops.equal(position, 1), sequence.dtype), axis=1)
        return ops.concatenate([last[:, : -self.backward], first[:, -self.backward :]], axis=-1)


@keras.saving.register_keras_serializable(package="clipseq")
class AttentionReadout(keras.layers.Layer):
    """One vector per clip: the sum of its real timesteps, weighted by scores from a small network.

    Additive attention pooling as in Yang et al., Hierarchical Attention Networks (NAACL 2016).

    Args:
        units: Width of the network.
        seeds: One for each of its two matrices.
    """

    supports_masking = True

    def __init__(self, units: int, *, seeds: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.units, self.seeds = units, tuple(seeds)
        first, second = (keras.initializers.GlorotUniform(seed) for seed in seeds)
        self.hidden = keras.layers.Dense(units, activation="tanh", kernel_initializer=first)
        self.score = keras.layers.Dense(1, use_bias=False, kernel_initializer=second)

    def get_config(self):
        """What makes the layer again."""
        return {**super().get_config(), "units": self.units, "seeds": self.seeds}

    def build(self, sequence_shape):
        """Create the weights of both matrices."""
        self.hidden.build(sequence_shape)
        self.score.build((*sequence_shape[:-1], self.hidden.units))

    def compute_mask(self, sequence, mask=None):
        """There is no time left to mask."""
        return None

    def call(self, sequence, mask):
        """Read (B, T, C) out to (B, C)."""
        scores = self.score(self.hidden(sequence))  # (B, T, 1)
        weights = ops.softmax(ops.where(ops.expand_dims(mask, -1), scores, LOWEST), axis=1)
        return ops.sum(sequence * weights, axis=1)


@keras.saving.register_keras_serializable(package="clipseq")
class PlacedAttention(keras.layers.Layer):
    """Weighted sums of the real timesteps of a clip, whose weights depend on what they show and where in it they are.

    After the attentive probe STEP of Ponbagavathi and Roitberg, Order Matters (2025, arXiv 2503.24298): a learned code
    for every place in time, one learned query for the whole clip, and attention without skip connection, normalisation
    or feed-forward layer. Here places are fractions of the clip, since clips have different lengths, and the query,
    which is the same for all clips, is part of the scoring matrix.

    Args:
        units: Width of the hidden layer of the scores.
        heads: Number of weighted sums H.
        seeds: One for each of its three matrices.
    """

    supports_masking = True

    def __init__(self, units: int, heads: int, *, seeds: tuple[int, int, int], **kwargs):
        super().__init__(**kwargs)
        self.units, self.heads, self.seeds = units, heads, tuple(seeds)
        content, place, score = (keras.initializers.GlorotUniform(seed) for seed in seeds)
        self.content = keras.layers.Dense(units, kernel_initializer=content)
        self.place = keras.layers.Dense(units, use_bias=False, kernel_initializer=place)
        self.score = keras.layers.Dense(heads, use_bias=False, kernel_initializer=score)

    def get_config(self):
        """What makes the layer again."""
        return {**super().get_config(), "units": self.units, "heads": self.heads, "seeds": self.seeds}

    def build(self, sequence_shape):
        """Create the weights."""
        self.content.build(sequence_shape)
        self.place.build((*sequence_shape[:-1], PLACES))
        self.score.build((*sequence_shape[:-1], self.units))

    def compute_mask(self, sequence, mask=None):
        """There is no time left to mask."""
        return None

    def call(self, sequence, mask):
        """Read (B, T, C) out to (B, H C)."""
        real = ops.cast(ops.expand_dims(mask, -1), sequence.dtype)  # (B, T, 1)
        last = ops.maximum(ops.sum(real, axis=1, keepdims=True) - 1, 1)
        share = (ops.cumsum(real, axis=1) - 1) / last  # 0 to 1
        near = ops.relu(
            1 - ops.abs(ops.subtract(share * (PLACES - 1), np.arange(PLACES, dtype=np.float32)))
        )  # (B, T, PLACES)
        scores = self.score(ops.tanh(self.content(sequence) + self.place(near)))  # (B, T, H)
        weights = ops.softmax(ops.where(ops.expand_dims(mask, -1), scores, LOWEST), axis=1)
        sums = ops.matmul(ops.transpose(weights, (0, 2, 1)), sequence)  # (B, H, C)
        return ops.reshape(sums, (-1, self.heads * sequence.shape[-1]))


@keras.saving.register_keras_serializable(package="clipseq")
class SegmentMean(keras.layers.Layer):
    """Averages the real timesteps of every clip over equal parts; in clips shorter than `steps`, parts share timesteps.

    Part s of n real timesteps is [floor(s n / steps), ceil((s + 1) n / steps)): adaptive average pooling.

    Args:
        steps: Number of parts S.
    """

    supports_masking = True

    def __init__(self, steps: int, **kwargs):
        super().__init__(**kwargs)
        self.steps = steps

    def get_config(self):
        """What makes the layer again."""
        return {**super().get_config(), "steps": self.steps}

    def compute_mask(self, sequence, mask=None):
        """Every part is real."""
        return None

    def call(self, sequence, mask):
        """Average (B, T, C) to (B, S, C)."""
        real = ops.cast(mask, "int32")
        position = ops.expand_dims(ops.cumsum(real, axis=1) - 1, 1)  # (B, 1, T)
        total = ops.expand_dims(ops.sum(real, axis=1, keepdims=True), -1)  # (B, 1, 1)
        part = np.arange(self.steps, dtype=np.int32).reshape(1, self.steps, 1)
        start = ops.floor_divide(ops.multiply(part, total), self.steps)
        # Ceiling without negative numbers: runtimes divide those differently.
        end = ops.floor_divide(ops.multiply(part + 1, total) + self.steps - 1, self.steps)
        inside = (position >= start) & (position < end) & ops.expand_dims(mask, 1)
        weights = ops.cast(inside, sequence.dtype)  # (B, S, T)
        return ops.matmul(weights / ops.sum(weights, axis=-1, keepdims=True), sequence)


@keras.saving.register_keras_serializable(package="clipseq")
class SmoothnessLoss(keras.layers.Layer):
    """Passes logits through, and adds T-MSE to the loss: the squared change of log-probabilities between timesteps.

    Farha and Gall, MS-TCN (CVPR 2019), truncated at a change of 4; averaged over pairs of real timesteps.

    Args:
        weight: Its weight in the loss.
        multi_label: One yes/no logit per class, instead of one class out of K.
    """

    supports_masking = True

    def __init__(self, weight: float, *, multi_label: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight
        self.multi_label = multi_label

    def get_config(self):
        """What makes the layer again."""
        return {**super().get_config(), "weight": self.weight, "multi_label": self.multi_label}

    def call(self, logits, mask):
        """Pass (B, T, K) through."""
        log_probabilities = ops.log_sigmoid(logits) if self.multi_label else ops.log_softmax(logits, axis=-1)
        change = log_probabilities[:, 1:] - ops.stop_gradient(log_probabilities[:, :-1])
        pairs = ops.cast(mask[:, 1:] & mask[:, :-1], logits.dtype)  # (B, T - 1)
        squares = ops.minimum(ops.square(change), LARGEST_STEP) * ops.expand_dims(pairs, -1)
        count = ops.maximum(ops.sum(pairs), 1.0) * logits.shape[-1]
        self.add_loss(self.weight * ops.sum(squares) / count)
        return logits
