"""The scripts and the notebook in examples/ run on a small project."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from places import ROOT


@pytest.fixture
def call(project, monkeypatch, capsys):
    """A function that runs a script with arguments and returns the lines that it prints."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def test_every_script_is_run_here():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {
        *("grid_search.py", "own_model.py", "videos_to_scores.py")
    }


def test_a_model_of_your_own_learns(call):
    (losses,) = call("own_model.py", "features", "labels.csv")
    first, *_, last = map(float, losses.split())
    assert last < first


@pytest.mark.slow
def test_from_videos_to_scores(call, tmp_path):
    *_, run, report = call("videos_to_scores.py", "videos", "labels.csv", tmp_path, "tiny")
    assert "test macro-F1" in run and report == str(tmp_path / "run/report.html")


@pytest.mark.slow
def test_a_grid_over_groups(call, tmp_path):
    lines = Path("labels.csv").read_text().splitlines()
    grouped = [lines[0] + ",group", *(f"{line},{line.split('/')[1].split('.')[0]}" for line in lines[1:])]
    (tmp_path / "grouped.csv").write_text("\n".join(grouped))
    assert [line.rpartition(":")[0] for line in call("grid_search.py", "features", tmp_path / "grouped.csv")] == [
        "{'hidden': 16}",
        "{'hidden': 48}",
    ]


@pytest.mark.slow
def test_the_notebook_is_executed_and_its_cells_run(project, tmp_path):
    """Without Jupyter: a code cell is Python, and what it shows in the end is its last expression."""
    text = (ROOT / "examples/first_steps.ipynb").read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all([output["output_type"] for output in cell["outputs"]] == ["execute_result"] for cell in cells)
    assert "/home/" not in text and "/work/" not in text
    names: dict = {}
    for cell in cells:
        code = "".join(cell["source"]).replace("updates=200", "updates=5")
        exec(code.replace("runs/notebook", str(tmp_path / "run")), names)
    assert names["run"].predict("features").to_pandas().shape == (24, 4)
    assert 0 <= names["scores"]["test"]["accuracy"]["value"] <= 1
