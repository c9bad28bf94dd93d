"""One contract for both decoders: kinds of pixels, sizes, colours and containers, written here."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import colour_bars, moving_frames, odd_video, write_video

from extract.decode import DecodeSettings, open_clip
from extract.records import VideoItem
from extract.sampling import SamplingRule

BOTH = pytest.mark.parametrize("decoder", ["opencv", "pyav"])
BARS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]
GREYS = [[76] * 3, [150] * 3, [29] * 3, [226] * 3]


def read(path, **settings):
    settings = DecodeSettings(SamplingRule.parse("every=1"), **{"image_size": None, **settings})
    with open_clip(VideoItem("clip", path), settings) as reader:
        chunks = list(reader)
    frames, seconds = (np.concatenate([getattr(c, name) for c in chunks]) for name in ("frames", "pts_seconds"))
    return frames, seconds, reader.truth


@BOTH
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
def test_kinds_of_pixels(tmp_path, decoder, ending, codec, pixel_format, expected):
    path = write_video(tmp_path / f"a.{ending}", [colour_bars()] * 4, codec=codec, pixel_format=pixel_format)
    frames, seconds, truth = read(path, decoder=decoder)
    assert frames.shape == (4, 64, 64, 3)
    assert np.abs(frames[0, 32, [8, 24, 40, 56]].astype(int) - expected).max() < 6
    np.testing.assert_allclose(seconds, [0, 0.1, 0.2, 0.3], atol=1e-9)
    assert truth.timestamps == "real"


@BOTH
@pytest.mark.parametrize(("height", "width"), [(1, 1), (33, 17), (2, 500)])
def test_odd_sizes(tmp_path, decoder, height, width):
    picture = np.full((height, width, 3), 120, np.uint8)
    frames, _, truth = read(write_video(tmp_path / "a.mp4", [picture] * 3, pixel_format="yuv444p"), decoder=decoder)
    assert frames.shape == (3, height, width, 3)
    assert (truth.width, truth.height) == (width, height)
    assert np.abs(frames.astype(int) - 120).max() < 4


def write_coded_colour(path, *, colorspace, color_range):
    """Three frames of Y 81, U 90, V 240, tagged; no encoder touches the values."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, color_range
        for number in range(3):
            frame = av.VideoFrame(32, 32, "yuv444p")
            for plane, value in zip(frame.planes, (81, 90, 240), strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.colorspace, frame.color_range = colorspace, color_range
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@BOTH
@pytest.mark.parametrize(
    ("colorspace", "color_range", "expected"),
    [
        (5, 1, [254, 0, 0]),  # BT.601, 16..235
        (2, 0, [254, 0, 0]),  # nothing said: as BT.601
        (1, 1, [255, 24, 0]),  # BT.709
        (5, 2, [238, 14, 14]),  # BT.601, 0..255
        (1, 2, [255, 36, 10]),
        (9, 1, [255, 10, 0]),  # BT.2020
    ],
)
def test_colours_follow_the_tags_of_the_file(tmp_path, decoder, colorspace, color_range, expected):
    """Expected values by the formulas of ITU-R BT.601, BT.709 and BT.2020."""
    path = write_coded_colour(tmp_path / "a.mp4", colorspace=colorspace, color_range=color_range)
    assert np.abs(read(path, decoder=decoder)[0][0, 5, 5].astype(int) - expected).max() <= 2


def test_a_size_that_changes_on_the_way_is_fitted(tmp_path):
    small = write_video(tmp_path / "small.ts", moving_frames(10, height=64, width=64)).read_bytes()
    large = write_video(tmp_path / "large.ts", moving_frames(10, height=96, width=128)).read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    frames, seconds, truth = read(tmp_path / "both.ts", image_size=16)
    assert frames.shape == (20, 16, 16, 3)
    np.testing.assert_allclose(seconds, np.arange(20) / 10)
    assert truth.timestamps == "rebuilt"


def test_a_cut_before_an_open_group_of_pictures_has_one_clock(tmp_path):
    """The first packet is shown after those that follow it: OpenCV counts from it, and to earlier frames below zero."""
    options = {"g": "20", "bf": "2", "x264-params": "open-gop=1:bframes=2:b-adapt=0:scenecut=0"}
    path = write_video(tmp_path / "a.ts", moving_frames(60), options=options)
    with av.open(str(path)) as container:
        second = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe][1]
    content = path.read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[: 3 * 188] + content[second:])
    a, b = (read(tmp_path / "cut.ts", decoder=decoder) for decoder in ("opencv", "pyav"))
    assert 38 <= len(a[1]) <= 42
    assert a[1].tolist() == b[1].tolist() and a[1].min() >= 0


@pytest.mark.parametrize(
    "name",
    [
        "mp4__sample.mp4",
        "mp4__bt601.mov",
        "mp4__sample_gamma2.2.mp4",
        "mp4__h265_bframes.mp4",
        "mp4__sample_edit_list_only_preroll_sync_sample.mp4",
        "flv__sample-with-key-frame-index.flv",
        "hls__cea608__sd-hls0000000000.ts",
        "mkv__bbb_960x540_60fps_vp8.webm",
        "vp9__roadtrip-vp92-10bit.webm",
        "pytorch+torchcodec__test__resources__h264_10bits.mp4",
        "rizkiarm+LipNet__evaluation__samples__GRID__bbaf2n.mpg",
        "Zulko+moviepy__docs___static__medias__user_guide__circle.gif",
    ],
)
def test_both_decoders_agree_on_real_files(name):
    a, b = (read(odd_video(name), decoder=decoder, image_size=64) for decoder in ("opencv", "pyav"))
    assert a[1].tolist() == b[1].tolist()
    assert np.abs(a[0].astype(int) - b[0]).mean() < 3
    assert a[2].lost_spans == b[2].lost_spans == ()


def test_frames_of_high_depth_are_left_to_pyav():
    truth = read(odd_video("pytorch+torchcodec__test__resources__h264_10bits.mp4"), image_size=16)[2]
    assert truth.decoder.endswith(": more than 8 bits per colour")


def test_hdr_is_noted():
    truth = read(odd_video("mp4__hlg10-color-test.mp4"), image_size=16)[2]
    assert truth.notes == ("HDR colours, taken as they are",)


def test_frames_that_the_decoder_calls_damaged_are_counted():
    truth = read(odd_video("mp4__sample_fragmented_sgpd_v2.mp4"), image_size=16)[2]
    assert truth.decoded_frames == 864
    assert truth.notes == ("850 frames flagged as damaged by the decoder",)


def test_nothing_reaches_the_terminal(capfd):
    """FFmpeg and OpenCV write warnings past Python."""
    for name in ("made__corrupt.mp4", "made__av1.mp4", "mp4__sample_vvc.mp4"):
        read(odd_video(name), image_size=16)
    assert capfd.readouterr() == ("", "")
