"""Turns on the cores, for decoding and a CPU backbone that share them.

With more busy threads than cores, the system switches threads every few milliseconds, and each then finds the caches
full of another's data. That cost 7 % of the time with 1080p videos. With turns, a batch or a chunk of frames is
computed to the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 2.0


class CoreSlots:
    """Allows as many steps at once as there are cores, in no strict order: strict order leaves cores idle.

    Nobody waits longer than `PATIENCE_SECONDS`: after that there is one step more than cores, or, if another step has
    lasted that long (such as one stuck on a dead network share), the new one takes its turn.

    Args:
        cores: How many steps may run at once.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._changed = threading.Condition()
        self._begun: dict[object, float] = {}  # the steps that have a turn, oldest first

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
