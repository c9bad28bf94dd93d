"""The batch job: skips what is done, resumes after a kill, records failures, yields one result per clip.

What to do with each clip is decided in plan.py before anything is decoded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2

from extract.backbones.backbone import Backbone
from extract.backbones.registry import load_backbone
from extract.decode import rules
from extract.embed.packing import Failed, Finished, Opened, Rows, embed_clips
from extract.embed.timing import StageSeconds
from extract.embed.windows import window_rule
from extract.errors import TooManyFailuresError, VideoError
from extract.jobs.plan import decide_clips, in_part
from extract.jobs.recipe import recipe_of
from extract.jobs.settings import ExtractSettings, failure_limit
from extract.records import Source, VideoItem
from extract.store.reader import open_made_with
from extract.store.recipe import check_recipe
from extract.store.schema import Partial, same_source
from extract.store.writer import StoreWriter
from extract.system.cores import default_decode_threads
from extract.text import counted
from extract.videos.listing import check_ids
from extract.videos.sources import source_of

if TYPE_CHECKING:
    from extract.engines.engine import Engine


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipResult:
    """The result for one clip: status "done", "skipped" or "failed", rows, reason, where frames were lost, remarks."""

    clip_id: str
    status: str
    rows: int = 0
    reason: str = ""
    lost_spans: tuple[tuple[float, float], ...] = ()  # half-open, seconds
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """Where the job stands: clips ended, frames embedded, and frames expected in total."""

    clips: int
    frames: int
    expected_frames: int


def extract(
    items: Sequence[VideoItem],
    settings: ExtractSettings,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    seconds: StageSeconds | None = None,
) -> Generator[ClipResult, None, None]:
    """Bring a store up to date with a list of clips.

    Args:
        items: The clips; those outside `settings.part` are left to the other parts.
        settings: What to do and where to write.
        on_progress: Called after every batch.
        seconds: Filled with the time of each stage.

    Yields:
        One ClipResult per clip, as soon as it is known. A "done" clip is on disk no later than when the generator
        ends, is closed, or `flush_seconds` have passed.

    Raises:
        UsageError: two clips have the same id.
        RecipeMismatchError: the output holds embeddings of another recipe.
        TooManyFailuresError: more than `max_failures` clips failed in this run.
        CorruptVideoError: with `on_corrupt="fail"`, at the first video with lost frames.
    """
    seconds = StageSeconds() if seconds is None else seconds
    check_ids(items)
    if settings.part is not None:
        items = [item for item in items if in_part(item.clip_id, settings.part)]
    limit = failure_limit(settings.max_failures, len(items))
    backbone = backbone_of(settings)
    recipe = recipe_of(settings, backbone)
    check_recipe(settings.output, recipe)
    store = open_made_with(recipe, settings.output)
    work: list[tuple[VideoItem, Partial | None]] = []
    gone: list[tuple[VideoItem, VideoError]] = []
    for item, decision in decide_clips(items, store, retry_failed=settings.retry_failed, rehash=settings.rehash):
        if isinstance(decision, VideoError):
            gone.append((item, decision))
        elif decision.action == "extract":
            work.append((item, decision.partial))
        else:
            yield ClipResult(
                item.clip_id, "skipped" if decision.action == "reuse" else "failed", reason=decision.reason
            )
    if work or gone:
        # The engine first: weights that do not match must not leave an empty store behind.
        engine = _make_engine(backbone, settings) if work else None
        after_ns = store.latest_ns() if store else 0
        with _open_writer(settings, backbone, recipe, engine, after_ns=after_ns) as writer:
            for _, partial in work:
                if partial is not None:
                    writer.resume(partial)
            run = _Run(writer, settings, backbone, work, seconds, on_progress, limit)
            yield from run.fail_all(gone)
            if engine:
                yield from run.results(engine)


def backbone_of(settings: ExtractSettings) -> Backbone:
    """The backbone that settings name; raises like `load_backbone`."""
    return load_backbone(
        settings.backbone,
        weights=settings.weights,
        image_size=settings.image_size,
        channels=settings.channels,
        pool=settings.pool,
        spec=settings.spec,
    )


def _open_writer(
    settings: ExtractSettings, backbone: Backbone, recipe: dict[str, object], engine: Engine | None, *, after_ns: int
) -> StoreWriter:
    return StoreWriter(
        settings.output,
        recipe,
        engine=engine.name if engine else settings.engine,
        dtype=str(backbone.stored_dtype),
        flush_seconds=settings.flush_seconds,
        rules=rules.VERSION,
        clips_from=settings.clips_from,
        after_ns=after_ns,
    )


def _make_engine(backbone: Backbone, settings: ExtractSettings) -> Engine:
    from extract.engines.registry import make_engine

    began = time.perf_counter()
    engine = make_engine(backbone, kind=settings.engine, batch_size=settings.batch_size, precision=settings.precision)
    log.info("%s is ready on %s after %.1f s", backbone.name, engine.name, time.perf_counter() - began)
    return engine


class _Run:
    """One pass over the clips that need work: packer events in, rows to the writer, results out."""

    def __init__(
        self,
        writer: StoreWriter,
        settings: ExtractSettings,
        backbone: Backbone,
        work: list[tuple[VideoItem, Partial | None]],
        seconds: StageSeconds,
        on_progress: Callable[[Progress], None],
        failure_limit: float,
    ) -> None:
        self._writer = writer
        self._settings = settings
        self._backbone = backbone
        self._work = work
        self._items = {item.clip_id: item for item, _ in work}
        self._sources: dict[str, Source] = {}
        self._rows = {item.clip_id: partial.rows if partial else 0 for item, partial in work}
        self._seconds = seconds
        self._progress = _Expectation(len(work), on_progress)
        self._limit = failure_limit
        self._failed = 0

    def results(self, engine: Engine) -> Iterator[ClipResult]:
        settings = self._settings
        decode = settings.decode_settings(self._backbone.image_size)
        threads = settings.decode_threads or default_decode_threads()
        events = embed_clips(
            *(self._work, decode, engine),
            decode_threads=min(threads, len(self._work)),
            seconds=self._seconds,
            windows=window_rule(self._backbone),
        )
        callers_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # each decode thread computes its own flow; more threads would compete
        try:
            for event in events:
                yield from self._take(event)
                self._record_seconds()
                self._writer.seal_if_due()
        finally:
            events.close()  # type: ignore[attr-defined]
            cv2.setNumThreads(callers_threads)
            self._record_seconds()

    def fail_all(self, gone: list[tuple[VideoItem, VideoError]]) -> Iterator[ClipResult]:
        for item, error in gone:
            yield self._fail(item.clip_id, error)

    def _record_seconds(self) -> None:
        for stage, spent in self._seconds.since_last().items():
            self._writer.add_seconds(stage, spent)

    def _take(self, event: Opened | Rows | Finished | Failed) -> Iterator[ClipResult]:
        if isinstance(event, Opened):
            self._sources[event.clip_id] = event.source
            if event.done != self._rows[event.clip_id]:  # the file was replaced after its first part was checked
                self._writer.discard(event.clip_id)
                self._rows[event.clip_id] = event.done
            self._progress.opened(event.expected_frames - event.done)
        elif isinstance(event, Rows):
            yield from self._append(event)
        elif isinstance(event, Finished) and event.clip_id in self._items:
            yield from self._finish(event)
        elif isinstance(event, Failed) and event.clip_id in self._items:
            yield self._fail(event.clip_id, event.error)

    def _append(self, event: Rows) -> Iterator[ClipResult]:
        clip_id = event.clip_id
        if clip_id not in self._items:
            return  # it has already failed
        try:
            self._writer.append(
                clip_id, event.embeddings, event.frame_indices, event.pts_seconds, self._sources[clip_id]
            )
            self._rows[clip_id] += len(event.embeddings)
            self._progress.embedded(len(event.embeddings))
        except VideoError as error:
            yield self._fail(clip_id, error)

    def _finish(self, event: Finished) -> Iterator[ClipResult]:
        clip_id = event.clip_id
        try:
            now = source_of(self._items[clip_id], with_digest=False)
            then = self._sources[clip_id]
            if not same_source(now, then):
                raise VideoError(f"{then.path} changed while it was being read; run the same command again")
            self._writer.finish(clip_id, event.truth)
        except VideoError as error:
            yield self._fail(clip_id, error)
            return
        self._end(clip_id)
        truth = event.truth
        yield ClipResult(clip_id, "done", self._rows[clip_id], lost_spans=truth.lost_spans, remarks=truth.remarks)

    def _fail(self, clip_id: str, error: VideoError) -> ClipResult:
        item = self._items.get(clip_id)
        source = self._sources.get(clip_id) or (_source_if_there(item) if item else None)
        self._writer.discard(clip_id)
        self._writer.fail(clip_id, error, source)
        self._failed += 1
        self._end(clip_id)
        if error.stops_job:
            raise error
        if self._failed > self._limit:
            raise TooManyFailuresError(
                f"{counted(self._failed, 'clip')} failed, more than --max-failures {self._settings.max_failures}; the "
                f"last was {clip_id}: {error}. Finished clips are kept; see the failures with clipseq info "
                f"{self._settings.output}"
            )
        return ClipResult(clip_id, "failed", reason=str(error))

    def _end(self, clip_id: str) -> None:
        self._items.pop(clip_id, None)
        self._sources.pop(clip_id, None)
        self._progress.ended()


class _Expectation:
    """Estimates the frames of the whole job from the clips opened so far, assuming the rest are similar."""

    def __init__(self, clips: int, report: Callable[[Progress], None]) -> None:
        self._clips = clips
        self._report = report
        self._opened = 0
        self._opened_frames = 0
        self._ended = 0
        self._frames = 0

    def opened(self, expected_frames: int) -> None:
        self._opened += 1
        self._opened_frames += expected_frames

    def embedded(self, frames: int) -> None:
        self._frames += frames
        self._send()

    def ended(self) -> None:
        self._ended += 1
        self._send()

    def _send(self) -> None:
        expected = round(self._opened_frames * self._clips / max(1, self._opened))
        self._report(Progress(self._ended, self._frames, max(self._frames, expected)))


def _source_if_there(item: VideoItem) -> Source | None:
    try:
        return source_of(item, with_digest=False)
    except VideoError:
        return None
