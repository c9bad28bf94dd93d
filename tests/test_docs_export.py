"""docs/export.md is true: its commands and its scripts run, and all formats say the same."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from places import ROOT

import pipeline
from extract.store.reader import open_store

pytestmark = pytest.mark.slow

TEXT = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(.+)$", "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)), re.MULTILINE)
FIRST, *SCRIPTS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A place as the text assumes it: a run of a model without recurrence, its store, and a clip of it."""
    home = tmp_path_factory.mktemp("docs")
    data = ROOT / "tests" / "data" / "schema-1"
    shutil.copytree(data / "store", home / "features")
    np.save(home / "clip.npy", open_store(home / "features").read("blue/0.avi").embeddings)
    train = ["train", home / "features", "--labels", data / "clips.csv", "--task", "many-to-one", "--run"]
    train += [home / "runs" / "first", "--model", "attention", "--hidden", "4", "--epochs", "1", "--derived", "delta"]
    assert pipeline.main([str(part) for part in train]) == 0
    return home


def test_the_commands_and_scripts_run_and_agree(home, monkeypatch):
    monkeypatch.chdir(home)
    assert len(SCRIPTS) == 4
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        if program == "clipseq":
            assert pipeline.main(arguments) == 0, command
    both = "\n".join(["said = []", FIRST, *(f"{script}\nsaid.append(probabilities)" for script in SCRIPTS)])
    code = f"{both}\nprint([float(np.abs(each - said[0]).max()) for each in said], said[0].shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    differences, shape = re.fullmatch(r"\[(.*)\] (.*)\n", done.stdout).groups()
    assert shape == "(1, 2)" and all(float(each) < 1e-5 for each in differences.split(", "))
    script, table = next(command for command in COMMANDS if command.startswith("python ")).split(" > ")
    done = subprocess.run([sys.executable, *script.split()[1:]], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("clip,label,p_") and table == "predictions.csv"
    assert (home / "with_backbone" / "model.keras").exists() and (home / "predictions.csv").exists()
