import gc
import math
import os
import threading
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from video_files import (
    colour_bars,
    grey_frames,
    moving_frames,
    numbered_frames,
    numbers_of,
    odd_video,
    shared,
    write_video,
)  # fmt: skip

from extract.decode import reader as decode
from extract.decode.fit import FrameFitter
from extract.decode.probe import probe_clip
from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.decode.watchdog import Heartbeat
from extract.errors import CorruptVideoError, NoFramesError, UnexpectedVideoError, UnreadableVideoError, UsageError
from extract.records import VideoItem
from extract.videos.rule import SamplingRule


def read(path, rule="every=1", *, span=(0.0, math.inf), chunk_frames=32, **settings):
    """(frames, indices, seconds, truth) of a clip; frames (N, H, W, 3)."""
    settings = {"image_size": None, **settings}
    item = VideoItem("clip", path, *span)
    with open_clip(item, DecodeSettings(SamplingRule.parse(rule), **settings), chunk_frames=chunk_frames) as reader:
        chunks = list(reader)
    assert all(0 < len(chunk) <= chunk_frames for chunk in chunks)
    frames, indices, seconds = (
        np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("frames", "frame_indices", "pts_seconds")
    )
    return frames, indices, seconds, reader.truth


def error_of(path, error_class=UnreadableVideoError, **settings):
    with pytest.raises(error_class) as error:
        read(path, **settings)
    return str(error.value)


def test_a_fault_that_nobody_foresaw_is_an_error_of_the_video(plain, monkeypatch):
    monkeypatch.setattr(decode, "_start", lambda *_: 1 / 0)
    message = error_of(plain, UnexpectedVideoError)
    assert "plain.mp4 triggered a bug in clipseq or a library (ZeroDivisionError: division by zero); report" in message


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """20 frames at 10 frames/s, two keyframes, B-frames."""
    return write_video(tmp_path_factory.mktemp("plain") / "plain.mp4", moving_frames(20), options={"g": "10"})


def test_every_frame_comes_once_with_its_time(plain):
    frames, indices, seconds, truth = read(plain)
    assert frames.shape == (20, 96, 128, 3)
    assert indices.tolist() == list(range(20))
    np.testing.assert_allclose(seconds, np.arange(20) / 10, atol=1e-9)
    assert (truth.codec, truth.width, truth.height, truth.decoded_frames) == ("h264", 128, 96, 20)
    assert (truth.timestamps, truth.variable_rate, truth.lost_spans, truth.notes) == ("real", False, (), ())
    assert (round(truth.average_rate, 6), round(truth.duration_seconds, 6)) == (10.0, 2.0)


def test_colour_bars_come_out_as_rgb(tmp_path):
    path = write_video(tmp_path / "bars.mp4", [colour_bars()] * 3, options={"qp": "0"})
    frame = read(path)[0][1].astype(int)
    expected = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]
    assert np.abs(frame[32, [8, 24, 40, 56]] - expected).max() < 8


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("fps=2", [0, 5, 10, 15]),
        ("every=7", [0, 7, 14]),
        ("num_frames=4", [2, 7, 12, 17]),
        ("num_frames=50", range(20)),
        ("every=1,first_frames=12", range(12)),
        ("fps=5,first_frames=3", [0, 2, 4]),
        ("skip_frames=4,every=7", [4, 11, 18]),
        ("skip_frames=10,num_frames=2", [12, 17]),
        ("skip_frames=3,every=1,first_frames=99", range(3, 20)),
    ],
)
def test_rules_choose_their_frames_densely_and_sparsely(plain, rule, expected):
    every = read(plain)[0]
    frames, indices, seconds, _ = read(plain, rule)
    assert indices.tolist() == list(expected)
    np.testing.assert_allclose(seconds, indices / 10, atol=1e-9)
    assert np.array_equal(frames, every[indices])


def test_a_span_keeps_the_clock_and_the_numbers_of_its_video(plain):
    _, indices, seconds, _ = read(plain, "every=2", span=(0.45, 1.2))
    assert indices.tolist() == [5, 7, 9, 11]
    np.testing.assert_allclose(seconds, [0.5, 0.7, 0.9, 1.1], atol=1e-9)


def test_a_span_outside_its_video_is_named(plain):
    message = error_of(plain, NoFramesError, span=(7.0, 8.0))
    assert message == f"{plain} has no frame between 7 and 8 s and is 2 s long; correct the span of clip"


def test_frames_that_are_all_skipped_are_named(plain):
    message = error_of(plain, NoFramesError, rule="skip_frames=20,every=1")
    assert message == "clip has 20 frames, and --skip-frames 20 leaves none of them; skip fewer, or leave the clip out"


def test_the_first_frames_of_a_span_count_from_its_start(plain):
    rule = "skip_frames=1,every=2,first_frames=2"
    assert read(plain, rule, span=(0.45, 1.2))[1].tolist() == [6, 8]
    assert read(plain, rule, span=(0.45, 0.75))[1].tolist() == [6]


def test_behind_the_first_frames_nothing_is_read_and_nothing_counts_as_lost(plain):
    truth = read(plain, "every=1,first_frames=12", on_corrupt="fail")[3]
    assert (truth.decoded_frames, truth.lost_spans) == (12, ())
    assert truth.notes == ("reading ended after 12 frames, at the last wanted frame",)


def test_the_size_of_chunks_does_not_matter(plain):
    few, many = read(plain, "every=2", chunk_frames=3), read(plain, "every=2", chunk_frames=100)
    assert np.array_equal(few[0], many[0]) and few[1].tolist() == many[1].tolist()


def test_frames_are_fitted_and_transformed(plain):
    frames = read(plain, image_size=24, fit="crop", input="diff")[0]
    assert frames.shape == (20, 24, 24, 3)
    assert not frames[0].any() and frames[1].any()


def test_times_count_from_the_start_of_the_stream_and_follow_a_variable_rate(tmp_path):
    pts = [7, 8, 9, 12, 13, 20]
    path = write_video(tmp_path / "late.mkv", grey_frames(6), pts=pts)
    _, _, seconds, truth = read(path)
    np.testing.assert_allclose(seconds, [0, 0.1, 0.2, 0.5, 0.6, 1.3], atol=0.001)
    assert truth.variable_rate
    assert truth.stream_start_seconds == pytest.approx(0.7, abs=0.001)


def test_few_frames_of_many_are_fetched_by_seeking_and_are_the_same(tmp_path):
    path = write_video(tmp_path / "long.mp4", moving_frames(120), options={"g": "12", "bf": "2"})
    every = read(path)[0]
    frames, indices, seconds, truth = read(path, "num_frames=5")
    assert indices.tolist() == [12, 36, 60, 84, 108]
    assert np.abs(frames.astype(int) - every[indices]).mean() < 1
    np.testing.assert_allclose(seconds, indices / 10, atol=1e-9)
    assert truth.decoder.endswith(": few frames wanted, seeking")
    assert truth.decoded_frames == 120


def test_a_late_span_is_read_from_the_keyframe_before_it(tmp_path):
    path = write_video(tmp_path / "long.mp4", moving_frames(100), options={"g": "10"})
    _, indices, _, truth = read(path, span=(8.55, 9.0))
    assert indices.tolist() == [86, 87, 88, 89]
    assert "seeking" in truth.decoder


def test_a_changed_file_is_scanned_again(tmp_path):
    path = tmp_path / "a.mp4"
    assert len(read(write_video(path, grey_frames(4)))[1]) == 4
    assert len(read(write_video(path, grey_frames(9)))[1]) == 9


def test_names_with_spaces_dashes_and_other_alphabets_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ["-i.mp4", "a b.mp4", "файл.mp4", "#20_[x]%03d.mp4", "http:x.mp4"]:
        write_video(tmp_path / name, grey_frames(2))
        assert len(read(type(tmp_path)(name))[1]) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty (0 bytes); replace or remove it"),
        (b"just some text\n" * 99, "cannot be opened as a video (Invalid data found when processing input)"),
    ],
)
def test_what_is_no_video_says_so(tmp_path, content, message):
    path = tmp_path / "fake.mp4"
    path.write_bytes(content)
    assert message in error_of(path)


def test_a_missing_file_says_so(tmp_path):
    assert "nowhere.mp4 cannot be read (No such file or directory)" in error_of(tmp_path / "nowhere.mp4")


def test_a_file_that_goes_away_while_it_is_read_is_one_failed_clip(tmp_path):
    """The check at opening has passed; what the system then says must not end the batch."""
    item, settings = VideoItem("a", tmp_path / "gone.mp4"), DecodeSettings(SamplingRule.parse("fps=8"))
    with pytest.raises(UnreadableVideoError, match=r"gone.mp4 cannot be decoded .*No such file"):
        list(decode._read_clip(item, settings, 32, Heartbeat()))


def test_an_empty_folder_is_no_clip(tmp_path):
    assert "holds no numbered pictures" in error_of(tmp_path)


def test_frames_of_several_sizes_need_an_image_size(tmp_path):
    for number, size in enumerate([8, 9]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((size, size, 3), np.uint8))
    assert "has frames of different sizes; set an image size" in error_of(tmp_path)
    assert len(read(tmp_path, image_size=8)[1]) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deinterlace": "yadif"}, "deinterlace 'yadif' is unknown; choose one of none, bwdif."),
        ({"on_corrupt": "cry"}, "on_corrupt 'cry' is unknown; choose one of salvage, skip, fail."),
        ({"fit": "x"}, "fit 'x' is unknown; choose one of stretch, crop, pad."),
        ({"input": "x"}, "input 'x' is unknown; choose one of rgb, diff, flow."),
        ({"image_size": 0}, "image_size 0 must be at least 1"),
    ],
)
def test_unknown_settings_are_named(settings, message):
    with pytest.raises(UsageError) as error:
        DecodeSettings(SamplingRule.parse("fps=8"), **settings)
    assert str(error.value) == message


def test_the_truth_is_not_told_before_the_end(plain):
    with (
        open_clip(VideoItem("a", plain), DecodeSettings(SamplingRule.parse("every=1"))) as reader,
        pytest.raises(RuntimeError, match="known only after all its frames have been read"),
    ):
        _ = reader.truth


def test_leaving_early_ends_the_thread(plain):
    before = threading.active_count()
    with open_clip(VideoItem("a", plain), DecodeSettings(SamplingRule.parse("every=1")), chunk_frames=1) as reader:
        next(iter(reader))
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("rule", "span", "sampled", "read"),
    [
        ("fps=5", (0, math.inf), 10, 20),
        ("num_frames=1", (0, math.inf), 1, 1),
        ("every=3", (0.5, 1.0), 2, 10),
    ],
)
def test_probing_counts_without_decoding(plain, rule, span, sampled, read):
    probe = probe_clip(VideoItem("a", plain, *span), SamplingRule.parse(rule))
    assert (probe.sampled_frames, probe.read_frames) == (sampled, read)
    assert (probe.truth.decoded_frames, probe.truth.width, probe.truth.notes[0][:11]) == (20, 128, "only probed")


def test_interaction_clips_in_avi_have_rebuilt_times():
    """OpenCV reads 0.0 for their last frame and PyAV 1, 4, 6, 5: no decoder's times can be used."""
    path = shared("ut_interaction_set1", "videos", "hand_shake", "04_seq01.avi")
    _, indices, seconds, truth = read(path, image_size=16)
    assert (len(indices), truth.decoded_frames, truth.declared_frames) == (183, 183, 185)
    assert (truth.timestamps, truth.average_rate) == ("rebuilt", 30.0)
    np.testing.assert_allclose(seconds, np.arange(183) / 30, atol=1e-12)
    assert truth.notes == ("timestamps rebuilt: the container stores no presentation times",)


def test_av1_is_read():
    _, indices, _, truth = read(odd_video("made__av1.mp4"), image_size=16)
    assert (len(indices), truth.codec) == (30, "av1")


def test_damage_in_the_middle_costs_31_frames_and_is_named():
    _, indices, seconds, truth = read(odd_video("made__corrupt.mp4"), image_size=16)
    assert (len(indices), truth.decoded_frames) == (269, 269)
    assert (np.diff(seconds) > 0).all()
    assert [tuple(round(s, 2) for s in span) for span in truth.lost_spans] == [(4.83, 5.87)]
    assert any(note.startswith("decoding failed 18 times") for note in truth.notes)


@pytest.mark.parametrize(("policy", "stops"), [("skip", False), ("fail", True)])
def test_damage_is_an_error_unless_salvaged(policy, stops):
    with pytest.raises(CorruptVideoError, match=r"has lost frames \(4.83-5.87 s\) and --on-corrupt is") as error:
        read(odd_video("made__corrupt.mp4"), on_corrupt=policy, image_size=16)
    assert error.value.stops_job is stops


def test_variable_rate_times_are_those_of_the_packets():
    path = odd_video("made__vfr.mp4")
    _, _, seconds, truth = read(path, image_size=16)
    packets = decode.scan_packets(path, lambda: None).pts_seconds
    assert len(seconds) == 200 and truth.variable_rate
    np.testing.assert_allclose(seconds, packets, atol=1e-3)


def arrow(*, height, width):
    """A picture that looks different after every turn: red top left, blue bottom right."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[height // 2 :, width // 2 :] = (0, 0, 255)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    return picture


@pytest.mark.parametrize(("turn", "clockwise"), [(90, 270), (180, 180), (-90, 90)])
def test_rotation_is_applied(tmp_path, turn, clockwise):
    picture = arrow(height=48, width=64)
    path = write_video(tmp_path / "turned.mp4", [picture] * 3, options={"qp": "0"}, turn=turn)
    frames, _, _, truth = read(path)
    expected = np.rot90(picture, -clockwise // 90)
    assert frames.shape[1:] == expected.shape
    assert (truth.width, truth.height, truth.rotation_degrees) == (expected.shape[1], expected.shape[0], clockwise)
    assert np.abs(frames[0].astype(int) - expected).mean() < 6


@pytest.mark.parametrize(
    "name",
    ["made__rot.mp4", "dmlc+decord__tests__test_data__video_90.mov", "dmlc+decord__tests__test_data__video_270.mov"],
)
def test_rotation_is_what_opencv_makes_of_it(name):
    path = odd_video(name)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    expected = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    frame = read(path)[0][0].astype(int)
    apart = np.abs(frame - expected).mean()
    assert apart < 4  # OpenCV rounds colours down, and takes BT.601 for untagged HD
    assert apart < np.abs(frame[::-1, ::-1] - expected).mean() / 5


def test_a_reflection_is_applied_too():
    """The display matrix of this file swaps x and y: a turn to the right and a mirror."""
    plain, mirrored = (odd_video(f"mp4__sample{name}.mp4") for name in ("", "_rotate_and_reflect"))
    a, b = read(plain, "every=29")[0][0], read(mirrored, "every=29")[0][0]
    assert np.array_equal(a.transpose(1, 0, 2), b)


def test_a_long_video_does_not_fill_the_memory(tmp_path):
    path = write_video(tmp_path / "long.mp4", grey_frames(400, height=64, width=64))
    settings = DecodeSettings(SamplingRule.parse("every=1"), image_size=None)
    with open_clip(VideoItem("a", path), settings, chunk_frames=4) as reader:
        chunks = iter(reader)
        next(chunks)
        assert sum(len(chunk) for chunk in chunks) == 396


def test_frames_are_read_at_times_that_a_store_holds(plain):
    settings = DecodeSettings(SamplingRule.parse("fps=8"), image_size=None)
    with open_clip(VideoItem("a", plain), settings, at_seconds=np.array([0.1, 0.5001, 1.2])) as reader:
        (chunk,) = reader
    assert chunk.frame_indices.tolist() == [1, 6, 12]
    with open_clip(VideoItem("a", plain), settings, at_seconds=np.array([0.1, 0.5, 1.9])) as reader:
        (chunk,) = reader
    assert chunk.frame_indices.tolist() == [1, 5, 19]
    assert np.array_equal(chunk.frames, read(plain)[0][[1, 5, 19]])


def test_a_decoder_with_threads_gives_what_one_thread_gives(tmp_path):
    """On what is damaged, FFmpeg's threads give something else each time: one thread takes over."""
    path = write_video(tmp_path / "a.mp4", moving_frames(60), options={"g": "12", "bf": "2"})
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 400] = bytes(400)
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    for name, lost in (("a.mp4", False), ("damaged.mp4", True)):
        one, many = (read(tmp_path / name, threads=threads) for threads in (1, 4))
        assert np.array_equal(one[0], many[0]) and one[2].tolist() == many[2].tolist()
        assert one[3] == many[3] and bool(one[3].notes) == lost


@pytest.mark.parametrize("name", ["made__corrupt.mp4", "made__trunc_fs.mp4", "mp4__sample_fragmented_sgpd_v2.mp4"])
def test_threads_change_nothing_of_what_is_salvaged_from_real_damage(name):
    one, many = (read(odd_video(name), image_size=16, threads=threads) for threads in (1, 3))
    assert np.array_equal(one[0], many[0]) and one[3] == many[3]


@pytest.mark.parametrize("options", [{"g": "10"}, {"g": "1000"}])
def test_a_pause_in_the_timestamps_costs_no_frame_of_those_that_are_spread(tmp_path, options):
    """Densely and by seeking; each frame says which it is."""
    pts = [number + 600 * (number >= 50) for number in range(100)]
    path = write_video(tmp_path / "a.mkv", numbered_frames(100), pts=pts, options=options)
    frames, indices, seconds, _ = read(path, "num_frames=8", image_size=64)
    assert numbers_of(frames) == indices.tolist() == [6, 18, 31, 43, 56, 68, 81, 93]
    np.testing.assert_allclose(seconds, np.array(pts)[indices] / 10, atol=0.001)


@pytest.mark.parametrize("rule", ["every=1", "num_frames=4"])
@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_a_frame_that_is_announced_and_never_written_is_lost_and_not_stored(tmp_path, monkeypatch, rule, kind):
    """A decoder once said "here is a frame", left the memory as it was, and black frames were stored."""
    path = tmp_path / "a.mp4" if kind == "video" else tmp_path / "a"
    if kind == "video":
        write_video(path, numbered_frames(40), options={"g": "5"})
    else:
        path.mkdir()
        for number, picture in enumerate(numbered_frames(40)):
            cv2.imwrite(str(path / f"{number:03}.png"), picture)
    sound, indices, seconds, _ = read(path, rule)
    fit, calls = FrameFitter.fit, []

    def writes_no_third(self, frame, out):
        calls.append(numbers_of(frame.to_ndarray(format="rgb24")[None])[0])
        if calls[-1] != indices[2]:
            fit(self, frame, out)

    monkeypatch.setattr(FrameFitter, "fit", writes_no_third)
    frames, kept, _, truth = read(path, rule)
    assert np.array_equal(frames, np.delete(sound, 2, axis=0)) and kept.tolist() == np.delete(indices, 2).tolist()
    assert [span[0] for span in truth.lost_spans] == pytest.approx([seconds[2]])
    assert f"decoding failed 1 time (last: the frame at {seconds[2]:.3f} s came without a picture)" in truth.notes
    monkeypatch.setattr(FrameFitter, "fit", lambda *_: None)
    with pytest.raises(NoFramesError, match="no frame of the span"):
        read(path, rule)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_picture_that_looks_like_the_mark_is_no_missing_one(size):
    picture = np.zeros((size, size, 3), np.uint8)
    step = -(-size // len(decode.MARK))
    places = picture[::step, ::step]
    places[:] = decode.MARK[: len(places), : len(places)]
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    assert decode._is_written(FrameFitter(None), frame, np.empty_like(picture))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_clip_that_ends_early_closes_its_file_and_its_decoder_at_once(tmp_path, threads):
    """Both waited for Python's collector of cycles: 40 spans of a 1080p video were 40 open files and a gigabyte."""
    path = write_video(tmp_path / "a.mp4", moving_frames(60), options={"g": "60"})
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(10):
            read(path, span=(0.1 * number, 5.0), threads=threads)
            with open_clip(
                VideoItem("a", path), DecodeSettings(SamplingRule.parse("every=1"), threads=threads)
            ) as reader:
                next(iter(reader))
        time.sleep(0.2)  # for the last reader's thread
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    finally:
        gc.enable()
