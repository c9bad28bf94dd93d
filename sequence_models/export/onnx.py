"""ONNX, converted by tf2onnx."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from extract.errors import UsageError
from extract.system.files import write_bytes
from extract.system.quiet_start import without_chatter
from sequence_models.export.graph import PROBABILITIES

OPSET = 15


def import_onnx() -> tuple[Any, Any]:
    """tf2onnx and onnxruntime.

    Raises:
        UsageError: They are not installed; says how to install them.
    """
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise UsageError(f"--format onnx needs {error.name}: pip install 'clipseq[onnx]'") from None
    return tf2onnx, onnxruntime


def write_onnx(traced: Callable[[], Any], path: Path) -> None:
    """Write an .onnx file.

    Args:
        traced: Gives the result of `savedmodel.traced_function`.
        path: The file.
    """
    tf2onnx, _ = import_onnx()
    function = traced()
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with without_chatter(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, about tf2onnx
        model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    [output] = model.graph.output
    old, output.name = output.name, PROBABILITIES
    for node in model.graph.node:
        node.output[:] = [PROBABILITIES if name == old else name for name in node.output]
        node.input[:] = [PROBABILITIES if name == old else name for name in node.input]
    write_bytes(path, model.SerializeToString())
