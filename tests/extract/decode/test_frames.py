"""A few frames read again: the right ones, and none of a video that is gone or another."""

import os

import numpy as np
import pytest
from video_files import grey_frames, write_video

from extract.decode.frames import frames_of
from extract.errors import UnreadableVideoError
from extract.records import ClipEmbeddings, VideoItem
from extract.videos.sources import source_of


def stored(path, *, frames=40, every=3):
    """A clip of every third frame, and its source."""
    write_video(path, grey_frames(frames), rate=10)
    rows = np.arange(0, frames, every)
    clip = ClipEmbeddings("a.mp4", np.zeros((len(rows), 2), np.float16), rows, rows / 10, None)
    return clip, source_of(VideoItem("a.mp4", path), with_digest=True)


def test_the_frames_are_those_of_the_timesteps(tmp_path):
    clip, source = stored(tmp_path / "a.mp4")
    found = frames_of(clip, [0, 5, 12], source=source)
    assert found.frame_indices.tolist() == [0, 15, 36]
    assert found.frames.shape == (3, 32, 48, 3)
    brightness = found.frames.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(brightness, [10, 100, 226], atol=4)


def test_a_video_that_is_gone_is_named(tmp_path):
    clip, source = stored(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(UnreadableVideoError, match=r"a\.mp4 cannot be read"):
        frames_of(clip, [0], source=source)


def test_another_video_of_the_same_name_is_refused(tmp_path):
    clip, source = stored(tmp_path / "a.mp4")
    write_video(tmp_path / "a.mp4", grey_frames(40)[::-1], rate=10)
    with pytest.raises(UnreadableVideoError, match=r"a\.mp4 has changed since the extraction; extract it again"):
        frames_of(clip, [0], source=source)


def test_a_copy_with_another_time_is_the_same_video(tmp_path):
    clip, source = stored(tmp_path / "a.mp4")
    os.utime(tmp_path / "a.mp4", ns=(1, 1))
    assert len(frames_of(clip, [2], source=source)) == 1
