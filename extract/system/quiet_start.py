"""Hides TensorFlow's start-up lines, and nothing else. Imports no heavy library by itself."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHATTER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\] |"
    rb"E\d{4} .*Unable to register cu\w+ factory|INFO: |To enable the following instructions: |\s*$"
)
_STDERR = 2
TENSORFLOW_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
_redirecting = threading.RLock()


def import_keras_quietly(*, threads: int | None = None) -> None:
    """Import Keras and its backend; call it before the first module that needs them.

    Args:
        threads: How many TensorFlow may use, unless the environment says so; None = one per core.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if threads is not None and "tensorflow" not in sys.modules:
        for name in TENSORFLOW_THREADS:
            os.environ.setdefault(name, str(threads))
    if "keras" not in sys.modules:
        with without_chatter():  # TensorFlow 2.21 prints two lines despite that variable
            import keras  # noqa: F401
        for name in ("absl", "tensorflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
        allow_tf32(False)


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs may compute float32 products with a 10-bit mantissa, as Ampere and later do by default."""
    backend = keras_backend()
    if backend == "tensorflow":
        import_tensorflow().config.experimental.enable_tensor_float_32_execution(allowed)
    elif backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if allowed else "highest")
    elif backend == "torch":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


@contextmanager
def without_chatter() -> Iterator[None]:
    """Holds back what the process writes to standard error, then passes on everything except the known chatter.

    The lines come from C++ before log levels apply, so they are caught at the file descriptor.
    """
    if sys.stderr is None:  # closed by the parent process
        yield
        return
    with _redirecting, tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        stderr = os.dup(_STDERR)
        os.dup2(caught.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            caught.seek(0)
            with open(_STDERR, "wb", closefd=False) as file:
                file.writelines(line for line in caught if not _CHATTER.match(line))


_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, Windows' subsystem for Linux, AMD


def quiet_tensorflow() -> None:
    """Imports TensorFlow, if Keras will use it, without its start-up lines on standard error.

    Call it before the first `import keras`. With another Keras backend it does nothing.
    """
    if keras_backend() == "tensorflow":
        import_tensorflow()


def import_tensorflow() -> Any:
    """The module, imported without chatter at the first call."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with without_chatter():  # TensorFlow 2.21 prints two lines despite that variable
            import tensorflow  # noqa: F401
        for name in ("absl", "tensorflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
    return sys.modules["tensorflow"]


def keras_backend() -> str:
    """The backend that Keras uses or will use, found without importing it."""
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend()
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return json.loads((home / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):  # Keras uses its default in the same cases
        return "tensorflow"


def has_gpu() -> bool:
    """Whether there is a GPU; asks the backend only if there may be one, because asking takes seconds."""
    if sys.platform == "linux" and not any(Path(device).exists() for device in _GPU_DEVICES):
        return False
    backend = keras_backend()
    if backend == "jax":
        import jax

        return jax.default_backend() != "cpu"
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    return bool(import_tensorflow().config.list_physical_devices("GPU"))
