"""Ctrl-C at any moment of sealing: every row once, none lost."""

from __future__ import annotations

import os

import pytest
from store_examples import RECIPE, add_clip, append, assert_clip

from extract.store import writer as store_write
from extract.store.reader import open_store
from extract.store.verify import verify
from extract.store.writer import StoreWriter
from extract.system import files


def interrupt_once(monkeypatch, module, name, *, before):
    """Makes the next call of a function end in Ctrl-C, before or after it has done its work."""
    function, calls = getattr(module, name), []

    def interrupted(*arguments, **more):
        calls.append(name)
        if len(calls) == 1 and before:
            raise KeyboardInterrupt
        result = function(*arguments, **more)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(module, name, interrupted)


@pytest.mark.parametrize("before", (True, False))
@pytest.mark.parametrize(
    ("module", "name"),
    ((store_write, "write_shard"), (os, "fsync"), (os, "replace"), (files, "fsync_directory")),
)
def test_rows_are_sealed_once_when_ctrl_c_comes_while_a_shard_is_written(tmp_path, monkeypatch, module, name, before):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "f", RECIPE, engine="keras") as writer:
        add_clip(writer, "done.avi", 3)
        append(writer, "going.avi", 0, 5)
        interrupt_once(monkeypatch, module, name, before=before)
        writer.seal()
    store = open_store(tmp_path / "f")
    assert sum(int(shard.columns["length"].sum()) for shard in store.shards) == 8
    assert store.clip_ids == ["done.avi"] and store.unfinished() == {"going.avi": 5}
    assert [path.name for path in (tmp_path / "f").glob(".tmp-*")] == []
    assert_clip(tmp_path / "f", "done.avi", 3)


def test_ctrl_c_in_the_last_seal_of_all_does_not_lose_it(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "f", RECIPE, engine="keras") as writer:
        add_clip(writer, "done.avi", 3)
        interrupt_once(monkeypatch, store_write, "write_shard", before=True)
    assert open_store(tmp_path / "f").lengths() == {"done.avi": 3}


def test_a_clip_goes_on_after_a_seal_that_was_interrupted_when_it_was_complete(tmp_path, monkeypatch):
    with StoreWriter(tmp_path / "f", RECIPE, engine="keras") as writer:
        append(writer, "a.avi", 0, 5)
        interrupt_once(monkeypatch, files, "fsync_directory", before=True)
        with pytest.raises(KeyboardInterrupt):
            writer.seal()
        append(writer, "a.avi", 5, 9)
        writer.finish("a.avi", None)
    assert open_store(tmp_path / "f").lengths() == {"a.avi": 9}
    assert_clip(tmp_path / "f", "a.avi", 9)
    assert verify(tmp_path / "f").is_sound
