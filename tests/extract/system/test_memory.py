import mmap
import sys

import pytest

from extract.system import memory


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_peak_is_that_since_the_last_reset():
    memory.reset_peak()
    before = memory.peak_mb()
    with mmap.mmap(-1, 200_000_000) as taken:  # given back at once, which an allocator need not do
        for page in range(0, len(taken), mmap.PAGESIZE):
            taken[page] = 1
    high = memory.peak_mb()
    memory.reset_peak()
    assert high - before > 150 and high - memory.peak_mb() > 100


def test_without_proc_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "no" / "folder")
    memory.reset_peak()
    assert memory.peak_mb() is None


def test_free_memory_is_the_least_of_the_machine_s_and_the_container_s(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available_bytes() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2000 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("500000\n")
    assert memory.available_bytes() == 2_048_000
    (tmp_path / "memory.max").write_text("1500000\n")
    assert memory.available_bytes() == 1_000_000
