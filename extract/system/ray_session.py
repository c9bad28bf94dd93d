"""A connection to a Ray cluster, as quiet as the rest; the package itself is given by those who use it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from extract.errors import ClusterError, UsageError
from extract.text import counted

AUTO = "auto"
# How many threads the libraries of a worker start. joblib's is what `usable_cores` asks.
THREAD_VARIABLES = (
    *("LOKY_MAX_CPU_COUNT", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)


@dataclass(frozen=True)
class Share:
    """What a worker gets: a machine, by its id in the cluster, and how many of its cores and GPUs."""

    node: str
    cores: int
    gpus: int = 0


def no_ray() -> UsageError:
    """The error where the package is missing."""
    return UsageError("--ray needs the package ray: pip install 'clipseq[ray]'")


@contextmanager
def connected(ray: Any, address: str) -> Iterator[None]:
    """Connect to a cluster while the block lasts, unless this process is connected already.

    Args:
        ray: The package.
        address: HOST:PORT, or "auto": the cluster that this machine belongs to, else a new one of this machine alone,
            which ends with the block.

    Raises:
        UsageError: No cluster answers there.
        ClusterError: None can be started here.
    """
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of a coming default
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            None if address == AUTO else address, include_dashboard=False, log_to_driver=False, configure_logging=False
        )
    except Exception as error:  # it raises that class itself, where it cannot start in time
        ray.shutdown()
        if address == AUTO:
            raise ClusterError(
                f"--ray auto: Ray cannot start here, or its cluster does not answer ({_first_line(error)}); try again, "
                "or leave --ray out"
            ) from error
        raise UsageError(
            f"--ray {address}: no Ray cluster answers there ({_first_line(error)}); give the address that `ray start "
            "--head` printed, or --ray auto for this machine alone"
        ) from error
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)  # it sets its own
    with suppress(AttributeError):  # a worker's death would be told on standard output, where results are
        ray._private.worker._worker_logs_enabled = False
    try:
        yield
    finally:
        ray.shutdown()


def shares(nodes: Sequence[Mapping[str, Any]], workers: int | None = None) -> list[Share]:
    """What workers get: a GPU each with its part of the machine's cores; in a cluster without GPUs a machine each.

    Args:
        nodes: From `ray.nodes()`.
        workers: How many share the GPUs or cores, if there are so many; None = one for each GPU or machine.
    """
    cores, gpus = _on_nodes(nodes, "CPU"), _on_nodes(nodes, "GPU")
    if gpus:
        # one on every machine before a second on any
        of_gpus = [node for number in range(max(gpus.values())) for node, count in gpus.items() if number < count]
        return [Share(node, cores.get(node, 0) // gpus[node], 1) for node in of_gpus[:workers]]
    on = dict.fromkeys(cores, 1)
    if workers is not None:
        on = dict.fromkeys(cores, 0)
        for _ in range(min(workers, sum(cores.values()))):
            on[max(on, key=lambda node: cores[node] / (on[node] + 1))] += 1
    return [Share(node, cores[node] // count) for node, count in on.items() for _ in range(count)]


def check_shares(nodes: Sequence[Mapping[str, Any]], workers: int | None) -> None:
    """Whether a cluster has what so many workers need.

    Raises:
        UsageError: It has no GPU and no core, or fewer than workers.
    """
    kind = "GPU" if _on_nodes(nodes, "GPU") else "core"
    units = sum(_on_nodes(nodes, "GPU" if kind == "GPU" else "CPU").values())
    if workers is not None and workers > units:
        raise UsageError(f"--ray-workers {workers}: the cluster has {counted(units, kind)}; ask for no more workers")
    if not units:
        raise UsageError("--ray: the cluster has no GPU and no core to work on; see `ray status`")


def _on_nodes(nodes: Sequence[Mapping[str, Any]], resource: str) -> dict[str, int]:
    """How many each living machine has, if any."""
    found = {node["NodeID"]: int(node["Resources"].get(resource, 0)) for node in nodes if node["Alive"]}
    return {node: count for node, count in found.items() if count}


def become_worker(folder: str, cores: int) -> None:
    """In a new process of the cluster: work in the same folder as the command, and with so many threads.

    Raises:
        ClusterError: This machine has no such folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise ClusterError(
            f"{folder} cannot be used on {os.uname().nodename} ({error.strerror}): the folder of the command, the "
            "videos and the store must be at the same paths on every machine of the cluster"
        ) from error
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(max(1, cores))))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the command's business


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
