"""The examples of job arrays, run here: together their parts are the whole, and no clip is in two of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from places import ROOT

import pipeline
from extract.store.reader import open_store

EXAMPLES = ROOT / "examples" / "job_arrays"
RECIPE = ["--backbone", "pixels", "--every", "1"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs bash")


@pytest.fixture
def run(tmp_path, make_video):
    """A function that runs bash where `clipseq` is this checkout's, with ten videos in v/."""
    for number in range(10):
        make_video(tmp_path / "v" / f"{number}.avi")
    command = tmp_path / "bin" / "clipseq"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "pipeline.py"} "$@"\n')
    command.chmod(0o755)

    def bash(*words: str, **variables: str) -> subprocess.CompletedProcess:
        path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **variables}
        return subprocess.run(["bash", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)

    return bash


def assert_whole(store) -> None:
    rows = Counter(clip_id for shard in store.shards for clip_id in shard.texts("clip_id"))
    assert rows == Counter(f"{number}.avi" for number in range(10))


def test_the_shell_script_fills_one_store(run, tmp_path):
    done = run(str(EXAMPLES / "shell.sh"), "v", "f", "3", *RECIPE)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.findall(r"done (\d+)  skipped 0  failed 0", done.stdout)
    assert len(counts) == 3 and sum(map(int, counts)) == 10
    assert_whole(open_store(tmp_path / "f"))


def test_the_shell_script_fails_if_a_part_does(run, tmp_path):
    (tmp_path / "v" / "bad.avi").write_text("nothing of the kind")
    done = run(str(EXAMPLES / "shell.sh"), "v", "f", "2", *RECIPE)
    assert done.returncode == 1 and len(re.findall("failed 1", done.stdout)) == 1
    assert_whole(open_store(tmp_path / "f"))


def test_the_tasks_of_the_slurm_array_fill_one_store(run, tmp_path, capsys):
    script = (EXAMPLES / "slurm.sh").read_text()
    parts = int(re.search(r"^PARTS=(\d+)", script, re.M)[1])
    assert f"#SBATCH --array=1-{parts}\n" in script
    for task in (1, parts):
        done = run(str(EXAMPLES / "slurm.sh"), "v", "f", *RECIPE, SLURM_ARRAY_TASK_ID=str(task))
        assert done.returncode == 0, done.stdout + done.stderr
    for task in range(2, parts):  # the same command, without a new Python for each
        given = ["extract", str(tmp_path / "v"), "--output", str(tmp_path / "f"), "--part", f"{task}/{parts}", *RECIPE]
        assert pipeline.main(given) == 0
    assert_whole(open_store(tmp_path / "f"))


def test_the_pods_of_kubernetes_count_from_zero(run, tmp_path):
    job = (EXAMPLES / "kubernetes.yaml").read_text()
    command = re.search(r"^ +- (exec clipseq .*)$", job, re.M)[1].replace("/8", "/2")
    assert "completions: 8\n" in job and "completionMode: Indexed\n" in job
    for pod in ("0", "1"):
        done = run("-c", f"{command} {' '.join(RECIPE)}", JOB_COMPLETION_INDEX=pod, VIDEOS="v", STORE="f")
        assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(open_store(tmp_path / "f"))
