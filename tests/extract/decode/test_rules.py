"""Corrections of decoding reach the clips of old stores that they concern, and no others."""

from __future__ import annotations

import re
from collections import Counter

import h5py
import numpy as np
import pytest

from extract.decode import rules as decode_rules
from extract.decode.rules import Change, outdated
from extract.errors import DamagedShardError
from extract.jobs.job import extract
from extract.jobs.plan import decide_clip, explain, outdated_warning
from extract.jobs.settings import ExtractSettings
from extract.records import VideoTruth
from extract.store import schema as store_schema
from extract.store.pack import pack
from extract.store.reader import Store, open_store
from extract.store.schema import SHARD_PATTERN
from extract.store.shard import open_shard
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule
from pipeline import main

LENGTHS = {"one.avi": 6, "two.avi": 7, "three.avi": 8}
SEVEN_WERE_WRONG = Change(3, "seventh frames were wrong", lambda recipe: True, lambda truth: truth.decoded_frames == 7)


@pytest.fixture
def videos(tmp_path, make_video):
    for name, frames in LENGTHS.items():
        make_video(tmp_path / "videos" / name, frames=frames)
    return tmp_path / "videos"


@pytest.fixture
def settings(tmp_path):
    rule = SamplingRule("every", 1)
    return ExtractSettings(output=tmp_path / "features", backbone="pixels", image_size=4, sampling=rule)


@pytest.fixture
def corrected(monkeypatch):
    """From now on the rules have one more correction."""

    def correct():
        monkeypatch.setattr(decode_rules, "CHANGES", (SEVEN_WERE_WRONG,))
        monkeypatch.setattr(decode_rules, "VERSION", 3)

    return correct


def statuses(videos, settings):
    return {result.clip_id: result.status for result in extract(find_videos(videos), settings)}


def test_a_clip_that_earlier_rules_stored_wrongly_is_made_again_and_nothing_else(videos, settings, corrected, capsys):
    assert Counter(statuses(videos, settings).values()) == {"done": 3}
    corrected()
    store = open_store(settings.output)
    assert (
        "two.avi is computed by the next extraction: it was stored under earlier rules: seventh frames were wrong."
        in (explain(find_videos(videos / "two.avi")[0], store))
    )
    assert main(["info", str(settings.output)]) == 0
    said = (
        "1 clip was stored under earlier decoding rules (seventh frames were wrong), and the next `clipseq extract` "
        "redoes it: two.avi"
    )
    assert said in capsys.readouterr().out
    assert statuses(videos, settings) == {"one.avi": "skipped", "three.avi": "skipped", "two.avi": "done"}
    assert open_store(settings.output).rules("two.avi") == 3
    assert set(statuses(videos, settings).values()) == {"skipped"}
    assert main(["info", str(settings.output)]) == 0 and "earlier rules" not in capsys.readouterr().out
    assert main(["info", str(settings.output), "--clip", "one.avi"]) == 0
    assert re.search("outdated +none", capsys.readouterr().out)


def test_a_beginning_that_earlier_rules_sealed_is_not_gone_on_with(videos, settings, corrected):
    class Cut(Exception):
        pass

    def cut(progress):
        if progress.frames:
            raise Cut

    with pytest.raises(Cut):
        list(extract(find_videos(videos / "two.avi"), settings, on_progress=cut))
    item = find_videos(videos / "two.avi")[0]
    before = decide_clip(item, open_store(settings.output))
    corrected()
    after = decide_clip(item, open_store(settings.output))
    assert before.partial and before.partial.rows and (after.partial is None or not after.partial.rows)
    assert statuses(videos / "two.avi", settings) == {"two.avi": "done"}
    assert len(open_store(settings.output).read("two.avi")) == 7


def test_shards_from_before_the_rules_had_a_version_are_of_the_first(videos, settings, monkeypatch):
    with monkeypatch.context() as before:
        before.delitem(store_schema.COLUMNS, "rules")
        statuses(videos, settings)
    (path,) = settings.output.glob(SHARD_PATTERN)
    with h5py.File(path) as file:
        assert "rules" not in file["clips"]
    store = open_store(settings.output)
    assert [store.rules(clip_id) for clip_id in store.clip_ids] == [1, 1, 1]
    assert main(["verify", str(settings.output)]) == 0
    assert set(statuses(videos, settings).values()) == {"skipped"}


def test_a_changed_version_is_found_like_any_other_damage(videos, settings):
    statuses(videos, settings)
    (path,) = settings.output.glob(SHARD_PATTERN)
    with h5py.File(path, "r+") as file:
        file["clips/rules"][0] = 99
    with pytest.raises(DamagedShardError, match="the digest of its clip table is wrong"):
        open_shard(path)


def test_a_packed_store_keeps_the_rules_of_each_clip(videos, settings, corrected, tmp_path):
    statuses(videos, settings)
    corrected()
    (videos / "three.avi").unlink()
    statuses(videos, settings)
    pack(settings.output, tmp_path / "packed.h5")
    packed = open_store(tmp_path / "packed.h5")
    assert {clip_id: packed.rules(clip_id) for clip_id in packed.clip_ids} == {
        "one.avi": 2, "two.avi": 3, "three.avi": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sampling", "varies", "wrong"),
    [
        ("num_frames=8", True, True),
        ("skip_frames=2,num_frames=8", True, True),
        ("num_frames=8", False, False),
        ("fps=8", True, False),
    ],
)
def test_frames_that_were_spread_over_a_pause_are_wrong(sampling, varies, wrong):
    truth = VideoTruth("pyav", "h264", 64, 48, variable_rate=varies)
    assert bool(outdated(1, {"sampling": sampling}, truth)) == wrong
    assert not outdated(2, {"sampling": sampling}, truth)
    assert not outdated(1, {}, None)


def test_the_newest_version_counts_though_the_clock_was_put_back(videos, settings, monkeypatch, make_video):
    statuses(videos, settings)
    make_video(videos / "one.avi", frames=9)
    monkeypatch.setattr("time.time_ns", lambda: 10**18)  # in 2001
    assert statuses(videos, settings)["one.avi"] == "done"
    assert len(open_store(settings.output).read("one.avi")) == 9
    (videos / "one.avi").write_bytes(b"no video")
    assert statuses(videos, settings)["one.avi"] == "failed"
    assert list(open_store(settings.output).failures()) == ["one.avi"]
    make_video(videos / "one.avi", frames=4)
    assert statuses(videos, settings)["one.avi"] == "done"
    store = open_store(settings.output)
    assert len(store.read("one.avi")) == 4 and not store.failures()
    np.testing.assert_array_equal(store.read("one.avi").frame_indices, np.arange(4))


def test_a_store_that_no_correction_concerns_is_planned_without_reading_its_records(videos, settings, monkeypatch):
    """A million of them take minutes."""
    statuses(videos, settings)
    elsewhere = Change(decode_rules.VERSION + 1, "wrong", lambda recipe: "backbone" not in recipe, lambda truth: True)
    monkeypatch.setattr(decode_rules, "CHANGES", (elsewhere,))
    monkeypatch.setattr(decode_rules, "VERSION", elsewhere.version)
    monkeypatch.setattr(Store, "truth", None)
    assert set(statuses(videos, settings).values()) == {"skipped"}
    assert outdated_warning(open_store(settings.output)) == []
