import math
import os
import shutil
import tempfile
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import grey_frames, moving_frames, odd_video, write_video

from extract.decode.probe import probe_clip
from extract.preview import scan as scan_module
from extract.preview.scan import ScanTotals, odd_flags, scan_videos
from extract.records import VideoItem, VideoTruth
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule
from pipeline import main

FPS_4 = SamplingRule("fps", 4)


def scan(target, rule=FPS_4, **settings):
    return {result.clip_id: result for result in scan_videos(find_videos(target), rule, **settings)}


@pytest.fixture
def folder(tmp_path):
    """Two ordinary clips, a copy of one, one that is turned, and three that fail."""
    write_video(tmp_path / "a" / "plain.mp4", moving_frames(20))
    write_video(tmp_path / "a" / "turned.mp4", grey_frames(10), turn=90)
    shutil.copy(tmp_path / "a" / "plain.mp4", tmp_path / "copy.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_bytes(b"no video\n" * 99)
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    return tmp_path


def test_every_clip_is_told_in_order_with_what_is_odd(folder):
    found = scan(folder, threads=2)
    assert {clip_id: result.flags for clip_id, result in found.items()} == {
        "a/plain.mp4": (),
        "a/turned.mp4": ("rotated",),
        "copy.mp4": ("duplicate content",),
        "empty.mp4": ("unreadable",),
        "gone.mp4": ("unreadable",),
        "text.mp4": ("unreadable",),
    }
    assert list(found) == [item.clip_id for item in find_videos(folder)]
    assert found["copy.mp4"].same_content_as == "a/plain.mp4"
    assert "is empty (0 bytes)" in found["empty.mp4"].error
    assert "No such file" in found["gone.mp4"].error


def test_frames_are_counted_as_the_rule_takes_them(folder):
    found = scan(folder / "a" / "plain.mp4")["plain.mp4"]
    assert (found.truth.decoded_frames, found.sampled_frames, found.read_frames) == (20, 8, 20)
    assert (found.truth.width, found.truth.height, round(found.duration_seconds, 6)) == (128, 96, 2.0)
    assert scan(folder / "a" / "plain.mp4", SamplingRule("num_frames", 5))["plain.mp4"].sampled_frames == 5


def test_totals_count_failures_frames_and_flags(folder):
    totals = ScanTotals()
    for result in scan_videos(find_videos(folder), FPS_4):
        totals.add(result)
    assert (totals.clips, totals.failed, totals.frames, totals.sampled_frames) == (6, 3, 50, 20)
    assert totals.flags == {"unreadable": 3, "rotated": 1, "duplicate content": 1}
    assert totals.codecs == {"h264": 3}
    assert totals.read_pixels == 2 * 20 * 128 * 96 + 10 * 32 * 48


def test_spans_of_one_video_are_no_duplicates_and_its_frames_count_once(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(20))
    items = [VideoItem("a#t=0,1", path, 0, 1), VideoItem("a#t=1,1.3", path, 1, 1.3), VideoItem("a#t=7,8", path, 7, 8)]
    totals, found = ScanTotals(), list(scan_videos(items, FPS_4))
    for result in found:
        totals.add(result)
    assert [result.flags for result in found] == [(), ("very short",), ("no frame",)]
    assert [result.sampled_frames for result in found] == [4, 1, 0]
    assert "has no frame between 7 and 8 s and is 2 s long" in found[2].error
    assert (totals.frames, totals.sampled_frames, totals.size_bytes) == (20, 5, path.stat().st_size)


def test_a_codec_that_nobody_knows_is_no_decoder(tmp_path):
    content = write_video(tmp_path / "a.mp4", grey_frames(3)).read_bytes()
    (tmp_path / "a.mp4").write_bytes(content.replace(b"avc1", b"zz~1"))
    (found,) = scan_videos(find_videos(tmp_path), FPS_4)
    assert found.flags == ("no decoder",)
    assert found.error == f"{tmp_path / 'a.mp4'} has a video stream that FFmpeg cannot decode; convert it"


def test_sound_is_no_video_stream():
    assert scan(odd_video("mkv__sample_with_dts.mkv")).popitem()[1].flags == ("no video stream",)


def test_a_container_that_declares_too_much_is_flagged():
    found = scan(odd_video("made__trunc_fs.mp4")).popitem()[1]
    assert found.flags == ("declared frames differ", "variable rate", "cut short")
    assert (found.truth.declared_frames, found.truth.decoded_frames) == (300, 180)


def test_clips_without_times_of_display_are_flagged():
    assert "rebuilt timestamps" in scan(odd_video("avi__sample-with-large-length.avi")).popitem()[1].flags


def test_a_second_video_stream_is_told_with_its_frames(tmp_path, capsys):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stream, count in zip(streams, (12, 9), strict=True):
            for picture in grey_frames(count, height=48, width=64):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    (result,) = scan_videos(find_videos(tmp_path), SamplingRule("every", 1))
    assert result.truth.decoded_frames == 12 and "several video streams" in result.flags
    assert main(["scan", str(tmp_path), "--backbone", "pixels"]) == 0
    out = capsys.readouterr().out
    assert "another video stream of 9 frames, not read" in out and "several video streams 1" in out
    assert main(["extract", str(tmp_path), "--output", str(tmp_path / "s"), "--backbone", "pixels"]) == 0
    assert "1 clip (a.mkv): another video stream of 9 frames, not read\n" in capsys.readouterr().out


@pytest.fixture
def as_nobody():
    """A folder that everybody may enter, and a user for whom permissions count: root may read everything."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        yield Path(folder), (lambda: os.seteuid(65534)) if is_root else (lambda: None)
        if is_root:
            os.seteuid(0)
        os.chmod(Path(folder, "in", "closed"), 0o700)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
@pytest.mark.parametrize("verb", ["scan", "extract", "import-features"])
def test_a_folder_that_may_not_be_read_is_a_failure(as_nobody, verb, make_video, capsys):
    home, become_nobody = as_nobody
    make_video(home / "in" / "a.avi", frames=3)
    np.save(home / "in" / "b.npy", np.ones((3, 2)))
    (home / "in" / "closed").mkdir()
    make_video(home / "in" / "closed" / "c.avi", frames=3)
    os.chmod(home / "in" / "closed", 0)
    more = [] if verb == "scan" else ["--output", str(home / "store")]
    backbone = [] if verb == "import-features" else ["--backbone", "pixels"]
    np.load(home / "in" / "b.npy", mmap_mode="r")  # NumPy imports mmap only now, and nobody may not read it everywhere
    become_nobody()
    code = main([verb, str(home / "in"), *more, *backbone])
    said = capsys.readouterr()
    assert code == 1 and f"failed  {home / 'in' / 'closed'}: the folder cannot be read (Permission" in said.err
    assert verb == "scan" or "done 1  skipped 0  failed 1" in said.out


def test_every_oddity_of_a_record_has_its_flag():
    truth = VideoTruth(
        *("opencv", "h264", 8, 8, 90, 0.0, 12, 10, 25.0, True, "rebuilt"),
        lost_spans=((1.0, 2.0),),
    )
    assert odd_flags(truth, duration_seconds=0.4) == (
        *("declared frames differ", "variable rate", "rebuilt timestamps", "rotated", "lost spans", "very short"),
    )
    assert odd_flags(VideoTruth("opencv", "h264", 8, 8), duration_seconds=math.inf) == ()


def test_leaving_early_stops_the_threads(folder, monkeypatch):
    """Of the four clips that lie ready for the thread it ends the one that it has begun, and begins no other."""
    begun, may_go_on = [], threading.Event()

    def probe_one_by_one(item, sampling):
        begun.append(item.clip_id)
        if len(begun) > 1:
            may_go_on.wait()
        return probe_clip(item, sampling)

    monkeypatch.setattr(scan_module, "probe_clip", probe_one_by_one)
    results = scan_videos(find_videos(folder) * 30, FPS_4, threads=1)
    assert next(results).clip_id == "a/plain.mp4"
    (thread,) = [thread for thread in threading.enumerate() if thread.name.startswith("scan")]
    results.close()  # type: ignore[attr-defined]
    may_go_on.set()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert begun in (["a/plain.mp4"], ["a/plain.mp4", "a/turned.mp4"])
