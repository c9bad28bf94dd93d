"""The batch job: skips what is done, resumes after a kill, records failures, yields one result per clip.

What to do with each clip is decided in plan.py before anything is decoded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2

from extract.backbones.backbone import Backbone
from extract.backbones.registry import load_backbone
from extract.decode import rules
from extract.embed.packing import Failed, Finished, Opened, Rows, embed_clips
from extract.embed.timing import StageSeconds
from extract.embed.windows import window_rule
from extract.errors import TooManyFailuresError, UsageError, VideoError
from extract.jobs.plan import ClipDecision, decide_clip, in_part
from extract.jobs.recipe import recipe_of
from extract.jobs.results import ClipResult, Expectation, JoinedResults, Progress
from extract.jobs.settings import ExtractSettings, failure_limit
from extract.records import Source, VideoItem
from extract.store.reader import Store, open_made_with
from extract.store.recipe import check_recipe, is_store
from extract.store.schema import Partial
from extract.store.writer import StoreWriter
from extract.system.cores import default_decode_threads
from extract.text import counted
from extract.videos.listing import check_ids
from extract.videos.sources import source_of

if TYPE_CHECKING:
    from extract.engines.engine import Engine


log = logging.getLogger(__name__)


def extract(
    items: Sequence[VideoItem],
    settings: ExtractSettings,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    seconds: StageSeconds | None = None,
) -> Generator[ClipResult, None, None]:
    """Bring a store, or one for each of several inputs, up to date with a list of clips, decoding each at most once.

    Args:
        items: The clips; those outside `settings.part` are left to the other parts.
        settings: What to do and where to write.
        on_progress: Called after every batch.
        seconds: Filled with the time of each stage.

    Yields:
        One ClipResult per clip, as soon as it is known. A "done" clip is on disk no later than when the generator
        ends, is closed, or `flush_seconds` have passed.

    Raises:
        UsageError: two clips have the same id, or the folder for several stores is a store.
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
    targets = open_targets(settings, backbone)
    joined = JoinedResults([target.input for target in targets])
    for item in items:
        for target in targets:
            result = target.decide(item)
            if result is not None:
                yield from joined.add(target.input, result)
    targets = [target for target in targets if target.work or target.gone]
    if not targets:
        return
    # The engine first: weights that do not match must not leave an empty store behind.
    is_work = any(target.work for target in targets)
    engine = _make_engine(backbone, settings) if is_work else None
    to_open = sum(len(target.work) for target in targets)
    to_end = [item.clip_id for target in targets for item in (*target.work, *(item for item, _ in target.gone))]
    expected = Expectation(to_open, to_end, on_progress)
    failed: set[str] = set()
    with ExitStack() as stack:
        runs = {}
        for target in targets:
            writer = stack.enter_context(_open_writer(target, backbone, engine))
            runs[target.input] = _Run(writer, target, expected, limit, failed)
        for name, run in runs.items():
            for result in run.fail_gone():
                yield from joined.add(name, result)
        if engine:
            for name, result in _embedded(runs, settings, backbone, engine, seconds):
                yield from joined.add(name, result)


@dataclass
class Target:
    """One store to fill: what it is made with, and what is to be done in it.

    Args:
        settings: Of this store alone.
        recipe: What determines its numbers.
        store: What is there; None: nothing yet.
        work: The clips to embed, and why, each with the beginning that an earlier run sealed.
        gone: The clips whose files cannot be read, and why.
    """

    settings: ExtractSettings
    recipe: dict[str, object]
    store: Store | None
    work: dict[VideoItem, ClipDecision] = field(default_factory=dict)
    gone: list[tuple[VideoItem, VideoError]] = field(default_factory=list)

    @property
    def input(self) -> str:
        """What the backbone sees."""
        return self.settings.input

    def decide(self, item: VideoItem) -> ClipResult | None:
        """Add a clip to what is to be done, or give its result if nothing is."""
        settings = self.settings
        try:
            decision = decide_clip(item, self.store, retry_failed=settings.retry_failed, rehash=settings.rehash)
        except VideoError as error:
            self.gone.append((item, error))
            return None
        if decision.action == "extract":
            self.work[item] = decision
            return None
        return ClipResult(item.clip_id, "skipped" if decision.action == "reuse" else "failed", reason=decision.reason)


def open_targets(settings: ExtractSettings, backbone: Backbone) -> list[Target]:
    """The stores that settings fill; writes nothing, and raises like `extract`."""
    if settings.inputs and is_store(settings.output):
        raise UsageError(
            f"{settings.output} is a feature store, but with several --input a folder in it is made for each; choose "
            "another --output"
        )
    targets = []
    for each in settings.stores():
        recipe = recipe_of(each, backbone)
        check_recipe(each.output, recipe)
        targets.append(Target(each, recipe, open_made_with(recipe, each.output)))
    return targets


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


def _open_writer(target: Target, backbone: Backbone, engine: Engine | None) -> StoreWriter:
    settings, store = target.settings, target.store
    writer = StoreWriter(
        settings.output,
        target.recipe,
        engine=engine.name if engine else settings.engine,
        dtype=str(backbone.stored_dtype),
        flush_seconds=settings.flush_seconds,
        rules=rules.VERSION,
        clips_from=settings.clips_from,
        after_ns=store.latest_ns() if store else 0,
    )
    for decision in target.work.values():
        if decision.partial is not None:
            writer.resume(decision.partial)
    return writer


def _make_engine(backbone: Backbone, settings: ExtractSettings) -> Engine:
    from extract.engines.registry import make_engine

    began = time.perf_counter()
    engine = make_engine(backbone, kind=settings.engine, batch_size=settings.batch_size, precision=settings.precision)
    log.info("%s is ready on %s after %.1f s", backbone.name, engine.name, time.perf_counter() - began)
    return engine


def _embedded(
    runs: Mapping[str, _Run], settings: ExtractSettings, backbone: Backbone, engine: Engine, seconds: StageSeconds
) -> Iterator[tuple[str, ClipResult]]:
    """Decode and embed all that is to be done; the input and the result of each clip."""
    work: dict[VideoItem, dict[str, Partial | None]] = {}
    for name, run in runs.items():
        for item, decision in run.target.work.items():
            work.setdefault(item, {})[name] = decision.partial
    threads = settings.decode_threads or default_decode_threads()
    events = embed_clips(
        *([*work.items()], settings.decode_settings(backbone.image_size), engine),
        decode_threads=min(threads, len(work)),
        seconds=seconds,
        windows=window_rule(backbone),
    )
    callers_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each decode thread computes its own flow; more threads would compete
    try:
        for event in events:
            yield from ((event.input, result) for result in runs[event.input].take(event))
            _record_seconds(seconds, runs)
            for run in runs.values():
                run.writer.seal_if_due()
    finally:
        events.close()  # type: ignore[attr-defined]
        cv2.setNumThreads(callers_threads)
        _record_seconds(seconds, runs)


def _record_seconds(seconds: StageSeconds, runs: Mapping[str, _Run]) -> None:
    """In equal shares, so that the stores of one job together hold its seconds."""
    for stage, spent in seconds.since_last().items():
        for run in runs.values():
            run.writer.add_seconds(stage, spent / len(runs))


class _Run:
    """One pass over the clips that one store needs: packer events in, rows to the writer, results out."""

    def __init__(
        self, writer: StoreWriter, target: Target, progress: Expectation, failure_limit: float, failed: set[str]
    ) -> None:
        self.writer, self.target = writer, target
        self._items = {item.clip_id: item for item in target.work}
        self._sources: dict[str, Source] = {}
        self._rows = {
            item.clip_id: decision.partial.rows if decision.partial else 0 for item, decision in target.work.items()
        }
        self._progress = progress
        self._limit, self._failed = failure_limit, failed

    def fail_gone(self) -> Iterator[ClipResult]:
        """The clips whose files cannot be read."""
        for item, error in self.target.gone:
            yield self._fail(item.clip_id, error)

    def take(self, event: Opened | Rows | Finished | Failed) -> Iterator[ClipResult]:
        """What an event of this input says; a result if the clip ends with it."""
        if isinstance(event, Opened):
            self._sources[event.clip_id] = event.source
            if event.done != self._rows[event.clip_id]:  # the file was replaced after its first part was checked
                self.writer.discard(event.clip_id)
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
            self.writer.append(
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
            if (now.size, now.mtime_ns) != (then.size, then.mtime_ns):
                raise VideoError(f"{then.path} changed while it was being read; run the same command again")
            self.writer.finish(clip_id, event.truth)
        except VideoError as error:
            yield self._fail(clip_id, error)
            return
        self._end(clip_id)
        truth = event.truth
        yield ClipResult(clip_id, "done", self._rows[clip_id], lost_spans=truth.lost_spans, remarks=truth.remarks)

    def _fail(self, clip_id: str, error: VideoError) -> ClipResult:
        item = self._items.get(clip_id)
        source = self._sources.get(clip_id) or (_source_if_there(item) if item else None)
        self.writer.discard(clip_id)
        self.writer.fail(clip_id, error, source)
        self._failed.add(clip_id)
        self._end(clip_id)
        if error.stops_job:
            raise error
        if len(self._failed) > self._limit:
            settings = self.target.settings
            raise TooManyFailuresError(
                f"{counted(self._failed, 'clip')} failed, more than --max-failures {settings.max_failures}; the last "
                f"was {clip_id}: {error}. Finished clips are kept; see the failures with clipseq info {settings.output}"
            )
        return ClipResult(clip_id, "failed", reason=str(error))

    def _end(self, clip_id: str) -> None:
        self._items.pop(clip_id, None)
        self._sources.pop(clip_id, None)
        self._progress.ended(clip_id)


def _source_if_there(item: VideoItem) -> Source | None:
    try:
        return source_of(item, with_digest=False)
    except VideoError:
        return None
