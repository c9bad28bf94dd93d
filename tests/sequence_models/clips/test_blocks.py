"""One recording is cut into blocks in time, so that a first user has something to split."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from clip_factory import make_clip

import pipeline
from extract.errors import LabelError
from sequence_models.clips.blocks import blocks_note, cut_into_blocks


def recording(steps=100, first=0, last=100):
    clip = make_clip(steps)
    labels = np.full(steps, -1, np.int64)
    labels[first:last] = np.arange(first, last) // 5 % 2
    steps_of_frames = np.repeat(np.arange(steps, dtype=np.int32), 2)
    return replace(
        clip,
        clip_id="rec",
        labels=labels,
        label_steps=steps_of_frames,
        frame_labels=labels[steps_of_frames].astype(np.int32),
        rows_digest="d",
    )


def test_blocks_follow_each_other_with_gaps_and_share_nothing():
    clip = recording()
    blocks = cut_into_blocks([clip], 5)
    assert [len(block) for block in blocks] == [19, 18, 18, 18, 19]
    rows = [clip.embeddings.tolist().index(row) for block in blocks for row in block.embeddings.tolist()]
    assert rows == sorted(set(rows)) and len(rows) == 92
    for block in blocks:
        start, end = map(float, block.clip_id.removeprefix("rec#t=").split(","))
        assert (start, end) == pytest.approx((block.pts_seconds[0], block.pts_seconds[-1]), abs=1e-3)
        assert block.group == "rec"
        np.testing.assert_array_equal(block.frame_labels, block.labels[block.label_steps])
    assert len({block.rows_digest for block in blocks}) == len({block.clip_id for block in blocks}) == 5


def test_what_has_no_label_at_the_ends_is_left_out_and_blocks_have_equally_many_labels():
    blocks = cut_into_blocks([recording(first=40, last=80)], 4)
    assert [len(block) for block in blocks] == [10, 10, 10, 10]
    assert all((block.labels >= 0).all() for block in blocks)


def test_too_few_labels_for_so_many_blocks_are_refused():
    with pytest.raises(
        LabelError, match="rec has 12 labelled timesteps, too few for 10 blocks of at least 3; label more"
    ):
        cut_into_blocks([recording(last=12)], 10)


def test_the_note_says_what_scores_mean():
    assert "of one recording, rec, of about 18 timesteps" in blocks_note(cut_into_blocks([recording()], 5))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    home = tmp_path_factory.mktemp("blocks")
    labels = np.arange(600) // 20 % 2
    rows = np.random.default_rng(0).normal(0, 0.3, (600, 4)) + labels[:, None]
    (home / "in").mkdir()
    np.save(home / "in" / "rec.npy", rows.astype(np.float32))
    assert pipeline.main(["import-features", str(home / "in"), "--output", str(home / "f"), "--fps", "10"]) == 0
    lines = [f"rec,{k * 20},{k * 20 + 20},{'ab'[k % 2]}" for k in range(30)]
    (home / "labels.csv").write_text("\n".join(["clip_id,start_frame,end_frame,label", *lines]))
    return home


def test_a_single_recording_trains_and_is_scored_without_an_interval(store, capsys):
    told = ["train", store / "f", "--labels", store / "labels.csv", "--task", "many-to-many", "--run", store / "run"]
    small = ["--model", "lstm", "--hidden", "4", "--updates", "30"]
    assert pipeline.main([str(word) for word in (*told, *small)]) == 0
    assert "10 blocks in time of one recording, rec" in capsys.readouterr().out
    assert pipeline.main(["evaluate", str(store / "run")]) == 0
    metrics = json.loads((store / "run" / "metrics.json").read_text())
    assert metrics["test"]["frame_accuracy"]["value"] > 0.8 and metrics["test"]["frame_accuracy"]["groups"] == 1
    assert "1 group: no interval" in capsys.readouterr().out
    assert pipeline.main(["report", str(store / "run")]) == 0
    assert pipeline.main(["predict", str(store / "run"), str(store / "f"), "--output", str(store / "p.csv")]) == 0


def test_a_run_of_blocks_goes_on_with_the_same_command(store):
    told = ["train", store / "f", "--labels", store / "labels.csv", "--task", "many-to-many", "--run", store / "again"]
    small = ["--model", "lstm", "--hidden", "4", "--updates", "5"]
    said = []
    for _ in range(2):
        assert pipeline.main([str(word) for word in (*told, *small)]) == 0
        said.append((store / "again" / "models" / "split-seed0.weights.h5").stat().st_mtime_ns)
    assert said[0] == said[1]


def test_blocks_of_clips_with_one_label_each_are_refused(store, capsys):
    told = ["train", store / "f", "--labels", store / "one.csv", "--task", "many-to-one", "--run", store / "one"]
    (store / "one.csv").write_text("clip_id,label\nrec,a\n")
    assert pipeline.main([str(word) for word in (*told, "--blocks", "3")]) == 2
    assert "--blocks 3 cuts recordings with labels per frame" in capsys.readouterr().err
