"""Verbs killed a few times: `benchmarks/kill_verbs.py` does it a hundred times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

KILL_FUZZ = Path(__file__).parents[1] / "benchmarks" / "kill_fuzz.py"


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and POSIX signals")
def test_killed_imports_packs_and_merges_end_as_undisturbed_ones():
    command = [sys.executable, str(KILL_FUZZ), "--verbs", "import,pack,merge", "--kills", "10", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == (
        "10 kills, all of them at work, 0 half-written, 0 leftovers, 0 different, 0 untold"
    ), done.stdout + done.stderr
    assert done.returncode == 0
