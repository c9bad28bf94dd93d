"""The processes of a pool on a Ray cluster: each holds the clips, and does one task after the other.

A process that dies is replaced, and does its task again: fits that are finished are in the run directory, which all
machines share.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from extract.errors import RunError, UsageError
from extract.system.quiet_start import import_keras_quietly
from extract.system.ray_session import Share, become_worker, check_shares, connected, no_ray, shares
from extract.text import counted
from sequence_models.experiments.pool import Task, WorkerGone, with_rows
from sequence_models.records import Clip

MAX_DEATHS = 3  # of processes with one task


class Worker:
    """A process that does tasks."""

    def begin(self, folder: str, threads: int, sources: Sequence[Sequence[Clip]], *rows: np.ndarray) -> None:
        """Get ready.

        Args:
            folder: The folder of the command; the run must be found from there.
            threads: How many a task may use.
            sources: As for `Pool`; the clips without their embeddings.
            rows: Of each source, the embeddings of all its clips, (all timesteps, D).
        """
        become_worker(folder, threads)
        self._threads = threads
        self._clips: list[Mapping[str, Clip]] = [with_rows(*pair) for pair in zip(sources, rows, strict=True)]
        import_keras_quietly()

    def do(self, task: Task) -> tuple[Any, float]:
        """Do a task; returns its result, and the seconds it took."""
        began = time.perf_counter()
        with threadpool_limits(self._threads):
            result = task.do(self._clips[task.source])
        return result, time.perf_counter() - began


class ClusterWorkers:
    """Processes on the machines of a cluster; a GPU each, or as many as have cores and memory for their tasks.

    Args:
        address: As for `connected`.
        jobs: At most so many; None = as many as there is room for.
        tasks: How many independent tasks there are.
        threads: Of each task.
        bytes_each: What a process needs at most.
    """

    def __init__(self, address: str, *, jobs: int | None, tasks: int, threads: int, bytes_each: int) -> None:
        if jobs is not None and jobs < 1:
            raise UsageError(f"--jobs {jobs} must be at least 1")
        self._address, self._threads, self._bytes = address, threads, bytes_each
        self._most = tasks if jobs is None else min(jobs, tasks)
        self._actors: dict[int, tuple[Any, Any]] = {}
        self._callers: list[ThreadPoolExecutor] = []
        self._stack = ExitStack()
        self._is_closing = threading.Event()

    def start(self, sources: Sequence[Sequence[Clip]], rows: Sequence[np.ndarray]) -> int:
        """Connect and start the processes; as for `Worker.begin`.

        Returns:
            How many there are.

        Raises:
            UsageError: Ray is missing, no cluster answers, or it has nothing to work on.
        """
        try:
            import ray
        except ImportError:
            raise no_ray() from None
        self._ray: Any = ray
        self._stack.enter_context(connected(ray, self._address))
        check_shares(ray.nodes(), None)
        self._given = (os.getcwd(), self._threads, sources, *map(ray.put, rows))
        places = places_for(ray.nodes(), self._most, threads=self._threads, bytes_each=self._bytes)
        self._shares = dict(enumerate(places))
        self._actors = {number: self._actor(share) for number, share in self._shares.items()}  # each with its beginning
        self._callers = [ThreadPoolExecutor(1) for _ in places]
        return len(places)

    def do(self, number: int, task: Task) -> Future:
        """Have a process do a task; the future is as `Worker.do`, or raises WorkerGone or RunError."""
        return self._callers[number].submit(self._do, number, task)

    def close(self) -> None:
        """End the processes; what they are at is lost."""
        self._is_closing.set()
        for actor, _ in self._actors.values():
            self._ray.kill(actor)
        for caller in self._callers:
            caller.shutdown()
        self._stack.close()

    def _actor(self, share: Share) -> tuple[Any, Any]:
        near = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(share.node, soft=True)
        how = {"num_cpus": share.cores, "num_gpus": share.gpus, "scheduling_strategy": near}
        actor = self._ray.remote(Worker).options(max_restarts=0, max_task_retries=0, **how).remote()
        return actor, actor.begin.remote(*self._given)

    def _do(self, number: int, task: Task) -> tuple[Any, float]:
        errors, deaths = self._ray.exceptions, 0
        while True:
            try:
                actor, begun = self._actors[number]
                return self._ray.get([begun, actor.do.remote(task)])[1]
            except errors.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, BaseException) else error) from None
            except errors.RayError as error:
                reason, deaths = " ".join(str(error).split()), deaths + 1
            if self._is_closing.is_set() or not self._is_alive(number):
                raise WorkerGone
            if deaths == MAX_DEATHS:
                raise RunError(
                    f"a task ended {counted(deaths, 'process', 'processes')}, usually for want of memory; what is "
                    "finished is kept: run the same command again, with fewer --jobs or on larger machines (the last "
                    f"one: {reason})"
                )
            self._actors[number] = self._actor(self._shares[number])

    def _is_alive(self, number: int) -> bool:
        """Whether the machine of a process still belongs to the cluster."""
        return any(node["Alive"] and node["NodeID"] == self._shares[number].node for node in self._ray.nodes())


def places_for(nodes: Sequence[Mapping[str, Any]], most: int, *, threads: int, bytes_each: int) -> list[Share]:
    """Where processes go: one for each GPU; without GPUs as many on each machine as its cores and memory allow.

    Args:
        nodes: From `ray.nodes()`.
        most: How many there may be.
        threads: Of each task.
        bytes_each: What a process needs at most.
    """
    machines = shares(nodes)
    if any(share.gpus for share in machines):
        return machines[:most]
    memory = {node["NodeID"]: node["Resources"].get("memory", float("inf")) for node in nodes}
    room = {
        share: max(1, int(min(share.cores // threads, memory[share.node] // max(1, bytes_each)))) for share in machines
    }
    # one on every machine before a second on any
    turns = [share for turn in range(max(room.values())) for share, count in room.items() if turn < count]
    return [Share(share.node, min(threads, share.cores)) for share in turns[:most]]
