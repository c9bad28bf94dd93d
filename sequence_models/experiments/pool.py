"""Spreads independent tasks over processes: the fits of folds, seeds and models, baselines, and test predictions.

Every process starts Keras once and maps one file with the embeddings of all clips, or, where they do not fit in memory,
reads them from their store. The parent decides what is done and collects the results; tasks write only files of their
own. How many threads a task gets depends on the number of tasks, not on the number of processes, so that `--jobs`
changes no result.

parent ──tasks──▶ process 1 ─┐
       ──tasks──▶ process 2 ─┼──results, as they come──▶ parent
       clips ═══▶ (shared)  ─┘
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from extract.errors import RunError, UsageError, WriteError
from extract.system.cores import usable_cores
from extract.system.files import reason_of
from extract.system.memory import available_bytes
from extract.system.quiet_start import TENSORFLOW_THREADS, has_gpu, import_keras_quietly
from sequence_models.clips.buffers import stays_in_store
from sequence_models.records import Clip

if TYPE_CHECKING:
    from sequence_models.experiments.cluster import ClusterWorkers

WORTH_PROCESSES = 20.0  # seconds of work below which starting Keras several times costs more than it saves
THREAD_VARIABLES = (*TENSORFLOW_THREADS, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerGone(Exception):
    """A process of a pool has died and is not replaced; its task is for another."""


class Task(Protocol):
    """A piece of work that needs nothing but clips, and can be sent to another process."""

    @property
    def source(self) -> int:
        """Which of the pool's clips it needs."""

    @property
    def key(self) -> str:
        """Tasks of one key follow each other in a process, since they share what is compiled."""

    def do(self, clips: Mapping[str, Clip]) -> Any:
        """The work."""


def threads_per_task(tasks: int) -> int:
    """How many threads each of so many independent tasks gets."""
    cores = usable_cores()
    return max(1, cores // max(1, min(cores, tasks)))


def processes_for(asked: int | None, *, tasks: int, seconds: float, bytes_each: int) -> int:
    """How many processes to use.

    Args:
        asked: What `--jobs` says; None = as many as pay off.
        tasks: How many independent tasks there are.
        seconds: How long all of them take on one core, roughly.
        bytes_each: What a process needs at most.

    Raises:
        UsageError: Fewer than one is asked for.
    """
    if asked is not None and asked < 1:
        raise UsageError(f"--jobs {asked} must be at least 1")
    most = max(1, min(usable_cores() if asked is None else asked, tasks))
    if most == 1 or (asked is None and seconds < WORTH_PROCESSES) or has_gpu():
        return 1
    room = available_bytes()
    return most if room is None else max(1, min(most, room // max(1, bytes_each)))


class Pool:
    """Processes that share clips; with one job, tasks run in this process. Use it as a context manager.

    Args:
        sources: Lists of clips; tasks name theirs by number. Tasks on raw frames run in this process.
        jobs: From `processes_for`.
        threads: Of each task, from `threads_per_task`.
        cluster: Processes on other machines, used instead of own ones.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[Clip]],
        *,
        jobs: int = 1,
        threads: int = 1,
        cluster: ClusterWorkers | None = None,
    ):
        self._clips = [{clip.clip_id: clip for clip in source} for source in sources]
        self._shared = [all(clip.embeddings.ndim == 2 for clip in source) for source in sources]
        self._sources, self.jobs, self._threads = sources, jobs if any(self._shared) else 1, threads
        self._cluster = cluster if any(self._shared) else None
        self._workers: list[ProcessPoolExecutor] = []
        self._processes: list[int] = []
        self._keys: list[str] = []  # of the last task of each worker
        self.busy_seconds: dict[str, float] = {}  # by the name of the tasks' class
        self._began = time.perf_counter()

    def __enter__(self) -> Pool:
        if self.jobs > 1 or self._cluster:
            try:
                self._start()
            except BaseException as error:
                self.__exit__(type(error))
                raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for process in self._processes if kind else ():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)  # nothing is lost: finished results are here, and files are whole
        while self._workers:
            self._workers.pop().shutdown()
        if self._cluster:
            self._cluster.close()

    def each(self, tasks: Sequence[Task]) -> Iterator[tuple[Any, Any]]:
        """Do all tasks.

        Args:
            tasks: The longest first, if they differ much.

        Yields:
            A task and its result, as they are finished.

        Raises:
            RunError: A process was ended from outside.
        """
        sent, here = list[Task](), list[Task]()
        for task in tasks:
            (sent if self._keys and self._shared[task.source] else here).append(task)
        try:
            yield from self._in_workers(sent)
        except BrokenProcessPool as error:
            raise RunError(
                "a process that trained was ended from outside, usually for want of memory; what is finished is kept: "
                f"run the same command again, with --jobs {max(1, self.jobs // 2)}"
            ) from error
        for task in here:
            began = time.perf_counter()
            with threadpool_limits(self._threads):  # as in other processes
                result = task.do(self._clips[task.source])
            self._note(task, time.perf_counter() - began)
            yield task, result

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self._began

    def _note(self, task: Task, seconds: float) -> None:
        kind = type(task).__name__
        self.busy_seconds[kind] = self.busy_seconds.get(kind, 0.0) + seconds

    def _start(self) -> None:
        shared = [source if can else () for source, can in zip(self._sources, self._shared, strict=True)]
        bare = [
            source if stays_in_store(source) else [replace(c, embeddings=c.embeddings[:, :0]) for c in source]
            for source in shared
        ]
        if self._cluster:
            self.jobs = self._cluster.start(bare, [_joined_rows(source) for source in shared])
            self._keys = [""] * self.jobs
            return
        with tempfile.TemporaryDirectory(prefix="clipseq-") as folder, _threads_in_environment(self._threads):
            files = [Path(folder) / str(number) for number in range(len(shared))]
            try:
                for source, file in zip(shared, files, strict=True):
                    if not stays_in_store(source):
                        _write_rows(source, file)
            except OSError as error:
                raise WriteError(
                    f"{folder} cannot hold the embeddings that processes share ({reason_of(error)}); set TMPDIR to "
                    "another folder, or train with --jobs 1"
                ) from error
            given, spawn = (bare, files, os.getpid()), get_context("spawn")
            self._workers = [
                ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=given) for _ in range(self.jobs)
            ]
            self._keys = [""] * self.jobs
            with _interrupts_held():
                begun = [worker.submit(os.getpid) for worker in self._workers]
            self._processes = [each.result() for each in begun]  # each has opened the files
        for worker in self._workers:
            worker.submit(import_keras_quietly)  # before a task comes, which needs it

    def _in_workers(self, tasks: Sequence[Task]) -> Iterator[tuple[Any, Any]]:
        waiting: dict[str, deque[Task]] = {}
        for task in tasks:
            waiting.setdefault(task.key, deque()).append(task)
        running: dict[Future, tuple[int, Task]] = {}
        idle = deque(range(len(self._keys)))
        while waiting or running:
            while idle and waiting:
                number = idle.popleft()
                task = self._next_for(number, waiting)
                running[self._send(number, task)] = (number, task)
            if not running:
                raise RunError(
                    "all machines that trained have left the cluster; what is finished is kept: run the same command "
                    "again"
                )
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                number, task = running.pop(future)
                try:
                    result, seconds = future.result()
                except WorkerGone:
                    waiting.setdefault(task.key, deque()).appendleft(task)
                    continue
                idle.append(number)
                self._note(task, seconds)
                yield task, result

    def _send(self, number: int, task: Task) -> Future:
        return self._cluster.do(number, task) if self._cluster else self._workers[number].submit(_do, task)

    def _next_for(self, number: int, waiting: dict[str, deque[Task]]) -> Task:
        """A task of the same key as the worker's last; else of the key with the most left for each worker on it."""
        key = self._keys[number]
        if key not in waiting:
            key = max(waiting, key=lambda each: len(waiting[each]) / (1 + self._keys.count(each)))
        self._keys[number] = key
        task = waiting[key].popleft()
        if not waiting[key]:
            del waiting[key]
        return task


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits; processes that are started meanwhile never get it, not even before they can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    """What new processes find there when they start their libraries."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_clips: list[dict[str, Clip]] = []  # in a worker


def _begin(sources: Sequence[Sequence[Clip]], files: Sequence[Path], parent: int) -> None:
    """Runs first in every worker: an interrupt is the parent's business, and its end is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _clips[:] = [with_rows(source, _mapped(source, file)) for source, file in zip(sources, files, strict=True)]


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _do(task: Task) -> tuple[Any, float]:
    began = time.perf_counter()
    result = task.do(_clips[task.source])
    return result, time.perf_counter() - began


def _write_rows(source: Sequence[Clip], path: Path) -> None:
    """The embeddings of all clips, one after the other; written, not mapped, so that a full disk is an error."""
    with open(path, "wb") as file:
        for clip in source:
            file.write(np.ascontiguousarray(clip.embeddings, _kind_of(source)).data)


def _joined_rows(source: Sequence[Clip]) -> np.ndarray:
    """The same as an array, (all timesteps, D); empty if they stay in their store."""
    rows = [] if stays_in_store(source) else [clip.embeddings for clip in source]
    return np.concatenate(rows).astype(_kind_of(source), copy=False) if rows else np.empty((0, 0), np.float32)


def _mapped(source: Sequence[Clip], path: Path) -> np.ndarray:
    """The rows in a file, (all timesteps, D); `source` has the same clips without theirs."""
    if not source or stays_in_store(source):
        return np.empty((0, 0), np.float32)
    return np.memmap(path, _kind_of(source), "r").reshape(sum(map(len, source)), -1)


def with_rows(source: Sequence[Clip], rows: np.ndarray) -> dict[str, Clip]:
    """clip_id -> the clip with its embeddings.

    Args:
        source: Clips without their embeddings, or whose embeddings stay in their store.
        rows: The embeddings of all of them, one clip after the other, (all timesteps, D).
    """
    if stays_in_store(source):
        return {clip.clip_id: clip for clip in source}
    ends = np.cumsum([0, *map(len, source)])
    found = zip(source, ends[:-1], ends[1:], strict=True)
    return {clip.clip_id: replace(clip, embeddings=rows[first:last]) for clip, first, last in found}


def _kind_of(source: Sequence[Clip]) -> np.dtype:
    return np.result_type(*(clip.embeddings.dtype for clip in source))
