"""Frames of many videos share full batches, and every row returns to its own clip in order."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from extract.backbones.registry import load_backbone
from extract.decode.settings import DecodeSettings
from extract.embed.packing import Failed, Finished, Opened, Rows, embed_clips
from extract.embed.timing import StageSeconds
from extract.engines.engine import ROUNDING
from extract.engines.registry import make_engine
from extract.errors import UnreadableVideoError
from extract.records import VideoItem
from extract.store.schema import Partial
from extract.videos.rule import SamplingRule
from extract.videos.sources import source_of

SETTINGS = DecodeSettings(sampling=SamplingRule("every", 1), image_size=8)


class MeanEngine:
    """Embeds a frame as its mean grey level, and remembers the shapes of the batches."""

    def __init__(self, batch_size=8, streams=1):
        self.batch_size = batch_size
        self.streams = self.units = streams
        self.on_one_core = False
        self.shapes = []

    def __call__(self, frames):
        self.shapes.append(frames.shape)
        return frames.reshape(len(frames), -1).mean(axis=1, keepdims=True, dtype=np.float32)  # (B, 1)


def run(work, *, batch_size=8, decode_threads=2, seconds=None, engine=None):
    engine = engine or MeanEngine(batch_size)
    seconds = seconds or StageSeconds()
    work = [(item, {"rgb": partial}) for item, partial in work]
    return list(embed_clips(work, SETTINGS, engine, decode_threads=decode_threads, seconds=seconds)), engine


def rows_of(events, clip_id):
    return np.concatenate([e.embeddings for e in events if isinstance(e, Rows) and e.clip_id == clip_id])


def alive():
    return [t.name for t in threading.enumerate() if t.name.startswith(("decode", "backbone")) and t.is_alive()]


@pytest.fixture
def three(tmp_path, make_video):
    lengths = {"a": 5, "b": 13, "c": 21}
    return [VideoItem(name, make_video(tmp_path / f"{name}.avi", frames=n)) for name, n in lengths.items()]


@pytest.fixture
def bad(tmp_path):
    (tmp_path / "bad.avi").write_text("no video")
    return VideoItem("bad", tmp_path / "bad.avi")


@pytest.mark.parametrize("decode_threads", (1, 3))
def test_every_batch_is_full_and_of_one_shape(three, decode_threads):
    _, engine = run([(item, None) for item in three], decode_threads=decode_threads)
    assert engine.shapes == [(8, 8, 8, 3)] * 5  # 39 frames in 5 batches, though no video is a multiple of 8


@pytest.mark.parametrize("decode_threads", (1, 3))
@pytest.mark.parametrize("batch_size", (1, 4, 64))
def test_rows_return_to_their_clip_in_order(three, batch_size, decode_threads):
    events, _ = run([(item, None) for item in three], batch_size=batch_size, decode_threads=decode_threads)
    for item, frames in zip(three, (5, 13, 21), strict=True):
        assert np.allclose(rows_of(events, item.clip_id)[:, 0], np.minimum(255, np.arange(frames) * 8), atol=3)


@pytest.mark.parametrize(("kind", "bound"), (("keras", ROUNDING), ("litert", 0.0)))
def test_threads_batch_size_and_the_company_in_a_batch_change_a_row_by_no_more_than_its_engine_says(three, kind, bound):
    work = [(item, None) for item in three]
    reference, _ = run(work, engine=make_engine(load_backbone("tiny"), kind=kind, batch_size=3), decode_threads=1)
    for batch_size in (3, 8):
        engine = make_engine(load_backbone("tiny"), kind=kind, batch_size=batch_size)
        for decode_threads in (1, 2, 5):
            events, _ = run(work[:: -1 if decode_threads == 2 else 1], engine=engine, decode_threads=decode_threads)
            for item in three:
                rows, expected = rows_of(events, item.clip_id), rows_of(reference, item.clip_id)
                assert rows.shape == expected.shape
                assert np.abs(rows - expected).max() <= bound * np.abs(expected).max()


def test_finished_comes_after_the_last_row_of_the_clip(three):
    events, _ = run([(item, None) for item in three], decode_threads=3)
    for item, frames in zip(three, (5, 13, 21), strict=True):
        own = [e for e in events if e.clip_id == item.clip_id]
        assert [type(e) for e in own] == [Opened, *[Rows] * (len(own) - 2), Finished]
        assert np.concatenate([e.frame_indices for e in own[1:-1]]).tolist() == list(range(frames))


def test_rows_that_are_done_are_not_embedded_again(three):
    seconds = StageSeconds()
    events, _ = run([(three[2], Partial("c", 18, 1, source_of(three[2], with_digest=True)))], seconds=seconds)
    assert seconds.frames == 3
    assert [event.done for event in events if isinstance(event, Opened)] == [18]
    assert [list(e.frame_indices) for e in events if isinstance(e, Rows)] == [[18, 19, 20]]


def test_a_file_that_was_replaced_since_its_beginning_was_looked_at_is_embedded_from_the_start(three):
    events, _ = run([(three[2], Partial("c", 18, 1, source_of(three[1], with_digest=True)))])
    assert [event.done for event in events if isinstance(event, Opened)] == [0]
    assert len(rows_of(events, "c")) == 21


@pytest.mark.parametrize("decode_threads", (1, 2))
def test_one_bad_video_in_the_middle_costs_no_other_clip_a_row(three, bad, decode_threads):
    items = [three[0], bad, three[1], three[2]]
    events, _ = run([(item, None) for item in items], decode_threads=decode_threads)
    assert [e.clip_id for e in events if isinstance(e, Failed)] == ["bad"]
    assert isinstance(next(e for e in events if isinstance(e, Failed)).error, UnreadableVideoError)
    assert {e.clip_id: len(rows_of(events, e.clip_id)) for e in events if isinstance(e, Finished)} == {
        "a": 5, "b": 13, "c": 21,
    }  # fmt: skip


def test_a_video_that_fails_behind_its_first_rows_does_not_mix_with_others(three, monkeypatch):
    from extract.decode import reader as decode

    whole = decode._dense_picks

    def breaks(job, clock):
        for count, pick in enumerate(whole(job, clock)):
            if job.item.clip_id == "c" and count == 18:
                raise OSError("the disk is gone")
            yield pick

    monkeypatch.setattr(decode, "_dense_picks", breaks)
    events, _ = run([(item, None) for item in reversed(three)])
    assert [e.clip_id for e in events if isinstance(e, Failed)] == ["c"]
    assert np.allclose(rows_of(events, "b")[:, 0], np.arange(13) * 8, atol=3)
    assert len(rows_of(events, "c")) == 16  # one chunk


def test_no_frame_at_all_calls_no_engine(bad):
    events, engine = run([(bad, None)])
    assert [type(e) for e in events] == [Failed] and engine.shapes == []


def test_an_engine_that_takes_several_calls_at_once_gets_so_many_and_no_more(three):
    inside, together, most = set(), threading.Barrier(3), []

    class Several(MeanEngine):
        def __call__(self, frames):
            inside.add(threading.get_ident())
            together.wait(20)  # breaks where fewer than three calls come together
            most.append(len(inside))
            together.wait(20)
            inside.discard(threading.get_ident())
            return super().__call__(frames)

    events, engine = run([(item, None) for item in three], engine=Several(1, streams=3), decode_threads=2)
    assert len(engine.shapes) == 39 and set(most) == {3}
    assert len(rows_of(events, "c")) == 21


def test_rows_stay_in_order_where_a_later_batch_is_embedded_first(three):
    class Uneven(MeanEngine):
        def __call__(self, frames):
            time.sleep(0.02 if len(self.shapes) % 3 == 0 else 0.0)
            return super().__call__(frames)

    events, _ = run([(item, None) for item in three], engine=Uneven(2, streams=3), decode_threads=2)
    for item, frames in zip(three, (5, 13, 21), strict=True):
        own = [e for e in events if e.clip_id == item.clip_id]
        assert [type(e) for e in own] == [Opened, *[Rows] * (len(own) - 2), Finished]
        assert np.concatenate([e.frame_indices for e in own[1:-1]]).tolist() == list(range(frames))
        assert np.allclose(rows_of(events, item.clip_id)[:, 0], np.minimum(255, np.arange(frames) * 8), atol=3)


def test_decoding_and_a_backbone_on_the_cpu_take_turns_on_the_cores(three, monkeypatch):
    from extract.embed import packing
    from extract.system.core_slots import CoreSlots

    at_work, most = [], []

    class Counted(CoreSlots):
        @contextmanager
        def take(self):
            with super().take():
                at_work.append(threading.current_thread().name)
                most.append(len(at_work))
                time.sleep(0.002)
                yield
                at_work.remove(threading.current_thread().name)

    monkeypatch.setattr(packing, "CoreSlots", Counted)
    monkeypatch.setattr(packing, "usable_cores", lambda: 2)
    engine = MeanEngine(2, streams=3)
    engine.on_one_core = True
    events, _ = run([(item, None) for item in three], engine=engine, decode_threads=3)
    assert max(most) == 2 and len(most) > len(engine.shapes) == 20  # decoding took turns too
    assert len(rows_of(events, "c")) == 21


def test_decoding_waits_for_the_backbone_instead_of_running_ahead(tmp_path, make_video):
    item = VideoItem("long", make_video(tmp_path / "long.avi", frames=300, step=0))
    seconds, gate = StageSeconds(), threading.Event()

    class Stuck(MeanEngine):
        def __call__(self, frames):
            gate.wait(20)
            return super().__call__(frames)

    events = embed_clips([(item, {"rgb": None})], SETTINGS, Stuck(4), decode_threads=1, seconds=seconds)
    assert isinstance(next(events), Opened)
    threading.Timer(0.5, gate.set).start()
    assert sum(len(e.embeddings) for e in events if isinstance(e, Rows)) == 300
    assert seconds.decoders_waited > 0.3


def test_a_fault_of_the_engine_ends_the_job_and_its_threads(three):
    class Broken(MeanEngine):
        def __call__(self, frames):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run([(item, None) for item in three], engine=Broken(4, streams=2))
    assert not alive()


def test_a_fault_of_a_decode_thread_ends_the_job_and_its_threads(three, monkeypatch):
    from extract.embed import packing

    monkeypatch.setattr(packing, "open_clip", lambda *args, **more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run([(item, None) for item in three])
    assert not alive()


def test_leaving_early_ends_all_threads(tmp_path, make_video):
    items = [VideoItem(name, make_video(tmp_path / f"{name}.avi", frames=200)) for name in "ab"]
    work = [(item, {"rgb": None}) for item in items]
    events = embed_clips(work, SETTINGS, MeanEngine(4), decode_threads=2, seconds=StageSeconds())
    while not isinstance(next(events), Rows):
        pass
    events.close()
    assert not alive()


def test_frames_of_several_sizes_have_no_common_batch(three):
    with pytest.raises(ValueError, match="the decode settings need an image_size"):
        list(
            embed_clips([], replace(SETTINGS, image_size=None), MeanEngine(), decode_threads=1, seconds=StageSeconds())
        )
