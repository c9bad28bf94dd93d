"""LiteRT: XNNPACK on CPUs, compiled once and cached."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from importlib.metadata import version
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from extract.backbones.backbone import Backbone
from extract.backbones.pooling import AVERAGE
from extract.engines.engine import Engine, batch_for
from extract.engines.keras_engine import CPU_BATCH, build_in_precision, tensorflow_function
from extract.errors import BackboneError
from extract.system.cache import read_cached, write_cached
from extract.system.cores import usable_cores
from extract.system.litert_runtime import litert_runtime
from extract.system.quiet_start import import_tensorflow, keras_backend, without_chatter
from extract.text import counted

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

LITERT_BATCH = 4  # images of 224 px on one core: few fit in its caches; proportionally fewer if larger
LITERT_COPIES_BYTES = 1 << 30  # every interpreter holds its own copy of the weights
_COMPILED_FORMAT = 1  # part of the cached model's name: raise it when the conversion or a built-in model changes


class ConversionError(BackboneError):
    """This model cannot be converted for LiteRT."""


def make_litert_engine(backbone: Backbone, batch_size: int | None) -> Engine:
    """One interpreter per core: threads of a single one would wait for each other, and for decoding, at every layer."""
    batch_size = batch_size or batch_for(backbone.frame_shape, at_224_px=LITERT_BATCH, fewest=1, most=CPU_BATCH)
    compiled = _compiled(backbone, batch_size)
    cores = usable_cores()
    threads = math.ceil(cores / max(1, min(cores, LITERT_COPIES_BYTES // len(compiled))))
    interpreters = cores // threads
    make_interpreter, runtime = litert_runtime()
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
        backbone.frame_shape,
        compute,
        streams=interpreters,
        units=interpreters,
        on_one_core=threads == 1,
    )


def _compiled(backbone: Backbone, batch_size: int) -> bytes:
    """The model in LiteRT's format, converted once per weights, image size and batch size."""
    pool = "" if backbone.pool == AVERAGE else f"-{backbone.pool.replace(':', '')}"
    known_as = f"file-{_digest(backbone.file.spec.texts())[:16]}" if backbone.file else backbone.name
    name = (
        f"litert{_COMPILED_FORMAT}-{known_as}-{backbone.weights_digest[:16]}-{backbone.image_size}px{pool}"
        f"-batch{batch_size}-keras{version('keras')}.tflite"
    )
    compiled = read_cached(name)
    if compiled is None:
        log.info("converting %s for LiteRT, once", backbone.name)
        compiled = _convert(backbone, batch_size)
        write_cached(name, compiled)
    return compiled


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _convert(backbone: Backbone, batch_size: int) -> bytes:
    if keras_backend() != "tensorflow":
        raise ConversionError(
            f"{backbone.name} is converted for LiteRT by TensorFlow, but KERAS_BACKEND is {keras_backend()}; "
            "use --engine keras, or KERAS_BACKEND=tensorflow for the first run"
        )
    tf = import_tensorflow()
    with without_chatter():
        model = build_in_precision(backbone, "float32")
        function = tensorflow_function(_frozen(model), batch_size, backbone.frame_shape)
        try:
            concrete = function.get_concrete_function()
            # From the graph itself: freezing variables and writing a SavedModel would double the time.
            graph, [frames, *_] = concrete.graph.as_graph_def(), concrete.inputs  # the rest are constants of the graph
            return tf.compat.v1.lite.TFLiteConverter(graph, [frames], concrete.outputs).convert()
        except Exception as error:  # the converter's own exception is not public, and its passes raise others
            reason = str(error).strip().partition("\n")[0][:200]
            raise ConversionError(f"{backbone.name} cannot be converted for LiteRT ({reason})") from error


def _frozen(model: keras.Model) -> Callable[..., Any]:
    """The model as a function that holds its weights as constants."""
    import keras

    weights = [(variable, np.asarray(variable.value)) for variable in model.variables]

    def compute(images: Any, *, training: bool) -> Any:
        constants = [(variable, keras.ops.convert_to_tensor(value)) for variable, value in weights]
        with keras.StatelessScope(state_mapping=constants):
            return model(images, training=training)

    return compute
