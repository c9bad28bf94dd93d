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
