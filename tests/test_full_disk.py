"""Two verbs on a full disk; `benchmarks/full_disk.py` tries all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FULL_DISK = Path(__file__).parents[1] / "benchmarks" / "full_disk.py"


def test_packs_and_exports_fail_in_one_sentence_where_nothing_can_be_written():
    command = [sys.executable, str(FULL_DISK), "--only", "pack,export-features"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].startswith(("12 of 12 right", "skipped: ")), done.stdout + done.stderr
    assert done.returncode == 0
