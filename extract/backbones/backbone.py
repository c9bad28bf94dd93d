"""The description of a frozen image model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extract.backbones.pooling import AVERAGE
from extract.backbones.spec import ModelFile
from extract.errors import BackboneError
from extract.system.files import open_regular
from extract.text import counted

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Backbone:
    """The description of a frozen image model; nothing is loaded until `build` is called.

    Args:
        name: The name it was requested by.
        weights_digest: SHA-256 (hex) of what determines its weights.
        image_size: Side S of the square images it takes, in pixels.
        embedding_dim: D, the length of an embedding.
        build: Makes the Keras model: (B, S, S, 3) of any real dtype with 0..255 RGB -> (B, D) float32.
        channels: C, 3 or 1, for `pixels`, which has no model and keeps the pictures as uint8 (S, S, C), so that D is
            S x S x C; None for a model.
        pool: How its feature map becomes a vector, see `pooling`.
        file: The model file and its spec, if it is the user's own.
    """

    name: str
    weights_digest: str
    image_size: int
    embedding_dim: int
    build: Callable[[], keras.Model]
    channels: int | None = None
    pool: str = AVERAGE
    file: ModelFile | None = None

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of what one row is computed from: (S, S, 3), or for windows of F frames (F, S, S, 3)."""
        return self.file.spec.frame_shape if self.file else (self.image_size, self.image_size, 3)

    @property
    def stored_dtype(self) -> np.dtype:
        """Type of the numbers stored per frame."""
        return np.dtype("float16" if self.channels is None else "uint8")

    @property
    def row_bytes(self) -> int:
        """Bytes stored per frame."""
        return self.embedding_dim * self.stored_dtype.itemsize


def digest_of_file(path: Path) -> str:
    """SHA-256 (hex) of a weights file; BackboneError if it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BackboneError(f"{path}: the weights cannot be read ({error.strerror}); check the path") from error


def check_image_size(name: str, image_size: int, *, smallest: int) -> None:
    """Raises BackboneError if images are too small for a backbone."""
    if image_size < smallest:
        raise BackboneError(
            f"--image-size {image_size} is too small for {name}: it needs {counted(smallest, 'pixel')} or more"
        )
