"""One pass over the clips that need work: packer events in, rows to the writers, results out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from extract.backbones.backbone import Backbone
from extract.decode import rules
from extract.embed.packing import Failed, Finished, Opened, Rows, Waited, Work, embed_clips
from extract.embed.timing import StageSeconds
from extract.embed.windows import window_rule
from extract.errors import TooManyFailuresError, VideoError
from extract.jobs.results import ClipResult, Tally
from extract.jobs.settings import ExtractSettings, failure_limit
from extract.records import Source, VideoItem
from extract.store.schema import Partial, same_source
from extract.store.writer import StoreWriter
from extract.system.cores import default_decode_threads
from extract.text import counted
from extract.videos.sources import source_of

if TYPE_CHECKING:
    from extract.engines.engine import Engine


class FailureLimit:
    """Stops a job in which too many clips fail.

    Args:
        settings: They say how many may fail.
        clips: How many the job has.
    """

    def __init__(self, settings: ExtractSettings, clips: int) -> None:
        self._settings, self._limit = settings, failure_limit(settings.max_failures, clips)
        self._failed: set[str] = set()

    def count(self, clip_id: str, reason: str, store: Path) -> None:
        """Count a failed clip; one that fails in several inputs counts once.

        Raises:
            TooManyFailuresError: It is one too many.
        """
        self._failed.add(clip_id)
        if len(self._failed) > self._limit:
            raise TooManyFailuresError(
                f"{counted(self._failed, 'clip')} failed, more than --max-failures {self._settings.max_failures}; the "
                f"last was {clip_id}: {reason}. Finished clips are kept; see the failures with clipseq info {store}"
            )


def open_writer(
    settings: ExtractSettings, backbone: Backbone, recipe: dict[str, object], *, engine: str, after_ns: int
) -> StoreWriter:
    """A writer of the job's store; raises like `StoreWriter`."""
    return StoreWriter(
        settings.output,
        recipe,
        engine=engine,
        dtype=str(backbone.stored_dtype),
        flush_seconds=settings.flush_seconds,
        rules=rules.VERSION,
        clips_from=settings.clips_from,
        after_ns=after_ns,
    )


class OnePass:
    """Writes the clips of one input to its store, event by event.

    Args:
        writer: Of the store.
        tally: Told what happens.
        limit: Told of every failure.
    """

    def __init__(self, writer: StoreWriter, *, tally: Tally, limit: FailureLimit) -> None:
        self.writer = writer
        self._items: dict[str, VideoItem] = {}
        self._partials: dict[str, Partial] = {}
        self._sources: dict[str, Source] = {}
        self._rows: dict[str, int] = {}
        self._tally = tally
        self._limit = limit

    def note(self, item: VideoItem, partial: Partial | None) -> None:
        """A clip is about to be decoded; so much of it is in the store."""
        self._rows[item.clip_id] = 0
        if partial is not None:
            self._partials[item.clip_id] = partial
        self._items[item.clip_id] = item

    def fail_all(self, gone: Sequence[tuple[VideoItem, VideoError]]) -> Iterator[ClipResult]:
        """Record clips that could not even be begun."""
        for item, error in gone:
            yield self._fail(item.clip_id, error)

    def take(self, event: Opened | Rows | Finished | Failed) -> Iterator[ClipResult]:
        """Do what an event says; a result if the clip ends with it."""
        if isinstance(event, Opened):
            self._sources[event.clip_id] = event.source
            if event.done:  # else the file was replaced after its first part was sealed, or there is none
                self.writer.resume(self._partials[event.clip_id])
                self._rows[event.clip_id] = event.done
            self._tally.opened(event.expected_frames - event.done)
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
            self._tally.embedded(len(event.embeddings))
        except VideoError as error:
            yield self._fail(clip_id, error)

    def _finish(self, event: Finished) -> Iterator[ClipResult]:
        clip_id = event.clip_id
        try:
            now = source_of(self._items[clip_id], with_digest=False)
            then = self._sources[clip_id]
            if not same_source(now, then):
                raise VideoError(f"{then.path} changed while it was being read; run the same command again")
            self.writer.finish(clip_id, event.truth)
        except VideoError as error:
            yield self._fail(clip_id, error)
            return
        rows, truth = self._rows[clip_id], event.truth
        self._end(clip_id)
        yield ClipResult(clip_id, "done", rows, lost_spans=truth.lost_spans, remarks=truth.remarks)

    def _fail(self, clip_id: str, error: VideoError) -> ClipResult:
        item = self._items.get(clip_id)
        source = self._sources.get(clip_id) or (source_if_there(item) if item else None)
        self.writer.discard(clip_id)
        self.writer.fail(clip_id, error, source)
        self._end(clip_id)
        if error.stops_job:
            raise error
        self._limit.count(clip_id, str(error), self.writer.path)
        return ClipResult(clip_id, "failed", reason=str(error))

    def _end(self, clip_id: str) -> None:
        for noted in (self._items, self._partials, self._sources, self._rows):
            noted.pop(clip_id, None)
        self._tally.ended(clip_id)


def run_passes(
    passes: Mapping[str, OnePass],
    work: Work,
    engine: Engine,
    backbone: Backbone,
    settings: ExtractSettings,
    *,
    seconds: StageSeconds,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, ClipResult]]:
    """Decode every clip once, and embed and write what each of its inputs needs.

    Args:
        passes: By input.
        work: As for `embed_clips`.
        engine: The backbone, ready to compute.
        backbone: Its description.
        settings: What to do.
        seconds: Filled with the time of each stage; the stores get equal shares, so that together they hold all of it.
        is_stopped: Asked about once a second, and after every batch: whether to leave the rest.

    Yields:
        The input and the ClipResult of every clip, as soon as it is known.

    Raises:
        WriteError: A store cannot be written.
        TooManyFailuresError, CorruptVideoError: As for `extract`.
    """

    def record_seconds() -> None:
        for stage, spent in seconds.since_last().items():
            for each in passes.values():
                each.writer.add_seconds(stage, spent / len(passes))

    events = embed_clips(
        *(_Noted(work, passes), settings.decode_settings(backbone.image_size), engine),
        decode_threads=decode_threads_for(settings, len(work)),
        seconds=seconds,
        windows=window_rule(backbone),
    )
    callers_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each decode thread computes its own flow; more threads would compete
    try:
        for event in events:
            if not isinstance(event, Waited):
                yield from ((event.input, result) for result in passes[event.input].take(event))
            record_seconds()
            for each in passes.values():
                each.writer.seal_if_due()
            if is_stopped():
                break
    finally:
        events.close()  # type: ignore[attr-defined]
        cv2.setNumThreads(callers_threads)
        record_seconds()


class _Noted:
    """The same work, noted clip by clip as decoders take it."""

    def __init__(self, work: Work, passes: Mapping[str, OnePass]) -> None:
        self._work, self._passes = work, passes

    def __len__(self) -> int:
        return len(self._work)

    def __iter__(self) -> Iterator[tuple[VideoItem, Mapping[str, Partial | None]]]:
        for item, begun in self._work:
            for name, partial in begun.items():
                self._passes[name].note(item, partial)
            yield item, begun


def decode_threads_for(settings: ExtractSettings, clips: int) -> int:
    """How many videos are decoded at once."""
    return max(1, min(settings.decode_threads or default_decode_threads(), clips))


def source_if_there(item: VideoItem) -> Source | None:
    """What a clip is made from, without its digest; None if the file is gone."""
    try:
        return source_of(item, with_digest=False)
    except VideoError:
        return None
