"""`clipseq watch` says of a file what predict says, in lines or JSON, and refuses what cannot be live."""

import builtins
import csv
import json
import signal

import numpy as np
import pytest
from run_factory import make_run

import pipeline
from clipseq.live_labels import LiveLabel, Tally, tally_text
from clipseq.watch_window import LabelWindow
from clipseq.watching import Watch
from extract.errors import UsageError
from sequence_models.experiments.prepare import prepare
from sequence_models.models.build import build_model
from sequence_models.prediction.postprocess import Decision
from sequence_models.runs.files import write_record
from sequence_models.runs.run import MODEL, read_run
from sequence_models.settings import TrainSettings

VIDEO = "videos/rise/3.avi"


DECISION = Decision(prices=((0.0, 0.7), (0.7, 0.0)), lag=1, temperature=0.8)


@pytest.fixture(scope="module")
def run(made_project, tmp_path_factory):
    """A run as training leaves it, but with random weights."""
    settings = TrainSettings("many-to-many", "lstm", causal=True, lag=1, derived="position,delta")
    store, labels = made_project / "features", made_project / "segments.csv"
    made, clips = prepare([store], labels, settings, run=tmp_path_factory.mktemp("runs") / "live")
    model = build_model(settings, embedding_dim=made.embedding_dim, num_classes=made.num_classes, seed=3)
    rows = np.concatenate([clip.embeddings for clip in clips.clips]).astype(np.float32)
    width = model.get_layer("standardise").mean.shape[0]
    mean, deviation = np.zeros(width), np.ones(width)
    mean[: rows.shape[1]], deviation[: rows.shape[1]] = rows.mean(axis=0), rows.std(axis=0)
    model.get_layer("standardise").set_statistics(mean, deviation)
    (fold,) = made.folds
    model.save_weights(made.model_path(fold.name, 0))
    write_record(made.decision_path(fold.name, MODEL), DECISION.to_record(), run_id=made.run_id)
    return made.path


def test_a_file_gets_the_labels_of_predict(project, run, capsys, tmp_path):
    assert pipeline.main(["predict", str(run), VIDEO, "--output", str(tmp_path / "p.csv")]) == 0
    with open(tmp_path / "p.csv") as file:
        rows = list(csv.DictReader(file))
    capsys.readouterr()
    assert pipeline.main(["watch", str(run), VIDEO, "--json"]) == 0
    *said, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(said) == len(rows) > 3
    for row, each in zip(rows, said, strict=True):
        assert each["event"] == "label"
        assert [int(row["frame"]), float(row["pts_seconds"])] == [each["frame"], each["pts_seconds"]]
        assert [row["label"], row["raw_label"]] == [each["label"], each["raw_label"]]
        for name, value in each["probabilities"].items():
            assert value == pytest.approx(float(row[f"p_{name}"]), abs=1.5e-4)  # both are written with four digits
    assert (end["event"], end["labels"], end["dropped"]) == ("end", len(rows), 0)
    assert end["delay_max"] >= end["delay_median"] > 0


def test_lines_for_people_and_a_summary(project, run, capsys):
    assert pipeline.main(["watch", str(run), VIDEO]) == 0
    said = capsys.readouterr()
    assert all(line.split()[2] in ("rise", "fall") and line.endswith("s late)") for line in said.out.splitlines())
    assert "times real time); late by" in said.err and "0 frames dropped, 0 damaged" in said.err


def test_ctrl_c_ends_it_with_the_summary(project, run, capsys, monkeypatch):
    add = Tally.add

    def add_and_stop(tally, label):
        add(tally, label)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Tally, "add", add_and_stop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    try:
        assert pipeline.main(["watch", str(run), VIDEO]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.startswith("1 label in ")


def test_a_model_that_sees_the_whole_clip_is_refused(project, tmp_path, capsys):
    whole = make_run(tmp_path / "whole", task="many-to-many")
    assert pipeline.main(["watch", str(whole), VIDEO]) == 2
    assert "which sees a whole clip before it decides; train one with --task many-to-many --causal" in (
        capsys.readouterr().err
    )


def test_a_source_that_is_not_there_is_said_before_models_are_loaded(project, run, capsys):
    assert pipeline.main(["watch", str(run), "videos/none.avi"]) == 1
    assert "videos/none.avi" in capsys.readouterr().err


def test_watching_is_usable_from_python(project, run):
    with Watch(read_run(run), VIDEO, patience_seconds=1) as watch:
        first = next(iter(watch))
    assert isinstance(first, LiveLabel) and first.picture.shape[-1] == 3


def test_no_window_without_tk(monkeypatch):
    real = builtins.__import__

    def without_tk(name, *more, **given):
        if name == "tkinter":
            raise ImportError("No module named 'tkinter'")
        return real(name, *more, **given)

    monkeypatch.setattr(builtins, "__import__", without_tk)
    with pytest.raises(UsageError, match="--draw needs a screen and Python's tkinter"):
        LabelWindow("a camera")


def test_no_window_without_a_screen(monkeypatch):
    pytest.importorskip("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UsageError, match="--draw needs a screen"):
        LabelWindow("a camera")


def label_at(seconds, *, part=0, delay=0.5, **probabilities):
    said = probabilities or {"rest": 0.8, "walk": 0.2}
    return LiveLabel(seconds, 0, max(said, key=said.get), "rest", said, delay, part, np.zeros((1, 1, 3), np.uint8))


def test_the_tally_leaves_interruptions_out():
    tally = Tally()
    for seconds, part, delay in ((0.0, 0, 0.1), (1.0, 0, 0.2), (0.0, 1, 0.3), (2.0, 1, 0.4)):
        tally.add(label_at(seconds, part=part, delay=delay))
    record = tally.record(dropped=5, damaged=6)
    assert tally.part_seconds == 3.0
    assert (record["labels"], record["dropped"], record["damaged"]) == (4, 5, 6)
    assert (record["delay_median"], record["delay_max"]) == (0.25, 0.4)
    assert "late by 0.250 s" in tally_text(record) and "5 frames dropped, 6 damaged" in tally_text(record)
    assert tally_text(Tally().record(dropped=0, damaged=0)) == "no labels"


def test_the_probability_is_that_of_the_label():
    assert label_at(0.0).probability == 0.8
    several = LiveLabel(0, 0, "a|b", "a|b", {"a": 0.9, "b": 0.6, "c": 0.1}, 0, 0, np.zeros((1, 1, 3), np.uint8))
    nothing = LiveLabel(0, 0, "", "", {"a": 0.2, "b": 0.1}, 0, 0, np.zeros((1, 1, 3), np.uint8))
    assert (several.probability, nothing.probability) == (0.6, 0.2)
    assert nothing.line().split()[2] == "-"
