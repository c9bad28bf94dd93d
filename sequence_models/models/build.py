"""One door to both registries: settings -> a Keras model with fresh weights, on embeddings or on raw frames."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from sequence_models.clips.loading import EmbeddingDim
from sequence_models.models.on_embeddings import Seeds, embedding_logits
from sequence_models.models.on_frames import frame_logits
from sequence_models.settings import TrainSettings


@dataclass(frozen=True)
class Architecture:
    """What fixes a model up to its weights; equal ones share one compiled training step.

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
        embedding_dim: D, or (H, W, C) of raw frames.
        num_classes: K.
        seed: Decides the weights and the dropout; nothing else does.

    Returns:
        A model [embeddings (B, T, D) or frames uint8 (B, T, H, W, C), mask (B, T)] -> logits (B, K) or (B, T, K), with
        its `architecture` as attribute.

    Raises:
        ClipError: The model cannot take frames of this shape.
        BackboneError: The backbone of a raw-frame model is unknown, or too large for the frames.
    """
    seeds = Seeds(seed)
    mask = keras.Input((None,), dtype="bool", name="mask")
    if isinstance(embedding_dim, tuple):
        inputs = keras.Input((None, *embedding_dim), dtype="uint8", name="frames")
        logits = frame_logits(inputs, mask, settings, num_classes, seeds)
    else:
        inputs = keras.Input((None, embedding_dim), name="embeddings")
        logits = embedding_logits(inputs, mask, settings, num_classes, seeds, name=settings.model)
    model = keras.Model([inputs, mask], logits, name=settings.model)
    model.architecture = Architecture(settings, embedding_dim, num_classes)
    return model


def output_stages(model: keras.Model) -> list:
    """The logits that a loss is taken of: one tensor, or one per refining stage, the final one last."""
    return [layer.output for layer in model.layers if layer.name.startswith("logits")]
