"""Turns on shared cores: no more steps at once than cores, and none that hangs stops the others."""

from __future__ import annotations

import threading
import time

import pytest

from extract.decode.watchdog import Watched
from extract.system import core_slots as turns
from extract.system.core_slots import CoreSlots


class Holder:
    """Takes a turn in a thread of its own and keeps it until told."""

    def __init__(self, shared):
        self.has, self.end = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._hold, args=(shared,), daemon=True)
        self.thread.start()

    def _hold(self, shared):
        with shared.take():
            self.has.set()
            self.end.wait(20)

    def stop(self):
        self.end.set()
        self.thread.join(5)


def test_no_more_steps_go_on_at_once_than_there_are_cores():
    shared = CoreSlots(2)
    first, second = Holder(shared), Holder(shared)
    assert first.has.wait(5) and second.has.wait(5)
    third = Holder(shared)
    assert not third.has.wait(0.2)
    first.stop()
    assert third.has.wait(5)
    second.stop()
    third.stop()


def test_a_step_that_fails_gives_its_turn_back():
    shared = CoreSlots(1)
    with pytest.raises(KeyError), shared.take():
        raise KeyError
    holder = Holder(shared)
    assert holder.has.wait(1)
    holder.stop()


def test_a_step_that_hangs_is_waited_for_once_and_its_turn_is_replaced(monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.3)
    shared = CoreSlots(1)
    hanging = Holder(shared)
    assert hanging.has.wait(5)
    began = time.monotonic()
    with shared.take():
        waited = time.monotonic() - began
    assert waited >= 0.3
    for _ in range(5):
        with shared.take():
            pass
    assert time.monotonic() - began - waited < 0.2
    hanging.stop()
    holder, second = Holder(shared), Holder(shared)
    assert holder.has.wait(5) and not second.has.wait(0.1)  # what came back after all is not one turn more
    holder.stop()
    second.stop()


def test_nobody_waits_longer_than_patience_for_others_that_go_on_and_on(monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.3)
    shared, ended = CoreSlots(1), threading.Event()

    def on_and_on():
        while not ended.is_set():
            with shared.take():
                time.sleep(0.01)

    busy = threading.Thread(target=on_and_on, daemon=True)
    busy.start()
    for _ in range(3):
        holder = Holder(shared)
        assert holder.has.wait(3)
        holder.stop()
    ended.set()
    busy.join(5)
    first, second = Holder(shared), Holder(shared)
    assert first.has.wait(5) and not second.has.wait(0.1)  # still one turn, not more
    first.stop()
    second.stop()


def test_a_reader_closed_while_it_waits_for_a_turn_reads_no_more():
    shared, steps = CoreSlots(1), []
    holder = Holder(shared)
    assert holder.has.wait(5)
    watched = Watched(lambda heart: (steps.append(k) or k for k in range(3)), name="x", stall_seconds=5, turns=shared)
    watched._stopped.set()
    holder.stop()
    watched.close()
    assert steps == [] and not watched._thread.is_alive()


def test_every_step_of_a_watched_iterator_takes_a_turn_and_the_time_until_it_comes_is_not_its_own():
    shared = CoreSlots(1)
    holder = Holder(shared)
    assert holder.has.wait(5)
    watched = Watched(lambda heart: iter("ab"), name="x", stall_seconds=5, turns=shared)
    time.sleep(0.3)
    assert watched._items.empty()
    holder.stop()
    assert list(watched) == ["a", "b"] and watched.busy_seconds < 0.2


def test_a_watched_iterator_keeps_no_turn_while_its_items_are_not_taken():
    shared = CoreSlots(1)
    watched = Watched(lambda heart: iter(range(50)), name="x", stall_seconds=5, turns=shared)
    time.sleep(0.2)
    holder = Holder(shared)
    assert holder.has.wait(1)
    holder.stop()
    assert list(watched) == list(range(50))


def test_reading_that_waits_for_the_disk_keeps_nobody_from_a_core():
    shared = CoreSlots(1)
    started = threading.Event()

    def far_away(heart):
        yield 0
        time.sleep(0.2)
        yield 1
        started.set()
        time.sleep(2)
        yield 2

    watched = Watched(far_away, name="x", stall_seconds=5, turns=shared)
    assert started.wait(5)
    holder = Holder(shared)
    assert holder.has.wait(1)
    holder.stop()
    assert list(watched) == [0, 1, 2]
