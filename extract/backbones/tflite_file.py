"""TFLite files: their graph, and an interpreter that computes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from extract.backbones.graph import Graph, Tensor
from extract.errors import BackboneError
from extract.system.litert_runtime import litert_runtime
from extract.system.quiet_start import without_chatter


def read_tflite(path: Path) -> Graph:
    """The graph of a TFLite file.

    Raises:
        BackboneError: It is no such file.
    """
    interpreter = make_interpreter(path)
    inputs, outputs = map(_tensors, (interpreter.get_input_details(), interpreter.get_output_details()))
    return Graph(path, inputs, outputs, (path,))


def make_interpreter(path: Path, *, threads: int = 1) -> Any:
    """An interpreter with room for one batch of the size that the file says.

    Raises:
        BackboneError: It is no TFLite file, or needs operations that LiteRT lacks.
    """
    make, runtime = litert_runtime()
    with without_chatter():
        try:
            interpreter = make(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise BackboneError(f"{path}: {runtime} refuses it ({reason})") from error
    return interpreter


def _tensors(details: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(each["name"], np.dtype(each["dtype"]).name, tuple(None if s < 0 else int(s) for s in _shape(each)))
        for each in details
    )


def _shape(detail: dict[str, Any]) -> Any:
    """With -1 where the size varies, if the file says so."""
    signature = detail.get("shape_signature")
    return signature if signature is not None and len(signature) else detail["shape"]
