"""A Backbone in, a fast function out: uint8 (B, H, W, 3) -> float32 (B, D), always of one batch size.

The backbone `pixels` is no model: its engine gives the pictures themselves, uint8 (B, H, W, C).

Two ways to compute the same float32 numbers, to rounding: `keras` (any backend, any device) and `litert` (XNNPACK, the
fastest on a CPU), compiled once and cached, so that a job on a CPU starts without TensorFlow where ai-edge-litert is
installed. How far the numbers of two calls agree is part of each engine: see `Engine`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from extract.backbones.registry import Backbone
from extract.decode.transforms import grey
from extract.errors import BackboneError
from extract.system.cache import read_cached, write_cached
from extract.system.cores import usable_cores
from extract.system.quiet_start import without_chatter
from extract.text import counted

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

ENGINES = ("auto", "keras", "litert")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")

CPU_BATCH = 32
LITERT_BATCH = 4  # images of 224 px on one core: few stay in its caches; larger images in proportion fewer
LITERT_COPIES_BYTES = 1 << 30  # every interpreter holds its own copy of the weights
GPU_BATCH = 128  # images of 224 px; larger images in proportion fewer
ROUNDING = 1e-5  # of the largest number in a batch: how far float32 rows of Keras may differ; 1e-6 has been seen
GPU_STREAMS = 2  # one batch is computed while the next is copied to the GPU
PIXELS_BATCH_BYTES = 1 << 20  # tens of batches may wait to be stored, and frames are large

_COMPILED_FORMAT = 1  # part of the cached model's name: raise it when the conversion or a built-in model changes
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, Windows' subsystem for Linux, AMD


Compute = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Engine:
    """A backbone ready to compute; what a row holds depends on its frame alone.

    `litert` keeps that to the bit on one machine: in any batch, at any place, of any size, on any number of cores.
    `pixels` keeps it everywhere. `keras` keeps it to rounding: the library below chooses its kernels by processor,
    number of cores and batch size, and some add in another order for another row of the batch. In float32 rows of one
    frame then differ by less than `ROUNDING` of the largest number in the batch. So only rows of `litert` and `pixels`
    may be compared byte by byte between two runs.

    Args:
        name: What computes, with versions: "litert (ai-edge-litert 2.3.0, CPU, 2 interpreters of 1 thread, float32)".
        kind: "keras", "litert" or "pixels".
        batch_size: B, the number of rows of every call.
        image_size: S, the side of the images.
        compute: uint8 (B, S, S, 3) -> float32 (B, D), unchecked; of `pixels` uint8 (B, S, S, C).
        streams: As many threads may call it at once, and should, to keep it busy.
        units: How many of their calls are computed at the same time: a GPU takes one after the other.
        on_one_core: A call keeps one core busy, which decoding may need too.
    """

    name: str
    kind: str
    batch_size: int
    image_size: int
    compute: Compute
    streams: int = 1
    units: int = 1
    on_one_core: bool = False

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Embeds one full batch; a row's embedding does not depend on the other rows, as far as the class says.

        Args:
            frames: uint8 (B, S, S, 3), RGB.

        Returns:
            float32 (B, D), or uint8 (B, S, S, C) of `pixels`, owned by the caller.
        """
        expected = (self.batch_size, self.image_size, self.image_size, 3)
        if frames.shape != expected or frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8{expected}, got {frames.dtype}{frames.shape}")
        return self.compute(frames)


def make_engine(
    backbone: Backbone, *, kind: str = "auto", batch_size: int | None = None, precision: str = "float32"
) -> Engine:
    """Builds or loads what computes a backbone's embeddings.

    Args:
        backbone: What to compute.
        kind: "keras", "litert", or "auto": litert where TensorFlow would run on a CPU, keras elsewhere.
        batch_size: B, fixed for the life of the engine; None: on every core 4 images of 224 px for LiteRT, for Keras 32
            on a CPU and what it can hold on a GPU, and of `pixels` what fits in 1 MiB.
        precision: "float32", "mixed_float16" or "mixed_bfloat16"; the embeddings are float32 in any case.

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
    if kind == "litert" and precision != "float32":
        raise BackboneError(f"--engine litert computes in float32 only: --precision {precision} needs --engine keras")
    if kind == "litert":
        return _litert_engine(backbone, batch_size)
    if kind == "auto" and precision == "float32" and _keras_backend() == "tensorflow" and not _has_gpu():
        try:
            return _litert_engine(backbone, batch_size)
        except _ConversionError as error:
            log.warning("%s; Keras computes it instead, more slowly", error)
    return _keras_engine(backbone, batch_size, precision)


def quiet_tensorflow() -> None:
    """Imports TensorFlow, where Keras will use it, without its start-up lines on standard error.

    Call it before the first `import keras`. With another backend of Keras it does nothing.
    """
    if _keras_backend() == "tensorflow":
        _tensorflow()


class _ConversionError(BackboneError):
    """LiteRT cannot hold this model."""


def _pixels_engine(backbone: Backbone, batch_size: int | None, *, kind: str, precision: str) -> Engine:
    for flag, value, default in (("--engine", kind, "auto"), ("--precision", precision, "float32")):
        if value != default:
            raise BackboneError(f"{flag} {value} does not go with {backbone.name}, which has no model; leave it out")
    size = backbone.image_size
    batch_size = batch_size or max(1, min(CPU_BATCH, PIXELS_BATCH_BYTES // (3 * size * size)))
    return Engine(backbone.name, "pixels", batch_size, size, np.copy if backbone.channels == 3 else grey)


def _keras_engine(backbone: Backbone, batch_size: int | None, precision: str) -> Engine:
    quiet_tensorflow()
    makers = {"tensorflow": _tensorflow_compute, "jax": _jax_compute, "torch": _torch_compute}
    backend = _keras_backend()
    if backend not in makers:
        raise BackboneError(f"KERAS_BACKEND={backend} cannot embed videos: use one of {', '.join(makers)}")
    has_gpu = _has_gpu()
    by_pixels = _batch_for(backbone.image_size, at_224_px=GPU_BATCH, fewest=8, most=GPU_BATCH)
    batch_size = batch_size or (by_pixels if has_gpu else CPU_BATCH)
    with without_chatter():
        _forbid_tf32(backend)
        model = _built(backbone, precision)
        compute, device = makers[backend](model, batch_size, backbone.image_size)
        # One batch of nothing: what the backend compiles at the first call is compiled (and says so) now.
        try:
            compute(np.zeros((batch_size, backbone.image_size, backbone.image_size, 3), np.uint8))
        except Exception as error:  # each backend has its own classes for a processor that lacks the numbers
            if precision == "float32":
                raise
            reason = str(error).strip().partition("\n")[0][:200]
            raise BackboneError(
                f"--precision {precision} cannot be computed on this machine's {device} ({reason}); use float32"
            ) from error
    name = f"keras {version('keras')} ({backend} {sys.modules[backend].__version__}, {device}, {precision})"
    return Engine(name, "keras", batch_size, backbone.image_size, compute, streams=GPU_STREAMS if has_gpu else 1)


def _forbid_tf32(backend: str) -> None:
    """Ampere and later GPUs multiply float32 with 10 bits of mantissa unless told otherwise."""
    if backend == "tensorflow":
        _tensorflow().config.experimental.enable_tensor_float_32_execution(False)
    elif backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    else:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def _tensorflow() -> Any:
    """The module, imported without chatter at the first call."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with without_chatter():  # TensorFlow 2.21 prints two of its lines whatever that variable says
            import tensorflow  # noqa: F401
        for name in ("absl", "tensorflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
    return sys.modules["tensorflow"]


def _built(backbone: Backbone, precision: str) -> keras.Model:
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return backbone.build()
    finally:
        keras.config.set_dtype_policy(policy)


def _tensorflow_compute(model: keras.Model, batch_size: int, image_size: int) -> tuple[Compute, str]:
    tf = _tensorflow()
    function = _tensorflow_function(model, batch_size, image_size)
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return lambda frames: function(tf.constant(frames)).numpy(), device


def _tensorflow_function(model: Callable[..., Any], batch_size: int, image_size: int) -> Any:
    """One static shape, so that nothing is traced or compiled twice; no XLA, which is 40 times slower on a CPU."""
    tf = _tensorflow()
    shape = tf.TensorSpec((batch_size, image_size, image_size, 3), tf.uint8)
    return tf.function(
        lambda frames: model(tf.cast(frames, tf.float32), training=False), input_signature=[shape], autograph=False
    )


def _jax_compute(model: keras.Model, batch_size: int, image_size: int) -> tuple[Compute, str]:
    import jax

    variables = [[v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]]

    def forward(variables: list, frames: Any) -> Any:
        return model.stateless_call(*variables, frames.astype("float32"), training=False)[0]

    compiled = jax.jit(forward)
    return lambda frames: np.array(compiled(variables, frames)), jax.default_backend().upper()


def _torch_compute(model: keras.Model, batch_size: int, image_size: int) -> tuple[Compute, str]:
    import keras
    import torch

    device = model.variables[0].value.device
    on_gpu = device.type == "cuda"

    def compute(frames: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            if not on_gpu:
                images = keras.ops.convert_to_tensor(frames)
                return keras.ops.convert_to_numpy(model(images.float(), training=False))
            # Through pinned memory, and back at once: other copies would wait for the batch before or after this one.
            images = torch.from_numpy(frames).pin_memory().to(device, non_blocking=True)
            rows = model(images.float(), training=False).to("cpu", non_blocking=True)
            torch.cuda.current_stream(device).record_event().synchronize()
            return rows.numpy()

    return compute, "GPU" if on_gpu else "CPU"


def _litert_engine(backbone: Backbone, batch_size: int | None) -> Engine:
    """One interpreter per core: the threads of a single one wait for each other, and for decoding, at every layer."""
    batch_size = batch_size or _batch_for(backbone.image_size, at_224_px=LITERT_BATCH, fewest=1, most=CPU_BATCH)
    compiled = _compiled(backbone, batch_size)
    cores = usable_cores()
    threads = math.ceil(cores / max(1, min(cores, LITERT_COPIES_BYTES // len(compiled))))
    interpreters = cores // threads
    make_interpreter, runtime = _litert_runtime()
    idle: SimpleQueue[Any] = SimpleQueue()
    with without_chatter():
        for _ in range(interpreters):
            interpreter = make_interpreter(model_content=compiled, num_threads=threads)
            interpreter.allocate_tensors()
            idle.put(interpreter)
    frames_index = interpreter.get_input_details()[0]["index"]
    embeddings_index = interpreter.get_output_details()[0]["index"]

    def compute(frames: np.ndarray) -> np.ndarray:
        interpreter = idle.get()
        try:
            interpreter.set_tensor(frames_index, frames)
            interpreter.invoke()
            return interpreter.get_tensor(embeddings_index)  # a copy
        finally:
            idle.put(interpreter)

    share = f"{counted(interpreters, 'interpreter')} of {counted(threads, 'thread')}"
    name = f"litert ({runtime}, CPU, {share}, float32)"
    return Engine(
        name,
        "litert",
        batch_size,
        backbone.image_size,
        compute,
        streams=interpreters,
        units=interpreters,
        on_one_core=threads == 1,
    )


def _compiled(backbone: Backbone, batch_size: int) -> bytes:
    """The model as LiteRT reads it, converted once per weights, image size and batch size."""
    name = (
        f"litert{_COMPILED_FORMAT}-{backbone.name}-{backbone.weights_digest[:16]}-{backbone.image_size}px"
        f"-batch{batch_size}-keras{version('keras')}.tflite"
    )
    compiled = read_cached(name)
    if compiled is None:
        log.info("converting %s for LiteRT, once", backbone.name)
        compiled = _convert(backbone, batch_size)
        write_cached(name, compiled)
    return compiled


def _convert(backbone: Backbone, batch_size: int) -> bytes:
    if _keras_backend() != "tensorflow":
        raise _ConversionError(
            f"{backbone.name} is converted for LiteRT by TensorFlow, and KERAS_BACKEND is {_keras_backend()}; "
            "use --engine keras, or KERAS_BACKEND=tensorflow for the first run"
        )
    tf = _tensorflow()
    with without_chatter():
        model = _built(backbone, "float32")
        function = _tensorflow_function(_frozen(model), batch_size, backbone.image_size)
        try:
            concrete = function.get_concrete_function()
            # Of the graph itself: freezing variables and writing a SavedModel on the way take as long as the rest.
            graph, [frames, *_] = concrete.graph.as_graph_def(), concrete.inputs  # the rest are constants of the graph
            return tf.compat.v1.lite.TFLiteConverter(graph, [frames], concrete.outputs).convert()
        except Exception as error:  # the converter's own class is not public, and its passes raise others
            reason = str(error).strip().partition("\n")[0][:200]
            raise _ConversionError(f"{backbone.name} cannot be converted for LiteRT ({reason})") from error


def _frozen(model: keras.Model) -> Callable[..., Any]:
    """The model as a function that holds its weights as constants."""
    import keras

    weights = [(variable, np.asarray(variable.value)) for variable in model.variables]

    def compute(images: Any, *, training: bool) -> Any:
        constants = [(variable, keras.ops.convert_to_tensor(value)) for variable, value in weights]
        with keras.StatelessScope(state_mapping=constants):
            return model(images, training=training)

    return compute


def _litert_runtime() -> tuple[Callable[..., Any], str]:
    """The interpreter of ai-edge-litert, which loads in a tenth of a second, or else TensorFlow's own."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        tf = _tensorflow()
        return _without_deprecation(tf.lite.Interpreter), f"tensorflow {tf.__version__}"
    return Interpreter, f"ai-edge-litert {version('ai-edge-litert')}"


def _without_deprecation(interpreter_class: Callable[..., Any]) -> Callable[..., Any]:
    def make(**arguments: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
            return interpreter_class(**arguments)

    return make


def _keras_backend() -> str:
    """The backend that Keras uses or will use, found without importing it."""
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend()
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return json.loads((home / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):  # Keras takes its default in the same cases
        return "tensorflow"


def _has_gpu() -> bool:
    """Asks the backend only where the machine may have one: asking costs seconds."""
    if sys.platform == "linux" and not any(Path(device).exists() for device in _GPU_DEVICES):
        return False
    backend = _keras_backend()
    if backend == "jax":
        import jax

        return jax.default_backend() != "cpu"
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    return bool(_tensorflow().config.list_physical_devices("GPU"))


def _batch_for(image_size: int, *, at_224_px: int, fewest: int, most: int) -> int:
    """How many images of this size have as many pixels as so many of 224 px."""
    return max(fewest, min(most, at_224_px * 224**2 // image_size**2))


def _check_choice(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BackboneError(f"{flag} {value} is unknown: use one of {', '.join(known)}")
