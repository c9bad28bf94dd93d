"""Keeps the start-up lines of TensorFlow off the screen, and nothing else. Imports no heavy library by itself."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHATTER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\] |"
    rb"E\d{4} .*Unable to register cu\w+ factory|INFO: |To enable the following instructions: |\s*$"
)
_STDERR = 2
_redirecting = threading.RLock()


def import_keras_quietly() -> None:
    """Import Keras and its backend; call it before the first module that needs them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" not in sys.modules:
        with without_chatter():  # TensorFlow 2.21 prints two of its lines whatever that variable says
            import keras  # noqa: F401
        for name in ("absl", "tensorflow"):
            logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def without_chatter() -> Iterator[None]:
    """Holds back what the process writes to standard error meanwhile, and then lets through all but the known chatter.

    The lines come from C++ before any log level is heeded, so they are caught at the file descriptor.
    """
    if sys.stderr is None:  # closed by whoever started the process
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
