"""TensorFlow's SavedModel, and the one traced function from which it, ONNX and LiteRT are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from extract.system.quiet_start import import_tensorflow, without_chatter
from sequence_models.export.graph import PROBABILITIES


def traced_function(graph: keras.Model) -> Any:
    """A `tf.function` of the inputs of a graph, by name, of any size, that holds its weights as constants."""
    tf = import_tensorflow()
    weights = [(variable, np.asarray(variable.value)) for variable in graph.variables]

    def compute(inputs: dict[str, Any]) -> dict[str, Any]:
        constants = [(variable, keras.ops.convert_to_tensor(value)) for variable, value in weights]
        with keras.StatelessScope(state_mapping=constants):
            return {PROBABILITIES: graph(inputs, training=False)}

    signature = {each.name: tf.TensorSpec(each.shape, each.dtype, name=each.name) for each in graph.inputs}
    return tf.function(compute, input_signature=[signature], autograph=False)


def write_savedmodel(traced: Callable[[], Any], path: Path) -> None:
    """Write a folder.

    Args:
        traced: Gives the result of `traced_function`.
        path: The folder.
    """
    tf = import_tensorflow()
    module, function = tf.Module(), traced()
    module.serve = function
    with without_chatter():
        tf.saved_model.save(module, str(path), signatures={"serving_default": function.get_concrete_function()})
