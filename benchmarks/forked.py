"""The command line in processes forked from one that has imported everything: their whole life is a verb's work."""

from __future__ import annotations

import importlib
import mmap
import os
import pkgutil
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

import extract
import pipeline
import sequence_models
from extract.system.quiet_start import import_keras_quietly

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Count:
    """A number that a forked process and its parent share."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 8)

    @property
    def value(self) -> int:
        """As it was set last, by either of them."""
        return struct.unpack("q", self._shared[:8])[0]

    @value.setter
    def value(self, value: int) -> None:
        self._shared[:8] = struct.pack("q", value)


class Forked:
    """One command in a forked process.

    Args:
        arguments: The command line.
        out, err: Where its streams go; both to `out` where no other is given.
        prepare: Done in the forked process before the command, such as watching a function of it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        out: Path,
        err: Path | None = None,
        *,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.began, self.seconds = time.monotonic(), 0.0
        self.code: int | None = None
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # until the child is ready for them
        self.pid = os.fork()
        if self.pid == 0:
            _work_and_exit(arguments, out, err, prepare)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def ended(self) -> bool:
        """Whether the process is gone; then `code` is its exit code, or minus the signal that killed it."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code, self.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.began
        return self.code is not None

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Returns when the time is over, the process has ended, or `until` is true; whether it has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.ended() and not until():
            time.sleep(0.0005)
        return self.ended()

    def send(self, number: int, *, patience: float) -> None:
        """Sends a signal and waits until the process is gone; ends the benchmark where it does not go."""
        if not self.ended():
            os.kill(self.pid, number)
        if not self.wait(patience):
            os.kill(self.pid, signal.SIGKILL)
            sys.exit(f"signal {number} did not end a process within {patience:g} s")


def preload() -> None:
    """Imports what takes seconds and runs nothing of it: no thread may be at work where a process forks."""
    import_keras_quietly()
    for package in (extract, sequence_models):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    importlib.import_module("jinja2")
    tqdm.monitor_interval = 0


def _work_and_exit(arguments: Sequence[str], out: Path, err: Path | None, prepare: Callable[[], None]) -> NoReturn:
    """What a forked process does."""
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell put into the background
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # until the command line has its own
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        for path, descriptors in ((out, (1, 2)), (err, (2,))):
            if path is not None:
                with path.open("wb") as file:
                    for descriptor in descriptors:
                        os.dup2(file.fileno(), descriptor)
        prepare()
        code = pipeline.main(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        code = 130  # before the command line was ready for it
    except BaseException:
        traceback.print_exc()
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # they come too late to be obeyed
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
