import json
import os
import time

import numpy as np
import pytest
from store_examples import LENGTHS, RECIPE, SOURCE, TRUTH, add_clip, append, assert_clip, make_store, rows_of

from extract.errors import RecipeMismatchError, StoreError, UnstorableClipError, WriteError
from extract.store import writer as store_write
from extract.store.reader import open_store
from extract.store.writer import StoreWriter


def writer_on(path, **settings):
    return StoreWriter(path, RECIPE, engine="keras", **settings)


def shards(path):
    return sorted(path.glob("shard-*.h5"))


def test_clips_come_back_as_they_were_given(tmp_path):
    make_store(tmp_path / "f")

    store = open_store(tmp_path / "f")
    assert store.lengths() == LENGTHS
    for clip_id, length in LENGTHS.items():
        assert_clip(tmp_path / "f", clip_id, length)
    assert store.truth("hug/a.mp4") == TRUTH
    assert store.source("hug/a.mp4") == SOURCE


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float16", (6,)), ("float32", (6,)), ("uint8", (3, 5, 3)), ("uint8", (3, 5, 1))]
)
def test_every_type_of_rows_comes_back(tmp_path, dtype, shape):
    rows = np.random.default_rng(0).integers(0, 256, (4, *shape)).astype(dtype)
    with writer_on(tmp_path, dtype=dtype) as writer:
        writer.append("a", rows, np.arange(4), np.arange(4.0), SOURCE)
        writer.finish("a", None)

    clip = open_store(tmp_path).read("a")
    assert clip.embeddings.dtype == dtype
    np.testing.assert_array_equal(clip.embeddings, rows)
    assert clip.truth is None


def test_a_writer_whose_recipe_was_replaced_before_its_first_shard_stores_nothing(tmp_path):
    early = writer_on(tmp_path)
    append(early, "a", 0, 2)
    early.finish("a", TRUTH)
    StoreWriter(tmp_path, {**RECIPE, "fit": "crop"}, engine="keras")
    with pytest.raises(RecipeMismatchError, match="got another recipe before anything was stored; start again"):
        early.seal()
    assert not shards(tmp_path)


def test_clips_may_be_open_at_the_same_time(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 2)
        append(writer, "b", 0, 3)
        append(writer, "a", 2, 5)
        writer.finish("b", TRUTH)
        append(writer, "a", 5, 6)
        writer.finish("a", TRUTH)

    assert_clip(tmp_path, "a", 6)
    assert_clip(tmp_path, "b", 3)
    assert len(shards(tmp_path)) == 1


def test_the_caller_may_reuse_its_arrays(tmp_path):
    rows, indices, times = np.ones((2, 4), np.float16), np.arange(2), np.arange(2.0)
    with writer_on(tmp_path) as writer:
        writer.append("a", rows, indices, times, SOURCE)
        rows[:], indices[:], times[:] = 9, 9, 9
        writer.finish("a", None)

    clip = open_store(tmp_path).read("a")
    assert clip.embeddings.tolist() == [[1] * 4] * 2
    assert clip.frame_indices.tolist() == [0, 1]
    assert clip.pts_seconds.tolist() == [0, 1]


def test_a_long_clip_is_sealed_in_parts_and_visible_with_the_last(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "long", 0, 3)
        writer.seal()
        append(writer, "long", 3, 4)
        writer.seal()
        append(writer, "long", 4, 9)
        assert "long" not in open_store(tmp_path)
        assert open_store(tmp_path).unfinished() == {"long": 4}
        writer.finish("long", TRUTH)
        writer.seal()
        assert_clip(tmp_path, "long", 9)

    assert len(shards(tmp_path)) == 3
    assert open_store(tmp_path).unfinished() == {}


def test_a_clip_that_was_sealed_to_its_last_row_is_finished_by_an_empty_part(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 3)
        writer.seal()
        writer.finish("a", TRUTH)

    assert_clip(tmp_path, "a", 3)
    assert open_store(tmp_path).truth("a") == TRUTH


def test_leaving_the_block_seals_after_ctrl_c(tmp_path):
    with pytest.raises(KeyboardInterrupt), writer_on(tmp_path) as writer:
        add_clip(writer, "done", 3)
        append(writer, "open", 0, 2)
        raise KeyboardInterrupt

    assert_clip(tmp_path, "done", 3)
    assert open_store(tmp_path).partial("open", SOURCE, rules=1).rows == 2


def test_discard_forgets_what_is_not_sealed(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 2)
        writer.discard("a")
        writer.discard("never seen")
        add_clip(writer, "b", 3)

    assert open_store(tmp_path).clip_ids == ["b"]


def test_nothing_gathered_writes_no_shard(tmp_path):
    with writer_on(tmp_path) as writer:
        writer.seal()
        append(writer, "a", 0, 2)
        writer.discard("a")

    assert shards(tmp_path) == []
    assert len(open_store(tmp_path)) == 0


def test_rows_are_sealed_after_flush_seconds(tmp_path):
    with writer_on(tmp_path, flush_seconds=0.05) as writer:
        add_clip(writer, "a", 3)
        assert shards(tmp_path) == []
        time.sleep(0.06)
        writer.seal_if_due()
        assert len(shards(tmp_path)) == 1


def test_rows_are_sealed_at_the_size_of_a_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(store_write, "SEAL_BYTES", 100)
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 4)  # 4 rows of 4 float16, an index and a time: 96 bytes
        assert shards(tmp_path) == []
        append(writer, "a", 4, 5)
        assert len(shards(tmp_path)) == 1
        writer.finish("a", TRUTH)

    assert_clip(tmp_path, "a", 5)


def test_discarded_rows_do_not_make_a_shard_due(tmp_path, monkeypatch):
    monkeypatch.setattr(store_write, "SEAL_BYTES", 100)
    with writer_on(tmp_path) as writer:
        append(writer, "a", 0, 4)
        writer.discard("a")
        append(writer, "b", 0, 4)
        assert shards(tmp_path) == []


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.nan, "a: a row contains nan, but values must be finite: check the weights and the precision."),
        (-np.inf, "a: a row contains -inf, but values must be finite: check the weights and the precision."),
        (70000, "a: a row contains 70000.0, beyond the range of float16 (65504), so this clip is not stored: "
                "use another backbone or scale its output."),
    ],
)  # fmt: skip
def test_rows_that_float16_cannot_hold_fail_the_clip_alone(tmp_path, value, sentence):
    rows = rows_of("a", 4)
    rows[2, 1] = value
    with writer_on(tmp_path) as writer:
        add_clip(writer, "b", 3)
        append(writer, "a", 0, 2)
        with pytest.raises(UnstorableClipError) as caught:
            writer.append("a", rows, np.arange(2, 6), np.arange(2, 6), SOURCE)
        writer.fail("a", caught.value, SOURCE)

    assert str(caught.value) == sentence
    assert open_store(tmp_path).clip_ids == ["b"]
    assert open_store(tmp_path).failures()["a"].message == sentence


def test_float32_holds_what_float16_cannot(tmp_path):
    with writer_on(tmp_path, dtype="float32") as writer:
        writer.append("a", np.full((1, 2), 1e6), np.array([0]), np.array([0.0]), SOURCE)
        writer.finish("a", None)

    assert open_store(tmp_path).read("a").embeddings.tolist() == [[1e6, 1e6]]


@pytest.mark.parametrize("times", [[0, 1, 1], [0, 2, 1], [0, np.nan, 1], [0, 1, np.inf]])
def test_timestamps_that_do_not_rise_fail_the_clip(tmp_path, times):
    with (
        writer_on(tmp_path) as writer,
        pytest.raises(UnstorableClipError, match="a: the timestamps do not strictly increase"),
    ):
        writer.append("a", rows_of("a", 3), np.arange(3), np.array(times, float), SOURCE)


@pytest.mark.parametrize("indices", [[0, 1, 1], [5, 4, 6], [-1, 0, 1]])
def test_frame_indices_that_do_not_rise_fail_the_clip(tmp_path, indices):
    with (
        writer_on(tmp_path) as writer,
        pytest.raises(UnstorableClipError, match="a: the frame indices do not strictly"),
    ):
        writer.append("a", rows_of("a", 3), np.array(indices), np.arange(3.0), SOURCE)


def test_a_clip_without_a_frame_is_refused(tmp_path):
    with writer_on(tmp_path) as writer:
        writer.append("a", rows_of("a", 0), np.arange(0), np.arange(0.0), SOURCE)
        with pytest.raises(UnstorableClipError, match="a has no frame to store: check the video and the sampling rule"):
            writer.finish("a", TRUTH)
        with pytest.raises(UnstorableClipError, match="b has no frame to store"):
            writer.finish("b", TRUTH)


def test_rows_of_another_width_fail_the_clip(tmp_path):
    make_store(tmp_path)

    with writer_on(tmp_path) as writer, pytest.raises(UnstorableClipError) as caught:
        writer.append("a", np.zeros((2, 9)), np.arange(2), np.arange(2.0), SOURCE)

    assert (
        str(caught.value)
        == f"a has rows of shape (9,), but {tmp_path} holds (4,): all clips of a store must have equal width."
    )


def test_rows_of_another_type_need_another_store(tmp_path):
    make_store(tmp_path)

    with pytest.raises(StoreError, match=r"holds float16 rows, not float32. Use another --output"):
        writer_on(tmp_path, dtype="float32")


def test_another_recipe_is_refused_before_anything_is_written(tmp_path):
    make_store(tmp_path)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(RecipeMismatchError, match="image_size=8, you asked for 9"):
        StoreWriter(tmp_path, {**RECIPE, "image_size": 9}, engine="keras")
    assert sorted(tmp_path.iterdir()) == before


def test_programming_errors_are_value_errors(tmp_path):
    with pytest.raises(ValueError, match="dtype int8 is not one of float16, float32, uint8"):
        writer_on(tmp_path, dtype="int8")
    with writer_on(tmp_path, dtype="uint8") as writer:
        with pytest.raises(ValueError, match="cannot be stored as uint8 rows"):
            writer.append("a", rows_of("a", 2), np.arange(2), np.arange(2.0), SOURCE)
        with pytest.raises(ValueError, match="2 rows, \\(3,\\) frame indices"):
            writer.append("a", np.zeros((2, 3), np.uint8), np.arange(3), np.arange(2.0), SOURCE)


def test_a_shard_records_engine_versions_and_seconds(tmp_path):
    with writer_on(tmp_path) as writer:
        writer.add_seconds("decode", 1.5)
        writer.add_seconds("decode", 0.5)
        add_clip(writer, "a", 3)
        writer.seal()
        writer.add_seconds("model", 2.0)
        add_clip(writer, "b", 3)

    summary = open_store(tmp_path).summary()
    assert summary["seconds"] == {"decode": 2.0, "model": 2.0}
    assert summary["engines"] == ["keras"]
    assert summary["versions"][0]["numpy"] == np.__version__


def test_a_failure_is_one_line_that_is_there_at_once(tmp_path):
    with writer_on(tmp_path) as writer:
        append(writer, "bad.mp4", 0, 2)
        writer.fail("bad.mp4", ValueError("two\nlines"), SOURCE)
        writer.fail("gone.mp4", OSError("gone"), None)
        lines = next(tmp_path.glob("failures-*.jsonl")).read_text().splitlines()

    records = [json.loads(line) for line in lines]
    assert [(r["clip_id"], r["error"], r["message"], r["source_size"]) for r in records] == [
        ("bad.mp4", "ValueError", "two\nlines", 1000),
        ("gone.mp4", "OSError", "gone", None),
    ]
    assert open_store(tmp_path).clip_ids == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(WriteError, match="change the permissions, or use another --output"):
        writer_on(tmp_path / "f")


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path):
    (tmp_path / "f").touch()
    with pytest.raises(StoreError, match="is a file; clips can only be added to a directory"):
        writer_on(tmp_path / "f")
    with pytest.raises(WriteError, match="could not be written"):
        writer_on(tmp_path / "f" / "g")
