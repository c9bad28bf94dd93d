"""ONNX files: their graph, the files that hold their weights, and a session that computes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from extract.backbones.graph import Graph, Tensor
from extract.errors import BackboneError

INSTALL = "pip install 'clipseq[onnx]'"


def read_onnx(path: Path) -> Graph:
    """The graph of an ONNX file.

    Raises:
        BackboneError: It cannot be read, its weights are missing or lie elsewhere, or ONNX is not installed.
    """
    try:
        import onnx
        from onnx.external_data_helper import ExternalDataInfo, uses_external_data
    except ImportError:
        raise BackboneError(f"{path} is read by onnx and computed by onnxruntime: {INSTALL}") from None
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the parser's own exceptions are not public
        raise BackboneError(f"{path}: this is no ONNX model, or it is damaged ({_line(error)})") from error
    constants = {each.name for each in model.graph.initializer}
    places = {ExternalDataInfo(each).location for each in model.graph.initializer if uses_external_data(each)}
    return Graph(
        path,
        tuple(_tensor(each) for each in model.graph.input if each.name not in constants),
        tuple(map(_tensor, model.graph.output)),
        (path, *(_weights(path, place) for place in sorted(places))),
        f"{model.producer_name} {model.producer_version}".strip(),
        {each.key: each.value for each in model.metadata_props},
    )


def open_session(path: Path) -> Any:
    """An ONNX Runtime session: on a GPU where it can, else on the thread that calls it, so that many threads share it.

    Raises:
        BackboneError: ONNX Runtime is not installed, or refuses the model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise BackboneError(f"{path} is computed by onnxruntime: {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    available = onnxruntime.get_available_providers()
    providers: list[Any] = ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" in available:
        providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))  # float32 means float32
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # as above
        raise BackboneError(f"{path}: ONNX Runtime {onnxruntime.__version__} refuses it ({_line(error)})") from error


def _weights(path: Path, place: str) -> Path:
    file = path.parent / place
    if Path(place).is_absolute() or ".." in Path(place).parts:
        raise BackboneError(f"{path}: its weights are said to be in {place!r}; they must lie in its own folder")
    if not file.is_file():
        raise BackboneError(f"{path}: its weights are in {place!r}, which is not beside it; copy both files")
    return file


def _tensor(value: Any) -> Tensor:
    import onnx

    tensor = value.type.tensor_type
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        dtype = "of no tensor type"
    sizes = (axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None for axis in tensor.shape.dim)
    return Tensor(value.name, dtype, tuple(sizes))


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
