"""Real extractions, killed ten times: `benchmarks/kill_fuzz.py` does it two hundred times."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from places import ROOT

pytestmark = pytest.mark.slow

KILL_FUZZ = ROOT / "benchmarks" / "kill_fuzz.py"


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and POSIX signals")
def test_ten_kills_corrupt_and_lose_nothing():
    command = [sys.executable, str(KILL_FUZZ), "--kills", "10", "--seed", "1", "--short-clips", "150"]
    command += ["--flush-seconds", "0.2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "10 kills, 0 corrupt, 0 lost, identical", done.stdout + done.stderr
    assert done.returncode == 0
    assert int(re.search(r"after the first sealed shard: (\d+) of 10", done.stdout)[1]) >= 3
