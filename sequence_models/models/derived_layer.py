"""The derived channels of `clips.derived` as a layer, for models that are used without the rest of Clipseq.

Training and prediction compute them once per clip, before it is cut or padded; this layer computes the same numbers for
a padded batch of whole clips.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from sequence_models.clips.motion import MOST_CHANNELS, REACHES, Reduction


@keras.saving.register_keras_serializable(package="clipseq")
class DerivedChannels(keras.layers.Layer):
    """Adds how much each channel has changed, and window statistics, to (B, T, D) or to (B, T, D + position).

    Args:
        width: D.
        delta: Add |embedding(t) - embedding(t - 1)|.
        windows: Add means and deviations over windows.
        causal: Windows end at their timestep.
    """

    supports_masking = True

    def __init__(self, width: int, *, delta: bool, windows: bool, causal: bool, **kwargs):
        super().__init__(**kwargs)
        self.width, self.delta, self.windows, self.causal = width, delta, windows, causal

    def get_config(self):
        """What makes the layer again."""
        own = {"width": self.width, "delta": self.delta, "windows": self.windows, "causal": self.causal}
        return {**super().get_config(), **own}

    def build(self, embeddings_shape):
        """Create the reduction, to be set by `set_reduction`."""
        if self.windows:
            reduced = min(self.width, MOST_CHANNELS)
            self.center = self.add_weight(name="center", shape=(self.width,), initializer="zeros", trainable=False)
            self.axes = self.add_weight(name="axes", shape=(self.width, reduced), initializer="zeros", trainable=False)

    def set_reduction(self, reduction: Reduction) -> None:
        """Reduce embeddings like this before windows are computed."""
        self.center.assign(reduction.center)
        self.axes.assign(reduction.axes)

    def reduction(self) -> Reduction:
        """What `set_reduction` was given."""
        return Reduction(*(np.array(keras.ops.convert_to_numpy(each)) for each in (self.center, self.axes)))

    def call(self, embeddings, mask):
        """The embeddings with more channels, (B, T, D + ...); 0 on padding."""
        reduction = (self.center, self.axes) if self.windows else None
        return derived_channels(embeddings, mask, reduction, width=self.width, delta=self.delta, causal=self.causal)


def derived_channels(embeddings, mask, reduction, *, width: int, delta: bool, causal: bool):
    """What the layer computes.

    Args:
        embeddings: (B, T, D) or (B, T, D + position).
        mask: (B, T).
        reduction: Center and axes for the windows; None = no windows.
        width: D.
        delta: Add |embedding(t) - embedding(t - 1)|.
        causal: Windows end at their timestep.
    """
    values, parts = ops.where(ops.expand_dims(mask, -1), embeddings[..., :width], 0.0), [embeddings]
    real = ops.expand_dims(ops.cast(mask, values.dtype), -1)  # (B, T, 1)
    if delta:
        parts.append(_steps_of(values) * real)
    if reduction is not None:
        center, axes = reduction
        reduced = ops.matmul(values - center, axes)
        both = ops.concatenate([reduced, _steps_of(reduced)], axis=-1) * real
        for reach in REACHES:
            before, after = (2 * reach, 0) if causal else (reach, reach)
            parts += [each * real for each in _statistics(both, real, before, after)]
    return ops.concatenate(parts, axis=-1)


def _statistics(values, real, before: int, after: int):
    """Means and deviations (B, T, C) over a window of real timesteps around or before each."""

    def total(each):
        padded = ops.pad(each, ((0, 0), (before, after), (0, 0)))
        return ops.average_pool(padded, before + after + 1, strides=1) * (before + after + 1)

    count = ops.maximum(total(real), 1)
    mean = total(values) / count
    variance = ops.maximum(total(ops.square(values)) / count - ops.square(mean), 0)
    return mean, ops.sqrt(variance)


def _steps_of(values):
    return ops.abs(values - ops.concatenate([values[:, :1], values[:, :-1]], axis=1))
