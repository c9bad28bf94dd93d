"""Merging: every clip of every store, once, whenever it is interrupted."""

from __future__ import annotations

import os

import numpy as np
import pytest
from store_examples import RECIPE, SOURCE, add_clip, append, change_row, content, make_store, shard_of

import pipeline
from extract.errors import DamagedShardError, RecipeMismatchError, StoreError
from extract.records import Source
from extract.store import merge as merging
from extract.store.merge import merge
from extract.store.pack import pack
from extract.store.reader import open_store
from extract.store.schema import Partial
from extract.store.verify import verify
from extract.store.writer import StoreWriter


@pytest.fixture
def stores(tmp_path):
    """Three: "b" is in the first two; "long" is in three parts; "half" is not complete, "bad" has failed."""
    with StoreWriter(tmp_path / "one", RECIPE, engine="keras") as writer:
        add_clip(writer, "a", 3)
        add_clip(writer, "b", 5)
        writer.fail("bad", ValueError("broken"), SOURCE)
    with StoreWriter(tmp_path / "two", RECIPE, engine="litert") as writer:
        append(writer, "long", 0, 3)
        add_clip(writer, "b", 5)
        writer.seal()
        append(writer, "long", 3, 4)
        writer.seal()
        append(writer, "long", 4, 9)
        writer.finish("long", None)
        append(writer, "half", 0, 2)
    make_store(tmp_path / "three", {"d": 4})
    return [tmp_path / "one", tmp_path / "two", tmp_path / "three"]


def shards_of(path):
    return sorted(shard.name for shard in path.glob("shard-*.h5"))


def test_the_merged_store_has_every_clip_once_with_the_same_bytes(stores, tmp_path):
    merged = merge(stores, tmp_path / "all")

    assert (merged.num_clips, merged.num_frames, merged.num_repeated, merged.num_shards) == (4, 21, 1, 5)
    assert content(tmp_path / "all") == {k: v for path in stores[::-1] for k, v in content(path).items()}
    report, store = verify(tmp_path / "all"), open_store(tmp_path / "all")
    assert report.is_sound and report.num_clips == 4
    assert sum(len(shard) for shard in store.shards) == 7  # 4 clips, 2 more parts of "long", 1 part of "half"
    assert store.failures()["bad"].message == "broken"
    assert store.summary()["engines"] == ["keras", "litert"]


def test_an_unfinished_clip_goes_on_in_the_merged_store(stores, tmp_path):
    merge(stores, tmp_path / "all")
    store = open_store(tmp_path / "all")
    assert store.unfinished() == {"half": 2}
    assert store.partial("half", SOURCE, rules=1) == Partial("half", 2, 1, SOURCE, 3, 0.125)


def test_shards_that_are_wanted_whole_are_links_where_the_disk_has_them(stores, tmp_path, monkeypatch):
    merge(stores, tmp_path / "all")
    linked = [name for path in stores for name in shards_of(path) if (tmp_path / "all" / name).exists()]
    assert len(linked) == 4 and all((tmp_path / "all" / name).stat().st_nlink == 2 for name in linked)

    def no_links(*names, **more):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(merging.os, "link", no_links)
    merge(stores, tmp_path / "copied")
    assert shards_of(tmp_path / "copied") == shards_of(tmp_path / "all")
    assert all((tmp_path / "copied" / name).read_bytes() == (tmp_path / "all" / name).read_bytes() for name in linked)


def test_merging_again_adds_nothing(stores, tmp_path):
    merge(stores, tmp_path / "all")
    before = sorted(os.listdir(tmp_path / "all"))
    again = merge([*stores, tmp_path / "all"], tmp_path / "all")
    assert again.num_shards == 0 and sorted(os.listdir(tmp_path / "all")) == before


@pytest.mark.parametrize("step", range(6))
def test_a_merge_that_is_interrupted_goes_on(stores, tmp_path, monkeypatch, step):
    merge(stores, tmp_path / "undisturbed")
    calls = iter(range(99))

    def interrupted(function):
        def call(*arguments, **more):
            if next(calls) == step:
                raise KeyboardInterrupt
            return function(*arguments, **more)

        return call

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(merging, "_link_or_copy", interrupted(merging._link_or_copy))
        patch.setattr(merging, "write_shard", interrupted(merging.write_shard))
        patch.setattr(merging, "write_bytes", interrupted(merging.write_bytes))
        merge(stores, tmp_path / "all")
    assert verify(tmp_path / "all").is_sound
    merge(stores, tmp_path / "all")
    assert sorted(os.listdir(tmp_path / "all")) == sorted(os.listdir(tmp_path / "undisturbed"))
    assert content(tmp_path / "all") == content(tmp_path / "undisturbed")


def test_stores_can_be_added_one_by_one_and_packed_ones_too(stores, tmp_path):
    packed = pack(stores[0], tmp_path / "one.h5").path
    for path in (packed, *stores[1:]):
        merge([path], tmp_path / "all")
    merge([packed], tmp_path / "all")
    assert content(tmp_path / "all") == {k: v for path in stores[::-1] for k, v in content(path).items()}
    assert list(open_store(tmp_path / "all").failures()) == ["bad"]


def test_the_same_rows_in_other_parts_are_the_same(tmp_path):
    make_store(tmp_path / "one", {"a": 6})
    with StoreWriter(tmp_path / "two", RECIPE, engine="keras") as writer:
        rows = open_store(tmp_path / "one").read("a")
        for part in (slice(0, 2), slice(2, 6)):
            writer.append("a", rows.embeddings[part], rows.frame_indices[part], rows.pts_seconds[part], SOURCE)
            writer.seal()
        writer.finish("a", None)
    assert merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all").num_repeated == 1


def test_different_rows_of_one_clip_are_refused_or_the_newest_taken(stores, tmp_path):
    newer = Source("/videos/b.mp4", 1, 2, "d2")
    with StoreWriter(tmp_path / "four", RECIPE, engine="keras") as writer:
        add_clip(writer, "b", 8, newer)
    said = rf"^b has other rows in {tmp_path}/four than in {stores[0]} \(1 clip of this kind\): give --newest to take"
    with pytest.raises(StoreError, match=said):
        merge([*stores, tmp_path / "four"], tmp_path / "all")
    assert not (tmp_path / "all").exists()

    for order in ([*stores, tmp_path / "four"], [tmp_path / "four", *stores]):
        output = tmp_path / f"all of {order[0].name}"
        merge(order, output, newest=True)
        store = open_store(output)
        assert len(store.read("b")) == 8 and store.source("b") == newer and len(store) == 4
        assert sum("b" in shard.texts("clip_id") for shard in store.shards) == 1
    merge(stores, tmp_path / "grown")
    merge([tmp_path / "four"], tmp_path / "grown", newest=True)
    assert len(open_store(tmp_path / "grown").read("b")) == 8


def test_another_recipe_is_refused_with_the_difference(stores, tmp_path):
    with StoreWriter(tmp_path / "other", {**RECIPE, "image_size": 16}, engine="keras") as writer:
        add_clip(writer, "z", 2)
    with pytest.raises(RecipeMismatchError, match=r"other was made with image_size=16 instead of 8 in .*one: only"):
        merge([*stores, tmp_path / "other"], tmp_path / "all")
    with pytest.raises(RecipeMismatchError, match=r"other was made with image_size=16, you asked for 8. Use another"):
        merge(stores, tmp_path / "other")
    assert not (tmp_path / "all").exists() and len(shards_of(tmp_path / "other")) == 1


def test_rows_of_another_width_are_refused(stores, tmp_path):
    with StoreWriter(tmp_path / "wide", RECIPE, engine="keras") as writer:
        writer.append("z", np.ones((2, 7), np.float32), np.arange(2), np.arange(2.0), SOURCE)
        writer.finish("z", None)
    with pytest.raises(StoreError, match=r"one holds float16\(4,\), .*wide holds float16\(7,\)"):
        merge([stores[0], tmp_path / "wide"], tmp_path / "all")


def test_a_damaged_store_is_refused(stores, tmp_path):
    with open(shard_of(stores[2]), "r+b") as file:
        file.truncate(3000)
    with pytest.raises(DamagedShardError, match="three has damaged shards: run `clipseq verify"):
        merge(stores, tmp_path / "all")


def test_damaged_rows_are_not_written_again(stores, tmp_path):
    """Of the shard that holds "b", only other rows are taken, and read for that."""
    change_row(next(path for path in sorted(stores[1].glob("shard-*")) if b"long" in path.read_bytes()), "long")
    with pytest.raises(DamagedShardError, match="the digest of long is wrong"):
        merge(stores, tmp_path / "all")


def test_a_store_alone_with_itself_is_nothing_to_merge(stores):
    with pytest.raises(StoreError, match="there is nothing to merge into"):
        merge([stores[0]], stores[0])


def test_the_command_says_what_the_store_holds_now(stores, tmp_path, capsys):
    assert pipeline.main(["merge", *map(str, stores), "--output", str(tmp_path / "all")]) == 0
    said = f"{tmp_path}/all holds 4 clips, 21 frames: added 5 shards; 1 clip of several stores kept once\n"
    assert capsys.readouterr().out == said
