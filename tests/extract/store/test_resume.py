"""Several writers of one clip or one store, one after another or at once: going on, later versions, changed sources."""

import multiprocessing

import pytest
from store_examples import RECIPE, SOURCE, TRUTH, add_clip, append, assert_clip, make_store

from extract.errors import UnstorableClipError
from extract.records import Source
from extract.store.reader import open_store
from extract.store.writer import StoreWriter


def writer_on(path, **settings):
    return StoreWriter(path, RECIPE, engine="keras", **settings)


def test_a_later_writer_goes_on_after_the_last_sealed_part(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "long", 0, 3)
        writer.seal()
        append(writer, "long", 3, 5)
    partial = open_store(tmp_path).partial("long", SOURCE, rules=1)
    assert (partial.rows, partial.parts, partial.last_frame_index, partial.last_pts_seconds) == (5, 2, 12, 0.5)

    with writer_on(tmp_path) as writer:
        writer.resume(partial)
        append(writer, "long", 5, 8)
        writer.finish("long", TRUTH)

    assert_clip(tmp_path, "long", 8)


def test_a_resumed_clip_whose_rows_do_not_follow_is_refused(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "long", 0, 3)
    with writer_on(tmp_path) as writer:
        writer.resume(open_store(tmp_path).partial("long", SOURCE, rules=1))
        with pytest.raises(UnstorableClipError, match="long: the timestamps do not strictly increase"):
            append(writer, "long", 2, 4)


def test_resuming_what_has_no_beginning_starts_at_row_0(tmp_path):
    make_store(tmp_path)
    with writer_on(tmp_path) as writer:
        partial = open_store(tmp_path).partial("new", SOURCE, rules=1)
        writer.resume(partial)
        add_clip(writer, "new", 4)

    assert partial.rows == 0
    assert_clip(tmp_path, "new", 4)


def test_a_clip_that_is_open_cannot_be_resumed(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 2)
        with pytest.raises(ValueError, match="a is open already"):
            writer.resume(open_store(tmp_path).partial("a", SOURCE, rules=1))


def test_the_later_of_two_versions_counts(tmp_path):
    for source, length in ((SOURCE, 5), (Source("/videos/a.mp4", 1001, 2001, "d2"), 4)):
        with writer_on(tmp_path) as writer:
            add_clip(writer, "a", length, source)

    assert open_store(tmp_path).lengths() == {"a": 4}
    assert open_store(tmp_path).source("a").digest == "d2"


def test_parts_of_different_sources_are_never_joined(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 3, SOURCE)
    changed = Source("/videos/a.mp4", 1001, 2001, "d2")
    assert open_store(tmp_path).partial("a", changed, rules=1).rows == 0
    with writer_on(tmp_path) as writer:
        writer.resume(open_store(tmp_path).partial("a", SOURCE, rules=1))
        append(writer, "a", 3, 5, changed)
        writer.finish("a", TRUTH)

    assert "a" not in open_store(tmp_path)


def test_a_touched_source_with_the_same_content_goes_on(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 3, SOURCE)
    touched = Source("/videos/a.mp4", 1000, 9999, "d1")
    with writer_on(tmp_path) as writer:
        writer.resume(open_store(tmp_path).partial("a", touched, rules=1))
        append(writer, "a", 3, 5, touched)
        writer.finish("a", TRUTH)

    assert_clip(tmp_path, "a", 5)
    assert open_store(tmp_path).source("a") == touched


def _extract(path, clip_ids, barrier):
    barrier.wait()
    for _ in range(3):
        with writer_on(path, flush_seconds=0.0) as writer:
            for clip_id in clip_ids:
                add_clip(writer, clip_id, 5)


@pytest.mark.parametrize("same_list", [True, False])
def test_two_processes_on_one_store_end_with_each_clip_once(tmp_path, same_list):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    lists = [["a", "b", "c"], ["a", "b", "c"] if same_list else ["d", "e"]]
    processes = [context.Process(target=_extract, args=(tmp_path / "f", ids, barrier)) for ids in lists]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    store = open_store(tmp_path / "f")
    assert store.clip_ids == (["a", "b", "c"] if same_list else ["a", "b", "c", "d", "e"])
    assert not store.damaged
    for clip_id in store.clip_ids:
        assert_clip(tmp_path / "f", clip_id, 5)


def test_two_writers_that_both_resumed_a_clip_agree(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 3)
    partial = open_store(tmp_path).partial("a", SOURCE, rules=1)
    first, second = writer_on(tmp_path), writer_on(tmp_path)
    for writer, middle in ((first, 5), (second, 6)):
        writer.resume(partial)
        append(writer, "a", 3, middle)
        writer.seal()
    append(second, "a", 6, 9)
    second.seal()  # and is killed; the first one ends
    append(first, "a", 5, 10)
    first.finish("a", TRUTH)
    first.seal()

    assert_clip(tmp_path, "a", 10)
