import multiprocessing
import os
import threading
from dataclasses import replace
from shlex import quote

import numpy as np
import pytest
from store_examples import LENGTHS, RECIPE, SOURCE, TRUTH, add_clip, append, assert_clip, make_store

from extract.errors import DamagedShardError, RecipeMismatchError, SchemaError, StoreError, UnknownClipError
from extract.store import reader as store_read
from extract.store.failures import Failure, append_failure
from extract.store.reader import open_store
from extract.store.writer import StoreWriter


def shard_of(path):
    return next(path.glob("shard-*.h5"))


def writer_on(path):
    return StoreWriter(path, RECIPE, engine="keras")


def test_a_store_shows_its_clips_sorted_and_its_shape(tmp_path):
    store = open_store(make_store(tmp_path / "f"))

    assert store.clip_ids == sorted(LENGTHS)
    assert len(store) == 3
    assert "hug/a.mp4" in store
    assert "other" not in store
    assert store.recipe == RECIPE
    assert (store.embedding_dim, store.dtype) == (4, np.float16)
    assert repr(store) == f"Store('{tmp_path / 'f'}', 3 clips, float16(4,))"


def test_an_unknown_clip_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"has no clip 'x' among its 3 clips"):
        open_store(make_store(tmp_path)).read("x")


def test_an_empty_store_opens_and_says_that_it_has_no_width(tmp_path):
    with writer_on(tmp_path):
        pass

    store = open_store(tmp_path)
    assert store.clip_ids == []
    with pytest.raises(StoreError, match="holds no clip yet, not embeddings"):
        _ = store.embedding_dim


def test_a_store_of_raw_frames_has_no_embedding_dim(tmp_path):
    with StoreWriter(tmp_path, RECIPE, engine="none", dtype="uint8") as writer:
        writer.append("a", np.zeros((2, 3, 5, 3), np.uint8), np.arange(2), np.arange(2.0), SOURCE)
        writer.finish("a", None)

    store = open_store(tmp_path)
    assert store.row_shape == (3, 5, 3)
    with pytest.raises(StoreError, match=r"holds raw frames of shape \(3, 5, 3\), not embeddings"):
        _ = store.embedding_dim


def test_where_a_run_or_videos_are_the_sentence_does_not_advise_to_extract_into_them(tmp_path):
    for name, file in (("run", "run.json"), ("table", "compare.json"), ("videos", "a.mp4")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()

    with pytest.raises(StoreError, match="run is a run, not a feature store: `clipseq evaluate`, `report`"):
        open_store(tmp_path / "run")
    with pytest.raises(StoreError, match="table is a comparison, not a feature store: `clipseq report "):
        open_store(tmp_path / "table")
    with pytest.raises(StoreError, match=r"if it holds videos.*`clipseq extract .*videos --output features/`"):
        open_store(tmp_path / "videos")


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_where_no_store_is_the_sentence_says_how_to_make_one(tmp_path, name):
    (tmp_path / "empty").mkdir()

    with pytest.raises(StoreError, match=rf"{name} is not a feature store: make one with `clipseq extract"):
        open_store(tmp_path / name)


def test_a_file_of_something_else_is_no_store(tmp_path):
    (tmp_path / "a.h5").write_text("hello")

    with pytest.raises(SchemaError, match=r"a\.h5 is not an HDF5 file, so not a clipseq store"):
        open_store(tmp_path / "a.h5")


def test_a_damaged_shard_hides_only_its_own_clips(tmp_path, caplog):
    make_store(tmp_path, {"a": 3})
    broken = shard_of(tmp_path)
    make_store(tmp_path, {"b": 4})
    broken.write_bytes(broken.read_bytes()[:3000])

    store = open_store(tmp_path)

    assert store.clip_ids == ["b"]
    assert list(store.damaged) == [broken.name]
    assert "1 of 2 shards cannot be read; their clips count as missing" in caplog.text
    assert_clip(tmp_path, "b", 4)
    make_store(tmp_path, {"a": 3})
    assert_clip(tmp_path, "a", 3)


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000)])
def test_a_shard_that_is_no_hdf5_is_damaged(tmp_path, content):
    make_store(tmp_path)
    (tmp_path / "shard-x-1-y-000000.h5").write_bytes(content)

    assert list(open_store(tmp_path).damaged) == ["shard-x-1-y-000000.h5"]


def test_rows_that_vanish_after_opening_name_shard_and_clip(tmp_path):
    store = open_store(make_store(tmp_path, {"a": 300}))
    shard = shard_of(tmp_path)
    os.truncate(shard, 4000)

    with pytest.raises(DamagedShardError, match=rf"^a: .*{shard.name} is damaged \(it ends before its rows do\)"):
        store.read("a")


def test_a_shard_that_is_gone_after_opening_is_one_sentence(tmp_path):
    store = open_store(make_store(tmp_path))
    shard_of(tmp_path).unlink()

    with pytest.raises(StoreError, match=r"does not exist \(any more\): check the path, or reopen the store"):
        store.read("hug/a.mp4")


def test_a_shard_of_another_recipe_is_refused(tmp_path):
    make_store(tmp_path / "f")
    with StoreWriter(tmp_path / "g", {**RECIPE, "image_size": 9}, engine="keras") as writer:
        add_clip(writer, "x", 2)
    shard_of(tmp_path / "g").rename(tmp_path / "f" / "shard-other-1-x-000000.h5")

    with pytest.raises(RecipeMismatchError, match=r"shard-other.* was made with image_size=9 instead of 8: move"):
        open_store(tmp_path / "f")


def test_half_written_files_are_ignored(tmp_path):
    make_store(tmp_path)
    (tmp_path / ".tmp-host-1-abc-shard-host-1-abc-000001.h5").write_bytes(b"half")

    assert len(open_store(tmp_path)) == 3


def test_failures_are_the_latest_and_not_those_done_later(tmp_path):
    def fail(writer, clip_id, when_ns, message):
        append_failure(tmp_path / f"failures-{writer}.jsonl", Failure(clip_id, "X", message, 1, 2, when_ns))

    fail("one", "a", 5, "old")
    fail("two", "a", 7, "new")
    fail("one", "done", 5, "before it was done")
    make_store(tmp_path, {"done": 3, "stale": 3})
    fail("one", "stale", 2**62, "the changed video failed")

    failures = open_store(tmp_path).failures()

    assert {clip_id: failure.message for clip_id, failure in failures.items()} == {
        "a": "new",
        "stale": "the changed video failed",
    }


def test_a_store_that_mixes_engines_says_so(tmp_path):
    make_store(tmp_path, {"a": 3})
    with StoreWriter(tmp_path, RECIPE, engine="litert") as writer:
        add_clip(writer, "b", 3)

    summary = open_store(tmp_path).summary()
    assert summary["warnings"][0] == "the rows were made by 2 engines (keras, litert): they may differ slightly"
    assert (summary["clips"], summary["frames"], summary["shards"], summary["kind"]) == (2, 6, 2, "directory")


def test_clips_with_lost_frames_are_found_in_every_shard_and_only_in_their_latest_version(tmp_path):
    make_store(tmp_path, {"a": 3, "b": 4})
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 5)
        writer.finish("a", replace(TRUTH, lost_spans=()))  # the video was mended
        append(writer, "c", 0, 2)
        writer.finish("c", replace(TRUTH, lost_spans=((0.0, 1.0), (2.0, 3.0)), notes=('"lost_spans": [[',)))
        append(writer, "d", 0, 2)
        writer.finish("d", None)

    store = open_store(tmp_path)
    assert store.lost_spans() == {"b": ((1.5, 2.0),), "c": ((0.0, 1.0), (2.0, 3.0))}
    assert store.summary()["warnings"] == [
        f"2 clips have lost frames, the first is b at 1.50-2.00 s; see `clipseq info {quote(str(tmp_path))} --clip b`"
    ]


def test_unfinished_clips_are_counted_apart(tmp_path):
    with writer_on(tmp_path) as writer:
        add_clip(writer, "a", 3)
        append(writer, "b", 0, 2)

    store = open_store(tmp_path)
    assert store.clip_ids == ["a"]
    assert store.summary()["unfinished"] == {"b": 2}


def test_few_files_stay_open_however_many_shards_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(store_read, "MAX_OPEN_FILES", 3)
    for number in range(6):
        make_store(tmp_path, {f"clip{number}": 2 + number})
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None
    store = open_store(tmp_path)

    for number in (0, 1, 2, 3, 4, 5, 0, 3):
        assert len(store.read(f"clip{number}")) == 2 + number

    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before + 3
        del store
        assert len(os.listdir("/proc/self/fd")) == before


def test_threads_read_the_same_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(store_read, "MAX_OPEN_FILES", 2)
    for number in range(5):
        make_store(tmp_path, {f"clip{number}": 20 + number})
    store = open_store(tmp_path)
    expected = {clip_id: store.read(clip_id).embeddings.tobytes() for clip_id in store.clip_ids}
    wrong = []

    def read_all(seed):
        for number in np.random.default_rng(seed).integers(0, 5, 200):
            if store.read(f"clip{number}").embeddings.tobytes() != expected[f"clip{number}"]:
                wrong.append(number)

    threads = [threading.Thread(target=read_all, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _read_in_child(store, results):
    results.put([store.read(clip_id).embeddings.tobytes() for clip_id in store.clip_ids * 50])


@pytest.mark.skipif(os.name == "nt", reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_an_open_store_may_cross_a_fork(tmp_path):
    store = open_store(make_store(tmp_path, {"a": 40, "b": 50}))
    expected = [store.read(clip_id).embeddings.tobytes() for clip_id in store.clip_ids * 50]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=_read_in_child, args=(store, results)) for _ in range(2)]
    for child in children:
        child.start()
    mine = [store.read(clip_id).embeddings.tobytes() for clip_id in store.clip_ids * 50]

    assert mine == expected
    assert [results.get(timeout=30) for _ in children] == [expected, expected]
    for child in children:
        child.join()


def test_of_very_many_clips_only_those_nearby_are_compared_with_a_wrong_name(tmp_path, monkeypatch):
    """Comparing one name with a million takes minutes."""
    monkeypatch.setattr(store_read, "COMPARED", 4)
    store = open_store(make_store(tmp_path / "f", {f"clip{k}.mp4": 2 for k in range(10, 30)}))
    assert store.near("clip20.mp5") == ["clip19.mp4", "clip20.mp4", "clip21.mp4", "clip22.mp4"]
    with pytest.raises(UnknownClipError, match=r"has no clip 'clip20.mp5' among its 20 clips; did you mean"):
        store.read("clip20.mp5")
