"""A video written again with something drawn on it: frames, times, rotation and sound."""

import os
import signal
import subprocess
import sys

import av
import numpy as np
import pytest
from places import ROOT
from video_files import colour_bars, grey_frames, moving_frames, odd_video, write_video

from extract.decode.redraw import check_video_output, redraw, video_facts
from extract.errors import UnreadableVideoError, UsageError


def as_it_is(picture, frame, seconds):
    return picture


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sound_of(path):
    """(seconds after the start of the pictures, content) of every sound packet."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        start = float((video.start_time or 0) * video.time_base)
        packets = [p for p in container.demux(container.streams.audio[0]) if p.size]
        return [(round(float(p.pts * p.time_base) - start, 3), bytes(p)) for p in packets]


def test_every_frame_keeps_its_own_time_and_gets_its_own_number(tmp_path):
    video = write_video(tmp_path / "a.mp4", grey_frames(12), rate=30, pts=[0, 1, 2, 10, 11, 12, 20, 31, 32, 33, 50, 51])
    seen = []

    def mark(picture, frame, seconds):
        seen.append((frame, round(seconds * 30)))
        return np.full_like(picture, 20 * frame)

    done = redraw(video, tmp_path / "b.mp4", mark)
    assert seen == list(enumerate([0, 1, 2, 10, 11, 12, 20, 31, 32, 33, 50, 51]))
    assert (done.num_frames, done.kept_sound, done.lost_sound) == (12, (), ())
    np.testing.assert_array_equal(video_facts(tmp_path / "b.mp4").pts_seconds, video_facts(video).pts_seconds)
    assert [abs(int(p.mean()) - 20 * n) <= 3 for n, p in enumerate(frames_of(tmp_path / "b.mp4"))] == [True] * 12


def test_rotation_is_applied_and_colours_stay(tmp_path):
    video = write_video(tmp_path / "a.mp4", [colour_bars(height=64, width=128)] * 3, turn=90)
    redraw(video, tmp_path / "b.mp4", as_it_is)
    facts, picture = video_facts(tmp_path / "b.mp4"), frames_of(tmp_path / "b.mp4")[0]
    assert facts.size == (64, 128) == picture.shape[1::-1]
    corners = [picture[y, 32].argmax() for y in (16, 80)]
    assert corners == [2 if corners[0] == 2 else 0, corners[1]] and corners[0] != corners[1]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("v-iashin+video_features__sample__v_GGSY1Qvo990.mp4", "aac"),
        ("open-mmlab+mmaction2__tests__data__test.avi", "mp3"),
        ("ts__sample_scte35.ts", "mp2"),
    ],
)
def test_sound_is_the_same_bytes_at_the_same_times(tmp_path, name, codec):
    video = odd_video(name)
    done = redraw(video, tmp_path / "b.mp4", lambda picture, frame, seconds: picture[:32, :32])
    assert done.kept_sound == (codec,)
    ours, theirs = sound_of(tmp_path / "b.mp4"), sound_of(video)
    assert [content for _, content in ours] == [content for _, content in theirs][: len(ours)]
    assert len(theirs) - len(ours) <= 1
    assert np.abs(np.subtract([t for t, _ in ours], [t for t, _ in theirs][: len(ours)])).max() < 0.03


def test_sound_that_the_file_type_cannot_hold_is_named(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        video, sound = out.add_stream("libx264", rate=10), out.add_stream("tta", rate=44100)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        for frame in grey_frames(5, height=32, width=32):
            out.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="stereo")
        noise.sample_rate = 44100
        out.mux(sound.encode(noise))
        for stream in (video, sound):
            out.mux(stream.encode(None))
    done = redraw(path, tmp_path / "b.mp4", as_it_is)
    assert (done.kept_sound, done.lost_sound, done.num_frames) == ((), ("tta",), 5)


def test_a_folder_of_pictures_becomes_a_video(tmp_path):
    import cv2

    for number, frame in enumerate(moving_frames(4)):
        (tmp_path / "p").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "p" / f"{number:03}.png"), frame)
    assert redraw(tmp_path / "p", tmp_path / "b.mp4", as_it_is).num_frames == 4


def test_what_cannot_be_read_or_written_leaves_nothing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(UnreadableVideoError):
        redraw(tmp_path / "a.mp4", tmp_path / "b.mp4", as_it_is)
    video = write_video(tmp_path / "c.mp4", moving_frames(3))

    def fails(picture, frame, seconds):
        raise MemoryError

    with pytest.raises(MemoryError):
        redraw(video, tmp_path / "b.mp4", fails)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "c.mp4"]
    with pytest.raises(UsageError, match=r"--annotate x.mkv must end in .mp4 or .mov, which keep the time"):
        check_video_output((tmp_path / "x.mkv").relative_to(tmp_path), flag="--annotate")
    with pytest.raises(UsageError, match=r"c.mp4 exists already: choose another name or remove it"):
        check_video_output(video, flag="--annotate")


def test_a_full_disk_is_not_blamed_on_the_video(tmp_path):
    video = write_video(tmp_path / "a.mp4", moving_frames(60))
    code = (
        "import resource, sys; from pathlib import Path; from extract.decode.redraw import redraw; import signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "redraw(Path(sys.argv[1]), Path(sys.argv[2]), lambda picture, frame, seconds: picture)"
    )
    command = [sys.executable, "-c", code, str(video), str(tmp_path / "b.mp4")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert "WriteError" in done.stderr and "b.mp4 could not be written (File too large)" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_kill_leaves_no_file_of_the_final_name(tmp_path):
    video = write_video(tmp_path / "a.mp4", moving_frames(40))
    code = (
        "import os, sys, signal; from pathlib import Path; from extract.decode.redraw import redraw\n"
        "def draw(picture, frame, seconds):\n"
        "    if frame == 30: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return picture\n"
        "redraw(Path(sys.argv[1]), Path(sys.argv[2]), draw)"
    )
    command = [sys.executable, "-c", code, str(video), str(tmp_path / "b.mp4")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL and not (tmp_path / "b.mp4").exists()
    redraw(video, tmp_path / "b.mp4", as_it_is)
    assert len(frames_of(tmp_path / "b.mp4")) == 40
