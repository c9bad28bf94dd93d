"""Tasks in processes: the same results, one sentence when a process dies, and nothing left behind."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from clip_factory import make_clips
from pool_tasks import Blocked, Die, Sleep, Sum
from store_examples import make_store

from extract.errors import RunError, UsageError, WriteError
from sequence_models.clips.loading import load_unlabelled
from sequence_models.experiments import pool as pool_module
from sequence_models.experiments.pool import Pool, processes_for, threads_per_task

CLIPS = make_clips((3, 1, 5, 4), "many-to-one")


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_every_task_is_done_once_and_the_clips_are_shared(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Pool([(), CLIPS], jobs=2) as pool:
        assert not list(tmp_path.glob("clipseq-*"))  # nobody needs its name any more: a kill leaves nothing
        found = {task.clip_id: said for task, said in pool.each([Sum(clip.clip_id, source=1) for clip in CLIPS])}
        processes = pool._processes
    for clip in CLIPS:
        total, process, is_writeable = found[clip.clip_id]
        assert total == pytest.approx(float(clip.embeddings.sum()), rel=1e-6)
        assert process in processes and not is_writeable
    assert not any(map(is_running, processes))


@pytest.mark.slow
def test_processes_read_embeddings_that_stay_in_their_store(monkeypatch, tmp_path):
    clips = load_unlabelled([make_store(tmp_path / "features")], memory=0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with Pool([clips], jobs=2) as pool:
        found = {task.clip_id: said for task, said in pool.each([Sum(clip.clip_id) for clip in clips])}
        processes = pool._processes
    for clip in clips:
        total, process, _ = found[clip.clip_id]
        assert total == float(np.asarray(clip.embeddings).sum()) and process in processes


@pytest.mark.slow
def test_a_process_that_dies_is_one_sentence_and_ends_the_others():
    with pytest.raises(RunError, match=r"ended from outside.* with --jobs 1"):  # noqa: SIM117
        with Pool([CLIPS], jobs=2) as pool:
            processes = pool._processes
            list(pool.each([Sleep("a"), Die()]))
    time.sleep(0.1)
    assert not any(map(is_running, processes))


@pytest.mark.slow
def test_a_process_that_dies_before_its_first_task_is_the_same_sentence():
    with Pool([CLIPS], jobs=2) as pool:
        os.kill(pool._processes[0], signal.SIGKILL)
        time.sleep(0.5)
        with pytest.raises(RunError, match="ended from outside"):
            list(pool.each([Sum(clip.clip_id) for clip in CLIPS]))


def test_with_one_job_everything_happens_here():
    with Pool([CLIPS]) as pool:
        ((_, (_, process, _)),) = pool.each([Sum(CLIPS[0].clip_id)])
    assert process == os.getpid()


def test_a_process_goes_on_with_what_it_has_compiled():
    pool = Pool([CLIPS], jobs=2)
    pool._keys, waiting = ["", ""], {"a": [1, 2, 3], "b": [4, 5]}
    waiting = {key: pool_module.deque(tasks) for key, tasks in waiting.items()}
    order = [pool._next_for(number, waiting) for number in (0, 1, 0, 1, 0)]
    assert order == [1, 4, 2, 5, 3] and not waiting


@pytest.mark.parametrize(
    ("asked", "tasks", "seconds", "room", "expected"),
    [
        (None, 90, 500.0, 1 << 40, 4),
        (None, 3, 500.0, 1 << 40, 3),
        (None, 90, 5.0, 1 << 40, 1),  # not worth starting Keras four times
        (2, 90, 5.0, 1 << 40, 2),
        (None, 90, 500.0, 3 << 30, 3),
        (8, 90, 500.0, 1 << 20, 1),
    ],
)
def test_processes_are_as_many_as_pay_off_and_fit(monkeypatch, asked, tasks, seconds, room, expected):
    monkeypatch.setattr(pool_module, "usable_cores", lambda: 4)
    monkeypatch.setattr(pool_module, "available_bytes", lambda: room)
    monkeypatch.setattr(pool_module, "has_gpu", lambda: False)
    assert processes_for(asked, tasks=tasks, seconds=seconds, bytes_each=1 << 30) == expected


def test_a_gpu_gets_one_fit_after_the_other(monkeypatch):
    monkeypatch.setattr(pool_module, "has_gpu", lambda: True)
    assert processes_for(4, tasks=90, seconds=500.0, bytes_each=1) == 1


def test_no_jobs_are_refused():
    with pytest.raises(UsageError, match="--jobs 0 must be at least 1"):
        processes_for(0, tasks=9, seconds=1.0, bytes_each=1)


def test_threads_depend_on_the_tasks_alone(monkeypatch):
    monkeypatch.setattr(pool_module, "usable_cores", lambda: 16)
    assert [threads_per_task(tasks) for tasks in (1, 2, 5, 16, 90)] == [16, 8, 3, 1, 1]


def test_a_mapped_clip_is_the_clip(tmp_path):
    pool_module._write_rows(CLIPS, tmp_path / "rows")
    found = pool_module.with_rows(CLIPS, pool_module._mapped(CLIPS, tmp_path / "rows"))
    for clip in CLIPS:
        assert found[clip.clip_id].embeddings.dtype == clip.embeddings.dtype
        np.testing.assert_array_equal(found[clip.clip_id].embeddings, clip.embeddings)
        np.testing.assert_array_equal(found[clip.clip_id].labels, clip.labels)


def test_a_full_disk_for_shared_embeddings_is_one_sentence(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pool_module, "_write_rows", full)
    with pytest.raises(WriteError, match=r"No space left on device\); set TMPDIR to another folder, or .* --jobs 1"):
        Pool([CLIPS], jobs=2).__enter__()


@pytest.mark.slow
def test_ctrl_c_while_processes_start_prints_no_tracebacks_of_theirs():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with Pool([CLIPS], jobs=2) as pool:
        assert [said for _, said in pool.each([Blocked("a"), Blocked("b")])] == [True, True]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
