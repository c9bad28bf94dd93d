"""What of the machine a job may use."""

from __future__ import annotations

import os

import pytest

from extract.system import cores as machine


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("9900000 100000\n", 16),
        ("max 100000\n", 16),
    ],
)
def test_a_containers_limit_counts_where_it_is_lower_than_the_cores(limit, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(machine, "CPU_LIMIT_FILE", tmp_path / "cpu.max")
    assert machine.usable_cores() == 16  # no such file
    (tmp_path / "cpu.max").write_text(limit)
    assert machine.usable_cores() == cores


@pytest.mark.parametrize(
    ("videos", "is_shared", "threads"),
    [(16, False, 1), (40, False, 1), (5, False, 3), (1, False, 8), (1, True, 8), (5, True, 1)],
)
def test_cores_that_no_video_uses_decode_too(videos, is_shared, threads, monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 16)
    assert machine.ffmpeg_threads(videos, is_shared=is_shared) == threads
