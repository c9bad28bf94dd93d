"""Whole jobs on a Ray cluster of this machine: the numbers of one process, whoever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from clip_factory import make_clips
from places import ROOT, SHARED
from pool_tasks import Die, DieOnce, Sum
from tiny_project import make_project
from video_files import moving_frames, write_video

import pipeline
from extract.backbones.registry import load_backbone
from extract.engines.registry import make_engine
from extract.errors import RunError
from extract.store.reader import open_store
from extract.store.schema import SHARD_PATTERN
from extract.system.ray_session import AUTO, connected
from sequence_models.experiments.cluster import ClusterWorkers
from sequence_models.experiments.pool import Pool
from sequence_models.runs.results import read_fit, read_validation
from sequence_models.runs.run import read_run

ray = pytest.importorskip("ray", reason="needs ray")
pytestmark = pytest.mark.slow

ON_TWO = ["--ray", "auto", "--ray-workers", "2"]
DECODER_THAT_DIES = """
import os
from dataclasses import replace
from extract.backbones.registry import load_backbone
from extract.embed import packing

def load(*, weights, image_size, pool):
    real = packing.open_clip
    packing.open_clip = lambda item, *a, **k: os._exit(9) if "lethal" in item.clip_id else real(item, *a, **k)
    return replace(load_backbone("tiny", image_size=image_size, pool=pool), name="dies")
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two cores of this machine; its processes know the backbone `dies`."""
    site = tmp_path_factory.mktemp("site")
    (site / "dies-1.dist-info").mkdir()
    (site / "dies-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: dies\nVersion: 1\n")
    (site / "dies-1.dist-info" / "entry_points.txt").write_text("[clipseq.backbones]\ndies = decoder_that_dies:load\n")
    (site / "decoder_that_dies.py").write_text(DECODER_THAT_DIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers"), str(site)]))
        patch.syspath_prepend(str(site))
        patch.delenv("RAY_ADDRESS", raising=False)
        with connected(ray, AUTO):  # as the command does, once for all tests
            yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """The 60 clips of UT-Interaction's first set where they are, else as many rendered ones."""
    real = SHARED / "ut_interaction_set1" / "videos"
    if real.is_dir():
        return real
    folder = tmp_path_factory.mktemp("videos")
    for number in range(60):
        write_video(folder / f"{number}.mp4", moving_frames(40 + number % 7, height=48, width=64))
    return folder


def command(videos: Path, output: Path, *more: str) -> list[str]:
    recipe = ["--backbone", "tiny", "--every", "2", "--first-frames", "20", "--flush-seconds", "0.2"]
    return ["extract", str(videos), "--output", str(output), *recipe, *more]


@pytest.fixture(scope="module")
def alone(videos, tmp_path_factory):
    """The store that one process makes."""
    output = tmp_path_factory.mktemp("alone") / "features"
    assert pipeline.main(command(videos, output)) == 0
    return open_store(output)


def assert_same(output: Path, alone) -> None:
    """The numbers of one process, and no row twice."""
    store = open_store(output)
    assert store.clip_ids == alone.clip_ids
    assert sum(shard.columns["length"].sum() for shard in store.shards) == sum(alone.lengths().values())
    for clip_id in alone.clip_ids:
        mine, theirs = store.read(clip_id), alone.read(clip_id)
        np.testing.assert_array_equal(mine.embeddings, theirs.embeddings)
        np.testing.assert_array_equal(mine.pts_seconds, theirs.pts_seconds)


def writers(output: Path) -> set[int]:
    """The process ids of those who have written shards."""
    return {int(path.name.split("-")[-3]) for path in output.glob(SHARD_PATTERN)}


def wait_for(is_so, what: str) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_two_workers_give_the_embeddings_of_one_process(cluster, videos, alone, tmp_path, capsys):
    assert pipeline.main(command(videos, tmp_path / "f", *ON_TWO)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "done 60  skipped 0  failed 0"
    assert_same(tmp_path / "f", alone)
    assert len(writers(tmp_path / "f") - {os.getpid()}) == 2


def test_a_worker_that_is_killed_in_the_middle_costs_nothing(cluster, videos, alone, tmp_path, capsys, caplog):
    killed = []

    def kill_one() -> None:
        wait_for(lambda: writers(tmp_path / "f"), "no shard")
        killed.append(min(writers(tmp_path / "f")))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    code = pipeline.main(command(videos, tmp_path / "f", *ON_TWO))
    killer.join()
    said = capsys.readouterr()
    assert (code, said.out.splitlines()[-1]) == (0, "done 60  skipped 0  failed 0")
    assert f"(process {killed[0]}) has ended" in caplog.text
    assert "raylet" not in said.out
    assert_same(tmp_path / "f", alone)


def test_after_the_command_is_killed_the_next_one_goes_on(cluster, videos, alone, tmp_path, capsys):
    more = [*ON_TWO[:1], cluster, *ON_TWO[2:]]
    whole = [sys.executable, str(ROOT / "pipeline.py"), *command(videos, tmp_path / "f", *more)]
    process = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: writers(tmp_path / "f"), "no shard")
    process.kill()
    process.wait()
    wait_for(lambda: all(map(is_gone, writers(tmp_path / "f"))), "workers outlive the command")
    before = len(open_store(tmp_path / "f"))
    assert 0 < before < 60
    assert pipeline.main(command(videos, tmp_path / "f")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"done {60 - before}  skipped {before}  failed 0"
    assert_same(tmp_path / "f", alone)


def test_wrong_weights_are_said_by_the_first_worker_and_leave_no_store(cluster, make_video, tmp_path, capsys):
    make_video(tmp_path / "v" / "a.avi")
    given = ["extract", str(tmp_path / "v"), "--output", str(tmp_path / "f"), "--backbone", "tiny"]
    assert pipeline.main([*given, *ON_TWO, "--engine", "litert", "--precision", "mixed_float16"]) == 1
    assert "--engine litert computes in float32 only" in capsys.readouterr().err
    assert not (tmp_path / "f").exists()


def test_a_clip_that_kills_its_workers_fails_and_the_others_are_done(cluster, make_video, tmp_path, capsys):
    for name in ("a", "b", "lethal", "z"):
        make_video(tmp_path / "v" / f"{name}.avi")
    make_engine(load_backbone("dies"))  # converted once, for all processes
    (tmp_path / "v" / "bad.avi").write_bytes(b"nothing of the kind")
    code = pipeline.main(
        ["extract", str(tmp_path / "v"), "--output", str(tmp_path / "f"), "--backbone", "dies", *ON_TWO]
    )
    said = capsys.readouterr()
    assert (code, said.out.splitlines()[-1]) == (1, "done 3  skipped 0  failed 2")
    assert "lethal.avi ended 3 workers" in said.err
    assert open_store(tmp_path / "f").clip_ids == ["a.avi", "b.avi", "z.avi"]
    assert set(open_store(tmp_path / "f").failures()) == {"bad.avi", "lethal.avi"}


CLIPS = make_clips((3, 1, 5, 4), "many-to-one")


def test_fits_of_a_process_that_dies_are_done_by_another(cluster, tmp_path, monkeypatch):
    workers = ClusterWorkers(AUTO, jobs=1, tasks=9, threads=1, bytes_each=1 << 20)
    with Pool([(), CLIPS], cluster=workers) as pool:
        tasks = [DieOnce(tmp_path / "mark", key="sums", source=1), *(Sum(clip.clip_id, source=1) for clip in CLIPS)]
        found = dict(pool.each(tasks))
        monkeypatch.setattr("sequence_models.experiments.cluster.MAX_DEATHS", 1)
        with pytest.raises(RunError, match="a task ended 1 process, usually for want of memory; what is finished is"):
            list(pool.each([Die(source=1)]))
    for clip in CLIPS:
        total, process, is_writeable = found[Sum(clip.clip_id, source=1)]
        assert total == pytest.approx(float(clip.embeddings.sum()), rel=1e-6)
        assert process == found[tasks[0]] != os.getpid() and not is_writeable


def test_training_on_the_cluster_gives_the_same_numbers(cluster, tmp_path):
    folder = make_project(tmp_path, clips_per_class=6)
    given = ["train", str(folder / "features"), "--labels", str(folder / "labels.csv"), "--task", "many-to-one"]
    given += ["--model", "lstm", "--hidden", "8", "--updates", "6", "--cv", "2"]
    assert pipeline.main([*given, "--run", str(tmp_path / "here"), "--jobs", "2"]) == 0
    assert pipeline.main([*given, "--run", str(tmp_path / "there"), "--ray", "auto"]) == 0
    here, there = (read_run(tmp_path / name) for name in ("here", "there"))
    assert read_validation(here) == read_validation(there)
    for fold, seed in here.all_fits:
        assert read_fit(here, fold, seed)["weights_digest"] == read_fit(there, fold, seed)["weights_digest"]
