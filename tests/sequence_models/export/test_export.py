"""`clipseq export`: files that run without Clipseq, a card, and nothing that was not checked."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from places import ROOT

import pipeline
from extract.store.reader import open_store
from extract.store.recipe import fingerprint
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
def export_of_all(home):
    """Folder, exit code and errors of one export in which only ONNX works."""

    def write_other(graph, path):
        keras.models.clone_model(graph).save(path)  # with other weights

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as err:
        patch.setattr(exporting, "write_keras", write_other)
        patch.setattr(exporting, "write_savedmodel", lambda traced, path: path.mkdir())
        command = [
            "export",
            home / "run_frames",
            home / "exported",
            "--format",
            "litert",
            "keras",
            "savedmodel",
            "onnx",
        ]
        code = pipeline.main([str(part) for part in command])
    return home / "exported", code, err.getvalue()


@pytest.fixture(scope="module")
def exported(export_of_all):
    """That folder."""
    return export_of_all[0]


def export(capsys, *arguments):
    code = pipeline.main(["export", *map(str, arguments)])
    return code, capsys.readouterr().err


def change_recipe(run, record, recipe):
    changed = record | {"recipes": [recipe], "fingerprints": [fingerprint(recipe)]}
    (run / "run.json").write_text(json.dumps(changed))


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


def test_the_script_says_without_clipseq_what_predict_says(home, exported, tmp_path):
    clip = open_store(home / "store").read("blue/0.avi")
    np.save(tmp_path / "clip.npy", clip.embeddings)
    said = table(without_clipseq(exported, tmp_path / "clip.npy"))
    predicted = home / "predictions.csv"
    command = ["predict", home / "run_frames", home / "store", "--output", predicted]
    assert pipeline.main([str(part) for part in command]) == 0
    wanted = [row for row in table(predicted.read_text(encoding="utf-8")) if row["clip_id"] == "blue/0.avi"]
    assert [row["label"] for row in said] == [row["label"] for row in wanted]
    for row, want in zip(said, wanted, strict=True):
        assert float(row["p_dark"]) == pytest.approx(float(want["p_dark"]), abs=2e-4)


def test_the_card_and_the_facts_name_what_is_needed_and_what_was_found(exported):
    facts = json.loads((exported / "export.json").read_text(encoding="utf-8"))
    assert facts["classes"] == ["bright", "dark"]
    assert facts["inputs"]["embeddings"] == {"shape": ["B", "T", 16], "dtype": "float32"}
    assert 0 < facts["files"]["onnx"]["largest_difference"] < 1e-3
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "frame_accuracy | 0.984 | 0.927 to 0.997" in card and "| sampling | every=1 |" in card
    assert "12 clips of 6 groups" in card and "cross-validation, 2 folds" in card


def test_what_cannot_be_written_or_loaded_or_differs_is_a_sentence_each_and_the_rest_is_kept(export_of_all):
    folder, code, err = export_of_all
    assert code == 1 and err.count("\n") == 3
    assert "litert cannot hold this model: it runs over time step by step" in err
    assert re.search(r"keras of lstm differs from clipseq predict by 0\.\d+ \(at most 0.001 is allowed\)", err)
    assert "savedmodel of lstm does not run when loaded again (" in err
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "export.json", "model.onnx", "run_model.py"]
    assert list(json.loads((folder / "export.json").read_text(encoding="utf-8"))["files"]) == ["onnx"]


def test_nothing_is_left_where_no_format_works(home, tmp_path, capsys):
    code, err = export(capsys, home / "run_frames", tmp_path / "out", "--format", "litert")
    assert code == 1 and "litert cannot hold this model" in err and not list(tmp_path.iterdir())


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


def test_a_backbone_with_other_weights_or_none_at_all_is_refused(home, tmp_path, capsys):
    run = shutil.copytree(home / "run_frames", tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    [recipe] = record["recipes"]
    changes = {"weights_digest": "0" * 64}, {"precision": "mixed_float16"}
    for change, said in zip(changes, ("with other weights than those installed here", "in mixed_float16"), strict=True):
        changed = recipe | change
        (run / "run.json").write_text(
            json.dumps(record | {"recipes": [changed], "fingerprints": [fingerprint(changed)]})
        )
        code, err = export(capsys, run, tmp_path / "out", "--format", "keras", "--with-backbone")
        assert code == 1 and said in err and err.count("\n") == 1
    imported = {"sampling": "imported"}
    change_recipe(run, record, imported)
    code, err = export(capsys, run, tmp_path / "out", "--format", "keras", "--with-backbone")
    assert code == 1 and "was not trained on embeddings of a backbone" in err
    code, err = export(capsys, run, tmp_path / "a.clipseq", "--with-backbone")
    assert code == 2 and "--with-backbone goes with --format" in err
