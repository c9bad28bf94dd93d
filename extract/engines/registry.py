"""A name -> an engine."""

from __future__ import annotations

import logging

import numpy as np

from extract.backbones.backbone import Backbone
from extract.backbones.pixels import grey
from extract.engines.engine import Engine
from extract.engines.file_engine import make_file_engine
from extract.engines.keras_engine import CPU_BATCH, make_keras_engine
from extract.engines.litert import ConversionError, make_litert_engine
from extract.engines.names import ENGINES, PRECISIONS
from extract.errors import BackboneError
from extract.system.quiet_start import has_gpu, keras_backend

log = logging.getLogger(__name__)

PIXELS_BATCH_BYTES = 1 << 20  # dozens of batches may wait to be stored, and frames are large


def make_engine(
    backbone: Backbone, *, kind: str = "auto", batch_size: int | None = None, precision: str = "float32"
) -> Engine:
    """Builds or loads the engine of a backbone.

    Args:
        backbone: What to compute.
        kind: "keras", "litert", or "auto": litert if TensorFlow would run on a CPU, else keras.
        batch_size: B, fixed for the life of the engine; None: for LiteRT 4 images of 224 px per core, for Keras 32 on
            a CPU or what fits on a GPU, for `pixels` what fits in 1 MiB.
        precision: "float32", "tf32" (on GPUs of NVIDIA, float32 with products of a 10-bit mantissa), "mixed_float16" or
            "mixed_bfloat16"; the embeddings are float32 in any case.

    Returns:
        The engine.

    Raises:
        BackboneError: The choice is unknown or impossible, or the model cannot be built or converted.
    """
    _check_choice("--engine", kind, ENGINES)
    _check_choice("--precision", precision, PRECISIONS)
    if batch_size is not None and batch_size < 1:
        raise BackboneError(f"--batch-size {batch_size} must be 1 or more")
    if backbone.channels is not None:
        return _pixels_engine(backbone, batch_size, kind=kind, precision=precision)
    if backbone.file is not None and backbone.file.kind != ".keras":
        for flag, value, default in (("--engine", kind, "auto"), ("--precision", precision, "float32")):
            if value != default:
                raise BackboneError(f"{flag} {value} does not go with {backbone.name}: leave it out")
        return make_file_engine(backbone, backbone.file, batch_size)
    if kind == "litert" and precision != "float32":
        raise BackboneError(f"--engine litert computes in float32 only: --precision {precision} needs --engine keras")
    if kind == "litert":
        return make_litert_engine(backbone, batch_size)
    if kind == "auto" and precision == "float32" and keras_backend() == "tensorflow" and not has_gpu():
        try:
            return make_litert_engine(backbone, batch_size)
        except ConversionError as error:
            log.warning("%s; using Keras instead, which is slower", error)
    return make_keras_engine(backbone, batch_size, precision)


def _pixels_engine(backbone: Backbone, batch_size: int | None, *, kind: str, precision: str) -> Engine:
    for flag, value, default in (("--engine", kind, "auto"), ("--precision", precision, "float32")):
        if value != default:
            raise BackboneError(f"{flag} {value} does not go with {backbone.name}, which has no model; leave it out")
    size = backbone.image_size
    batch_size = batch_size or max(1, min(CPU_BATCH, PIXELS_BATCH_BYTES // (3 * size * size)))
    return Engine(
        backbone.name, "pixels", batch_size, backbone.frame_shape, np.copy if backbone.channels == 3 else grey
    )


def _check_choice(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BackboneError(f"{flag} {value} is unknown: use one of {', '.join(known)}")
