"""Features that were imported without a rate: nothing that counts timesteps is called a second, anywhere."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from label_examples import write_labels

import pipeline
from extract.store.numpy_files import ImportSettings, import_features

STEPS = 30
FLAGS = ["--task", "many-to-many", "--cv", "2", "--epochs", "1", "--hidden", "4", "--model", "gru"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Stores of the same features without a rate and with one, and frame labels."""
    home = tmp_path_factory.mktemp("rate")
    (home / "npy").mkdir()
    lines = ["clip_id,start_frame,end_frame,label,group"]
    for number in range(4):
        np.save(home / "npy" / f"c{number}.npy", np.random.default_rng(number).normal(size=(STEPS, 3)))
        lines += [f"c{number},0,12,a,g{number}", f"c{number},12,{STEPS},b,g{number}"]
    write_labels(home / "labels.csv", *lines)
    for name, fps in (("unrated", None), ("rated", 10.0)):
        import_features(home / "npy", home / name, ImportSettings(fps=fps))
    return home


def run(home, name, *flags):
    return pipeline.main(["train", str(home / name), "--labels", str(home / "labels.csv"), *FLAGS, *flags])


@pytest.mark.parametrize(("name", "unit"), [("unrated", "timesteps"), ("rated", "seconds")])
def test_files_and_report_are_in_timesteps_where_there_are_no_seconds(home, name, unit):
    folder, is_rated = home / f"run-{name}", unit == "seconds"
    assert run(home, name, "--run", str(folder)) == 0
    for verb in ("evaluate", "report"):
        assert pipeline.main([verb, str(folder)]) == 0
    predict = ["predict", str(folder), str(home / name), "--output", str(home / f"{name}.csv")]
    assert pipeline.main(predict) == 0
    for path in (folder / "bouts.csv", home / f"{name}.bouts.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        numbers = [f"{name}_{unit}" for name in ("total", "mean", "median", "latency", "interval")]
        assert list(rows[0])[4:] == [*numbers, "then_a", "then_b"]
    with (folder / "bouts.csv").open(newline="") as file:
        truth = [row for row in csv.DictReader(file) if row["of"] == "truth" and row["class"] == "b"]
    assert {float(row[f"total_{unit}"]) for row in truth} == {1.8 if is_rated else 18.0}
    with (home / f"{name}.csv").open(newline="") as file:
        assert ("pts_seconds" in next(csv.reader(file))) == is_rated
    with np.load(folder / "predictions.npz") as arrays:
        assert ("pts_seconds" in arrays.files, "timesteps" in arrays.files) == (is_rated, not is_rated)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f'"unit":"{"s" if is_rated else "timesteps"}"' in page
    assert bool(re.search(r"to \d+\.\d\d s</a>", page)) == is_rated == ('<th class="number">seconds</th>' in page)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--window", "2"],
            "--window 2 is in seconds, but the features of .* have no rate, only timestep numbers; ",
        ),
        (["--labels-fps", "30"], r"has --labels-fps, but the features of .* have no rate, .*; import them .* --fps\."),
    ],
)
def test_what_needs_seconds_is_refused(home, capsys, flags, said):
    assert run(home, "unrated", "--run", str(home / "none"), *flags) in (1, 2)
    assert re.search(said, capsys.readouterr().err)


def test_labels_in_seconds_are_refused(home, capsys):
    labels = write_labels(home / "seconds.csv", "clip_id,start_seconds,end_seconds,label", "c0,0,1,a", "c1,0,1,b")
    words = ["train", str(home / "unrated"), "--labels", str(labels), *FLAGS, "--run", str(home / "none")]
    assert pipeline.main(words) == 1
    assert re.search("is in seconds, but the features of .* have no rate", capsys.readouterr().err)
