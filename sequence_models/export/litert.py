"""LiteRT (.tflite), for models without a recurrence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from extract.system.files import write_bytes
from extract.system.quiet_start import import_tensorflow, without_chatter


def has_recurrence(model: keras.Model) -> bool:
    """Whether a model, or one inside it, runs over time step by step."""
    kinds = (keras.layers.RNN, keras.layers.Bidirectional)
    return any(
        isinstance(layer, kinds) or (isinstance(layer, keras.Model) and has_recurrence(layer)) for layer in model.layers
    )


def write_litert(traced: Callable[[], Any], path: Path) -> None:
    """Write a .tflite file.

    Args:
        traced: Gives the result of `savedmodel.traced_function`.
        path: The file.
    """
    tf = import_tensorflow()
    function = traced()
    concrete, [signature] = function.get_concrete_function(), function.input_signature
    with without_chatter():
        graph, inputs = concrete.graph.as_graph_def(), concrete.inputs[: len(signature)]
        content = tf.compat.v1.lite.TFLiteConverter(graph, inputs, concrete.outputs).convert()
    write_bytes(path, content)
