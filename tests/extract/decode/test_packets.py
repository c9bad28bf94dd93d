import os
import wave

import av
import numpy as np
import pytest
from video_files import grey_frames, moving_frames, numbered_frames, numbers_of, odd_video, write_video

from extract.decode.packets import _has_fields, _times_from_dts, scan_packets
from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.errors import NoFramesError, UnreadableVideoError
from extract.records import VideoItem
from extract.videos.rule import SamplingRule
from extract.videos.sources import check_file


def scan(path):
    return scan_packets(path, lambda: None)


def test_times_are_sorted_into_order_of_display(tmp_path):
    index = scan(write_video(tmp_path / "a.mp4", moving_frames(25), options={"g": "12", "bf": "3"}))
    assert index.pts_seconds.round(6).tolist() == [n / 10 for n in range(25)]
    assert index.is_keyframe.nonzero()[0].tolist() == [0, 12, 24]
    assert (index.codec, index.coded_size, index.hdr, index.declared_frames) == ("h264", (128, 96), "", 25)
    assert (index.timestamps, round(index.average_rate, 9), round(index.duration_seconds, 9)) == ("real", 10.0, 2.5)


def test_avi_with_b_frames_holds_no_times_of_display(tmp_path):
    path = write_video(tmp_path / "a.avi", moving_frames(12), codec="mpeg4", options={"bf": "2"})
    index = scan(path)
    assert (index.timestamps, index.rebuilt_because) == ("rebuilt", "the container stores no presentation times")
    np.testing.assert_allclose(index.pts_seconds, np.arange(12) / 10, atol=1e-9)


@pytest.mark.parametrize("options", [{"bf": "0", "g": "10"}, {"bf": "2", "g": "10"}])
def test_h264_in_avi_keeps_every_frame_and_its_time(tmp_path, options):
    """FFmpeg guesses presentation times a frame late without B-frames, and out of order with them."""
    path = write_video(tmp_path / "a.avi", numbered_frames(60), rate=25, options=options)
    for rule, expected in (("every=1", range(60)), ("num_frames=4", [7, 22, 37, 52])):
        settings = DecodeSettings(SamplingRule.parse(rule), image_size=64, on_corrupt="fail")
        with open_clip(VideoItem("a", path), settings) as reader:
            chunks = list(reader)
        frames, seconds = (np.concatenate([getattr(c, name) for c in chunks]) for name in ("frames", "pts_seconds"))
        assert numbers_of(frames) == list(expected)
        np.testing.assert_allclose(seconds, np.array(expected) / 25, atol=1e-9)


def test_chunks_of_an_avi_that_hold_nothing_are_gaps_in_its_time():
    """Dropped frames, and placeholders of encoders that run late."""
    dts = np.array([0, 1, 2, 5, 6, 7])
    for held, expected in ((0, [0, 1, 2, 5, 6, 7]), (1, [0, 1, 4, 5, 6, 7])):
        seconds, rate = _times_from_dts(dts, held, 0.1, 10.0)
        np.testing.assert_allclose(seconds, np.array(expected) / 10)
        assert rate == pytest.approx(5 / 0.7 if held == 0 else 4 / 0.6)
    late = np.array([0, 3, 4, 5])  # XviD: two placeholders behind the first frame
    np.testing.assert_allclose(_times_from_dts(late, 1, 0.1, 10.0)[0], [0, 0.1, 0.2, 0.3])


def test_avi_without_b_frames_keeps_its_times(tmp_path):
    assert scan(write_video(tmp_path / "a.avi", grey_frames(6), codec="mpeg4")).timestamps == "real"


def test_a_raw_stream_holds_no_times(tmp_path):
    index = scan(write_video(tmp_path / "a.h264", moving_frames(12), rate=25))
    assert (index.timestamps, index.rebuilt_because) == ("rebuilt", "timestamps are missing")
    assert len(index.pts_seconds) == 12


def test_repeated_times_are_rebuilt():
    path = odd_video("mp4__sample_with_fake_auxiliary_tracks_interleaved_with_primary_video_tracks.mp4")
    index = scan(path)
    assert index.rebuilt_because == "timestamps are repeated"
    assert index.pts_seconds.round(6).tolist() == [0, 0.04, 0.08, 0.12, 0.16]


def test_times_that_start_again_are_rebuilt(tmp_path):
    """Two transport streams joined with `cat`, as cameras and broadcasts do."""
    one = write_video(tmp_path / "one.ts", moving_frames(10)).read_bytes()
    (tmp_path / "two.ts").write_bytes(one + one)
    index = scan(tmp_path / "two.ts")
    assert len(index.pts_seconds) == 20
    assert index.rebuilt_because in ("timestamps are repeated", "timestamps go backwards")


def test_hidden_frames_of_vp9_are_not_counted():
    assert len(scan(odd_video("vp9__roadtrip-vp92-10bit.webm")).pts_seconds) == 72


def test_hidden_frames_of_vp8_are_not_counted(tmp_path):
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "5"}
    path = write_video(tmp_path / "a.webm", moving_frames(40), codec="libvpx", options=options)
    with av.open(str(path)) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert len(scan(path).pts_seconds) == 40
    assert packets >= 40


def test_a_wrong_count_in_the_container_is_only_reported():
    index = scan(odd_video("made__trunc_fs.mp4"))
    assert (index.declared_frames, len(index.pts_seconds)) == (300, 180)


def test_an_impossible_duration_does_no_harm():
    index = scan(odd_video("Zulko+moviepy__media__no_duration.webm"))
    assert (len(index.pts_seconds), index.declared_frames) == (74, None)


def test_a_sound_file_holds_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0" * 800)
    with pytest.raises(UnreadableVideoError) as error:
        scan(path)
    assert str(error.value) == f"{path} has no video stream (audio: pcm_s16le); leave it out"


def test_a_header_without_frames_says_so():
    with pytest.raises(NoFramesError, match="no frame comes out of 0 packets of h264 video"):
        scan(odd_video("cmaf__multi-segment__video_init.mp4"))


def test_encrypted_frames_say_so():
    with pytest.raises(NoFramesError, match=r"no frame comes out of 30 packets of h264 video .* is encrypted, damaged"):
        scan(odd_video("mp4__sample_fragmented_uuid.mp4"))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UnreadableVideoError, match=r"pipe.mp4 is not a regular file; copy the video into one"):
        check_file(tmp_path / "pipe.mp4")


def test_a_playlist_opens_no_other_file(tmp_path):
    """FFmpeg would follow it to any address."""
    write_video(tmp_path / "a.ts", grey_frames(5))
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://localhost:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(UnreadableVideoError):
        scan(path)


def test_many_spans_of_one_video_scan_it_once(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_frames(5))
    assert scan(path) is scan(path)


def test_every_packet_shows_that_work_goes_on(tmp_path):
    beats = []
    scan_packets(write_video(tmp_path / "a.mp4", grey_frames(7)), lambda: beats.append(1))
    assert len(beats) >= 7


@pytest.mark.parametrize(("ending", "codec", "rounding"), [("mkv", "libx264", 0.0005), ("avi", "mpeg4", 1e-6)])
def test_only_a_fine_clock_rounds(tmp_path, ending, codec, rounding):
    """AVI counts frames: half of such a tick would let frames in that are too early."""
    assert scan(write_video(tmp_path / f"a.{ending}", grey_frames(9), codec=codec)).rounding_seconds == rounding


@pytest.mark.parametrize(
    ("intervals", "has_fields"),
    [
        ([0.04] * 10 + [0.02] * 40, True),  # frames, then fields
        ([0.02] * 40 + [0.04] * 10, True),
        ([0.04] * 50, False),
        ([0.033, 0.034, 0.033] * 9, False),
        ([0.04] * 30 + [0.02], False),  # a stumble
        ([0.04] * 20 + [0.5] * 5, False),
    ],
)
def test_packets_at_two_paces_are_frames_and_fields(intervals, has_fields):
    """Then the rank of a packet is not the index of a frame, and nothing is sought."""
    assert _has_fields(np.cumsum([0, *intervals])) == has_fields
