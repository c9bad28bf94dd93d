"""A stage-one backbone inside a model on raw frames: its initial weights, and those of what follows it.

Building gives structure and random weights. `start` sets the initial weights, once per fit: a saved model is rebuilt
without any weights file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np

from extract.backbones.backbone import Backbone
from extract.backbones.registry import load_backbone
from extract.errors import BackboneError, UsageError
from sequence_models.catalogue import TWO_STREAM
from sequence_models.models.layers import FRAMES_AT_ONCE, RealFrames, Standardise
from sequence_models.models.on_frames import FLATTEN_UNITS, FLOW_CHANNELS, FRAME_SCALING
from sequence_models.records import Clip
from sequence_models.settings import PRETRAINED, RANDOM, TrainSettings

log = logging.getLogger(__name__)

MOST_FRAMES = 512  # for the standardisation of a fresh head, and of frames


def start(
    model: keras.Model,
    settings: TrainSettings,
    clips: Sequence[Clip],
    *,
    channels: slice,
    head: keras.Model | None = None,
) -> None:
    """Set the initial weights of a model that contains `backbone_layer`: of the backbone, and of what follows it.

    Args:
        model: Fresh from `build_model`, or one stream of it.
        settings: Uses `backbone` and `backbone_weights`.
        clips: Training clips, for the standardisation of the embeddings without a head.
        channels: The channels of their frames that the model takes.
        head: A trained model on embeddings, with the structure of what follows the backbone; None = leave that fresh.

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
    """The digest of the initial weights of the backbone; "" for random ones.

    Raises:
        BackboneError: The weights are missing.
    """
    if settings.backbone_weights == RANDOM:
        return ""
    return _pretrained(settings.backbone, settings.backbone_weights, image_size).weights_digest


@lru_cache(maxsize=1)
def _pretrained_weights(name: str, weights: str, image_size: int) -> list[np.ndarray]:
    """Built and loaded once for all folds and seeds."""
    return _pretrained(name, weights, image_size).build().get_weights()


def _pretrained(name: str, weights: str, image_size: int) -> Backbone:
    path = None if weights == PRETRAINED else Path(weights)
    if path is not None and not path.is_file():
        raise BackboneError(
            f"{path}: no such weights file; set --backbone-weights to another path, {PRETRAINED} or {RANDOM}."
        )
    return load_backbone(name, weights=path, image_size=image_size)


def _some_embeddings(cnn: keras.Model, clips: Sequence[Clip], channels: slice) -> np.ndarray:
    """float32 (n, D) of frames spread over all clips."""
    parts = [
        cnn(np.asarray(frames[start : start + FRAMES_AT_ONCE], np.float32)[..., channels], training=False)
        for frames in _some_frames(clips)
        for start in range(0, len(frames), FRAMES_AT_ONCE)
    ]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])


def _some_frames(clips: Sequence[Clip]) -> Iterator[np.ndarray]:
    """Frames (n, H, W, C) spread over all clips, at most about 512 in all."""
    chosen = clips[:: -(-len(clips) // MOST_FRAMES)]
    stride = -(-sum(map(len, chosen)) // MOST_FRAMES)
    return (clip.embeddings[::stride] for clip in chosen)


def start_training(
    model: keras.Model, settings: TrainSettings, clips: Sequence[Clip], *, head: keras.Model | None = None
) -> None:
    """Prepare a fresh model for training: pretrained weights, statistics, a trained head.

    Args:
        model: From `build_model`, with these settings.
        settings: Which model, and its sizes.
        clips: Training clips.
        head: For td_backbone_rnn: a model on embeddings with the settings of its head, trained on cached embeddings.

    Raises:
        BackboneError: Pretrained weights are missing.
        UsageError: The backend cannot train it.
    """
    check_backend(settings)
    streams, kind = [(model, slice(None))], settings.model
    if settings.model == TWO_STREAM:
        rgb, flow = slice(None, -FLOW_CHANNELS), slice(-FLOW_CHANNELS, None)
        streams, kind = [(model.get_layer("rgb"), rgb), (model.get_layer("flow"), flow)], settings.stream
    for stream, channels in streams:
        _scale_frames(stream, clips, channels)
        if kind == "td_backbone_rnn":
            start(stream, settings, clips, channels=channels, head=head)
        elif kind == "td_cnn_flatten_lstm":
            (width,) = (layer.cnn.output_shape[-1] for layer in stream.layers if isinstance(layer, RealFrames))
            _warn_of_width(width, settings.units or FLATTEN_UNITS)


def _scale_frames(model: keras.Model, clips: Sequence[Clip], channels: slice) -> None:
    """Set the statistics that a model on raw frames scales them with, if it does."""
    inside = [model, *(layer.cnn for layer in model.layers if isinstance(layer, RealFrames))]
    found = [layer for each in inside for layer in each.layers if layer.name == FRAME_SCALING]
    if not found:
        return
    (scaling,) = found
    values = np.concatenate([np.asarray(frames, np.float32) for frames in _some_frames(clips)])[..., channels]
    values = values / 127.5 - 1.0
    variance = values.var(axis=(0, 1, 2), dtype=np.float64)
    scaling.moving_mean.assign(values.mean(axis=(0, 1, 2), dtype=np.float64))
    scaling.moving_variance.assign(np.where(variance > 1e-8, variance, 1.0))


def check_backend(settings: TrainSettings) -> None:
    """Check that the Keras backend can train a model, before anything is fitted.

    Args:
        settings: Of any model.

    Raises:
        UsageError: It updates batch-normalisation statistics, and the backend is JAX.
    """
    kind = settings.stream if settings.model == TWO_STREAM else settings.model
    takes = kind == "td_convnet_gru" or (kind == "td_backbone_rnn" and settings.update_batchnorm)
    if takes and keras.backend.backend() == "jax":
        instead = "leave out --update-batchnorm" if kind == "td_backbone_rnn" else "choose another --model or --stream"
        raise UsageError(
            f"KERAS_BACKEND=jax cannot train {kind} if batch normalisation uses the statistics of real frames only, "
            f"whose number varies; use KERAS_BACKEND=tensorflow or torch, or {instead}."
        )


@lru_cache
def _warn_of_width(width: int, units: int) -> None:
    """Logged once per size, not once per fold and seed."""
    log.warning(
        "td_cnn_flatten_lstm: flattening gives %s features per frame, and the LSTM on them %s weights; "
        "use smaller frames or td_cnn_lstm for fewer.",
        f"{width:,}",
        f"{4 * units * (width + units + 1):,}",
    )
