"""What is done with each clip, and what `clipseq why` says about it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extract.decode.rules import VERSION
from extract.jobs.plan import decide_clip, explain, in_part
from extract.records import VideoItem
from extract.store.pack import pack
from extract.store.reader import open_store
from extract.store.schema import SHARD_PATTERN
from extract.store.writer import StoreWriter
from extract.videos.sources import source_of

TIME_NS = 1_600_000_000 * 10**9  # 2020-09-13T12:26:40+00:00


@pytest.fixture
def item(tmp_path):
    """A file of 1,234 bytes from 2020; nothing here decodes it."""
    path = tmp_path / "videos" / "a.mp4"
    path.parent.mkdir()
    path.write_bytes(b"x" * 1234)
    os.utime(path, ns=(TIME_NS, TIME_NS))
    return VideoItem("a.mp4", path)


def fill(folder, *, done=(), begun=(), failed=(), recipe=None):
    """A store with some clips of three rows complete, begun, and failed."""
    with StoreWriter(folder / "features", recipe or {"backbone": "tiny"}, engine="keras", rules=VERSION) as writer:
        for item in (*done, *begun):
            rows = np.arange(3)
            writer.append(item.clip_id, np.ones((3, 4)), rows, rows / 8, source_of(item, with_digest=True))
        for item in done:
            writer.finish(item.clip_id, None)
        for item in failed:
            writer.fail(item.clip_id, ValueError(f"{item.clip_id} is no video"), source_of(item, with_digest=False))
    return open_store(folder / "features")


def rewrite(item, content):
    """Other content of the same modification time."""
    item.path.write_bytes(content)
    os.utime(item.path, ns=(TIME_NS, TIME_NS))


def another(item, name):
    path = item.path.with_name(name)
    path.write_bytes(name.encode())
    return VideoItem(name, path)


def test_a_clip_that_is_nowhere_is_extracted(tmp_path, item):
    assert decide_clip(item, None).action == "extract"
    decision = decide_clip(item, fill(tmp_path, done=[another(item, "b.mp4")]))
    assert (decision.action, decision.reason) == ("extract", "it is not in the store")


def test_an_unchanged_clip_is_reused_without_being_read(tmp_path, item, monkeypatch):
    store = fill(tmp_path, done=[item])
    monkeypatch.setattr("extract.videos.sources._digest", lambda files: pytest.fail("the content was read"))
    assert decide_clip(item, store).action == "reuse"


def test_a_touched_clip_is_known_by_its_content(tmp_path, item):
    store = fill(tmp_path, done=[item])
    os.utime(item.path, ns=(1, 1))
    assert decide_clip(item, store).action == "reuse"
    item.path.write_bytes(b"y" * 1234)
    assert decide_clip(item, store).reason == "the file's content has changed since the extraction"
    item.path.write_bytes(b"y" * 1235)
    assert decide_clip(item, store).reason == "the file's size has changed since the extraction"


def test_the_same_size_and_time_are_seen_through_by_rehash_only(tmp_path, item):
    store = fill(tmp_path, done=[item])
    rewrite(item, b"y" * 1234)
    assert decide_clip(item, store).action == "reuse"
    assert decide_clip(item, store, rehash=True).action == "extract"


def test_a_begun_clip_goes_on_behind_its_sealed_rows_also_when_it_was_touched(tmp_path, item):
    store = fill(tmp_path, begun=[item])
    assert decide_clip(item, store).partial.rows == 3
    os.utime(item.path, ns=(1, 1))
    assert decide_clip(item, store).partial.rows == 3
    item.path.write_bytes(b"y" * 1234)
    assert decide_clip(item, store).partial is None


def test_rehash_never_goes_on_behind_rows_of_other_content(tmp_path, item):
    store = fill(tmp_path, begun=[item])
    rewrite(item, b"y" * 1234)
    assert decide_clip(item, store, rehash=True).partial is None


def test_a_changed_clip_that_was_cut_off_goes_on_behind_the_rows_of_the_new_file(tmp_path, item):
    fill(tmp_path, done=[item])
    item.path.write_bytes(b"y" * 999)
    assert decide_clip(item, fill(tmp_path, begun=[item])).partial.rows == 3


def test_a_failed_clip_is_tried_again_when_it_changed_or_on_demand(tmp_path, item):
    store = fill(tmp_path, failed=[item])
    assert decide_clip(item, store).action == "failed"
    assert decide_clip(item, store, retry_failed=True).action == "extract"
    item.path.write_bytes(b"y")
    assert decide_clip(item, store).action == "extract"


def test_a_changed_clip_that_failed_is_not_tried_at_every_run(tmp_path, item):
    fill(tmp_path, done=[item])
    item.path.write_bytes(b"broken")
    assert decide_clip(item, fill(tmp_path, failed=[item])).action == "failed"


def test_every_clip_is_in_exactly_one_part():
    assert [sum(in_part(f"{k}.mp4", (part, 3)) for part in (1, 2, 3)) for k in range(50)] == [1] * 50


@pytest.mark.parametrize("as_item", (True, False))
def test_why_a_clip_is_reused(tmp_path, item, as_item):
    text = explain(item if as_item else "a.mp4", fill(tmp_path, done=[item]))
    assert text.startswith(
        "a.mp4 is reused: the file's size and modification time are unchanged since the extraction. "
        f"{tmp_path / 'features'} holds 3 timesteps of it, written 20"
    )
    assert f"from {item.path} (1,234 bytes, modified 2020-09-13T12:26:40+00:00)." in text
    assert text.endswith("Changed content with the same size and time is found only with --rehash.")


@pytest.mark.parametrize("as_item", (True, False))
def test_why_a_clip_is_computed_anew(tmp_path, item, as_item):
    store = fill(tmp_path, done=[item])
    rewrite(item, b"y" * 999)
    text = explain(item if as_item else "a.mp4", store)
    assert text.startswith(
        "a.mp4 is computed by the next extraction: the file's size has changed since the extraction. "
    )
    assert "(1,234 bytes, modified 2020-09-13T12:26:40+00:00). The file has 999 bytes, modified 2020-" in text
    assert text.endswith(" now; readers get the stored timesteps until it is replaced.")


def test_why_a_clip_goes_on(tmp_path, item):
    text = explain("a.mp4", fill(tmp_path, begun=[item]))
    assert text == (
        "a.mp4 is computed by the next extraction: an earlier run sealed its first 3 rows; it resumes there. "
        f"{tmp_path / 'features'} holds 3 rows of it, but not its end."
    )


def test_why_a_clip_failed_is_told_from_where_its_neighbours_lie(tmp_path, item):
    text = explain("a.mp4", fill(tmp_path, done=[another(item, "b.mp4")], failed=[item]))
    assert text.startswith(
        "a.mp4 counts as failed again, without being tried: a.mp4 is no video (the file has not changed; "
        "--retry-failed tries again). It failed 20"
    )
    assert text.endswith(" with ValueError: a.mp4 is no video.")


def test_why_without_a_file_to_compare(tmp_path, item):
    text = explain("a.mp4", fill(tmp_path, failed=[item]))
    assert text.startswith("a.mp4 failed, and the path of its file is not recorded: give the videos to compare it. It ")


def test_why_of_a_file_that_is_gone_says_that_its_timesteps_stay(tmp_path, item):
    store = fill(tmp_path, done=[item])
    item.path.unlink()
    text = explain("a.mp4", store)
    assert text.startswith(f"a.mp4 would fail in the next extraction: {item.path} cannot be read (No such file")
    assert "holds 3 timesteps of it" in text


def test_why_of_an_unknown_name_offers_similar_ones(tmp_path, item):
    text = explain("a.mp5", fill(tmp_path, done=[item]))
    assert text == (
        f"a.mp5 is not in {tmp_path / 'features'}: the next extraction computes it if its list of files includes it. "
        "Similar names in the store: a.mp4."
    )


def test_why_names_damaged_shards_where_the_clip_may_have_been(tmp_path, item):
    store = fill(tmp_path, done=[item])
    next(store.path.glob(SHARD_PATTERN)).write_bytes(b"")
    text = explain(item, open_store(store.path))
    assert text == (
        "a.mp4 is computed by the next extraction: it is not in the store. "
        "The store is damaged (1 damaged shard) and may have lost it: see clipseq verify."
    )


def test_why_of_a_packed_store_says_that_nothing_is_added_to_it(tmp_path, item):
    pack(fill(tmp_path, done=[another(item, "b.mp4")]).path, tmp_path / "packed.h5")

    text = explain("a.mp4", open_store(tmp_path / "packed.h5"))
    assert "is computed by the next extraction into the directory that was packed: it is not in the store" in text
    assert text.endswith("packed.h5 is a packed file: nothing can be added to it.")


def test_why_of_imported_features_speaks_of_imports(tmp_path, item):
    store = fill(tmp_path, failed=[item], recipe={"source": "imported"})
    text = explain(replace(item, path=Path(item.path)), store)
    assert text.startswith("a.mp4 is computed by the next import: it failed before and is tried again. It failed 20")
