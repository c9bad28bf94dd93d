"""CoreSlots on the cores, where decoding and a backbone on the CPU share them.

With more threads at work than there are cores, the system interrupts each every few milliseconds, and each then finds
the caches full of another's data. That took 7 % of all time with 1080p videos. With turns a batch or a chunk of frames
is computed to its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 2.0


class CoreSlots:
    """As many steps at once as there are cores, in no strict order: handing turns on in order leaves cores idle.

    Nobody waits longer than `PATIENCE_SECONDS`: then there is one step more than cores, or, where another has lasted as
    long, as one that hangs in a dead network share does, the new one takes its turn.

    Args:
        cores: How many steps may go on at once.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._changed = threading.Condition()
        self._begun: dict[object, float] = {}  # the steps that have a turn, the oldest first

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn; the block is one step."""
        step = object()
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._begun) < self._cores, PATIENCE_SECONDS):
                self._forget_stuck()
            self._begun[step] = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._begun.pop(step, None)
                self._changed.notify()

    def _forget_stuck(self) -> None:
        oldest = next(iter(self._begun))
        if time.monotonic() - self._begun[oldest] >= PATIENCE_SECONDS:
            del self._begun[oldest]
