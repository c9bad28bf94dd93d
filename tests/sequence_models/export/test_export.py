"""`clipseq export`: files that run without Clipseq, a card, and nothing that was not checked."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

import pipeline
from extract.store.reader import open_store
from sequence_models.export import export as exporting
from sequence_models.runs.run import read_run

pytestmark = pytest.mark.slow

DATA = ROOT / "tests" / "data" / "schema-1"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two trained runs, one of labels per clip and one per timestep, and their store."""
    home = tmp_path_factory.mktemp("export")
    for name in ("run_clips", "run_frames", "store"):
        shutil.copytree(DATA / name, home / name)
    for path in home.glob("run_*/run.json"):
        path.write_text(path.read_text().replace("HOME", str(home)))
    return home


@pytest.fixture(scope="module")
def exported(home):
    """The run of labels per timestep in all formats but the one that cannot hold it."""
    command = ["export", home / "run_frames", home / "exported", "--format", "keras", "savedmodel", "onnx"]
    assert pipeline.main([str(part) for part in command]) == 0
    return home / "exported"


def export(capsys, *arguments):
    code = pipeline.main(["export", *map(str, arguments)])
    return code, capsys.readouterr().err


def table(text):
    return list(csv.DictReader(text.splitlines()))


def without_clipseq(folder, *arguments):
    """What a script prints in a place from which Clipseq cannot be imported."""
    blocked = (
        "import sys, runpy\n"
        "for name in ('extract', 'sequence_models', 'pipeline'): sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", blocked, "run_model.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("file", ["model.keras", "saved_model", "model.onnx"])
def test_the_script_runs_every_file_without_clipseq_and_says_what_predict_says(home, exported, file, tmp_path):
    clip = open_store(home / "store").read("blue/0.avi")
    np.save(tmp_path / "clip.npy", clip.embeddings)
    said = table(without_clipseq(exported, tmp_path / "clip.npy", "--model", file))
    predicted = home / "predictions.csv"
    command = ["predict", home / "run_frames", home / "store", "--output", predicted]
    assert predicted.exists() or pipeline.main([str(part) for part in command]) == 0
    wanted = [row for row in table(predicted.read_text(encoding="utf-8")) if row["clip_id"] == "blue/0.avi"]
    assert [row["label"] for row in said] == [row["label"] for row in wanted]
    for row, want in zip(said, wanted, strict=True):
        assert float(row["p_dark"]) == pytest.approx(float(want["p_dark"]), abs=2e-4)


def test_the_card_and_the_facts_name_what_is_needed_and_what_was_found(exported):
    facts = json.loads((exported / "model.json").read_text(encoding="utf-8"))
    assert facts["classes"] == ["bright", "dark"]
    assert facts["inputs"]["embeddings"] == {"shape": ["B", "T", 16], "dtype": "float32"}
    assert [each["largest_difference"] < 1e-3 for each in facts["files"].values()] == [True] * 3
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "frame_accuracy | 0.984 | 0.927 to 0.997" in card and "| sampling | every=1 |" in card
    assert "12 clips of 6 groups" in card and "cross-validation, 2 folds" in card
    assert sorted(path.name for path in exported.iterdir()) == [
        "README.md", "model.json", "model.keras", "model.onnx", "run_model.py", "saved_model",
    ]  # fmt: skip


def test_what_cannot_be_written_or_loaded_is_a_sentence_each_and_the_rest_is_kept(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exporting, "write_savedmodel", lambda traced, path: path.mkdir())
    code, err = export(capsys, home / "run_frames", tmp_path / "out", "--format", "litert", "keras", "savedmodel")
    assert code == 1 and "litert cannot hold this model: it runs over time step by step" in err
    assert "savedmodel of lstm does not run when loaded again (" in err and err.count("\n") == 2
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["README.md", "model.json", "model.keras", "run_model.py"]


def test_a_file_that_says_something_else_is_not_kept_and_named(home, tmp_path, capsys, monkeypatch):
    def write_other(graph, path):
        for variable in graph.trainable_variables:
            variable.assign(variable * 0)
        graph.save(path)

    monkeypatch.setattr(exporting, "write_keras", write_other)
    code, err = export(capsys, home / "run_frames", tmp_path / "out", "--format", "keras")
    assert code == 1 and "keras of lstm differs from clipseq predict by 0." in err
    assert not list(tmp_path.iterdir())


def test_what_is_in_the_way_or_not_asked_for_is_one_sentence(home, tmp_path, capsys, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    code, err = export(capsys, home / "run_frames", tmp_path / "full", "--format", "keras")
    assert code == 1 and "full holds files: choose a new or empty folder" in err
    code, err = export(capsys, home / "run_frames", tmp_path / "out")
    assert code == 2 and "a folder and --format with one or more of keras, savedmodel, onnx, litert" in err
    code, err = export(capsys, home / "store", tmp_path / "out", "--format", "keras")
    assert code == 1 and "is a feature store, not a run directory" in err
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    code, err = export(capsys, home / "run_frames", tmp_path / "out", "--format", "onnx")
    assert code == 2 and "pip install 'clipseq[onnx]'" in err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_run_on_windows_of_seconds_is_refused_before_any_work(home, tmp_path, capsys):
    run = shutil.copytree(home / "run_frames", tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["settings"]["window"] = 2.0
    (run / "run.json").write_text(json.dumps(record))
    code, err = export(capsys, run, tmp_path / "out", "--format", "keras")
    assert code == 1 and "--window 2, and no exported file cuts clips into windows" in err


def test_a_clip_of_another_width_is_refused_by_the_script(exported, tmp_path):
    np.save(tmp_path / "clip.npy", np.zeros((4, 3), np.float32))
    command = [sys.executable, exported / "run_model.py", tmp_path / "clip.npy"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 1 and "embeddings is (4, 3), but it must be (T, 16)" in done.stderr


def test_a_run_that_is_not_trained_is_refused(home, tmp_path, capsys):
    run = shutil.copytree(home / "run_frames", tmp_path / "run")
    for path in Path(run, "models").glob("final-*"):
        path.unlink()
    code, err = export(capsys, read_run(run).path, tmp_path / "out", "--format", "keras")
    assert code == 1 and "training has not finished" in err
