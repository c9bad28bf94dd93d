"""Odd and broken videos through the real job: each gives its frames or is listed with its reason; the batch goes on."""

import json
import os
import threading
import time
from shlex import quote

import cv2
import numpy as np
import pytest
from video_files import grey_frames, moving_frames, odd_video, shared, write_video

import pipeline
from extract.decode import reader as decode
from extract.decode.packets import scan_packets
from extract.decode.pyav import decoding_cost
from extract.jobs.job import extract
from extract.jobs.settings import ExtractSettings
from extract.store.reader import open_store
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule
from extract.videos.sampling import sample_indices

EVERY = SamplingRule("every", 1)


def run(target, output, **settings):
    """(status of every clip, store) after an extraction with the tiny backbone."""
    settings = {"sampling": EVERY, **settings}
    results = list(extract(find_videos(target), ExtractSettings(output, backbone="tiny", **settings)))
    return {result.clip_id: result.status for result in results}, open_store(output)


@pytest.mark.parametrize(
    ("name", "frames"), [("Zulko+moviepy__media__no_duration.webm", 74), ("made__corrupt.mp4", 269)]
)
def test_known_files_give_their_known_frames(tmp_path, name, frames):
    _, store = run(odd_video(name), tmp_path / "store")
    assert store.lengths() == {name: frames}


def test_the_record_of_a_damaged_clip_names_the_lost_span(tmp_path, capsys):
    run(odd_video("made__corrupt.mp4"), tmp_path / "store")
    assert pipeline.main(["info", str(tmp_path / "store"), "--clip", "made__corrupt.mp4", "--json"]) == 0
    truth = json.loads(capsys.readouterr().out)["truth"]
    assert [[round(second, 2) for second in span] for span in truth["lost_spans"]] == [[4.83, 5.87]]
    assert (truth["declared_frames"], truth["decoded_frames"]) == (300, 269)


def test_an_extraction_says_in_its_last_lines_that_frames_are_lost_and_the_store_says_it_again(tmp_path, capsys):
    video, store = str(odd_video("made__corrupt.mp4")), str(tmp_path / "store")
    assert pipeline.main(["extract", video, "--output", store, "--backbone", "tiny", "--num-frames", "9"]) == 0
    said = "1 clip has lost frames: made__corrupt.mp4 at 4.83-5.87 s; "
    said += f"see `clipseq info {quote(store)} --clip made__corrupt.mp4`"
    assert capsys.readouterr().out.splitlines()[-2:] == [said, "done 1  skipped 0  failed 0"]
    assert pipeline.main(["info", store]) == 0
    assert said in capsys.readouterr().out


def test_every_interaction_clip_says_that_its_times_are_rebuilt(tmp_path):
    statuses, store = run(
        shared("ut_interaction_set1", "videos"), tmp_path / "store", sampling=SamplingRule("num_frames", 2)
    )
    assert list(statuses.values()) == ["done"] * 60
    assert {store.truth(clip_id).timestamps for clip_id in store.clip_ids} == {"rebuilt"}


def test_names_links_empty_files_and_folders_named_like_videos(tmp_path):
    videos = tmp_path / "videos"
    write_video(videos / "-i a b.mp4", grey_frames(3))
    write_video(videos / "手" / "файл#1.mp4", grey_frames(4))
    (videos / "link.mp4").symlink_to(videos / "-i a b.mp4")
    (videos / "linked").symlink_to(videos / "手")
    (videos / "nowhere.mp4").symlink_to("gone")
    (videos / "zero.mp4").write_bytes(b"")
    (videos / "folder.mp4").mkdir()
    for number in (2, 10, 1):
        cv2.imwrite(str(videos / "folder.mp4" / f"{number}.png"), np.full((8 + number, 9, 3), number, np.uint8))
    statuses, store = run(videos, tmp_path / "store")
    assert store.lengths() == {
        "-i a b.mp4": 3,
        "folder.mp4": 3,
        "link.mp4": 3,
        "linked/файл#1.mp4": 4,
        "手/файл#1.mp4": 4,
    }
    assert {clip_id for clip_id, status in statuses.items() if status == "failed"} == {"nowhere.mp4", "zero.mp4"}
    assert "is empty (0 bytes)" in store.failures()["zero.mp4"].message
    assert "No such file or directory" in store.failures()["nowhere.mp4"].message


@pytest.mark.parametrize("rehash", [False, True])
def test_what_is_no_regular_file_fails_alone_before_it_is_opened(tmp_path, rehash):
    """A pipe that nobody writes to would never open, /dev/zero never end."""
    videos = tmp_path / "videos"
    write_video(videos / "a.mp4", grey_frames(3))
    os.mkfifo(videos / "pipe.mp4")
    (videos / "device.mp4").symlink_to("/dev/zero")
    statuses, store = run(videos, tmp_path / "store", rehash=rehash)
    assert statuses == {"a.mp4": "done", "pipe.mp4": "failed", "device.mp4": "failed"}
    for kind in ("pipe", "device"):
        assert f"(it is a {kind}, not a regular file)" in store.failures()[f"{kind}.mp4"].message


def test_a_file_name_that_is_not_utf_8_does_not_end_the_job(tmp_path):
    """cv2.VideoCapture dies of it."""
    path = write_video(tmp_path / "videos" / "a.mp4", grey_frames(3))
    os.rename(path, os.fsencode(tmp_path / "videos") + b"/clip_\xe9.mp4")
    write_video(tmp_path / "videos" / "b.mp4", grey_frames(4))
    _, store = run(tmp_path / "videos", tmp_path / "store")
    assert sorted(store.lengths().values()) == [3, 4]


def test_a_stalled_file_is_listed_and_the_batch_goes_on(tmp_path, monkeypatch):
    """As on a dead network share, where a read never comes back."""
    for name in ("a.mp4", "stalls.mp4", "z.mp4"):
        write_video(tmp_path / "videos" / name, grey_frames(3))
    hang, read_packets = threading.Event(), decode.scan_packets

    def stalling(path, beat):
        if path.name == "stalls.mp4":
            hang.wait(30)
        return read_packets(path, beat)

    monkeypatch.setattr(decode, "scan_packets", stalling)
    monkeypatch.setattr(decode, "STALL_SECONDS", 5.0)  # the others must not stall beside heavy load
    began = time.monotonic()
    statuses, store = run(tmp_path / "videos", tmp_path / "store", decode_threads=1)
    hang.set()
    assert statuses == {"a.mp4": "done", "stalls.mp4": "failed", "z.mp4": "done"}
    assert store.failures()["stalls.mp4"].error == "VideoTimeoutError"
    assert time.monotonic() - began < 25


@pytest.mark.parametrize(("policy", "code"), [("salvage", 0), ("skip", 1), ("fail", 1)])
def test_what_becomes_of_damage_is_the_users_choice(tmp_path, capsys, policy, code):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").symlink_to(odd_video("made__corrupt.mp4"))
    write_video(tmp_path / "v" / "b.mp4", grey_frames(3))
    arguments = ["extract", str(tmp_path / "v"), "--output", str(tmp_path / "s"), "--backbone", "tiny", "--every", "1"]
    assert pipeline.main([*arguments, "--on-corrupt", policy, "--decode-threads", "1"]) == code
    store = open_store(tmp_path / "s")
    assert ("a.mp4" in store) == (policy == "salvage")
    assert ("b.mp4" in store) == (policy != "fail")
    assert "lost frames (4.83-5.87 s)" in capsys.readouterr().err or policy == "salvage"


def test_sixteen_frames_of_a_long_video_need_a_fraction_of_its_frames():
    index = scan_packets(odd_video("mp4__long_1080p_lowbitrate.mp4"), lambda: None)
    wanted = sample_indices(index.pts_seconds, SamplingRule("num_frames", 16), duration_seconds=index.duration_seconds)
    assert (len(index.pts_seconds), int(index.is_keyframe.sum()), len(wanted)) == (10_883, 44, 16)
    assert decoding_cost(index, wanted) < 10_883 / 4


def test_stores_of_several_inputs_are_joined_in_training(tmp_path, capsys):
    for label, step in (("left", 1), ("right", -1)):
        for number in range(6):
            frames = moving_frames(8 + number)[::step]
            write_video(tmp_path / "videos" / label / f"{number}.mp4", frames)
    stores = []
    for name in ("rgb", "diff", "flow"):
        stores.append(str(tmp_path / name))
        extracting = ["extract", str(tmp_path / "videos"), "--output", stores[-1], "--backbone", "tiny", "--every", "1"]
        assert pipeline.main([*extracting, "--input", name]) == 0
    training = ["train", *stores, "--task", "many-to-one", "--epochs", "2", "--run", str(tmp_path / "run")]
    assert pipeline.main(training) == 0
    recipes = json.loads((tmp_path / "run" / "run.json").read_text())["recipes"]
    assert [recipe["input"] for recipe in recipes] == ["rgb", "diff", "flow"]

    assert pipeline.main([*extracting[:3], str(tmp_path / "few"), *extracting[4:-2], "--num-frames", "4"]) == 0
    capsys.readouterr()
    assert pipeline.main([*training[:2], str(tmp_path / "few"), *training[4:-1], str(tmp_path / "other")]) == 1
    assert "few" in capsys.readouterr().err
