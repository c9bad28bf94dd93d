"""A stage-one backbone as the first layer of a model on raw frames."""

from __future__ import annotations

import keras

from extract.backbones.pooling import AVERAGE
from extract.backbones.registry import build_untrained
from extract.errors import ClipError
from sequence_models.models.layers import RealFrames
from sequence_models.models.on_embeddings import Seeds
from sequence_models.settings import ALL_LAYERS, RANDOM, TrainSettings

DRAWN = (  # variable and initializer of the randomly initialised layers
    ("kernel", "kernel_initializer"),
    ("kernel", "depthwise_initializer"),
    ("depthwise_kernel", "depthwise_initializer"),
    ("pointwise_kernel", "pointwise_initializer"),
)


def backbone_layer(frame_shape: tuple[int, ...], settings: TrainSettings, seeds: Seeds) -> RealFrames:
    """A backbone on the real frames of a batch, frozen except for its last layers.

    Args:
        frame_shape: (S, S, 3).
        settings: Uses `backbone`, `backbone_weights`, `trainable_layers`, `update_batchnorm` and `pool`.
        seeds: For random weights.

    Returns:
        The layer: frames (B, T, S, S, 3) -> embeddings (B, T, D).

    Raises:
        ClipError: The frames are not square, or do not have three channels.
        BackboneError: There is no such backbone, or it does not accept frames of this size.
    """
    height, width, channels = frame_shape
    if height != width or channels != 3:
        raise ClipError(
            f"backbone {settings.backbone} takes square frames (batch, timesteps, height, width, 3), got "
            f"{height} x {width} x {channels}; give one store of RGB frames, or --model two_stream for RGB and flow."
        )
    cnn = build_untrained(settings.backbone, image_size=height, pool=settings.pool or AVERAGE)
    if settings.backbone_weights == RANDOM:
        _draw_weights(cnn, seeds)
    layers = _inner(cnn).layers
    trained = len(layers) if settings.trainable_layers == ALL_LAYERS else int(settings.trainable_layers)
    for layer in layers[: max(0, len(layers) - trained)]:
        layer.trainable = False
    return RealFrames(cnn, update_statistics=settings.update_batchnorm)


def _inner(cnn: keras.Model) -> keras.Model:
    """The image model itself, if it is wrapped in its preprocessing."""
    return next((layer for layer in cnn.layers if isinstance(layer, keras.Model)), cnn)


def _draw_weights(cnn: keras.Model, seeds: Seeds) -> None:
    """Redraw every random weight with our own seeds; Keras drew them with a global one."""
    for layer in _inner(cnn).layers:
        for name, how in DRAWN:
            variable, initializer = getattr(layer, name, None), getattr(layer, how, None)
            if variable is not None and initializer is not None:
                config = {**initializer.get_config(), "seed": seeds.next()}
                variable.assign(type(initializer).from_config(config)(variable.shape))
