"""Several inputs in one job: decoded once, and each store as if it had been made alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from places import ROOT

import pipeline
from clipseq.job_file import read_job
from extract.decode import reader as decode
from extract.embed.timing import StageSeconds
from extract.errors import UnstorableClipError, UsageError
from extract.jobs.batch import extraction_work
from extract.jobs.job import extract
from extract.jobs.settings import ExtractSettings
from extract.store.reader import open_store
from extract.store.verify import verify
from extract.store.writer import StoreWriter
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule

INPUTS = ("rgb", "diff", "flow")


@pytest.fixture
def videos(tmp_path, make_video):
    for k, name in enumerate(("one", "two", "three")):
        make_video(tmp_path / "videos" / f"{name}.avi", frames=20 + k, step=5 + k)
    return tmp_path / "videos"


@pytest.fixture
def settings(tmp_path):
    return ExtractSettings(
        tmp_path / "features", "tiny", sampling=SamplingRule("every", 1), engine="litert", batch_size=4, inputs=INPUTS
    )


def run(videos, settings, **more):
    return {result.clip_id: result for result in extract(find_videos(videos), settings, **more)}


def assert_same_as_alone(videos, settings, folder):
    """Each of the stores holds what a job with this input alone makes."""
    for each in settings.stores():
        alone = replace(each, output=folder / each.input)
        run(videos, alone)
        together, expected = open_store(each.output), open_store(alone.output)
        assert together.fingerprint == expected.fingerprint
        assert together.clip_ids == expected.clip_ids
        for clip_id in expected.clip_ids:
            ours, theirs = together.read(clip_id), expected.read(clip_id)
            np.testing.assert_array_equal(ours.embeddings, theirs.embeddings)
            np.testing.assert_array_equal(ours.pts_seconds, theirs.pts_seconds)
            np.testing.assert_array_equal(ours.frame_indices, theirs.frame_indices)
            assert ours.truth == theirs.truth
        assert verify(each.output).is_sound


def test_each_store_is_what_it_would_be_alone_and_videos_are_opened_once(videos, settings, tmp_path, monkeypatch):
    start, opened = decode._start, []
    monkeypatch.setattr(decode, "_start", lambda item, *others: opened.append(item.clip_id) or start(item, *others))
    results = run(videos, settings)
    assert {key: (result.status, result.rows) for key, result in results.items()} == {
        "one.avi": ("done", 60), "two.avi": ("done", 63), "three.avi": ("done", 66),
    }  # fmt: skip
    assert sorted(opened) == ["one.avi", "three.avi", "two.avi"]
    assert sorted(path.name for path in settings.output.iterdir()) == ["tiny-diff", "tiny-flow", "tiny-rgb"]
    assert_same_as_alone(videos, settings, tmp_path / "alone")
    assert {result.status for result in run(videos, settings).values()} == {"skipped"}


def test_only_the_inputs_that_a_clip_lacks_are_computed(videos, settings, tmp_path, make_video):
    run(videos, settings.stores()[0])
    make_video(videos / "four.avi", frames=5)
    assert dict(extraction_work(videos, settings)) == dict.fromkeys(
        ("one.avi", "two.avi", "three.avi", "four.avi"), "it is not in the store"
    )
    seconds = StageSeconds()
    results = run(videos, settings, seconds=seconds)
    assert seconds.frames == 2 * (20 + 21 + 22) + 3 * 5
    assert {result.status for result in results.values()} == {"done"}
    assert_same_as_alone(videos, settings, tmp_path / "alone")


def test_a_run_cut_off_inside_a_clip_goes_on_in_each_store(tmp_path, settings, make_video):
    class Cut(Exception):
        pass

    def cut(progress):
        if progress.frames >= 90:
            raise Cut

    make_video(tmp_path / "long" / "long.avi", frames=90, step=2)
    with pytest.raises(Cut):
        run(tmp_path / "long", settings, on_progress=cut)
    begun = [sum(open_store(each.output).unfinished().values()) for each in settings.stores()]
    assert 90 <= sum(begun) <= 100 and all(begun)
    seconds = StageSeconds()
    assert run(tmp_path / "long", settings, seconds=seconds)["long.avi"].status == "done"
    assert seconds.frames == 270 - sum(begun)
    assert_same_as_alone(tmp_path / "long", settings, tmp_path / "alone")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_kill_leaves_every_store_whole(tmp_path, settings, make_video):
    for k in range(4):
        make_video(tmp_path / "videos" / f"{k}.avi", frames=60 + k)
    killing = f"""
import os, signal
from pathlib import Path
from extract.jobs.job import extract
from extract.jobs.settings import ExtractSettings
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule
def kill(progress):
    if progress.frames >= 400:
        os.kill(os.getpid(), signal.SIGKILL)
settings = ExtractSettings(Path({str(settings.output)!r}), "tiny", sampling=SamplingRule("every", 1), engine="litert",
                           batch_size=4, inputs={INPUTS!r}, flush_seconds=1e-9)
list(extract(find_videos({str(tmp_path / "videos")!r}), settings, on_progress=kill))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", killing], env=environment).returncode == -signal.SIGKILL
    assert all(verify(each.output).is_sound for each in settings.stores())
    seconds = StageSeconds()
    run(tmp_path / "videos", settings, seconds=seconds)
    assert seconds.frames < 3 * (60 + 61 + 62 + 63) - 300  # what was sealed is not done again
    assert_same_as_alone(tmp_path / "videos", settings, tmp_path / "alone")


def test_a_video_that_fails_counts_once_and_stands_in_every_ledger(videos, settings):
    (videos / "bad.mp4").write_text("this is no video")
    results = run(videos, replace(settings, max_failures="1"))
    assert [key for key, result in results.items() if result.status == "failed"] == ["bad.mp4"]
    assert results["bad.mp4"].reason.count("bad.mp4 cannot be opened as a video") == 1
    assert all(list(open_store(each.output).failures()) == ["bad.mp4"] for each in settings.stores())
    assert run(videos, settings)["bad.mp4"].status == "failed"


def test_an_input_that_fails_takes_no_other_with_it(videos, settings, monkeypatch):
    append = StoreWriter.append

    def refuses(writer, clip_id, *others):
        if (writer.path.name, clip_id) == ("tiny-flow", "two.avi"):
            raise UnstorableClipError("two.avi is too large")
        append(writer, clip_id, *others)

    monkeypatch.setattr(StoreWriter, "append", refuses)
    results = run(videos, settings)
    assert (results["two.avi"].status, results["two.avi"].reason) == ("failed", "flow: two.avi is too large")
    lengths = {each.input: sorted(open_store(each.output).lengths().values()) for each in settings.stores()}
    assert lengths == {"rgb": [20, 21, 22], "diff": [20, 21, 22], "flow": [20, 22]}


def test_one_input_makes_the_store_itself(videos, settings):
    assert [each.output for each in replace(settings, inputs=()).stores()] == [settings.output]
    file = replace(settings, backbone="file:models/clip.onnx", inputs=("rgb", "diff"))
    assert [each.output.name for each in file.stores()] == ["clip-rgb", "clip-diff"]


def test_a_folder_that_is_a_store_takes_no_others(videos, settings):
    run(videos, replace(settings, inputs=()))
    with pytest.raises(UsageError) as error:
        run(videos, settings)
    assert str(error.value) == (
        f"{settings.output} is a feature store, but with several --input a folder in it is made for each; choose "
        "another --output"
    )


def test_grey_pictures_of_motion_mean_nothing_among_others_either(settings):
    with pytest.raises(UsageError, match="--channels 1 does not go with --input flow"):
        replace(settings, backbone="pixels", channels=1)


def test_the_command_names_the_stores_and_ends_with_the_count_of_clips(videos, tmp_path, capsys):
    told = ["extract", str(videos), "--output", str(tmp_path / "f"), "--backbone", "tiny", "--every", "2"]
    both = [*told, "--input", "rgb", "--input", "diff", "--input", "rgb"]
    assert pipeline.main(both) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("64 frames, those of all 2 inputs counted, in ")
    assert said[-2:] == [
        f"in each of {tmp_path}/f/tiny-rgb, {tmp_path}/f/tiny-diff:",
        "done 3  skipped 0  failed 0",
    ]
    assert pipeline.main([*both, "--log-format", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["clip"] * 3 + ["end"]
    assert events[-1]["stores"] == [f"{tmp_path}/f/tiny-rgb", f"{tmp_path}/f/tiny-diff"]
    assert (events[-1]["done"], events[-1]["skipped"]) == (0, 3)


def test_a_job_file_trains_on_all_inputs(tmp_path):
    (tmp_path / "job.toml").write_text(
        '[extract]\nvideos = "v"\noutput = "f"\nbackbone = "tiny"\ninput = ["rgb", "diff"]\n'
        '[train]\ntask = "many-to-one"\nrun = "r"\n'
    )
    job = read_job(tmp_path / "job.toml")
    assert job.experiment.arguments.stores == ["f/tiny-rgb", "f/tiny-diff"]
