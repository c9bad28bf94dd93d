"""A worker of a cluster, without the cluster: clips come bit by bit, and count as done once they are on disk."""

from __future__ import annotations

import threading
import time

import pytest

from extract.errors import StoreError
from extract.jobs.settings import ExtractSettings
from extract.jobs.worker import Feed, Worker
from extract.store.reader import open_store
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule


@pytest.fixture
def clips(tmp_path, make_video):
    for name in "abcde":
        make_video(tmp_path / "v" / f"{name}.avi")
    return [(item, None) for item in find_videos(tmp_path / "v")]


@pytest.fixture
def worker(tmp_path, monkeypatch):
    monkeypatch.setattr("extract.jobs.worker.become_worker", lambda folder, cores: None)  # this process goes on
    settings = ExtractSettings(
        output=tmp_path / "f", backbone="pixels", sampling=SamplingRule("every", 1), flush_seconds=600, decode_threads=1
    )
    worker = Worker(settings, after_ns=0, clips=5)
    worker.start(str(tmp_path), 1)
    return worker


def until_idle(worker: Worker, clips, *, last: bool) -> list[str]:
    report, done = worker.work(clips, last=last), []
    while not report.is_idle:
        done += [result.clip_id for result in report.results]
        report = worker.work([], last=last)
    return sorted(done + [result.clip_id for result in report.results])


def test_clips_count_as_done_once_they_are_on_disk(worker, clips, tmp_path):
    early = [worker.work(clips[:2], last=False) for _ in range(1)]
    time.sleep(0.5)
    early.append(worker.work([], last=False))
    assert not any(report.results for report in early)  # nothing is due to be sealed
    assert until_idle(worker, [clips[2]], last=True) == ["a.avi", "b.avi", "c.avi"]
    assert open_store(tmp_path / "f").clip_ids == ["a.avi", "b.avi", "c.avi"]


def test_a_second_pass_goes_on_with_the_same_engine(worker, clips, tmp_path):
    engine = worker._engine
    assert until_idle(worker, clips[:1], last=True) == ["a.avi"]
    assert until_idle(worker, clips[1:], last=True) == ["b.avi", "c.avi", "d.avi", "e.avi"]
    assert worker._engine is engine and len(open_store(tmp_path / "f")) == 5


def test_a_worker_that_is_stopped_seals_what_it_has(worker, clips, tmp_path):
    worker.work(clips, last=False)
    while worker.work([], last=False).frames == 0 and worker._feed.waiting:
        pass
    worker.stop()
    assert len(open_store(tmp_path / "f")) > 0


def test_what_stops_a_job_is_raised_by_the_next_report(worker, clips, tmp_path):
    (tmp_path / "f").write_text("a file where the store should be")
    with pytest.raises(StoreError, match="f is a file; clips can only be added to a directory"):
        until_idle(worker, clips, last=True)


def test_a_feed_gives_what_comes_until_it_is_ended():
    feed, taken = Feed(9, "rgb"), []
    thread = threading.Thread(target=lambda: taken.extend(feed))
    thread.start()
    feed.give([("a", None)], last=False)
    feed.give([("b", None)], last=True)
    thread.join(5)
    assert [clip for clip, _ in taken] == ["a", "b"] and len(feed) == 9 and feed.waiting == 0
