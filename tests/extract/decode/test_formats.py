"""Kinds of pixels, sizes, colours and containers, written here."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import colour_bars, moving_frames, odd_video, write_video

from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.errors import UnreadableVideoError
from extract.records import VideoItem
from extract.videos.rule import SamplingRule

BARS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]
GREYS = [[76] * 3, [150] * 3, [29] * 3, [226] * 3]


def read(path, **settings):
    settings = DecodeSettings(SamplingRule.parse("every=1"), **{"image_size": None, **settings})
    with open_clip(VideoItem("clip", path), settings) as reader:
        chunks = list(reader)
    frames, seconds = (np.concatenate([getattr(c, name) for c in chunks]) for name in ("frames", "pts_seconds"))
    return frames, seconds, reader.truth


@pytest.mark.parametrize(
    ("ending", "codec", "pixel_format", "expected"),
    [
        ("mkv", "ffv1", "gray", GREYS),
        ("mkv", "ffv1", "gray10le", GREYS),
        ("mkv", "ffv1", "gray16le", GREYS),
        ("mkv", "ffv1", "yuv420p10le", BARS),
        ("mkv", "ffv1", "yuva420p", BARS),
        ("mkv", "ffv1", "bgr0", BARS),
        ("mov", "prores_ks", "yuv422p10le", BARS),
        ("mov", "png", "rgba", BARS),
        ("avi", "mjpeg", "yuvj420p", BARS),
        ("avi", "rawvideo", "bgr24", BARS),
        ("gif", "gif", "rgb8", BARS),
        ("webm", "libvpx-vp9", "yuva420p", BARS),
    ],
)
def test_kinds_of_pixels(tmp_path, ending, codec, pixel_format, expected):
    path = write_video(tmp_path / f"a.{ending}", [colour_bars()] * 4, codec=codec, pixel_format=pixel_format)
    frames, seconds, truth = read(path)
    assert frames.shape == (4, 64, 64, 3)
    assert np.abs(frames[0, 32, [8, 24, 40, 56]].astype(int) - expected).max() < 6
    np.testing.assert_allclose(seconds, [0, 0.1, 0.2, 0.3], atol=1e-9)
    assert truth.timestamps == "real"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (33, 17), (2, 500)])
def test_odd_sizes(tmp_path, height, width):
    picture = np.full((height, width, 3), 120, np.uint8)
    frames, _, truth = read(write_video(tmp_path / "a.mp4", [picture] * 3, pixel_format="yuv444p"))
    assert frames.shape == (3, height, width, 3)
    assert (truth.width, truth.height) == (width, height)
    assert np.abs(frames.astype(int) - 120).max() < 4


def write_coded_colour(path, *, colorspace, color_range, size=(32, 32), pixel_format="yuv444p", transfer=2):
    """Three frames of Y 81, U 90, V 240 (of 255), tagged; no encoder touches the values."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, color_range
        stream.codec_context.color_trc = transfer
        for number in range(3):
            frame = av.VideoFrame(width, height, pixel_format)
            for plane, value in zip(frame.planes, (81, 90, 240), strict=True):
                deep = np.full(plane.buffer_size // 2, 4 * value, np.uint16).tobytes()  # 10 bits
                plane.update(deep if pixel_format.endswith("10le") else bytes([value]) * plane.buffer_size)
            frame.colorspace, frame.color_range, frame.color_trc = colorspace, color_range, transfer
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


BT601, BT709, BT2020 = [254, 0, 0], [255, 24, 0], [255, 10, 0]  # 16..235, by the formulas of the standards


@pytest.mark.parametrize("image_size", [None, 16])
@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv422p", "yuv444p10le", "yuv420p10le"])
@pytest.mark.parametrize(
    ("colorspace", "color_range", "size", "expected"),
    [
        (5, 1, (32, 32), BT601),
        (6, 1, (1280, 720), BT601),
        (1, 1, (32, 32), BT709),
        (9, 1, (32, 32), BT2020),
        (5, 2, (32, 32), [238, 14, 14]),  # 0..255
        (1, 2, (32, 32), [255, 36, 10]),
        (2, 0, (32, 32), BT601),  # nothing said: by the size, as players do
        (2, 0, (720, 576), BT601),
        (2, 0, (1280, 32), BT709),
        (2, 0, (32, 720), BT709),
        (8, 1, (32, 32), BT601),  # YCgCo, which swscale does not know
        (3, 1, (1280, 720), BT709),  # a reserved value
    ],
)
def test_colours_follow_the_tags_of_the_file(
    tmp_path, colorspace, color_range, size, pixel_format, image_size, expected
):
    path = tmp_path / "a.mkv"
    write_coded_colour(path, colorspace=colorspace, color_range=color_range, size=size, pixel_format=pixel_format)
    assert np.abs(read(path, image_size=image_size)[0][0, 5, 5].astype(int) - expected).max() <= 2


@pytest.mark.parametrize(("transfer", "curve"), [(16, "PQ"), (18, "HLG")])
def test_hdr_colours_are_taken_as_they_are_and_named(tmp_path, transfer, curve):
    path = tmp_path / "a.mkv"
    write_coded_colour(path, colorspace=9, color_range=1, pixel_format="yuv420p10le", transfer=transfer)
    frames, _, truth = read(path)
    assert np.abs(frames[0, 5, 5].astype(int) - BT2020).max() <= 2
    assert truth.notes == (f"HDR colours ({curve}), used as they are",)


def test_a_size_that_changes_on_the_way_is_fitted(tmp_path):
    small = write_video(tmp_path / "small.ts", moving_frames(10, height=64, width=64)).read_bytes()
    large = write_video(tmp_path / "large.ts", moving_frames(10, height=96, width=128)).read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    frames, seconds, truth = read(tmp_path / "both.ts", image_size=16)
    assert frames.shape == (20, 16, 16, 3)
    np.testing.assert_allclose(seconds, np.arange(20) / 10)
    assert truth.timestamps == "rebuilt"
    with pytest.raises(UnreadableVideoError, match="has frames of different sizes; set an image size"):
        read(tmp_path / "both.ts")


def test_a_cut_before_an_open_group_of_pictures_has_one_clock(tmp_path):
    """The first packet is shown after those that follow it."""
    options = {"g": "20", "bf": "2", "x264-params": "open-gop=1:bframes=2:b-adapt=0:scenecut=0"}
    path = write_video(tmp_path / "a.ts", moving_frames(60), options=options)
    with av.open(str(path)) as container:
        second = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe][1]
    content = path.read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[: 3 * 188] + content[second:])
    seconds = read(tmp_path / "cut.ts")[1]
    assert 38 <= len(seconds) <= 42
    assert (np.diff(seconds) > 0).all() and seconds.min() >= 0


def test_hdr_is_noted():
    truth = read(odd_video("mp4__hlg10-color-test.mp4"), image_size=16)[2]
    assert truth.notes == ("HDR colours (HLG), used as they are",)


def test_frames_that_the_decoder_calls_damaged_are_counted():
    truth = read(odd_video("mp4__sample_fragmented_sgpd_v2.mp4"), image_size=16)[2]
    assert truth.decoded_frames == 864
    assert truth.notes == ("850 frames flagged as damaged by the decoder",)


def test_nothing_reaches_the_terminal(capfd):
    """FFmpeg and OpenCV write warnings past Python."""
    for name in ("made__corrupt.mp4", "made__av1.mp4", "mp4__sample_vvc.mp4"):
        read(odd_video(name), image_size=16)
    assert capfd.readouterr() == ("", "")
