import numpy as np
import pytest
from video_files import moving_frames, odd_video, write_video

from extract.decode.packets import scan_packets
from extract.decode.pyav import decoding_cost, read_all, read_some


def beat():
    pass


def pictures(stream):
    return {frame.position: frame.picture.to_ndarray(format="rgb24") for frame in stream.frames}


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "mov"])
@pytest.mark.parametrize("options", [{"g": "10", "bf": "3"}, {"g": "10", "bf": "2", "x264-params": "open-gop=1"}])
def test_seeking_gives_the_frames_of_a_full_decode(tmp_path, ending, options):
    path = write_video(tmp_path / f"a.{ending}", moving_frames(90), options=options)
    index = scan_packets(path, beat)
    whole = [frame.picture.to_ndarray(format="rgb24") for frame in read_all(path, index, beat).frames]
    wanted = np.array([0, 1, 19, 20, 21, 38, 55, 56, 89])
    fetched = pictures(read_some(path, index, wanted, beat))
    assert list(fetched) == wanted.tolist()
    assert all(np.array_equal(picture, whole[position]) for position, picture in fetched.items())


@pytest.mark.parametrize(
    "name", ["mp4__sample_vvc.mp4", "ts__sample_h264.ts", "mp4__bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4"]
)
def test_seeking_in_real_files_gives_the_frames_of_a_full_decode(name):
    path = odd_video(name)
    index = scan_packets(path, beat)
    wanted = np.arange(3, len(index.pts_seconds), 11)
    whole = [frame.picture.to_ndarray(format="rgb24").mean() for frame in read_all(path, index, beat).frames]
    fetched = pictures(read_some(path, index, wanted, beat))
    assert [round(picture.mean(), 6) for picture in fetched.values()] == [round(whole[at], 6) for at in wanted]


def test_a_lost_frame_is_replaced_by_the_next():
    path = odd_video("made__corrupt.mp4")
    index = scan_packets(path, beat)
    fetched = pictures(read_some(path, index, np.array([20, 150, 290]), beat))
    first, stand_in, last = fetched
    assert (first, last) == (20, 290)
    assert 150 < stand_in <= 180


def test_a_file_that_begins_without_its_keyframe_is_not_sought_in(tmp_path):
    """Its first packets give no frame, so that the rank of a packet is not the index of a frame."""
    content = write_video(tmp_path / "a.ts", moving_frames(60), options={"g": "20", "bf": "0"}).read_bytes()
    packets = [content[at : at + 188] for at in range(0, len(content), 188)]
    (tmp_path / "cut.ts").write_bytes(b"".join(packets[:3] + packets[len(packets) // 6 :]))
    index = scan_packets(tmp_path / "cut.ts", beat)
    decoded = sum(1 for _ in read_all(tmp_path / "cut.ts", index, beat).frames)
    assert decoded < len(index.pts_seconds) < 60
    assert not index.counts_frames


def test_the_cost_counts_frames_from_keyframes(tmp_path):
    index = scan_packets(write_video(tmp_path / "a.mp4", moving_frames(60), options={"g": "10", "bf": "0"}), beat)
    assert decoding_cost(index, np.array([0])) == 1
    assert decoding_cost(index, np.array([5, 25, 27, 40])) == 6 + 6 + 2 + 1
    assert decoding_cost(index, np.arange(60)) == 60
