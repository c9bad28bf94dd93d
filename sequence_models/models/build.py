"""The entry point to both registries: settings -> a Keras model with fresh weights, on embeddings or raw frames."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import keras

from extract.errors import RunError
from extract.system.files import MALFORMED, reason_of
from sequence_models.clips.derived import position_width
from sequence_models.models.derived_layer import DerivedChannels
from sequence_models.models.on_embeddings import Seeds, embedding_logits
from sequence_models.models.on_frames import frame_logits
from sequence_models.records import EmbeddingDim
from sequence_models.settings import DELTA, WINDOWS, TrainSettings

DERIVING = "derive"  # the name of the layer that derives channels


@dataclass(frozen=True)
class Architecture:
    """Everything about a model but its weights; equal architectures share one compiled training step.

    Args:
        settings: How it is built and trained.
        embedding_dim: D, or (H, W, C) of raw frames.
        num_classes: K.
    """

    settings: TrainSettings
    embedding_dim: EmbeddingDim
    num_classes: int


def build_model(
    settings: TrainSettings, *, embedding_dim: EmbeddingDim, num_classes: int, seed: int = 0
) -> keras.Model:
    """Build a model with fresh weights.

    Args:
        settings: Which model, and its sizes.
        embedding_dim: D without derived channels, or (H, W, C) of raw frames.
        num_classes: K.
        seed: The only source of randomness in weights and dropout.

    Returns:
        A model [embeddings (B, T, D) or frames uint8 (B, T, H, W, C), mask (B, T)] -> logits (B, K) or (B, T, K), with
        its `architecture` as an attribute.

    Raises:
        ClipError: The model does not accept frames of this shape.
        BackboneError: The backbone of a raw-frame model is unknown, or too large for the frames.
    """
    seeds = Seeds(seed)
    mask = keras.Input((None,), dtype="bool", name="mask")
    if isinstance(embedding_dim, tuple):
        inputs = keras.Input((None, *embedding_dim), dtype="uint8", name="frames")
        logits = frame_logits(inputs, mask, settings, num_classes, seeds)
    else:
        inputs = keras.Input((None, embedding_dim + position_width(settings)), name="embeddings")
        delta, windows = DELTA in settings.derived_names, WINDOWS in settings.derived_names
        channels = inputs
        if delta or windows:
            derive = DerivedChannels(embedding_dim, delta=delta, windows=windows, causal=settings.causal, name=DERIVING)
            channels = derive(inputs, mask=mask)
        logits = embedding_logits(channels, mask, settings, num_classes, seeds, name=settings.model)
    model = keras.Model([inputs, mask], logits, name=settings.model)
    model.architecture = Architecture(settings, embedding_dim, num_classes)
    return model


def output_stages(model: keras.Model) -> list:
    """The logits that the loss applies to: one tensor, or one per refining stage, the final one last."""
    return [layer.output for layer in model.layers if layer.name.startswith("logits")]


def load_model(settings: TrainSettings, weights: Path, *, embedding_dim: EmbeddingDim, num_classes: int) -> keras.Model:
    """Build a model and load the weights that `fit_model` saved, including the standardisation.

    Args:
        settings: The ones it was trained with.
        weights: The `.weights.h5` file.
        embedding_dim: D, or (H, W, C) of raw frames.
        num_classes: K.

    Returns:
        The trained model; it outputs logits, see `predict` for probabilities.

    Raises:
        RunError: The file is missing or damaged, or has the weights of another model.
    """
    model = build_model(settings, embedding_dim=embedding_dim, num_classes=num_classes)
    read_weights(model, weights)
    return model


def read_weights(model: keras.Model, weights: Path) -> None:
    """Load a weights file into a model from `build_model`; RunError as for `load_model`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns if it leaves a layer untrained
            model.load_weights(weights)
    except (*MALFORMED, UserWarning) as error:
        raise RunError(
            f"{weights} does not fit model {model.name} ({reason_of(error)}); train the run again."
        ) from error
