"""One pass over the clips that need work: packer events in, rows to the writer, results out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2

from extract.backbones.backbone import Backbone
from extract.decode import rules
from extract.embed.packing import Failed, Finished, Opened, Rows, Waited, Work, embed_clips
from extract.embed.timing import StageSeconds
from extract.embed.windows import window_rule
from extract.errors import TooManyFailuresError, VideoError
from extract.jobs.settings import ExtractSettings, failure_limit
from extract.records import Source, VideoItem
from extract.store.schema import Partial
from extract.store.writer import StoreWriter
from extract.system.cores import default_decode_threads
from extract.text import counted
from extract.videos.sources import source_of

if TYPE_CHECKING:
    from extract.engines.engine import Engine


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


class Tally(Protocol):
    """Counts what happens in a pass."""

    def opened(self, expected_frames: int) -> None:
        """A clip has begun, and is expected to give so many frames."""

    def embedded(self, frames: int) -> None:
        """So many frames more are embedded."""

    def ended(self) -> None:
        """A clip is done or has failed."""


class Expectation:
    """Estimates the frames of the whole job from the clips opened so far, assuming the rest are similar.

    Args:
        clips: How many the job has.
        report: Called with every change.
    """

    def __init__(self, clips: int, report: Callable[[Progress], None]) -> None:
        self._clips = clips
        self._report = report
        self._opened = 0
        self._opened_frames = 0
        self._ended = 0
        self._frames = 0

    def opened(self, expected_frames: int, clips: int = 1) -> None:
        """Clips have begun, and are expected to give so many frames together."""
        self._opened += clips
        self._opened_frames += expected_frames

    def embedded(self, frames: int) -> None:
        """So many frames more are embedded."""
        self._frames += frames
        self.send()

    def ended(self) -> None:
        """A clip is done or has failed."""
        self._ended += 1
        self.send()

    def send(self) -> None:
        """Report where the job stands."""
        expected = round(self._opened_frames * self._clips / max(1, self._opened))
        self._report(Progress(self._ended, self._frames, max(self._frames, expected)))


class FailureLimit:
    """Stops a job in which too many clips fail.

    Args:
        settings: They say how many may fail.
        clips: How many the job has.
    """

    def __init__(self, settings: ExtractSettings, clips: int) -> None:
        self._settings, self._limit, self._failed = settings, failure_limit(settings.max_failures, clips), 0

    def count(self, clip_id: str, reason: str) -> None:
        """Count a failed clip.

        Raises:
            TooManyFailuresError: It is one too many.
        """
        self._failed += 1
        if self._failed > self._limit:
            raise TooManyFailuresError(
                f"{counted(self._failed, 'clip')} failed, more than --max-failures {self._settings.max_failures}; the "
                f"last was {clip_id}: {reason}. Finished clips are kept; see the failures with clipseq info "
                f"{self._settings.output}"
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
    """Embeds clips and writes them.

    Args:
        writer: Of the job's store.
        settings: What to do.
        backbone: Its description.
        seconds: Filled with the time of each stage.
        tally: Told what happens.
        limit: Told of every failure.
    """

    def __init__(
        self,
        writer: StoreWriter,
        settings: ExtractSettings,
        backbone: Backbone,
        *,
        seconds: StageSeconds,
        tally: Tally,
        limit: FailureLimit,
    ) -> None:
        self._writer = writer
        self._settings = settings
        self._backbone = backbone
        self._items: dict[str, VideoItem] = {}
        self._partials: dict[str, Partial] = {}
        self._sources: dict[str, Source] = {}
        self._rows: dict[str, int] = {}
        self._seconds = seconds
        self._tally = tally
        self._limit = limit

    def results(
        self, engine: Engine, work: Work, *, is_stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[ClipResult]:
        """Embed every clip.

        Args:
            engine: The backbone, ready to compute.
            work: As for `embed_clips`.
            is_stopped: Asked about once a second, and after every batch: whether to leave the rest.

        Yields:
            One ClipResult per clip, as soon as it is known.

        Raises:
            WriteError: The store cannot be written.
            TooManyFailuresError, CorruptVideoError: As for `extract`.
        """
        settings = self._settings
        decode = settings.decode_settings(self._backbone.image_size)
        events = embed_clips(
            *(_Noted(work, self._note), decode, engine),
            decode_threads=decode_threads_for(settings, len(work)),
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
                if is_stopped():
                    break
        finally:
            events.close()  # type: ignore[attr-defined]
            cv2.setNumThreads(callers_threads)
            self._record_seconds()

    def fail_all(self, gone: Sequence[tuple[VideoItem, VideoError]]) -> Iterator[ClipResult]:
        """Record clips that could not even be begun."""
        for item, error in gone:
            yield self._fail(item.clip_id, error)

    def _note(self, item: VideoItem, partial: Partial | None) -> None:
        self._rows[item.clip_id] = 0
        if partial is not None:
            self._partials[item.clip_id] = partial
        self._items[item.clip_id] = item

    def _record_seconds(self) -> None:
        for stage, spent in self._seconds.since_last().items():
            self._writer.add_seconds(stage, spent)

    def _take(self, event: Opened | Rows | Finished | Failed | Waited) -> Iterator[ClipResult]:
        if isinstance(event, Opened):
            self._sources[event.clip_id] = event.source
            if event.done:  # else the file was replaced after its first part was sealed, or there is none
                self._writer.resume(self._partials[event.clip_id])
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
            self._writer.append(
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
            if (now.size, now.mtime_ns) != (then.size, then.mtime_ns):
                raise VideoError(f"{then.path} changed while it was being read; run the same command again")
            self._writer.finish(clip_id, event.truth)
        except VideoError as error:
            yield self._fail(clip_id, error)
            return
        rows, truth = self._rows[clip_id], event.truth
        self._end(clip_id)
        yield ClipResult(clip_id, "done", rows, lost_spans=truth.lost_spans, remarks=truth.remarks)

    def _fail(self, clip_id: str, error: VideoError) -> ClipResult:
        item = self._items.get(clip_id)
        source = self._sources.get(clip_id) or (source_if_there(item) if item else None)
        self._writer.discard(clip_id)
        self._writer.fail(clip_id, error, source)
        self._end(clip_id)
        if error.stops_job:
            raise error
        self._limit.count(clip_id, str(error))
        return ClipResult(clip_id, "failed", reason=str(error))

    def _end(self, clip_id: str) -> None:
        for noted in (self._items, self._partials, self._sources, self._rows):
            noted.pop(clip_id, None)
        self._tally.ended()


class _Noted:
    """The same work, noted clip by clip as decoders take it."""

    def __init__(self, work: Work, note: Callable[[VideoItem, Partial | None], None]) -> None:
        self._work, self._note = work, note

    def __len__(self) -> int:
        return len(self._work)

    def __iter__(self) -> Iterator[tuple[VideoItem, Partial | None]]:
        for item, partial in self._work:
            self._note(item, partial)
            yield item, partial


def decode_threads_for(settings: ExtractSettings, clips: int) -> int:
    """How many videos are decoded at once."""
    return max(1, min(settings.decode_threads or default_decode_threads(), clips))


def source_if_there(item: VideoItem) -> Source | None:
    """What a clip is made from, without its digest; None if the file is gone."""
    try:
        return source_of(item, with_digest=False)
    except VideoError:
        return None
