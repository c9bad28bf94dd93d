"""Turns on the cores, where decoding and a backbone on the CPU share them.

With more threads at work than there are cores, the system interrupts each every few milliseconds, and each then finds
the caches full of another's data. That took 12 % of all time with 1080p videos. With turns a batch or a chunk of frames
is computed to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 2.0


class Turns:
    """As many steps at once as there are cores.

    A step that hangs, as reading from a dead network share does, cannot stop the others: whoever has waited for
    `PATIENCE_SECONDS` goes on without a turn, and passes one on that takes the place of the lost one.

    Args:
        cores: How many steps may go on at once.
    """

    def __init__(self, cores: int) -> None:
        self._free = threading.Semaphore(cores)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn; the block is one step."""
        self._free.acquire(timeout=PATIENCE_SECONDS)
        try:
            yield
        finally:
            self._free.release()
