"""The image models of Keras Applications by lower-case name, each with the preprocessing its weights expect.

Preprocessing is built into the model as layers: `preprocess_input` fails on uint8 tensors, changes arrays in place, and
does nothing for the families that preprocess inside.
"""

from __future__ import annotations

import hashlib
import math
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from extract.backbones.backbone import Backbone, check_image_size, digest_of_file
from extract.backbones.pooling import AVERAGE, grid_of, pooled
from extract.errors import BackboneError
from extract.system.cache import cache_folder, read_cached, write_cached
from extract.system.files import MALFORMED
from extract.system.quiet_start import import_keras_quietly

if TYPE_CHECKING:
    import keras


_DOWNLOAD_TIMEOUT_SECONDS = 20.0
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STDDEV = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


class Family(NamedTuple):
    """One model: its function in `keras.applications`, its image size, D, preprocessing mode, smallest size."""

    function: str
    image_size: int
    embedding_dim: int
    preprocessing: Literal["caffe", "tf", "torch", "inside"]
    smallest: int = 32


FAMILIES = {
    "convnext_base": Family("ConvNeXtBase", 224, 1024, "inside"),
    "convnext_large": Family("ConvNeXtLarge", 224, 1536, "inside"),
    "convnext_small": Family("ConvNeXtSmall", 224, 768, "inside"),
    "convnext_tiny": Family("ConvNeXtTiny", 224, 768, "inside"),
    "convnext_xlarge": Family("ConvNeXtXLarge", 224, 2048, "inside"),
    "densenet121": Family("DenseNet121", 224, 1024, "torch"),
    "densenet169": Family("DenseNet169", 224, 1664, "torch"),
    "densenet201": Family("DenseNet201", 224, 1920, "torch"),
    "efficientnet_b0": Family("EfficientNetB0", 224, 1280, "inside"),
    "efficientnet_b1": Family("EfficientNetB1", 240, 1280, "inside"),
    "efficientnet_b2": Family("EfficientNetB2", 260, 1408, "inside"),
    "efficientnet_b3": Family("EfficientNetB3", 300, 1536, "inside"),
    "efficientnet_b4": Family("EfficientNetB4", 380, 1792, "inside"),
    "efficientnet_b5": Family("EfficientNetB5", 456, 2048, "inside"),
    "efficientnet_b6": Family("EfficientNetB6", 528, 2304, "inside"),
    "efficientnet_b7": Family("EfficientNetB7", 600, 2560, "inside"),
    "efficientnetv2_b0": Family("EfficientNetV2B0", 224, 1280, "inside"),
    "efficientnetv2_b1": Family("EfficientNetV2B1", 240, 1280, "inside"),
    "efficientnetv2_b2": Family("EfficientNetV2B2", 260, 1408, "inside"),
    "efficientnetv2_b3": Family("EfficientNetV2B3", 300, 1536, "inside"),
    "efficientnetv2_s": Family("EfficientNetV2S", 384, 1280, "inside"),
    "efficientnetv2_m": Family("EfficientNetV2M", 480, 1280, "inside"),
    "efficientnetv2_l": Family("EfficientNetV2L", 480, 1280, "inside"),
    "inception_resnet_v2": Family("InceptionResNetV2", 299, 1536, "tf", 75),
    "inception_v3": Family("InceptionV3", 299, 2048, "tf", 75),
    "mobilenet": Family("MobileNet", 224, 1024, "tf"),
    "mobilenet_v2": Family("MobileNetV2", 224, 1280, "tf"),
    "mobilenet_v3_large": Family("MobileNetV3Large", 224, 960, "inside"),
    "mobilenet_v3_small": Family("MobileNetV3Small", 224, 576, "inside"),
    "nasnet_large": Family("NASNetLarge", 331, 4032, "tf"),
    "nasnet_mobile": Family("NASNetMobile", 224, 1056, "tf"),
    "resnet50": Family("ResNet50", 224, 2048, "caffe"),
    "resnet101": Family("ResNet101", 224, 2048, "caffe"),
    "resnet152": Family("ResNet152", 224, 2048, "caffe"),
    "resnet50_v2": Family("ResNet50V2", 224, 2048, "tf"),
    "resnet101_v2": Family("ResNet101V2", 224, 2048, "tf"),
    "resnet152_v2": Family("ResNet152V2", 224, 2048, "tf"),
    "vgg16": Family("VGG16", 224, 512, "caffe"),
    "vgg19": Family("VGG19", 224, 512, "caffe"),
    "xception": Family("Xception", 299, 2048, "tf", 71),
}


def build_family(
    name: str, *, image_size: int, weights: Path | Literal["imagenet"] | None, pool: str = AVERAGE
) -> keras.Model:
    """Builds a Keras Applications model without its top, pooled over the image, with preprocessing inside.

    Args:
        name: A key of `FAMILIES`.
        image_size: Side of the images in pixels.
        weights: A weights file of the model without its top, "imagenet" (downloaded at first use), or None for random
            weights.
        pool: How the feature map becomes a vector.

    Returns:
        Keras model: (B, S, S, 3) with 0..255 RGB -> (B, D) float32.

    Raises:
        BackboneError: The weights cannot be downloaded, or do not match.
    """
    import_keras_quietly()
    import keras

    family = FAMILIES[name]
    source = "imagenet" if weights == "imagenet" else None
    with _explained_download(name, family):
        model = getattr(keras.applications, family.function)(
            include_top=False,
            weights=source,
            input_shape=(image_size, image_size, 3),
            pooling="avg" if pool == AVERAGE else None,
        )
    if isinstance(weights, Path):
        _load_weights(model, name, weights)
    images = keras.Input((image_size, image_size, 3), name="images")
    embedding = model(_preprocess(images, family.preprocessing))
    if pool == AVERAGE:
        embedding = keras.layers.Activation("linear", dtype="float32", name="embedding")(embedding)  # (B, D)
    else:
        embedding = pooled(embedding, pool)
    return keras.Model(images, embedding, name=name)


def digest_of_weights(model: keras.Model) -> str:
    """SHA-256 (hex) over the shapes and values of all weights of a model, in order; ignores names."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(f"{array.shape} {array.dtype};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _preprocess(images, mode: str):
    """The same numbers as `keras.applications.imagenet_utils.preprocess_input`, as layers in float32."""
    import keras

    if mode == "tf":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(images)
    if mode == "torch":
        mean = [255 * value for value in _IMAGENET_MEAN]
        variance = [(255 * value) ** 2 for value in _IMAGENET_STDDEV]
        return keras.layers.Normalization(mean=mean, variance=variance, dtype="float32")(images)
    if mode == "caffe":
        images = keras.ops.flip(images, axis=-1)  # RGB -> BGR
        return keras.layers.Normalization(mean=_CAFFE_MEAN_BGR, variance=[1.0] * 3, dtype="float32")(images)
    return images


def _load_weights(model: keras.Model, name: str, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns about layers that keep their random weights
            model.load_weights(path)
    except (*MALFORMED, UserWarning) as error:
        reason = " ".join(str(error).split())[:200]
        raise BackboneError(
            f"{path} does not match {name} ({reason}); give a Keras weights file of this model without its top (notop)"
        ) from error
    _repair_efficientnet_scale(model)


def _repair_efficientnet_scale(model: keras.Model) -> None:
    """Makes published EfficientNet weights work the same from a file as with `weights="imagenet"`.

    Their file holds the standard deviation where the layer expects the variance, and Keras corrects for it with a
    second layer, which it adds only for "imagenet": https://github.com/tensorflow/tensorflow/issues/49930
    """
    for layer in model.layers:
        if type(layer).__name__ == "Normalization" and len(layer.weights) >= 2 and "efficientnet" in model.name:
            mean, variance, *rest = layer.get_weights()
            if np.allclose(variance.ravel(), _IMAGENET_STDDEV, atol=1e-4):
                layer.set_weights([mean, variance**2, *rest])
                layer.finalize_state()


@contextmanager
def _explained_download(name: str, family: Family) -> Iterator[None]:
    """No progress bar, no endless wait, and a clear error if the weights cannot be downloaded."""
    import keras

    chatty, patience = keras.config.is_interactive_logging_enabled(), socket.getdefaulttimeout()
    keras.config.disable_interactive_logging()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MobileNet warns about every image size without its own weights
            yield
    except Exception as error:  # Keras raises a plain Exception if a download fails
        if not isinstance(error, OSError) and "URL fetch failure" not in str(error):
            raise
        raise BackboneError(
            f"the ImageNet weights of {name} cannot be downloaded ({error}): there is no network, or the server does "
            f"not answer. Fetch the notop weights file of {family.function} elsewhere and give it with --weights PATH"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
        if chatty:
            keras.config.enable_interactive_logging()


def load_family(name: str, *, weights: Path | None, image_size: int | None, pool: str = AVERAGE) -> Backbone:
    """A backbone of the Keras families, described; uses ImageNet weights if no file is given."""
    family = FAMILIES[name]
    size = family.image_size if image_size is None else image_size
    check_image_size(name, size, smallest=family.smallest)
    if weights is not None:
        if weights.suffix != ".h5":
            raise BackboneError(
                f"--weights {weights} must be a Keras weights file that ends in .h5; a .keras file is a whole model "
                "with its own code, which is not run here. Save its weights with model.save_weights"
            )
        digest = digest_of_file(weights)
        build = partial(build_family, name, image_size=size, weights=weights, pool=pool)
    else:
        digest = _imagenet_digest(name, size)
        build = partial(_build_imagenet, name, size, digest, pool)
    return Backbone(name, digest, size, family.embedding_dim * math.prod(grid_of(pool)), build, pool=pool)


def _build_imagenet(name: str, image_size: int, digest: str, pool: str) -> keras.Model:
    model = build_family(name, image_size=image_size, weights="imagenet", pool=pool)
    if digest_of_weights(model) != digest:
        raise BackboneError(
            f"the downloaded ImageNet weights of {name} are not the same as last time; "
            f"remove {cache_folder() / _digest_name(name, image_size)} to accept them"
        )
    return model


def _imagenet_digest(name: str, image_size: int) -> str:
    """Known from last time, or found by loading the model once: only the loaded weights count."""
    remembered = read_cached(_digest_name(name, image_size))
    if remembered is not None:
        return remembered.decode()
    digest = digest_of_weights(build_family(name, image_size=image_size, weights="imagenet"))
    write_cached(_digest_name(name, image_size), digest.encode())
    return digest


def _digest_name(name: str, image_size: int) -> str:
    return f"imagenet-{name}-{image_size}px-keras{version('keras')}.sha256"
