"""What the workers of a cluster get, and what is said where there is no cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import pipeline
from extract.errors import ClusterError, UsageError
from extract.system.ray_session import Share, become_worker, check_shares, connected, shares


def node(name: str, *, alive: bool = True, **resources: float) -> dict:
    return {"NodeID": name, "Alive": alive, "Resources": resources}


CORES = [node("a", CPU=8.0, memory=1.0), node("b", CPU=4.0), node("head"), node("gone", alive=False, CPU=64.0)]
GPUS = [node("a", CPU=16.0, GPU=2.0), node("b", CPU=9.0, GPU=1.0), node("c", CPU=32.0)]


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        (CORES, None, [Share("a", 8), Share("b", 4)]),
        (CORES, 3, [Share("a", 4), Share("a", 4), Share("b", 4)]),
        (CORES, 1, [Share("a", 8)]),
        (CORES, 50, [Share("a", 1)] * 8 + [Share("b", 1)] * 4),  # after the loss of a machine
        (GPUS, None, [Share("a", 8, 1), Share("b", 9, 1), Share("a", 8, 1)]),
        (GPUS, 2, [Share("a", 8, 1), Share("b", 9, 1)]),
        ([node("head")], None, []),
    ],
)
def test_a_worker_gets_a_gpu_or_without_gpus_a_machine(nodes, workers, expected):
    assert shares(nodes, workers) == expected


@pytest.mark.parametrize(
    ("nodes", "workers", "said"),
    [
        (CORES, 13, "--ray-workers 13: the cluster has 12 cores; ask for no more workers"),
        (GPUS, 4, "--ray-workers 4: the cluster has 3 GPUs; ask for no more workers"),
        ([node("head")], None, "the cluster has no GPU and no core to work on"),
    ],
)
def test_more_workers_than_places_are_refused(nodes, workers, said):
    with pytest.raises(UsageError, match=said):
        check_shares(nodes, workers)


def test_a_machine_without_the_folder_of_the_command_is_named(tmp_path):
    with pytest.raises(ClusterError, match=r"missing cannot be used on .*must be at the same paths on every machine"):
        become_worker(str(tmp_path / "missing"), 3)


@pytest.mark.parametrize("verb", ["extract", "train", "compare"])
def test_without_the_extra_the_command_says_what_to_install(verb, tmp_path, make_video, monkeypatch, capsys):
    make_video(tmp_path / "v" / "a.avi")
    extract = ["extract", str(tmp_path / "v"), "--backbone", "tiny", "--every", "1"]
    if verb == "extract":
        given = [*extract, "--output", str(tmp_path / "f")]
    else:
        for name in "abcdefgh":
            make_video(tmp_path / "v" / "xy"[name < "e"] / f"{name}.avi")
        (tmp_path / "v" / "a.avi").unlink()
        assert pipeline.main([*extract, "--output", str(tmp_path / "f")]) == 0
        given = [verb, str(tmp_path / "f"), "--task", "many-to-one", "--run", str(tmp_path / "r"), "--cv", "2"]
    monkeypatch.setitem(sys.modules, "ray", None)
    assert pipeline.main([*given, "--ray", "auto"]) == 2
    assert "--ray needs the package ray: pip install 'clipseq[ray]'" in capsys.readouterr().err


def test_nothing_imports_ray_unless_it_is_asked_for(tmp_path, make_video):
    make_video(tmp_path / "v" / "a.avi")
    code = "import sys, pipeline; pipeline.main(sys.argv[1:]); print('ray' in sys.modules)"
    given = ["extract", str(tmp_path / "v"), "--output", str(tmp_path / "f"), "--backbone", "pixels"]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, env={**os.environ})
    assert done.stdout.splitlines()[-2:] == ["done 1  skipped 0  failed 0", "False"], done.stderr


class NoCluster:
    """What Ray does where it cannot start or connect."""

    def is_initialized(self) -> bool:
        return False

    def init(self, *given: object, **more: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Exception("The current node timed out during startup.\nMore lines")

    def shutdown(self) -> None:
        pass


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        (
            "auto",
            ClusterError,
            r"Ray cannot start here, or .* \(The current node timed out .*\); try again",
        ),
        ("10.0.0.1:6379", UsageError, r"--ray 10\.0\.0\.1:6379: no Ray cluster answers there \(The current node timed"),
    ],
)
def test_no_cluster_is_one_sentence_and_the_handler_of_signals_is_as_before(address, error, said):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(error, match=said), connected(NoCluster(), address):
        pass
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_number_of_workers_without_a_cluster_is_refused(tmp_path, capsys):
    assert pipeline.main(["extract", str(tmp_path), "--output", str(tmp_path / "f"), "--ray-workers", "2"]) == 2
    assert "--ray-workers 2 needs --ray; add --ray auto, or leave it out" in capsys.readouterr().err
