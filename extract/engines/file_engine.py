"""ONNX and TFLite files of the user's own: one call per core, or on a GPU a few large ones."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import numpy as np

from extract.backbones.backbone import Backbone
from extract.backbones.graph import Graph, read_graph
from extract.backbones.model_file import file_function
from extract.backbones.spec import ModelFile, ModelSpec
from extract.engines.engine import Compute, Engine, batch_for
from extract.engines.keras_engine import CPU_BATCH, GPU_BATCH, GPU_STREAMS
from extract.errors import BackboneError
from extract.system.cores import usable_cores
from extract.system.litert_runtime import litert_runtime
from extract.text import counted

FILE_BATCH = 4  # images of 224 px on one core, as for LiteRT


def make_file_engine(backbone: Backbone, file: ModelFile, batch_size: int | None) -> Engine:
    """The engine of an ONNX or TFLite file.

    Args:
        backbone: The backbone of this file.
        file: The file and its spec.
        batch_size: B, if the file leaves it open; None: as many pictures as fit in the caches of a core.

    Raises:
        BackboneError: The file fixes another batch size, or cannot be computed.
    """
    graph = read_graph(file.path)
    is_onnx = file.kind == ".onnx"
    fixed = graph.pictures.shape[0] if is_onnx else graph.pictures.shape[0] or 1
    if fixed is not None and batch_size not in (None, fixed):
        raise BackboneError(f"--batch-size {batch_size} does not go with {file.path}, which takes {fixed} at a time")
    compute, name, on_gpu = _onnx_compute(graph, file.spec) if is_onnx else _tflite_compute(graph, file.spec)
    at_224_px, most = (GPU_BATCH, GPU_BATCH) if on_gpu else (FILE_BATCH, CPU_BATCH)
    size = fixed or batch_size or batch_for(backbone.frame_shape, at_224_px=at_224_px, fewest=1, most=most)
    _try(compute, size, backbone, file)
    return Engine(
        f"{name}, float32)",
        file.kind[1:],
        size,
        backbone.frame_shape,
        compute,
        streams=GPU_STREAMS if on_gpu else usable_cores(),
        units=1 if on_gpu else usable_cores(),
        on_one_core=not on_gpu,
    )


def _onnx_compute(graph: Graph, spec: ModelSpec) -> tuple[Compute, str, bool]:
    """One session for all threads: each computes its own call, and all share the weights."""
    compute = file_function(graph, spec)
    import onnxruntime

    on_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    place = "GPU" if on_gpu else f"CPU, {counted(usable_cores(), 'thread')}"
    return compute, f"onnx (onnxruntime {onnxruntime.__version__}, {place}", on_gpu


def _tflite_compute(graph: Graph, spec: ModelSpec) -> tuple[Compute, str, bool]:
    """One interpreter per core."""
    idle: SimpleQueue[Any] = SimpleQueue()
    for _ in range(usable_cores()):
        idle.put(file_function(graph, spec))

    def compute(frames: np.ndarray) -> np.ndarray:
        function = idle.get()
        try:
            return function(frames)
        finally:
            idle.put(function)

    return compute, f"tflite ({litert_runtime()[1]}, CPU, {counted(usable_cores(), 'interpreter')}", False


def _try(compute: Compute, size: int, backbone: Backbone, file: ModelFile) -> None:
    """One batch of black pictures: what cannot be computed is said before any video is opened."""
    alone = "" if size == 1 else "; if it takes one at a time, give --batch-size 1"
    try:
        rows = compute(np.zeros((size, *backbone.frame_shape), np.uint8))
    except Exception as error:  # each runtime has its own exceptions
        reason = str(error).strip().partition("\n")[0][:200]
        raise BackboneError(f"{file.path}: it cannot compute {counted(size, 'picture')} ({reason}){alone}") from error
    if rows.shape != (size, backbone.embedding_dim):
        raise BackboneError(
            f"{file.path}: from {counted(size, 'picture')} came an array of shape {rows.shape}, not "
            f"({size}, {backbone.embedding_dim}){alone}"
        )
