import threading
import time

import pytest

from extract.decode.watchdog import Watched
from extract.errors import VideoTimeoutError


def test_items_come_in_order_and_the_thread_ends():
    watched = Watched(lambda heart: iter(range(100)), name="numbers", stall_seconds=5)
    assert list(watched) == list(range(100))
    watched.close()


def test_an_error_of_the_thread_reaches_the_reader():
    def broken(heart):
        yield 1
        raise KeyError("inside")

    items = iter(Watched(broken, name="x", stall_seconds=5))
    assert next(items) == 1
    with pytest.raises(KeyError, match="inside"):
        next(items)


def test_a_stalled_file_is_abandoned():
    hang = threading.Event()

    def stalled(heart):
        yield 1
        hang.wait(20)

    watched = Watched(stalled, name="far/away.mp4", stall_seconds=0.3)
    items = iter(watched)
    next(items)
    began = time.monotonic()
    with pytest.raises(VideoTimeoutError) as error:
        next(items)
    watched.close()
    assert time.monotonic() - began < 3
    assert str(error.value) == (
        "far/away.mp4: nothing was read for 0.3 s; the disk or network stalls; try again later with --retry-failed"
    )
    hang.set()


def test_slow_work_that_goes_on_is_no_stall():
    def slow(heart):
        for _ in range(8):
            time.sleep(0.1)
            heart.beat()
        yield "done"

    assert list(Watched(slow, name="x", stall_seconds=0.5)) == ["done"]


def test_a_slow_reader_is_no_stall():
    watched = Watched(lambda heart: iter(range(6)), name="x", stall_seconds=0.3)
    items = iter(watched)
    next(items)
    time.sleep(0.8)
    assert list(items) == [1, 2, 3, 4, 5]


def test_the_thread_works_only_a_little_ahead():
    made = []

    def numbers(heart):
        for number in range(1000):
            made.append(number)
            yield number

    watched = Watched(numbers, name="x", stall_seconds=5)
    next(iter(watched))
    time.sleep(0.3)
    watched.close()
    assert len(made) < 8
