"""A model with one convolution and fixed random weights, for tests and trials."""

from __future__ import annotations

import hashlib
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extract.backbones.backbone import Backbone
from extract.backbones.pooling import AVERAGE, grid_of, pooled
from extract.errors import BackboneError

if TYPE_CHECKING:
    import keras


_TINY_CHANNELS = 4


def load_tiny(*, weights: Path | None, image_size: int | None, pool: str = AVERAGE) -> Backbone:
    """The tiny backbone, described."""
    size = 8 if image_size is None else image_size
    if weights is not None:
        raise BackboneError("tiny has fixed random weights: --weights does not go with --backbone tiny; leave it out")
    if size < 4 or size % 2:
        raise BackboneError(
            f"--image-size {size} does not go with tiny: it must be an even number of at least 4 pixels"
        )
    digest = hashlib.sha256(b"".join(array.tobytes() for array in _tiny_weights())).hexdigest()
    cells = 4 if pool == AVERAGE else math.prod(grid_of(pool))
    return Backbone("tiny", digest, size, cells * _TINY_CHANNELS, partial(_build_tiny, size, pool), pool=pool)


def _tiny_weights() -> list[np.ndarray]:
    kernel = np.random.default_rng(0).normal(0.0, 0.4, (3, 3, 3, _TINY_CHANNELS))
    return [kernel.astype("<f4"), np.full(_TINY_CHANNELS, 0.5, "<f4")]


def _build_tiny(image_size: int, pool: str) -> keras.Model:
    """One convolution, by default averaged over each quarter of the image: tells layouts apart at no cost."""
    import keras

    images = keras.Input((image_size, image_size, 3), name="images")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(images)
    convolution = keras.layers.Conv2D(_TINY_CHANNELS, 3, padding="same", activation="relu")
    x = convolution(x)
    if pool == AVERAGE:
        x = keras.layers.AveragePooling2D(image_size // 2)(x)  # (B, 2, 2, C)
        embedding = keras.layers.Flatten(dtype="float32", name="embedding")(x)  # (B, D)
    else:
        embedding = pooled(x, pool)
    convolution.set_weights(_tiny_weights())
    return keras.Model(images, embedding, name="tiny")
