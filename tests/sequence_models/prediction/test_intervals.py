"""Predictions as label files of tools: what is fed back is what was predicted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from label_examples import joined, write_store

import pipeline
from extract.records import VideoTruth
from sequence_models.labels.reading import read_everything
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS
from sequence_models.prediction.intervals import prediction_table
from sequence_models.records import Clip, Prediction
from sequence_models.settings import WRITTEN_FORMATS, DataSettings

STEPS, EVERY, RATE = 20, 3, 30.0
TRUTH = VideoTruth("pyav", "h264", 64, 48, decoded_frames=61, average_rate=RATE, duration_seconds=61 / RATE)
CLIPS = {f"g{k}/clip {k}.mp4": STEPS for k in range(4)}


def clip(clip_id="a.mp4", *, first=0):
    frames = first + np.arange(4) * 3
    return Clip(clip_id, np.zeros((4, 2), np.float32), frames / 30, frames, np.full(4, -1))


def probabilities(*labels, classes=2):
    return np.eye(classes, dtype=np.float32)[list(labels)]


def spans(table):
    return [(row.label, round(row.start, 3), round(row.end, 3)) for row in table.rows]


def test_a_timestep_lasts_until_the_next_and_the_last_until_the_end():
    said = [Prediction("a.mp4", probabilities(1, 1, 0, 1))]
    truths = {"a.mp4": VideoTruth("x", "h264", 1, 1, decoded_frames=11, average_rate=30.0, duration_seconds=11 / 30)}
    told = {"truths": truths, "path": Path("run")}
    by_time = prediction_table([clip()], said, ("x", "y"), kind=BY_SECONDS, **told)
    assert spans(by_time) == [("y", 0.0, 0.2), ("x", 0.2, 0.3), ("y", 0.3, 0.367)]
    by_frame = prediction_table([clip(first=1)], said, ("x", "y"), kind=BY_FRAMES, **told)
    assert spans(by_frame) == [("y", 0, 7), ("x", 7, 10), ("y", 10, 11)]
    unknown = prediction_table([clip()], said, ("x", "y"), kind=BY_SECONDS, truths={}, path=Path("run"))
    assert spans(unknown)[-1] == ("y", 0.3, 0.4)


def test_many_labels_at_once_and_none_of_them():
    said = [
        Prediction("a.mp4", np.array([[0.9, 0.9], [0.1, 0.9], [0.1, 0.1], [0.1, 0.1]], np.float32), multi_label=True)
    ]
    found = prediction_table(
        [clip()], said, ("x", "y"), kind=BY_FRAMES, truths={}, nothing="background", path=Path("r")
    )
    assert spans(found) == [("x", 0, 3), ("y", 0, 6), ("background", 6, 12)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A store of videos of 61 frames, every third of them, and a run trained on it for one epoch."""
    folder = tmp_path_factory.mktemp("predicted")
    write_store(folder / "store", CLIPS, truth=TRUTH, fps=RATE, every=EVERY, dtype="float32")
    lines = ["clip_id,start_frame,end_frame,label"]
    spans_of_clip = ((0, 20, "rest"), (20, 40, "run"), (40, 61, "dig & hide"))
    lines += [f"{name},{start},{end},{label}" for name in CLIPS for start, end, label in spans_of_clip]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = ["--task", "many-to-many", "--epochs", "1", "--hidden", "4", "--model", "gru", "--background", "rest"]
    flags += ["--group-from", r"(g\d)/", "--seeds", "1"]
    train = [
        "train",
        str(folder / "store"),
        "--labels",
        str(folder / "labels.csv"),
        "--run",
        str(folder / "run"),
        *flags,
    ]
    assert pipeline.main(train) == 0
    return folder


@pytest.mark.slow
def test_predictions_are_written_for_every_tool_and_read_back(home, tmp_path, capsys):
    for name in WRITTEN_FORMATS:
        output = tmp_path / name
        assert (
            pipeline.main(["predict", str(home / "run"), str(home / "store"), "--output", str(output), "--to", name])
            == 0
        )
        assert f"wrote {output}: " in capsys.readouterr().out
    assert pipeline.main(["predict", str(home / "run"), str(home / "store"), "--output", str(tmp_path / "p.csv")]) == 0
    said = [line.split(",")[:4] for line in (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[1:]]
    predicted = {clip_id: [row[3] for row in said if row[0] == clip_id] for clip_id in CLIPS}
    fed_back = joined([home / "store"], tmp_path / "intervals", task="many-to-many")
    for found in fed_back.clips:
        assert [fed_back.vocabulary[k] for k in found.labels] == predicted[found.clip_id]
    assert not [note for note in fed_back.notes if "run past" in note or "without a label" in note]
    for name in ("frames", "deepethogram", "mstcn"):
        table = read_everything(tmp_path / name, DataSettings())
        assert {row.end for row in table.rows if row.end > 58} == {61}
    again = joined([home / "store"], tmp_path / "frames", task="many-to-many")
    assert [list(one.labels) for one in again.clips] == [list(one.labels) for one in fed_back.clips]


@pytest.mark.slow
def test_predicting_in_a_format_refuses_before_any_work(home, tmp_path, capsys):
    def refused(*more, run="run"):
        code = pipeline.main(["predict", str(home / run), str(home / "store"), *map(str, more)])
        return code, capsys.readouterr().err

    (tmp_path / "mine.csv").write_text("mine")
    assert refused("--output", tmp_path / "mine.csv", "--to", "boris")[0] == 2
    assert "mine.csv exists already" in refused("--output", tmp_path / "mine.csv", "--to", "boris")[1]
    assert "--to 'borris' is unknown: did you mean boris?" in refused("--output", tmp_path / "x", "--to", "borris")[1]
    told = json.loads((home / "run" / "run.json").read_text(encoding="utf-8"))
    told["settings"]["task"] = "many-to-one"
    (home / "clips").mkdir()
    (home / "clips" / "run.json").write_text(json.dumps(told), encoding="utf-8")
    assert "one label per clip; leave --to out" in refused("--output", tmp_path / "x", "--to", "elan", run="clips")[1]
