"""Runs an iterator in its own thread and gives up on it when it stalls, which no decoder time-out can do.

A read that hangs in the operating system (a dead network share) cannot be interrupted: its thread is left behind.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

from extract.errors import VideoTimeoutError
from extract.system.core_slots import CoreSlots

QUEUE_LENGTH = 2
POLL_SECONDS = 0.2
IDLE_SHARE = 0.75  # a step that waits for the disk for more than this share of its time does not need its own core


class Heartbeat:
    """The watched side calls `beat()` at every step."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def beat(self) -> None:
        """Show that work is going on."""
        self.last = time.monotonic()


class Watched:
    """Iterates over `start(heartbeat)` in another thread; must be closed.

    Args:
        start: Makes the iterator.
        name: What is read, for the error message.
        stall_seconds: How long it may go without a step.
        turns: Shared by all that work on the same cores; None: there is a core for everyone.

    Attributes:
        busy_seconds: How long the iterator has worked so far, without waiting for the consumer or for a turn.
    """

    def __init__(
        self,
        start: Callable[[Heartbeat], Iterator[Any]],
        *,
        name: str,
        stall_seconds: float,
        turns: CoreSlots | None = None,
    ) -> None:
        self._turns = turns
        self._name = name
        self._stall_seconds = stall_seconds
        self._heart = Heartbeat()
        self.busy_seconds = 0.0
        self._items: queue.Queue[tuple[str, Any]] = queue.Queue(QUEUE_LENGTH)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(start,), name=f"decode {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Any]:
        while not self._stopped.is_set():
            try:
                kind, item = self._items.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if time.monotonic() - self._heart.last > self._stall_seconds:
                    self._stopped.set()
                    raise VideoTimeoutError(
                        f"{self._name}: nothing was read for {self._stall_seconds:g} s; the disk or network stalls; "
                        "try again later with --retry-failed"
                    ) from None
                continue
            if kind == "item":
                yield item
                continue
            self._stopped.set()
            if kind == "error":
                raise item

    def close(self) -> None:
        """Stop the thread at its next step and wait a moment for it."""
        self._stopped.set()
        if time.monotonic() - self._heart.last < self._stall_seconds:
            self._thread.join(timeout=1.0)

    def _work(self, start: Callable[[Heartbeat], Iterator[Any]]) -> None:
        steps: Iterator[Any] = iter(())
        try:
            steps = start(self._heart)
            for item in self._timed(steps):
                if not self._put("item", item):
                    return
            self._put("end", None)
        except BaseException as error:  # passed to the consuming thread, which raises it
            self._put("error", error)
        finally:
            if hasattr(steps, "close"):
                steps.close()

    def _timed(self, steps: Iterator[Any]) -> Iterator[Any]:
        nothing, needs_core = object(), True
        while True:
            with self._turns.take() if self._turns and needs_core else nullcontext():
                if self._stopped.is_set():  # while it waited for its turn
                    return
                self._heart.beat()
                began, computed = time.perf_counter(), time.thread_time()
                try:
                    item = next(steps, nothing)
                finally:
                    spent = time.perf_counter() - began
                    self.busy_seconds += spent
                needs_core = time.thread_time() - computed > (1 - IDLE_SHARE) * spent
            if item is nothing:
                return
            yield item

    def _put(self, kind: str, item: Any) -> bool:
        """Wait for room; False when nobody is reading any more."""
        while not self._stopped.is_set():
            try:
                self._items.put((kind, item), timeout=POLL_SECONDS)
            except queue.Full:
                continue
            self._heart.beat()
            return True
        return False
