"""Tasks for a pool of processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sequence_models.records import Clip


@dataclass(frozen=True)
class Sum:
    """Says the sum of one clip, and which process found it."""

    clip_id: str
    key: str = "sums"
    source: int = 0

    def do(self, clips: Mapping[str, Clip]) -> tuple[float, int, bool]:
        embeddings = np.asarray(clips[self.clip_id].embeddings)
        return float(embeddings.sum()), os.getpid(), embeddings.flags.writeable


@dataclass(frozen=True)
class Die:
    """Ends its process, as the system does for want of memory."""

    key: str = "death"
    source: int = 0

    def do(self, clips: Mapping[str, Clip]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DieOnce:
    """Ends its process at the first try; at the next says which process did it.

    Args:
        mark: A file that says that there was a first try.
    """

    mark: Path
    key: str = "death"
    source: int = 0

    def do(self, clips: Mapping[str, Clip]) -> int:
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()


@dataclass(frozen=True)
class Sleep:
    """Takes longer than anybody waits."""

    key: str
    source: int = 0

    def do(self, clips: Mapping[str, Clip]) -> None:
        time.sleep(600)


@dataclass(frozen=True)
class Blocked:
    """Says whether its process gets no interrupts, not even before it could ignore them."""

    key: str = "blocked"
    source: int = 0

    def do(self, clips: Mapping[str, Clip]) -> bool:
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
