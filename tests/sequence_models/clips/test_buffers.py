"""Clips that stay in their store: what is read, in which order, and how much of it is in memory."""

import pickle
import weakref
from functools import partial

import numpy as np
import pytest
from store_examples import make_store

from extract.errors import UsageError
from extract.store.lazy_rows import LazyRows
from extract.store.reader import open_store
from sequence_models.clips import buffers as buffers_module
from sequence_models.clips.buffers import make_buffers, read_buffers, stays_in_store
from sequence_models.clips.derived import with_derived
from sequence_models.clips.loading import load_clips, load_unlabelled
from sequence_models.clips.motion import fit_reduction
from sequence_models.records import Clip
from sequence_models.settings import TrainSettings

DIM = 4
LENGTHS = {f"{name}/{number}.avi": 3 + number for name in ("hug", "kick") for number in range(10)}


def lazy_clips(lengths, read=None):
    """Clips of a made-up store that holds them in reverse order."""

    def rows_of(number, steps):
        return np.full((len(steps), DIM), number, np.float16)

    read = read or rows_of
    return [
        Clip(
            f"{number}.avi",
            LazyRows(partial(read, number), np.arange(length), (DIM,), np.dtype("float16"), (0, 100 - number)),  # type: ignore[arg-type]
            np.arange(length) / 8,
            np.arange(length),
            np.array(number % 2),
        )
        for number, length in enumerate(lengths)
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store") / "features", LENGTHS)


def test_clips_stay_in_their_store_only_if_they_take_more_than_memory(store):
    rows = sum(LENGTHS.values())
    fitting, larger = (load_clips([store], None, task="many-to-one", memory=rows * n / 1e9) for n in (8, 7))
    assert not stays_in_store(fitting.clips) and stays_in_store(larger.clips)
    for one, other in zip(fitting.clips, larger.clips, strict=True):
        np.testing.assert_array_equal(one.embeddings, np.asarray(other.embeddings))
        assert one.rows_digest == other.rows_digest and one.pts_seconds.tolist() == other.pts_seconds.tolist()


def test_derived_channels_count_as_memory(store):
    settings = TrainSettings(derived="delta")  # 4 channels, and a copy of 8
    for share, stays in ((12, False), (11, True)):
        memory = 2 * sum(LENGTHS.values()) * share / 1e9
        assert stays_in_store(load_unlabelled([store], memory=memory, settings=settings)) == stays


def test_a_negative_memory_is_refused(store):
    with pytest.raises(UsageError, match="--memory -1 must be 0 or more, in GB"):
        load_unlabelled([store], memory=-1)


def test_clips_that_fit_in_a_buffer_keep_their_order(monkeypatch):
    clips = lazy_clips([5, 3, 4])
    monkeypatch.setattr(buffers_module, "BUFFER_VALUES", 12 * DIM)
    assert make_buffers(clips, rng=np.random.default_rng(0)) == [[0, 1, 2]]
    (held,) = read_buffers(clips, [[0, 1, 2]])
    assert [clip.embeddings[0, 0] for clip in held] == [0, 1, 2] and not stays_in_store(held)


def test_buffers_hold_every_clip_once_and_runs_follow_the_store(monkeypatch):
    clips = lazy_clips([4] * 40)
    monkeypatch.setattr(buffers_module, "BUFFER_VALUES", 4 * DIM * 8)
    monkeypatch.setattr(buffers_module, "RUNS_PER_BUFFER", 4)
    in_order, shuffled = make_buffers(clips), make_buffers(clips, rng=np.random.default_rng(0))
    assert [number for buffer in in_order for number in buffer] == list(range(39, -1, -1))
    assert [len(buffer) for buffer in shuffled] == [8] * 5
    flat = [number for buffer in shuffled for number in buffer]
    assert sorted(flat) == list(range(40)) and flat != sorted(flat, reverse=True)
    assert all(first == second + 1 for first, second in zip(flat[::2], flat[1::2], strict=True))  # runs of two


def test_at_most_two_buffers_of_rows_are_in_memory_besides_the_one_in_use(monkeypatch):
    live, peak, read = set(), [0], []

    def rows_of(number, steps):
        rows = np.zeros((len(steps), DIM), np.float16)
        live.add((number, len(steps)))
        weakref.finalize(rows, live.discard, (number, len(steps)))
        peak[0] = max(peak[0], sum(count for _, count in live))
        read.append(number)
        return rows

    clips = lazy_clips([4] * 60, rows_of)
    monkeypatch.setattr(buffers_module, "BUFFER_VALUES", 4 * DIM * 6)
    for held in read_buffers(clips, make_buffers(clips, rng=np.random.default_rng(0))):
        assert len(held) == 6
        del held
    assert sorted(read) == list(range(60)) and 24 <= peak[0] <= 3 * 24


def test_clips_larger_than_a_buffer_stay_in_their_store_and_are_mixed_with_each_other(monkeypatch):
    clips = lazy_clips([4, 50, 4, 60])
    monkeypatch.setattr(buffers_module, "BUFFER_VALUES", 8 * DIM)
    buffers = make_buffers(clips)
    assert buffers == [[2, 0], [3, 1]]
    assert [stays_in_store(held) for held in read_buffers(clips, buffers)] == [False, True]


def test_a_failing_read_is_an_error_not_a_hang(monkeypatch):
    def rows_of(number, steps):
        raise OSError(f"clip {number}")

    clips = lazy_clips([4] * 3, rows_of)
    with pytest.raises(OSError, match="clip 2"):
        list(read_buffers(clips, make_buffers(clips)))


@pytest.mark.parametrize("causal", [False, True])
def test_derived_channels_of_a_piece_are_those_of_the_whole_clip(causal):
    values = np.random.default_rng(0).normal(size=(900, DIM)).astype(np.float32)
    settings = TrainSettings(task="many-to-many", model="lstm", derived="position,delta,windows", causal=causal)
    held = Clip("a", values, np.arange(900) / 8, np.arange(900), np.array(0))
    stored = lazy_clips([900], lambda number, steps: values[steps])[0]
    reduction = fit_reduction(values)
    (whole,), (read,) = (with_derived([clip], settings, reduction) for clip in (held, stored))
    assert read.embeddings.shape == whole.embeddings.shape
    np.testing.assert_array_equal(np.asarray(read.embeddings), whole.embeddings)
    for steps in (np.arange(400, 450), np.arange(890, 900), np.array([5, 3, 700])):
        np.testing.assert_allclose(np.asarray(read.embeddings[steps]), whole.embeddings[steps], rtol=1e-5, atol=1e-6)


def test_another_process_reads_the_same_rows(store):
    clips = load_unlabelled([store, store], memory=0)
    again = pickle.loads(pickle.dumps(clips))
    for one, other in zip(clips, again, strict=True):
        np.testing.assert_array_equal(np.asarray(one.embeddings[1:]), np.asarray(other.embeddings[1:]))
    assert len(open_store(store)) == len(clips)


def test_rows_of_a_stretch_in_any_order_take_one_read(store, monkeypatch):
    opened, reads = open_store(store), []
    column = type(opened)._read_column
    monkeypatch.setattr(type(opened), "_read_column", lambda *given: (reads.append(given[2]), column(*given))[1])
    rows = opened.read_lazily("hug/9.avi").embeddings
    order = np.random.default_rng(0).permutation(12)
    del reads[:]
    np.testing.assert_array_equal(np.asarray(rows[order]), opened.read("hug/9.avi").embeddings[order])
    assert reads.count("embeddings") == 2
