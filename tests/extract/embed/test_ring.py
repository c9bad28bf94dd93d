"""The ring: rows in the order of reservation, full batches, bounded, and nothing waits for ever."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from extract.embed.ring import Ring
from extract.records import SampledFrames


def chunk(*values):
    frames = np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return SampledFrames(frames, np.array(values, np.int64), np.array(values, np.float64))


def ring(*, batches=2, batch_size=4, writers=1):
    return Ring(batches=batches, batch_size=batch_size, frame_shape=(2, 2, 3), writers=writers)


def content(batch):
    return [(span.clip_id, span.row, span.frame_indices.tolist()) for span in batch.spans]


class Taker:
    """Takes one batch in a thread of its own."""

    def __init__(self, frames):
        self.taken = []
        self.thread = threading.Thread(target=lambda: self.taken.append(frames.take()), daemon=True)
        self.thread.start()

    def waits(self):
        self.thread.join(0.2)
        return self.thread.is_alive()

    def batch(self):
        self.thread.join(5)
        return self.taken[0]


def test_a_chunk_is_spread_over_batches():
    frames = ring()
    frames.write("a", chunk(1, 2, 3))
    frames.write("b", chunk(4, 5, 6))
    batch = frames.take()
    assert batch.frames[:, 0, 0, 0].tolist() == [1, 2, 3, 4] and batch.rows == 4
    assert content(batch) == [("a", 0, [1, 2, 3]), ("b", 3, [4])]


def test_a_batch_that_is_not_full_is_not_given_out():
    frames = ring()
    frames.write("a", chunk(1, 2, 3))
    taker = Taker(frames)
    assert taker.waits()
    frames.write("a", chunk(4))
    assert taker.batch().rows == 4


def test_the_rest_is_given_out_when_the_last_writer_is_done():
    frames = ring(writers=2)
    frames.write("a", chunk(1, 2, 3))
    frames.writer_done()
    taker = Taker(frames)
    assert taker.waits()
    frames.writer_done()
    assert content(taker.batch()) == [("a", 0, [1, 2, 3])]
    assert frames.take() is None


def test_the_rest_is_given_to_one_of_several_takers():
    frames = ring()
    takers = [Taker(frames) for _ in range(3)]
    frames.write("a", chunk(1, 2, 3, 4, 5))
    frames.writer_done()
    batches = [taker.batch() for taker in takers]
    assert sorted(batch.rows for batch in batches if batch) == [1, 4] and batches.count(None) == 1


def test_a_full_ring_makes_the_writer_wait_until_a_batch_is_released():
    frames = ring(batches=2, batch_size=2)
    writer = threading.Thread(target=frames.write, args=("a", chunk(1, 2, 3, 4, 5)))
    writer.start()
    first, second = frames.take(), frames.take()
    writer.join(0.2)
    assert writer.is_alive() and frames.position() == 4
    taker = Taker(frames)
    assert taker.waits()  # the third place of the row is still the first batch
    frames.release(first)
    writer.join(5)
    assert not writer.is_alive() and frames.position() == 5
    frames.release(second)
    frames.writer_done()
    assert taker.batch().frames[:, 0, 0, 0].tolist() == [5, 2]  # row 1 is what lay there: padding


def test_batches_may_be_released_in_any_order_and_none_is_overwritten_before():
    frames = ring(batches=2, batch_size=2)
    writer = threading.Thread(target=frames.write, args=("a", chunk(*range(1, 9))))
    writer.start()
    first, second = frames.take(), frames.take()
    assert (first.number, second.number) == (0, 1)
    frames.release(second)
    taker = Taker(frames)
    assert taker.waits() and first.frames[:, 0, 0, 0].tolist() == [1, 2]
    frames.release(first)
    third, fourth = taker.batch(), frames.take()
    assert [batch.frames[:, 0, 0, 0].tolist() for batch in (third, fourth)] == [[5, 6], [7, 8]]
    writer.join(5)


@pytest.mark.parametrize("waiting", ("writer", "reader"))
def test_stop_ends_all_waiting(waiting):
    frames = ring(batches=1, batch_size=2)
    target, args = (frames.write, ("a", chunk(1, 2, 3))) if waiting == "writer" else (frames.take, ())
    thread = threading.Thread(target=target, args=args)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    frames.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_rows_of_many_writers_keep_their_order_and_none_is_lost():
    frames, per_writer = ring(batches=3, batch_size=5, writers=4), 40

    def write(name):
        for start in range(0, per_writer, 3):
            frames.write(name, chunk(*range(start, min(start + 3, per_writer))))
        frames.writer_done()

    for name in "abcd":
        threading.Thread(target=write, args=(name,)).start()
    seen = {name: [] for name in "abcd"}
    while (batch := frames.take()) is not None:
        for span in batch.spans:
            pictures = batch.frames[span.row : span.row + len(span.frame_indices), 0, 0, 0]
            assert pictures.tolist() == span.frame_indices.tolist()
            seen[span.clip_id] += span.frame_indices.tolist()
        frames.release(batch)
    assert seen == {name: list(range(per_writer)) for name in "abcd"}
