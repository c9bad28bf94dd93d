"""A backbone of stage one inside a model on raw frames: which of its layers are trained, and where they begin.

Building gives structure and random weights. `start` brings them to where training begins, once per fit: a saved model
is built again without any weights file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np

from extract.backbones.registry import Backbone, build_untrained, load_backbone
from extract.errors import BackboneError, ClipError
from sequence_models.clips.loading import Clip
from sequence_models.models.layers import FRAMES_AT_ONCE, RealFrames, Standardise
from sequence_models.models.on_embeddings import Seeds
from sequence_models.settings import ALL_LAYERS, PRETRAINED, RANDOM, TrainSettings

MOST_FRAMES = 512  # that the head is standardised with where it starts from nothing
DRAWN = (  # variable and initializer of the layers that begin at random
    ("kernel", "kernel_initializer"),
    ("kernel", "depthwise_initializer"),
    ("depthwise_kernel", "depthwise_initializer"),
    ("pointwise_kernel", "pointwise_initializer"),
)


def backbone_layer(frame_shape: tuple[int, ...], settings: TrainSettings, seeds: Seeds) -> RealFrames:
    """A backbone on the real frames of a batch, all but its last layers frozen.

    Args:
        frame_shape: (S, S, 3).
        settings: Of these `backbone`, `backbone_weights`, `trainable_layers` and `update_batchnorm`.
        seeds: Draws the weights where they are to be random.

    Returns:
        The layer: frames (B, T, S, S, 3) -> embeddings (B, T, D).

    Raises:
        ClipError: The frames are not square, or not of three channels.
        BackboneError: There is no such backbone, or it takes no frames of this size.
    """
    height, width, channels = frame_shape
    if height != width or channels != 3:
        raise ClipError(
            f"backbone {settings.backbone} takes square frames (batch, timesteps, height, width, 3), got "
            f"{height} x {width} x {channels}; give one store of RGB frames, or --model two_stream for RGB and flow."
        )
    cnn = build_untrained(settings.backbone, image_size=height)
    if settings.backbone_weights == RANDOM:
        _draw_weights(cnn, seeds)
    layers = _inner(cnn).layers
    trained = len(layers) if settings.trainable_layers == ALL_LAYERS else int(settings.trainable_layers)
    for layer in layers[: max(0, len(layers) - trained)]:
        layer.trainable = False
    return RealFrames(cnn, update_statistics=settings.update_batchnorm)


def start(
    model: keras.Model,
    settings: TrainSettings,
    clips: Sequence[Clip],
    *,
    channels: slice,
    head: keras.Model | None = None,
) -> None:
    """Give a model that `backbone_layer` is in its first weights: those of the backbone, and of what follows it.

    Args:
        model: Fresh from `build_model`, or one stream of it.
        settings: Of these `backbone` and `backbone_weights`.
        clips: Training clips, which standardise the embeddings where there is no head.
        channels: Which channels of their frames the model takes.
        head: A trained model on embeddings of the same structure as what follows the backbone; None = that stays fresh.

    Raises:
        BackboneError: The pretrained weights are missing, or do not fit.
    """
    (backbone,) = (layer for layer in model.layers if isinstance(layer, RealFrames))
    rest = [layer for layer in model.layers if layer is not backbone]
    if settings.backbone_weights != RANDOM:
        size = backbone.cnn.input_shape[1]
        backbone.cnn.set_weights(_pretrained_weights(settings.backbone, settings.backbone_weights, size))
    if head is None:
        (standardise,) = (layer for layer in rest if isinstance(layer, Standardise))
        embeddings = _some_embeddings(backbone.cnn, clips, channels)
        standardise.set_statistics(embeddings.mean(axis=0), embeddings.std(axis=0))
        return
    ours = [weight for layer in rest for weight in layer.weights]
    theirs = [weight for layer in head.layers for weight in layer.weights]
    for mine, other in zip(ours, theirs, strict=True):
        mine.assign(other.numpy())


def pretrained_digest(settings: TrainSettings, *, image_size: int) -> str:
    """The digest of the weights that the backbone begins with; "" for random ones.

    Raises:
        BackboneError: The weights are missing.
    """
    if settings.backbone_weights == RANDOM:
        return ""
    return _pretrained(settings.backbone, settings.backbone_weights, image_size).weights_digest


@lru_cache(maxsize=1)
def _pretrained_weights(name: str, weights: str, image_size: int) -> list[np.ndarray]:
    """Built and read once for all folds and seeds."""
    return _pretrained(name, weights, image_size).build().get_weights()


def _pretrained(name: str, weights: str, image_size: int) -> Backbone:
    path = None if weights == PRETRAINED else Path(weights)
    if path is not None and not path.is_file():
        raise BackboneError(
            f"{path}: there is no such weights file; give --backbone-weights another path, {PRETRAINED} or {RANDOM}."
        )
    return load_backbone(name, weights=path, image_size=image_size)


def _inner(cnn: keras.Model) -> keras.Model:
    """The image model itself where it is wrapped in its preprocessing."""
    return next((layer for layer in cnn.layers if isinstance(layer, keras.Model)), cnn)


def _draw_weights(cnn: keras.Model, seeds: Seeds) -> None:
    """Draw every random weight anew by our own seeds; Keras drew them by a global one."""
    for layer in _inner(cnn).layers:
        for name, how in DRAWN:
            variable, initializer = getattr(layer, name, None), getattr(layer, how, None)
            if variable is not None and initializer is not None:
                config = {**initializer.get_config(), "seed": seeds.next()}
                variable.assign(type(initializer).from_config(config)(variable.shape))


def _some_embeddings(cnn: keras.Model, clips: Sequence[Clip], channels: slice) -> np.ndarray:
    """float32 (n, D) of frames from all over the clips."""
    chosen = clips[:: -(-len(clips) // MOST_FRAMES)]
    stride = -(-sum(map(len, chosen)) // MOST_FRAMES)
    parts = [
        cnn(np.asarray(frames[start : start + FRAMES_AT_ONCE], np.float32)[..., channels], training=False)
        for frames in (clip.embeddings[::stride] for clip in chosen)
        for start in range(0, len(frames), FRAMES_AT_ONCE)
    ]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])
