"""Keras on any backend and any device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from extract.backbones.backbone import Backbone
from extract.engines.engine import Compute, Engine, batch_for
from extract.errors import BackboneError
from extract.system.quiet_start import (
    allow_tf32,
    has_gpu,
    import_tensorflow,
    keras_backend,
    quiet_tensorflow,
    without_chatter,
)

if TYPE_CHECKING:
    import keras


CPU_BATCH = 32
GPU_BATCH = 128  # images of 224 px; proportionally fewer if larger
GPU_STREAMS = 2  # one batch is computed while the next is copied to the GPU


def make_keras_engine(backbone: Backbone, batch_size: int | None, precision: str) -> Engine:
    """An engine that computes with Keras on the available backend and device."""
    quiet_tensorflow()
    makers = {"tensorflow": _tensorflow_compute, "jax": _jax_compute, "torch": _torch_compute}
    backend = keras_backend()
    if backend not in makers:
        raise BackboneError(f"KERAS_BACKEND={backend} cannot embed videos: use one of {', '.join(makers)}")
    on_gpu = has_gpu()
    shape = backbone.frame_shape
    by_pixels = batch_for(shape, at_224_px=GPU_BATCH, fewest=8, most=GPU_BATCH)
    batch_size = batch_size or (by_pixels if on_gpu else CPU_BATCH)
    with without_chatter():
        allow_tf32(precision == "tf32")
        model = build_in_precision(backbone, "float32" if precision == "tf32" else precision)
        compute, device = makers[backend](model, batch_size, shape)
        # A dummy batch: what the backend compiles (and logs) at the first call happens now.
        try:
            compute(np.zeros((batch_size, *shape), np.uint8))
        except Exception as error:  # each backend has its own exceptions for unsupported number formats
            if precision == "float32":
                raise
            reason = str(error).strip().partition("\n")[0][:200]
            raise BackboneError(
                f"--precision {precision} cannot be computed on this machine's {device} ({reason}); use float32"
            ) from error
    name = f"keras {version('keras')} ({backend} {sys.modules[backend].__version__}, {device}, {precision})"
    return Engine(name, "keras", batch_size, shape, compute, streams=GPU_STREAMS if on_gpu else 1)


def build_in_precision(backbone: Backbone, precision: str) -> keras.Model:
    """The Keras model of a backbone, computing in a precision; its weights stay float32."""
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return backbone.build()
    finally:
        keras.config.set_dtype_policy(policy)


def _tensorflow_compute(model: keras.Model, batch_size: int, shape: tuple[int, ...]) -> tuple[Compute, str]:
    tf = import_tensorflow()
    function = tensorflow_function(model, batch_size, shape)
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return lambda frames: function(tf.constant(frames)).numpy(), device


def tensorflow_function(model: Callable[..., Any], batch_size: int, shape: tuple[int, ...]) -> Any:
    """One static shape, so that nothing is traced or compiled twice; without XLA, which is 40 times slower on a CPU."""
    tf = import_tensorflow()
    batch = tf.TensorSpec((batch_size, *shape), tf.uint8)
    return tf.function(
        lambda frames: model(tf.cast(frames, tf.float32), training=False), input_signature=[batch], autograph=False
    )


def _jax_compute(model: keras.Model, batch_size: int, shape: tuple[int, ...]) -> tuple[Compute, str]:
    import jax

    variables = [[v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]]

    def forward(variables: list, frames: Any) -> Any:
        return model.stateless_call(*variables, frames.astype("float32"), training=False)[0]

    compiled = jax.jit(forward)
    return lambda frames: np.array(compiled(variables, frames)), jax.default_backend().upper()


def _torch_compute(model: keras.Model, batch_size: int, shape: tuple[int, ...]) -> tuple[Compute, str]:
    import keras
    import torch

    device = model.variables[0].value.device
    on_gpu = device.type == "cuda"

    def compute(frames: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            if not on_gpu:
                images = keras.ops.convert_to_tensor(frames)
                return keras.ops.convert_to_numpy(model(images.float(), training=False))
            # Via pinned memory, and back at once: other copies would wait for the previous or next batch.
            images = torch.from_numpy(frames).pin_memory().to(device, non_blocking=True)
            rows = model(images.float(), training=False).to("cpu", non_blocking=True)
            torch.cuda.current_stream(device).record_event().synchronize()
            return rows.numpy()

    return compute, "GPU" if on_gpu else "CPU"
