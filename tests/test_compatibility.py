"""What earlier versions made stays usable: stores opened, extended, packed, runs evaluated and predicted with."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import pipeline
from extract.store.reader import open_store
from extract.store.verify import verify

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent / "data"
VERSIONS = sorted(path.name for path in DATA.glob("schema-*"))


@pytest.fixture(params=VERSIONS)
def home(request, tmp_path):
    """A copy of what a version made, with its paths put right."""
    home = shutil.copytree(DATA / request.param, tmp_path / "home")
    for path in home.glob("run_*/run.json"):
        path.write_text(path.read_text().replace("HOME", str(home)))
    return home


def run(*arguments) -> int:
    return pipeline.main([str(argument) for argument in arguments])


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def sums_of(store) -> dict[str, float]:
    return {clip: float(np.sum(store.read(clip).embeddings, dtype=np.float64)) for clip in store.clip_ids}


def test_there_is_something_to_be_compatible_with():
    assert VERSIONS


@pytest.mark.parametrize("name", ["store", "packed.h5"])
def test_an_old_store_opens_with_the_fingerprint_and_the_rows_of_then(home, name):
    expected = json.loads((home / "expected.json").read_text())
    store = open_store(home / name)
    assert store.fingerprint == expected["fingerprint"]
    assert sums_of(store) == expected["sums"]
    assert verify(home / name).is_sound


def test_an_old_store_is_extended_and_nothing_in_it_is_done_again(home, make_video, capsys):
    make_video(home / "videos" / "new.avi", frames=16)
    assert run("extract", home / "videos", "--output", home / "store", "--backbone", "tiny", "--every", "1") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "done 1  skipped 12  failed 1"
    store = open_store(home / "store")
    assert len(store.read("new.avi")) == 16
    assert sums_of(store).items() >= json.loads((home / "expected.json").read_text())["sums"].items()
    assert run("pack", home / "store", home / "again.h5") == 0
    assert sums_of(open_store(home / "again.h5")) == sums_of(store)


@pytest.mark.parametrize("name", ["run_clips", "run_frames"])
def test_an_old_run_is_evaluated_to_the_scores_of_then_and_reported(home, name):
    before = json.loads((home / name / "metrics.json").read_text())
    assert run("evaluate", home / name) == 0
    after = json.loads((home / name / "metrics.json").read_text())
    for key, score in before["test"].items():
        if isinstance(score, dict) and "value" in score:
            assert after["test"][key]["value"] == pytest.approx(score["value"], abs=1e-6), key
    assert run("report", home / name) == 0


@pytest.mark.parametrize("name", ["clips", "frames"])
@pytest.mark.parametrize("store", ["store", "packed.h5"])
def test_an_old_run_predicts_what_it_predicted_then(home, name, store):
    assert run("predict", home / f"run_{name}", home / store, "--output", home / "now.csv") == 0
    then, now = cells(home / f"{name}.predictions.csv"), cells(home / "now.csv")
    assert now[0] == then[0] and len(now) == len(then)
    for old, new in zip(then[1:], now[1:], strict=True):
        for one, other in zip(old, new, strict=True):
            assert one == other or float(other) == pytest.approx(float(one), abs=2e-3)


def test_an_old_run_trains_on_and_fits_nothing_anew(home):
    notes = {path: path.read_text() for path in home.glob("run_clips/models/*.json")}
    told = (
        "--labels",
        home / "clips.csv",
        "--task",
        "many-to-one",
        "--model",
        "lstm_parts",
        "--run",
        home / "run_clips",
    )
    small = (
        "--batch-size",
        "16",
        "--chunk",
        "512",
        "--epochs",
        "40",
        "--hidden",
        "4",
        "--projection",
        "0",
        "--cv",
        "2",
        "--seeds",
        "1",
    )
    assert run("train", home / "store", *told, *small) == 0
    assert {path: path.read_text() for path in home.glob("run_clips/models/*.json")} == notes
