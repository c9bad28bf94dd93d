"""Cameras, streams and files frame by frame: nothing is waited for in vain, and what is lost is counted."""

from __future__ import annotations

import socket
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import moving_frames, numbered_frames, numbers_of, write_video

from extract.decode import live
from extract.decode.live import Interruption, LiveFrames, live_source, open_live
from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.errors import UnreadableVideoError, UsageError
from extract.records import VideoItem
from extract.videos.rule import SamplingRule

EVERY = DecodeSettings(sampling=SamplingRule("every", 1), image_size=64)
PICTURES = numbered_frames(200, height=64, width=64)
ENOUGH = 40  # frames for FFmpeg to find out what a stream holds


@pytest.fixture
def address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return f"udp://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.7)
    monkeypatch.setattr(live, "WAIT_SECONDS", (0.05, 0.1))


def send(address, pictures, *, seconds_each=0.01):
    with av.open(f"{address}?pkt_size=1316", "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=10, options={"g": "5", "qscale": "2"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
            time.sleep(seconds_each)
        container.mux(stream.encode(None))


def in_background(*calls):
    def work():
        for call in calls:
            call()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def number_in(item):
    return numbers_of(item.frames[0].frames)[0]


def test_a_file_gives_what_extract_takes_of_it(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(20))
    ways = [DecodeSettings(sampling=SamplingRule("every", 3), image_size=32, input=word) for word in ("rgb", "diff")]
    with open_live(live_source(str(path)), ways, patience_seconds=1) as reader:
        items = list(reader)
    for way, settings in enumerate(ways):
        with open_clip(VideoItem("a.mp4", path), settings) as clip:
            whole = list(clip)
        for name in ("frames", "frame_indices", "pts_seconds"):
            joined = np.concatenate([getattr(item.frames[way], name) for item in items])
            np.testing.assert_array_equal(joined, np.concatenate([getattr(chunk, name) for chunk in whole]))
    assert (reader.dropped, reader.damaged) == (0, 0)


def test_a_stream_that_stops_and_comes_back_begins_a_new_part(address, impatient):
    first, second = PICTURES[: 2 * ENOUGH], PICTURES[2 * ENOUGH : 4 * ENOUGH]
    sender = in_background(lambda: send(address, first), lambda: time.sleep(1.5), lambda: send(address, second))
    items, reader = [], open_live(live_source(address), [EVERY], patience_seconds=2.5)
    with reader, pytest.raises(UnreadableVideoError, match=r"nothing came .* did not come back within 2\.5 s"):
        items.extend(reader)
    sender.join()
    frames = [item for item in items if isinstance(item, LiveFrames)]
    numbers = [number_in(item) for item in frames]
    assert {number >= 2 * ENOUGH for number in numbers} == {False, True}  # of both times
    assert any(isinstance(item, Interruption) for item in items)
    parts = [item.part for item in frames]
    assert parts[0] == 0 and parts[-1] >= 1 and parts == sorted(parts)
    for part in set(parts):
        of_part = [(number, item.frames[0]) for number, item in zip(numbers, frames, strict=True) if item.part == part]
        (start, begun), *_ = of_part
        assert begun.pts_seconds == [0.0]
        for number, each in of_part:
            np.testing.assert_allclose(each.pts_seconds, (number - start) / 10, atol=1e-4)
            assert each.frame_indices == [number - start]


def test_whoever_is_too_slow_gets_the_latest_frames_and_the_rest_is_counted(address, impatient):
    sender, numbers = in_background(lambda: send(address, PICTURES)), []
    reader = open_live(live_source(address), [EVERY], patience_seconds=1)
    with reader, pytest.raises(UnreadableVideoError):
        for item in reader:
            if isinstance(item, LiveFrames):
                numbers.append(number_in(item))
                assert time.monotonic() - item.arrived < 1.5
                time.sleep(0.1)
    sender.join()
    assert numbers == sorted(numbers) and numbers[-1] == len(PICTURES) - 1
    assert reader.dropped == len(PICTURES) - numbers[0] - len(numbers) > 0


def test_a_sender_that_starts_again_at_once_begins_a_new_part(monkeypatch):
    monkeypatch.setattr(live, "MOST_WAITING", 99)
    reader = live._StreamReader(live_source("udp://127.0.0.1:1"), [EVERY], 1)

    def frames(*times):
        for at in times:
            frame = av.VideoFrame.from_ndarray(PICTURES[0], format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 10)
            yield frame

    reader._take_part(frames(500, 501, 500, 502, 3, 4, 300))
    kinds = [item.part if hasattr(item, "part") else item.reason for item in reader._items]
    assert kinds == [0, 0, 0, "its clock has jumped by -49.9 s", 1, 1, "its clock has jumped by +29.6 s", 2]
    assert reader.damaged == 1  # the one out of order


def test_a_device_is_read_by_the_name_of_its_format():
    source = live_source("testsrc=size=64x48:rate=50,realtime", format="lavfi")
    rule = DecodeSettings(sampling=SamplingRule("fps", 10), image_size=64)
    with open_live(source, [rule], patience_seconds=2) as reader:
        items = [item for item, _ in zip(reader, range(4), strict=False)]
    assert [round(float(item.frames[0].pts_seconds[0]), 3) for item in items] == [0.0, 0.1, 0.2, 0.3]
    assert [int(item.frames[0].frame_indices[0]) for item in items] == [0, 5, 10, 15]


def test_a_camera_that_is_not_there_is_said_at_once(monkeypatch):
    monkeypatch.setattr(live.sys, "platform", "linux")
    source = live_source("97")
    assert (source.name, source.format) == ("/dev/video97", "v4l2")
    began = time.monotonic()
    with open_live(source, [EVERY], patience_seconds=60) as reader, pytest.raises(UnreadableVideoError) as caught:
        list(reader)
    assert "/dev/video97 cannot be watched (No such file or directory)" in str(caught.value)
    assert time.monotonic() - began < 10


def test_what_a_stream_cannot_give_is_refused():
    with pytest.raises(UsageError, match="num_frames=16 of every video, which needs its end"):
        settings = DecodeSettings(sampling=SamplingRule("num_frames", 16), image_size=64)
        open_live(live_source("udp://127.0.0.1:1"), [settings], patience_seconds=1)
    with pytest.raises(UsageError, match="gopher:// is unknown; use one of udp,"):
        live_source("gopher://a")


def test_cameras_have_no_numbers_on_windows(monkeypatch):
    monkeypatch.setattr(live.sys, "platform", "win32")
    with pytest.raises(UsageError, match="'video=NAME' with --format dshow"):
        live_source("0")
