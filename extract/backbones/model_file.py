"""A model file with its spec as a Backbone: what is known, what follows from the graph, and what must be told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extract.backbones.backbone import Backbone, digest_of_file
from extract.backbones.file_arrays import model_input, vectors
from extract.backbones.graph import Graph, Tensor, check_format, read_graph
from extract.backbones.pooling import grid_of
from extract.backbones.spec import (
    FIRST,
    MAXIMUM,
    MEAN,
    WHOLE,
    ModelFile,
    ModelSpec,
    first_token,
    read_spec,
    spec_file_of,
)
from extract.errors import BackboneError

if TYPE_CHECKING:
    import keras

PREFIX = "file:"
RANKS = {"NHWC": 4, "NCHW": 4, "NTHWC": 5, "NTCHW": 5, "NCTHW": 5}
TOLD_BY_NO_GRAPH = ("range", "mean", "std", "channel_order")


def load_model_file(path: Path, texts: Iterable[str] = (), *, image_size: int | None = None) -> Backbone:
    """A backbone from a model file, described; only its graph is read.

    Args:
        path: A .onnx, .tflite or .keras file.
        texts: KEY=VALUE, which win over the spec beside the file.
        image_size: Side of the pictures in pixels, which wins over both.

    Raises:
        BackboneError: The file cannot be read, the spec lacks something, or the two contradict each other.
    """
    check_format(path)
    spec = read_spec(path, texts)
    if image_size is not None:
        spec = replace(spec, image_size=image_size)
    graph = read_graph(path)
    _check_layout(graph, spec)
    spec = completed(graph, spec)
    if unknown := missing(spec):
        raise BackboneError(
            f"{path}: its graph does not say {', '.join(unknown)}; write them to {spec_file_of(path).name} beside it, "
            f"or give --spec {unknown[0]}=...; clipseq inspect-backbone {path} says what is known"
        )
    check_spec(graph, spec)
    return Backbone(
        f"{PREFIX}{path.name}",
        digest_of(graph),
        spec.image_size or 0,
        embedding_dim(graph, spec),
        partial(_build, path, spec),
        file=ModelFile(path, spec),
    )


def completed(graph: Graph, spec: ModelSpec) -> ModelSpec:
    """A spec with what follows from the graph filled in where it says nothing."""
    shape = graph.pictures.shape
    known: dict[str, Any] = {"layout": spec.layout or _layout(shape)}
    if known["layout"] is None or len(known["layout"]) != len(shape):
        return spec
    sizes = dict(zip(known["layout"], shape, strict=True))
    known["image_size"] = spec.image_size or (sizes["H"] if sizes["H"] == sizes["W"] else None)
    if "T" in sizes:
        known["frames"] = frames = spec.frames or sizes["T"]
        known["stride"] = stride = spec.stride or 1
        known["hop"] = spec.hop or (None if frames is None else frames * stride)
    if spec.output is None and len(graph.outputs) == 1:
        known["output"] = graph.outputs[0].name
    name = known.get("output", spec.output)
    if spec.pool is None and name is not None and len(graph.output(name).shape) == 2:
        known["pool"] = WHOLE
    return replace(spec, **known)


def missing(spec: ModelSpec) -> list[str]:
    """The entries that a spec still needs."""
    of_windows = () if spec.has_time else ("frames", "stride", "hop")
    return [each.name for each in fields(spec) if getattr(spec, each.name) is None and each.name not in of_windows]


def check_spec(graph: Graph, spec: ModelSpec) -> None:
    """Holds a complete spec against the graph.

    Raises:
        BackboneError: They contradict each other; says where.
    """
    path, pictures, layout = graph.path, graph.pictures, spec.layout or ""
    _check_layout(graph, spec)
    wanted = {"C": 3, "H": spec.image_size, "W": spec.image_size, "T": spec.frames}
    for axis, size in zip(layout[1:], pictures.shape[1:], strict=True):
        if size is not None and size != wanted[axis]:
            key = "frames" if axis == "T" else "image_size"
            raise BackboneError(f"{path}: {key}={wanted[axis]} does not fit the model's input, which is {pictures}")
    kind = np.dtype(pictures.dtype).kind if pictures.dtype in ("float16", "float32", "float64", "uint8") else ""
    if not kind:
        raise BackboneError(f"{path}: its input is {pictures}; pictures must be float16, float32, float64 or uint8")
    if kind == "u" and spec.scale_and_offset() != ([1.0] * 3, [0.0] * 3):
        raise BackboneError(
            f"{path}: its input is {pictures}, so it scales them itself: give range=0,255 mean=0,0,0 std=1,1,1"
        )
    _check_output(path, graph.output(spec.output or ""), spec)


def embedding_dim(graph: Graph, spec: ModelSpec) -> int:
    """D, from the graph, or if it does not say so, from a black picture."""
    shape, pool = graph.output(spec.output or "").shape, spec.pool or WHOLE
    width = shape[spec.channel_axis] if len(shape) > 3 else shape[-1]
    if width is not None:
        return width * prod(grid_of(pool))
    batch = graph.pictures.shape[0] or 1
    return file_function(graph, spec)(np.zeros((batch, *spec.frame_shape), np.uint8)).shape[1]


def file_function(graph: Graph, spec: ModelSpec, *, threads: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """Computes an ONNX or TFLite file, in the thread that calls it: of TFLite one call at a time.

    Returns:
        uint8 (B, S, S, 3), or (B, F, S, S, 3) -> float32 (B, D).
    """
    compute = opened_file(graph, threads=threads)
    return lambda frames: compute(frames, spec)


def opened_file(graph: Graph, *, threads: int = 1) -> Callable[[np.ndarray, ModelSpec], np.ndarray]:
    """As `file_function`, for any spec: the file is opened once."""
    name, dtype = graph.pictures.name, graph.pictures.dtype
    if graph.path.suffix.lower() == ".onnx":
        from extract.backbones.onnx_file import open_session

        session = open_session(graph.path)
        return lambda frames, spec: vectors(
            session.run([spec.output], {name: model_input(frames, spec, dtype)})[0], spec
        )
    from extract.backbones.tflite_file import make_interpreter

    interpreter = make_interpreter(graph.path, threads=threads)
    pictures = interpreter.get_input_details()[0]["index"]
    places = {each["name"]: each["index"] for each in interpreter.get_output_details()}

    def compute(frames: np.ndarray, spec: ModelSpec) -> np.ndarray:
        interpreter.set_tensor(pictures, model_input(frames, spec, dtype))
        interpreter.invoke()
        return vectors(interpreter.get_tensor(places[spec.output or ""]), spec)

    return compute


def digest_of(graph: Graph) -> str:
    """SHA-256 (hex) of a model file; if its weights lie in other files, of the digests of all."""
    digests = [digest_of_file(path) for path in graph.weights]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _build(path: Path, spec: ModelSpec) -> keras.Model:
    if path.suffix.lower() != ".keras":
        raise BackboneError(f"{path} is not a Keras model: it can embed videos, but not be built into another model")
    from extract.backbones.keras_file import build_keras_file

    return build_keras_file(path, spec)


def _check_layout(graph: Graph, spec: ModelSpec) -> None:
    pictures, layout = graph.pictures, spec.layout
    if layout is None:
        return
    if RANKS[layout] != len(pictures.shape):
        raise BackboneError(
            f"{graph.path}: layout={layout} has {RANKS[layout]} axes, but the model's input is {pictures}"
        )
    if pictures.shape[spec.channel_axis] not in (3, None):
        raise BackboneError(f"{graph.path}: layout={layout} does not fit the model's input, which is {pictures}")


def _layout(shape: tuple[int | None, ...]) -> str | None:
    fitting = [name for name, rank in RANKS.items() if rank == len(shape) and shape[name.index("C")] == 3]
    return fitting[0] if len(fitting) == 1 else None


def _check_output(path: Path, output: Tensor, spec: ModelSpec) -> None:
    rank, pool = len(output.shape), spec.pool or WHOLE
    allowed = {2: (WHOLE,), 3: (FIRST, MEAN, "mean:K", MAXIMUM), 4: (MEAN, MAXIMUM, "grid:RxC"), 5: (MEAN, MAXIMUM)}
    kinds = {2: "a vector", 3: "tokens", 4: "a feature map", 5: "a feature map over time"}
    if rank not in allowed:
        raise BackboneError(f"{path}: output {output} is neither a vector nor tokens nor a feature map")
    form = "mean:K" if first_token(pool) else "grid:RxC" if pool.startswith("grid") else pool
    if form not in allowed[rank]:
        raise BackboneError(
            f"{path}: output {output} is {kinds[rank]}, so pool must be {' or '.join(allowed[rank])}, not {pool}"
        )
