"""The interpreter of TFLite files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from extract.system.quiet_start import import_tensorflow


def litert_runtime() -> tuple[Callable[..., Any], str]:
    """The interpreter of ai-edge-litert, which loads in a tenth of a second, or else TensorFlow's."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        tf = import_tensorflow()
        return _without_deprecation(tf.lite.Interpreter), f"tensorflow {tf.__version__}"
    return Interpreter, f"ai-edge-litert {version('ai-edge-litert')}"


def _without_deprecation(interpreter_class: Callable[..., Any]) -> Callable[..., Any]:
    def make(**arguments: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
            return interpreter_class(**arguments)

    return make
