"""Frames of many videos share full batches, and every row returns to its own clip in order."""

from __future__ import annotations

import numpy as np
import pytest

from extract.decode import DecodeSettings
from extract.errors import UnreadableVideoError
from extract.packing import Failed, Finished, Opened, Rows, StageSeconds, embed_clips
from extract.records import VideoItem
from extract.sampling import SamplingRule

SETTINGS = DecodeSettings(sampling=SamplingRule("every", 1), image_size=8)


class MeanEngine:
    """Embeds a frame as its mean grey level, and remembers the shapes of the batches."""

    def __init__(self):
        self.shapes = []

    def __call__(self, frames):
        self.shapes.append(frames.shape)
        return frames.reshape(len(frames), -1).mean(axis=1, keepdims=True, dtype=np.float32)  # (B, 1)


def run(work, *, batch_size=8, decode_threads=2, seconds=None):
    engine = MeanEngine()
    events = list(
        embed_clips(
            work,
            SETTINGS,
            lambda: engine,
            batch_size=batch_size,
            decode_threads=decode_threads,
            seconds=seconds or StageSeconds(),
        )
    )
    return events, engine


def rows_of(events, clip_id):
    return np.concatenate([e.embeddings for e in events if isinstance(e, Rows) and e.clip_id == clip_id])[:, 0]


@pytest.fixture
def three(tmp_path, make_video):
    lengths = {"a": 5, "b": 13, "c": 21}
    return [VideoItem(name, make_video(tmp_path / f"{name}.avi", frames=n)) for name, n in lengths.items()]


def test_every_batch_is_full_and_of_one_shape(three):
    _, engine = run([(item, 0) for item in three])
    assert engine.shapes == [(8, 8, 8, 3)] * 5  # 39 frames in 5 batches, though no video is a multiple of 8


@pytest.mark.parametrize("decode_threads", (1, 3))
@pytest.mark.parametrize("batch_size", (1, 4, 64))
def test_rows_return_to_their_clip_in_order(three, batch_size, decode_threads):
    events, _ = run([(item, 0) for item in three], batch_size=batch_size, decode_threads=decode_threads)
    for item, frames in zip(three, (5, 13, 21), strict=True):
        assert np.allclose(rows_of(events, item.clip_id), np.minimum(255, np.arange(frames) * 8), atol=3)


def test_finished_comes_after_the_last_row_of_the_clip(three):
    events, _ = run([(item, 0) for item in three])
    for item in three:
        kinds = [type(e) for e in events if e.clip_id == item.clip_id]
        assert kinds[0] is Opened and kinds[-1] is Finished and kinds.count(Finished) == 1


def test_rows_that_are_done_are_not_embedded_again(three):
    seconds = StageSeconds()
    events, _ = run([(three[2], 18)], seconds=seconds)
    assert seconds.frames == 3
    assert [list(e.frame_indices) for e in events if isinstance(e, Rows)] == [[18, 19, 20]]


def test_one_bad_video_fails_alone(tmp_path, three):
    bad = tmp_path / "bad.avi"
    bad.write_text("no video")
    events, _ = run([(VideoItem("bad", bad), 0), *((item, 0) for item in three)])
    assert [e.clip_id for e in events if isinstance(e, Failed)] == ["bad"]
    assert {e.clip_id for e in events if isinstance(e, Finished)} == {"a", "b", "c"}
    assert isinstance(next(e for e in events if isinstance(e, Failed)).error, UnreadableVideoError)


def test_the_engine_is_not_made_where_there_is_no_frame(tmp_path):
    (tmp_path / "bad.avi").write_text("no video")

    def never():
        raise AssertionError("made for nothing")

    work = [(VideoItem("bad", tmp_path / "bad.avi"), 0)]
    events = embed_clips(work, SETTINGS, never, batch_size=4, decode_threads=1, seconds=StageSeconds())
    assert [type(e) for e in events] == [Failed]


def test_a_fault_of_the_engine_ends_the_job_and_its_threads(three):
    import threading

    def broken(frames):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(
            embed_clips(
                [(item, 0) for item in three],
                SETTINGS,
                lambda: broken,
                batch_size=4,
                decode_threads=2,
                seconds=StageSeconds(),
            )
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("decode-") and t.is_alive()]
