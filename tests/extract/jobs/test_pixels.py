"""`clipseq extract --backbone pixels` from end to end: the frames themselves, in the same store as embeddings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from places import ROOT
from video_files import moving_frames, odd_video, shared, write_video

import pipeline
from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.jobs.job import extract
from extract.jobs.plan import explain
from extract.jobs.recipe import settings_from_recipe
from extract.jobs.settings import ExtractSettings
from extract.records import VideoItem
from extract.store.numpy_files import export_features
from extract.store.pack import pack
from extract.store.reader import open_store
from extract.store.verify import verify
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule


@pytest.fixture
def videos(tmp_path):
    """Three clips of 20, 11 and 4 moving frames at 10 frames/s, wider than high."""
    for name, count in (("hug/a.mp4", 20), ("hug/b.mp4", 11), ("kick/a.mp4", 4)):
        write_video(tmp_path / "videos" / name, moving_frames(count))
    return tmp_path / "videos"


def settings_for(tmp_path, rule="every=1", **more):
    rule = SamplingRule.parse(rule)
    return ExtractSettings(tmp_path / "frames", backbone="pixels", image_size=16, sampling=rule, **more)


def frames_of(item: VideoItem, settings: ExtractSettings) -> np.ndarray:
    """What decoding alone gives: uint8 (T, S, S, 3)."""
    same = {name: getattr(settings, name) for name in ("image_size", "fit", "input", "deinterlace", "on_corrupt")}
    with open_clip(item, DecodeSettings(settings.sampling, **same)) as reader:
        return np.concatenate([chunk.frames for chunk in reader])


def statuses(items, settings):
    return {result.clip_id: result.status for result in extract(items, settings)}


def assert_holds_the_frames(items, settings):
    store = open_store(settings.output)
    assert store.clip_ids == sorted(item.clip_id for item in items)
    for item in items:
        np.testing.assert_array_equal(store.read(item.clip_id).embeddings, frames_of(item, settings))


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("name", ["rgb", "diff", "flow"])
def test_what_decoding_gives_is_stored_as_it_is(videos, tmp_path, name, fit):
    settings, items = settings_for(tmp_path, input=name, fit=fit), find_videos(videos)
    assert set(statuses(items, settings).values()) == {"done"}
    store = open_store(settings.output)
    assert (store.dtype, store.row_shape) == (np.uint8, (16, 16, 3))
    assert store.lengths() == {"hug/a.mp4": 20, "hug/b.mp4": 11, "kick/a.mp4": 4}
    assert_holds_the_frames(items, settings)


@pytest.mark.parametrize(
    ("rule", "lengths"),
    [
        ("fps=5", [10, 6, 2]),
        ("every=3", [7, 4, 2]),
        ("num_frames=5", [5, 5, 4]),
        ("every=1,first_frames=5", [5, 5, 4]),
        ("skip_frames=3,every=2,first_frames=2", [2, 2, 1]),
    ],
)
def test_every_way_of_picking_frames_and_short_clips(videos, tmp_path, rule, lengths):
    settings, items = settings_for(tmp_path, rule), find_videos(videos)
    assert set(statuses(items, settings).values()) == {"done"}
    assert [length for _, length in sorted(open_store(settings.output).lengths().items())] == lengths
    assert_holds_the_frames(items, settings)


def test_a_clip_without_a_frame_left_fails_alone_and_says_why(videos, tmp_path):
    settings = settings_for(tmp_path, "skip_frames=4,every=1")
    results = {result.clip_id: result for result in extract(find_videos(videos), settings)}
    assert [result.status for _, result in sorted(results.items())] == ["done", "done", "failed"]
    assert results["kick/a.mp4"].reason == (
        "kick/a.mp4 has 4 frames, and --skip-frames 4 leaves none of them; skip fewer, or leave the clip out"
    )


def test_spans_and_grey(videos, tmp_path):
    table = tmp_path / "clips.csv"
    table.write_text("path,start_seconds,end_seconds\nvideos/hug/a.mp4,0.35,1.5\n")
    settings, items = settings_for(tmp_path, "skip_frames=1,fps=5,first_frames=3", channels=1), find_videos(table)
    assert statuses(items, settings) == {"videos/hug/a.mp4#t=0.35,1.5": "done"}
    clip = open_store(settings.output).read("videos/hug/a.mp4#t=0.35,1.5")
    assert (clip.embeddings.dtype, clip.embeddings.shape) == (np.uint8, (3, 16, 16, 1))
    assert clip.frame_indices.tolist() == [5, 7, 9]
    weights = frames_of(items[0], settings) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(clip.embeddings[..., 0] - weights).max() <= 0.501


def test_the_recipe_names_channels_and_nothing_of_a_model(videos, tmp_path):
    settings = settings_for(tmp_path, channels=1)
    statuses(find_videos(videos), settings)
    recipe = open_store(settings.output).recipe
    assert recipe == {
        **{"schema_version": 1, "backbone": "pixels", "channels": 1, "image_size": 16, "fit": "stretch"},
        **{"resize": "swscale area, full chroma", "input": "rgb", "sampling": "every=1", "deinterlace": "none"},
        "on_corrupt": "salvage",
    }
    assert settings_from_recipe(recipe, settings.output) == settings


def test_a_rerun_skips_what_is_done_and_redoes_what_changed(videos, tmp_path):
    settings = settings_for(tmp_path)
    statuses(find_videos(videos), settings)
    write_video(videos / "kick" / "a.mp4", moving_frames(6))
    items = find_videos(videos)
    assert statuses(items, settings) == {"hug/a.mp4": "skipped", "hug/b.mp4": "skipped", "kick/a.mp4": "done"}
    assert_holds_the_frames(items, settings)
    assert "kick/a.mp4 is reused: the file's size and" in explain("kick/a.mp4", open_store(settings.output))


def test_parts_of_a_job_make_one_store(videos, tmp_path):
    settings, items = settings_for(tmp_path), find_videos(videos)
    done = [statuses(items, replace(settings, part=(number, 2))) for number in (1, 2)]
    assert sorted([*done[0], *done[1]]) == ["hug/a.mp4", "hug/b.mp4", "kick/a.mp4"]
    assert_holds_the_frames(items, settings)


def test_a_store_of_frames_is_verified_packed_and_exported(videos, tmp_path):
    settings, items = settings_for(tmp_path), find_videos(videos)
    statuses(items, settings)
    assert verify(settings.output).is_sound
    assert pack(settings.output, tmp_path / "frames.h5").num_frames == 35
    assert verify(tmp_path / "frames.h5").is_sound
    assert export_features(open_store(tmp_path / "frames.h5"), tmp_path / "out") == {}
    for item in items:
        exported = np.load(tmp_path / "out" / f"{item.clip_id}.npy")
        assert exported.dtype == np.uint8 and np.array_equal(exported, frames_of(item, settings))


def test_one_changed_byte_of_a_stored_frame_is_found(videos, tmp_path):
    settings = settings_for(tmp_path)
    statuses(find_videos(videos), settings)
    (path,) = settings.output.glob("shard-*.h5")
    content, (shard,) = bytearray(path.read_bytes()), open_store(settings.output).shards
    content[shard.embeddings.offset + 5] ^= 1
    path.write_bytes(content)
    assert verify(settings.output).damaged_clip_ids == (shard.texts("clip_id")[0],)


def test_a_long_video_is_stored_in_parts_of_16_mebibytes_and_goes_on_where_it_was_stopped(tmp_path):
    """240 frames of 224 px are 34 MiB: no part holds the video, and what is sealed is not decoded into rows again."""
    write_video(tmp_path / "long.mp4", moving_frames(240, height=32, width=48))
    items = find_videos(tmp_path / "long.mp4")
    settings = replace(settings_for(tmp_path), image_size=224)

    def stop(progress):
        if progress.frames > 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(extract(items, settings, on_progress=stop))
    (sealed,) = open_store(settings.output).unfinished().values()
    assert 150 <= sealed < 240
    (result,) = extract(items, settings)
    assert (result.status, result.rows) == ("done", 240)
    lengths = [part.length for part in open_store(settings.output).parts("long.mp4")]
    assert len(lengths) >= 3 and max(lengths) * 224 * 224 * 3 <= (16 << 20) + (1 << 20)
    assert_holds_the_frames(items, settings)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_kill_costs_nothing_that_was_sealed(tmp_path):
    for k in range(6):
        write_video(tmp_path / "videos" / f"{k}.mp4", moving_frames(200))
    settings, items = settings_for(tmp_path), find_videos(tmp_path / "videos")
    flags = ["--backbone", "pixels", "--image-size", "16", "--every", "1", "--flush-seconds", "0.02"]
    command = [sys.executable, "pipeline.py", "extract", str(tmp_path / "videos"), "--output", str(settings.output)]
    process = subprocess.Popen([*command, *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not list(settings.output.glob("shard-*.h5")):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert verify(settings.output).is_sound
    sealed = verify(settings.output).num_clips
    assert sorted(statuses(items, settings).values()) == ["done"] * (6 - sealed) + ["skipped"] * sealed
    assert_holds_the_frames(items, settings)


def test_no_model_is_built_and_tensorflow_is_never_imported(videos, tmp_path):
    code = (
        "import sys, pipeline\n"
        "code = pipeline.main(sys.argv[1:])\n"
        "print([m for m in ('tensorflow', 'keras', 'ai_edge_litert', 'sklearn') if m in sys.modules], code)"
    )
    command = [
        "extract",
        str(videos),
        "--output",
        str(tmp_path / "frames"),
        "--backbone",
        "pixels",
        "--num-frames",
        "5",
    ]
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["done 3  skipped 0  failed 0", "[] 0"]
    assert open_store(tmp_path / "frames").row_shape == (112, 112, 3)


def test_info_tells_what_is_stored(videos, tmp_path, capsys):
    command = ["extract", videos, "--output", tmp_path / "f", "--backbone", "pixels", "--channels", "1", "--fps", "5"]
    assert pipeline.main([str(word) for word in command]) == 0
    capsys.readouterr()
    assert pipeline.main(["info", str(tmp_path / "f")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for line in (
        ["dtype", "uint8"],
        ["row_shape", "112", "x", "112", "x", "1"],
        ["channels", "1"],
        ["engines", "pixels"],
    ):
        assert line in lines


def test_lost_frames_are_recorded_with_the_frames(tmp_path):
    settings, items = settings_for(tmp_path), find_videos(odd_video("made__corrupt.mp4"))
    statuses(items, settings)
    store = open_store(settings.output)
    truth = store.truth(items[0].clip_id)
    assert truth.decoded_frames == store.lengths()[items[0].clip_id] and truth.lost_spans


def test_a_real_video_is_stored_frame_by_frame(tmp_path):
    path = sorted(shared("ut_interaction_set1", "videos").rglob("*.avi"))[0]
    settings, items = settings_for(tmp_path, "num_frames=5"), find_videos(path)
    assert statuses(items, settings) == {path.name: "done"}
    assert_holds_the_frames(items, settings)
    assert open_store(settings.output).lengths() == {path.name: 5}


def show(capsys, *arguments):
    """Exit code, output and error of `clipseq show`."""
    code = pipeline.main(["show", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_sheet_shows_frames_as_training_augments_them(videos, tmp_path, capsys):
    settings = settings_for(tmp_path)
    statuses(find_videos(videos), settings)
    for name, flags in (("plain", []), ("moved", ["--shift", "0.4"]), ("again", ["--augment", "0", "--shift", "0.4"])):
        assert show(capsys, settings.output, "--output", tmp_path / f"{name}.png", *flags)[0] == 0
    plain, moved, again = ((tmp_path / f"{name}.png").read_bytes() for name in ("plain", "moved", "again"))
    assert plain != moved and moved == again
    command = (settings.output, "--output", tmp_path / "other.png", "--augment", "1", "--shift", "0.4")
    assert show(capsys, *command)[0] == 0 and (tmp_path / "other.png").read_bytes() != moved


def test_flags_that_a_store_has_decided_are_not_silently_ignored(videos, tmp_path, capsys):
    settings = settings_for(tmp_path)
    statuses(find_videos(videos), settings)
    code, _, error = show(capsys, settings.output, "--output", tmp_path / "s.png", "--every", "3")
    assert code == 2
    assert f"--every does not go with {settings.output}, a store whose recipe sets it; leave it out" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--augment",
            "--augment needs at least one of --flip, --shift, --zoom, --rotation, --brightness, --contrast",
        ),
        ("--zoom 1.5", "zoom must be between 0 and 0.95, got 1.5; choose another --zoom."),
        ("--shift -0.1", "shift must be between 0 and 0.95, got -0.1; choose another --shift."),
    ],
)
def test_an_augmentation_that_means_nothing_is_named(tmp_path, capsys, flags, message):
    code, _, err = show(capsys, tmp_path, "--output", tmp_path / "s.png", *flags.split())
    assert (code, err) == (2, f"clipseq show: {message}\n")


def test_videos_are_augmented_only_as_pixels(videos, tmp_path, capsys):
    command = (videos, "--output", tmp_path / "s.png", "--backbone", "tiny", "--flip")
    code, _, err = show(capsys, *command)
    assert code == 2 and "--augment shows frames as raw-frame training sees them; add --backbone pixels" in err
    assert (
        show(capsys, videos, "--output", tmp_path / "s.png", "--backbone", "pixels", "--channels", 1, "--flip")[0] == 0
    )
