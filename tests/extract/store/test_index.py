import io
import logging

import numpy as np
import pytest
from store_examples import assert_clip, make_store

from extract.store import index as store_index
from extract.store.index import indexed_clip_ids
from extract.store.reader import open_store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(store_index, "MIN_NEW_SHARDS", 2)
    for number in range(3):
        make_store(tmp_path / "f", {f"clip{number}": 3 + number, f"ü{number}": 2})
    open_store(tmp_path / "f")
    return tmp_path / "f"


def forbid_opening(monkeypatch):
    def open_shard(path):
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(store_index, "open_shard", open_shard)


def test_a_second_opening_reads_no_shard(store, monkeypatch):
    first = open_store(store)
    forbid_opening(monkeypatch)

    second = open_store(store)

    assert second.clip_ids == ["clip0", "clip1", "clip2", "ü0", "ü1", "ü2"]
    assert second.lengths() == first.lengths()
    assert second.summary() == first.summary()
    assert second.truth("ü1") == first.truth("ü1")
    assert second.source("ü1") == first.source("ü1")
    assert_clip(store, "clip2", 5)


def test_a_new_shard_is_seen_at_once(store):
    make_store(store, {"new": 4})

    assert "new" in open_store(store)


def test_a_shard_that_was_removed_is_forgotten(store):
    next(store.glob("shard-*.h5")).unlink()

    assert len(open_store(store)) == 4


def test_a_shard_that_was_cut_off_is_found_damaged_in_spite_of_the_index(store):
    shard = sorted(store.glob("shard-*.h5"))[0]
    shard.write_bytes(shard.read_bytes()[:3000])

    assert list(open_store(store).damaged) == [shard.name]
    assert len(indexed_clip_ids(store, shard.name)) == 2


def test_a_small_store_has_no_index(tmp_path):
    open_store(make_store(tmp_path))

    assert not (tmp_path / ".index.npz").exists()


def rewrite(path, changes):
    with np.load(path) as arrays:
        content = {**{name: arrays[name] for name in arrays.files}, **changes}
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "changes",
    [
        {"start": np.full(6, -5)},
        {"start": np.full(6, 2**62)},
        {"length": np.full(6, 2**62)},
        {"length": np.zeros(5, np.int64)},
        {"truth_end": np.full(6, 10**9)},
        {"clip_id": np.arange(6)},
        {"clip_id": np.array([["a"] * 2] * 3, "S")},
        {"header": np.frombuffer(b"{", np.uint8)},
        {"header": np.frombuffer(b'{"schema_version": 1, "shards": []}', np.uint8)},
        {"header": np.frombuffer(b'{"schema_version": 1, "shards": [{"rows": 6}]}', np.uint8)},
        {"path": np.array([object()] * 6)},
    ],
)
def test_a_hostile_index_is_not_used(store, changes):
    rewrite(store / ".index.npz", changes)

    assert store_index._load(store / ".index.npz") == {}
    assert_clip(store, "clip2", 5)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"\x80\x04\x95pickle", b"\x93NUMPY"])
def test_a_torn_index_is_not_used(store, content, caplog):
    (store / ".index.npz").write_bytes(content)

    with caplog.at_level(logging.WARNING):
        assert_clip(store, "clip2", 5)
    assert caplog.text == ""


def test_where_the_index_cannot_be_written_the_store_opens_without(store, monkeypatch):
    (store / ".index.npz").unlink()
    (store / ".index.npz").mkdir()

    assert len(open_store(store)) == 6
