"""One of several processes that embed the clips of a job: its engine is built once, its shards are its own.

It takes clips in small batches while it works on earlier ones, and says a clip is done once its rows are on disk, so
that whoever gives the clips can give those of a dead worker to another. It knows nothing of who that is.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from extract.embed.timing import StageSeconds
from extract.jobs.engine import backbone_of, engine_for
from extract.jobs.one_pass import FailureLimit, OnePass, decode_threads_for, open_writer, run_passes
from extract.jobs.recipe import recipe_of
from extract.jobs.results import ClipResult
from extract.jobs.settings import ExtractSettings
from extract.records import VideoItem
from extract.store.recipe import check_recipe
from extract.store.schema import Partial
from extract.store.writer import StoreWriter
from extract.system.ray_session import become_worker

Clip = tuple[VideoItem, Partial | None]
REPORT_SECONDS = 0.5  # between two reports, unless clips are wanted


@dataclass
class Report:
    """What has happened in a worker since its last report; `stages` and `wanted` are as of now.

    Args:
        results: Of clips that have failed, or whose rows are on disk.
        opened, opened_frames, frames: Clips begun, frames that they promise, and frames embedded.
        stages: Where the time of all its passes went.
        warnings: What it logged.
        wanted: How many clips it could take.
        is_idle: It has nothing to do, and all of its results have been reported.
    """

    results: list[ClipResult] = field(default_factory=list)
    opened: int = 0
    opened_frames: int = 0
    frames: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    wanted: int = 0
    is_idle: bool = True


class Feed:
    """Clips to come: decoders wait in it for the next one until it is ended.

    Args:
        expected: About how many there will be.
        input: What the backbone sees of them.
    """

    def __init__(self, expected: int, input: str) -> None:
        self._expected, self._input, self._clips, self._is_ended = expected, input, deque[Clip](), False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._expected

    def __iter__(self) -> Iterator[tuple[VideoItem, dict[str, Partial | None]]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._clips or self._is_ended)
                if not self._clips:
                    return
                item, partial = self._clips.popleft()
            yield item, {self._input: partial}

    @property
    def waiting(self) -> int:
        """How many no decoder has taken yet."""
        return len(self._clips)

    def give(self, clips: Sequence[Clip], *, last: bool) -> None:
        """Add clips; after the last ones it ends."""
        with self._changed:
            self._clips.extend(clips)
            self._is_ended |= last
            self._changed.notify_all()


class Worker:
    """Embeds clips given bit by bit, in passes: one begins with a clip, and ends when the last one given is on disk.

    Args:
        settings: What to do, without a limit of failures.
        after_ns: No clip written so far is later.
        clips: About how many it will be given.
    """

    def __init__(self, settings: ExtractSettings, *, after_ns: int, clips: int) -> None:
        self._settings, self._after_ns, self._clips = settings, after_ns, clips
        self._lock = threading.Lock()
        self._now, self._seconds = Report(), StageSeconds()
        self._unsealed: list[ClipResult] = []
        self._feed: Feed | None = None
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._error: BaseException | None = None
        logging.getLogger("extract").addHandler(_Kept(self._now.warnings))

    def start(self, folder: str, cores: int) -> tuple[str, int, str]:
        """Build the engine.

        Args:
            folder: The folder of the command.
            cores: How many this worker may use.

        Returns:
            The host, the process id and the engine's name.

        Raises:
            ClusterError: This machine has no such folder.
            BackboneError: As from `make_engine`.
        """
        become_worker(folder, cores)
        self._backbone = backbone_of(self._settings)
        self._recipe = recipe_of(self._settings, self._backbone)
        check_recipe(self._settings.output, self._recipe)
        self._engine = engine_for(self._backbone, self._settings)
        return platform.node(), os.getpid(), self._engine.name

    def work(self, clips: Sequence[Clip], *, last: bool) -> Report:
        """Take clips, and report as soon as more are wanted or all are done, but at least twice a second.

        Args:
            clips: May be empty.
            last: No more come in this pass: its batches need not wait to be full.

        Raises:
            ClipseqError: What stops a job.
        """
        if clips and self._feed is None:
            self._begin()
        if self._feed is not None:
            self._feed.give(clips, last=last)
        until = time.monotonic() + REPORT_SECONDS
        while not self._has_news(last) and time.monotonic() < until:
            time.sleep(0.02)
        return self._report()

    def stop(self) -> None:
        """Seal what is embedded, and leave the rest."""
        self._is_stopped = True
        if self._feed is not None:
            self._feed.give([], last=True)
        if self._thread is not None:
            self._thread.join()

    # What tallies: called by the thread of the pass.

    def opened(self, expected_frames: int) -> None:
        """A clip has begun."""
        with self._lock:
            self._now.opened += 1
            self._now.opened_frames += expected_frames

    def embedded(self, frames: int) -> None:
        """So many frames more are embedded."""
        with self._lock:
            self._now.frames += frames

    def ended(self, clip_id: str) -> None:
        """A clip is done or has failed: its result says so."""

    def _begin(self) -> None:
        self._feed = Feed(self._clips, self._settings.input)
        self._thread = threading.Thread(target=self._run, args=(self._feed,), daemon=True)
        self._thread.start()

    def _run(self, feed: Feed) -> None:
        try:
            made = self._settings, self._backbone, self._recipe
            with open_writer(*made, engine=self._engine.name, after_ns=self._after_ns) as writer:
                self._pass(writer, feed)
            self._release(set())
        except BaseException as error:  # the next report raises it
            self._error = error

    def _pass(self, writer: StoreWriter, feed: Feed) -> None:
        passes = {self._settings.input: OnePass(writer, tally=self, limit=FailureLimit(self._settings, 0))}
        results = run_passes(
            *(passes, feed, self._engine, self._backbone, self._settings),
            seconds=self._seconds,
            is_stopped=partial(self._look, writer),
        )
        for _, result in results:
            with self._lock:
                (self._unsealed if result.status == "done" else self._now.results).append(result)

    def _look(self, writer: StoreWriter) -> bool:
        if self._unsealed:
            self._release(writer.unsealed)
        return self._is_stopped

    def _release(self, unsealed: set[str]) -> None:
        """Report the clips that are on disk now."""
        with self._lock:
            self._now.results += [result for result in self._unsealed if result.clip_id not in unsealed]
            self._unsealed = [result for result in self._unsealed if result.clip_id in unsealed]

    def _threads(self) -> int:
        return decode_threads_for(self._settings, self._clips)

    def _has_news(self, last: bool) -> bool:
        if self._feed is None or self._thread is None or not self._thread.is_alive():
            return True
        return not last and self._feed.waiting < self._threads()

    def _report(self) -> Report:
        is_over = self._thread is None or not self._thread.is_alive()
        if is_over:
            self._feed = self._thread = None
            if self._error is not None:
                raise self._error
        waiting = self._feed.waiting if self._feed else 0
        with self._lock:
            report = replace(self._now, stages=self._seconds.totals(), wanted=2 * self._threads() - waiting)
            report.warnings, report.is_idle = list(self._now.warnings), is_over
            self._now = Report(warnings=self._now.warnings)
            self._now.warnings.clear()
        return report


class _Kept(logging.Handler):
    """Keeps warnings, for the process whose log is seen."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        self._into.append(record.getMessage())
