"""A folder with its final name is whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from places import ROOT

from extract.errors import WriteError
from extract.system.files import remove_stale_temporaries
from extract.system.folders import sealed_folder

KILLED = """
import os, sys
from pathlib import Path
from extract.system.folders import sealed_folder
with sealed_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_a_folder_appears_with_everything_in_it(tmp_path):
    with sealed_folder(tmp_path / "a" / "b") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("whole")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "sub" / "file").read_text() == "whole"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_an_error_inside_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), sealed_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("half")
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_taken_name_is_refused_and_an_empty_folder_is_used(tmp_path):
    (tmp_path / "empty").mkdir()
    with sealed_folder(tmp_path / "empty") as folder:
        (folder / "file").write_text("whole")
    for name, said in (("empty", "holds files"), ("empty/file", "is a file")):
        with pytest.raises(WriteError, match=said), sealed_folder(tmp_path / name):
            pass


def test_a_killed_process_leaves_no_folder_of_that_name_and_its_rest_is_removed_later(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "out"], env=environment)
    assert done.returncode == -9
    [rest] = tmp_path.iterdir()
    assert rest.name.startswith(".tmp-")
    old = time.time() - 3600
    os.utime(rest, (old, old))
    remove_stale_temporaries(tmp_path)
    assert not list(tmp_path.iterdir())
