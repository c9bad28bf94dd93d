"""Interlaced video: as it is coded, or deinterlaced; never black, and always said."""

from pathlib import Path

import av
import numpy as np
import pytest
from video_files import colour_bars, moving_frames, numbered_frames, numbers_of, shared, write_interlaced, write_video

from extract.decode.fit import FrameFitter
from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.preview.scan import scan_videos
from extract.records import VideoItem
from extract.videos.rule import SamplingRule

WOVEN = "with two interlaced fields, left woven as coded (--deinterlace)"


def read(path: Path, rule: str = "every=1", **settings):
    settings = {"image_size": None, **settings}
    with open_clip(VideoItem("a", path), DecodeSettings(SamplingRule.parse(rule), **settings)) as reader:
        chunks = list(reader)
    return np.concatenate([c.frames for c in chunks]), np.concatenate([c.pts_seconds for c in chunks]), reader.truth


@pytest.mark.parametrize(("ending", "codec"), [("mpg", "mpeg2video"), ("avi", "mpeg4"), ("mp4", "libx264")])
def test_fields_come_woven_and_the_record_says_so(tmp_path, ending, codec):
    frames, seconds, truth = read(write_interlaced(tmp_path / f"a.{ending}", numbered_frames(40), codec=codec))
    assert numbers_of(frames[:, 0::2].repeat(2, axis=1)) == list(range(0, 40, 2))
    assert numbers_of(frames[:, 1::2].repeat(2, axis=1)) == list(range(1, 40, 2))
    np.testing.assert_allclose(seconds, np.arange(20) / 25, atol=1e-4)
    assert truth.notes == (f"20 frames {WOVEN}",)


@pytest.mark.parametrize(("ending", "codec"), [("mpg", "mpeg2video"), ("avi", "mpeg4"), ("mp4", "libx264")])
@pytest.mark.parametrize("rule", ["every=1", "num_frames=2"])
def test_deinterlacing_makes_one_picture_of_two_fields_at_the_same_time(tmp_path, ending, codec, rule):
    path = write_interlaced(tmp_path / f"a.{ending}", moving_frames(320, height=64)[::8], codec=codec)
    woven, then, _ = read(path, rule)
    frames, seconds, truth = read(path, rule, deinterlace="bwdif")
    assert seconds.tolist() == then.tolist()
    combs, left = (np.abs(np.diff(f.astype(int), n=2, axis=1)).mean() for f in (woven, frames))
    assert left < combs / 5
    assert truth.notes[0] == "20 frames with two interlaced fields, merged into one picture by bwdif"


def test_deinterlacing_leaves_progressive_frames_alone(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(30), options={"g": "10"})
    plain, deinterlaced = read(path), read(path, deinterlace="bwdif")
    assert np.array_equal(plain[0], deinterlaced[0]) and plain[1].tolist() == deinterlaced[1].tolist()
    assert deinterlaced[2].notes == ()


def test_deinterlacing_goes_on_where_the_size_changes(tmp_path):
    parts = [write_video(tmp_path / f"{n}.ts", moving_frames(10, height=n, width=n)).read_bytes() for n in (64, 96)]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    frames, _, _ = read(tmp_path / "both.ts", deinterlace="bwdif", image_size=16)
    assert np.array_equal(frames, read(tmp_path / "both.ts", image_size=16)[0]) and len(frames) == 20


def test_what_is_too_small_to_have_fields_is_left_alone_too(tmp_path):
    for height, width in ((1, 1), (2, 8), (3, 3), (8, 2)):
        path = write_video(tmp_path / "a.mp4", [np.full((height, width, 3), 120, np.uint8)] * 3, pixel_format="yuv444p")
        assert np.array_equal(read(path)[0], read(path, deinterlace="bwdif")[0])


def test_the_fields_of_a_frame_are_scaled_together(tmp_path):
    """Left to itself swscale scales them apart: half of the detail is lost, and a result of one line is an error."""
    texture = np.random.default_rng(0).integers(0, 256, (144, 144, 1), np.uint8).repeat(2, 0).repeat(2, 1).repeat(3, 2)
    path = write_interlaced(tmp_path / "a.mpg", [texture] * 4)
    whole, small = read(path)[0][0], read(path, image_size=112)[0][0].astype(int)
    exact = np.empty((112, 112, 3), np.uint8)
    FrameFitter(112).fit(av.VideoFrame.from_ndarray(whole, format="rgb24"), exact)
    assert np.abs(small - exact).mean() < 2
    assert read(path, image_size=1)[0].shape == (2, 1, 1, 3)


def test_interlaced_colours_follow_their_tags(tmp_path):
    with av.open(str(write_interlaced(tmp_path / "a.mpg", [colour_bars(height=128, width=128)] * 4))) as container:
        frame = next(container.decode(video=0))
    assert frame.interlaced_frame
    rows = []
    for matrix in (1, 5):
        frame.colorspace = matrix
        rows.append(np.empty((16, 16, 3), np.uint8))
        FrameFitter(16).fit(frame, rows[-1])
    assert np.abs(rows[1][8, [2, 6, 10, 14]].astype(int) - colour_bars()[0, ::16]).max() < 12
    assert np.abs(rows[0].astype(int) - rows[1]).max() > 15


def test_a_scan_says_that_a_video_is_interlaced(tmp_path):
    path = write_interlaced(tmp_path / "a.mpg", numbered_frames(8))
    (found,) = scan_videos([VideoItem("a", path)], SamplingRule("fps", 8))
    assert "interlaced" in found.flags


@pytest.mark.parametrize("name", ["interl_mpeg2.mpg", "mbaff_progressive_content.mp4", "mpeg4_ilme.avi"])
def test_real_encoders_give_no_black_pictures(name):
    frames, _, truth = read(shared("faults", "B01", name), image_size=64)
    assert len(np.unique(frames.reshape(len(frames), -1), axis=0)) == len(frames) == truth.decoded_frames
    assert truth.notes == (f"{len(frames)} frames {WOVEN}",)
