"""The model of a cluster: whoever is free takes the next clip, and the slowest of all bounds counts."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from places import ROOT

SCRIPT = ROOT / "benchmarks" / "cluster_model.py"


@pytest.fixture(scope="module")
def model():
    spec = importlib.util.spec_from_file_location("cluster_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["cluster_model"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["cluster_model"]


@pytest.mark.parametrize(
    ("frames", "slots", "seconds"),
    [
        ([10, 10, 10, 10], 1, 4.0),
        ([10, 10, 10, 10], 2, 4.0),  # two slots, each half as fast
        ([30, 10, 10, 10], 2, 6.0),
        ([10, 10, 10, 30], 2, 8.0),  # the longest at the end: one waits
    ],
)
def test_whoever_is_free_takes_the_next_clip(model, frames, slots, seconds):
    assert model.makespan(frames, slots, 10.0) == pytest.approx(seconds)


def test_a_worker_that_starts_later_takes_less(model):
    assert model.makespan([10] * 4, 2, 20.0, free_at=[0.0, 2.0]) == pytest.approx(3.0)


def test_the_plan_stops_scaling_at_the_storage():
    given = ["plan", "--clips", "2000", "--workers", "1", "8", "64", "--start-seconds", "0", "--flush-seconds", "1e-9"]
    done = subprocess.run([sys.executable, str(SCRIPT), *given], capture_output=True, text=True, check=True)
    first, second, third = (line.split() for line in done.stdout.splitlines()[2:])
    assert first[3] == "cores" and float(first[1]) / float(second[1]) == pytest.approx(8, rel=0.3)
    assert " ".join(third[3:5]) == "shared storage" and float(third[2].rstrip("%")) < 50
