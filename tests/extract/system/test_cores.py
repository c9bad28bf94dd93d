"""What of the machine a job may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from places import ROOT

from extract.system import cores as machine


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinities here")
def test_cores_that_this_process_may_not_use_are_not_counted():
    code = (
        "import os; os.sched_setaffinity(0, [0]); from extract.system.cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize(
    ("videos", "is_shared", "threads"),
    [(16, False, 1), (40, False, 1), (5, False, 3), (1, False, 8), (1, True, 8), (5, True, 1)],
)
def test_cores_that_no_video_uses_decode_too(videos, is_shared, threads, monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 16)
    assert machine.ffmpeg_threads(videos, is_shared=is_shared) == threads
