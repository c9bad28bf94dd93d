"""Packs frames of many videos into full fixed-size batches, runs the backbone, returns rows to their clips.

Decode threads (one video each) write into a ring of batches shared by all videos; backbone threads, one per concurrent
engine call, empty it; the caller's own thread puts the results in order, and may write shards meanwhile.
Everything is bounded, so memory does not grow with the length of a video, and whoever is faster waits:

    decode-0  aaaa aaaa aa|a ends        ring         backbone-0  [aaaabbbb]      events, per clip in order
    decode-1  bbbb bb|b ends        ->  [......   ->  backbone-1  [aaaaaabb]  ->  Opened a, b; Rows a; Rows b; ...

Frames are decoded once for all inputs made of them (rgb, diff, flow); each input of a clip has events of its own.
A row depends only on its frame, so neither threads nor the other rows in a batch change it (with Keras, only by
rounding: see `extract.engines.engine.Engine`).
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol

import numpy as np

from extract.decode.reader import ClipReader, open_clip
from extract.decode.settings import DecodeSettings
from extract.embed.ring import Ring, Span
from extract.embed.timing import StageSeconds
from extract.embed.windows import WindowCutter, WindowRule
from extract.errors import VideoError
from extract.records import SampledFrames, Source, VideoItem, VideoTruth
from extract.store.schema import Partial, same_source
from extract.system.core_slots import CoreSlots
from extract.system.cores import ffmpeg_threads, usable_cores
from extract.videos.sources import source_of

CHUNK_FRAMES = 16
SPARE_BYTES = 16 << 20  # of the ring, besides the batches in the engine: frames kept ready for when videos are slow
SPARE_BATCHES = (2, 32)  # fewest: one ready and one being filled; most: for small pictures
QUEUED_EVENTS = 32  # embedded batches, clip starts and clip ends that may wait for the caller
POLL_SECONDS = 0.1
WAITED_SECONDS = 1.0


class Work(Protocol):
    """Clips, each with its inputs and the beginning of each that is done: a list, or one that grows meanwhile."""

    def __len__(self) -> int:
        """How many to expect."""

    def __iter__(self) -> Iterator[tuple[VideoItem, Mapping[str, Partial | None]]]:
        """May wait for the next clip; asked by one thread at a time."""


class BatchEngine(Protocol):
    """Embeds batches; `extract.engines.engine.Engine` is one."""

    @property
    def batch_size(self) -> int:
        """B, rows of every call."""

    @property
    def streams(self) -> int:
        """How many threads call it at once."""

    @property
    def units(self) -> int:
        """How many of these calls it computes at the same time."""

    @property
    def on_one_core(self) -> bool:
        """Whether a call keeps one core busy, which decoding may need too."""

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Embed uint8 (B, S, S, 3), or windows of frames (B, F, S, S, 3): float32 (B, D); or the pictures themselves,
        uint8 (B, S, S, C)."""


@dataclass(frozen=True)
class Opened:
    """The first frames of a clip have arrived: its file, how many rows its packets promise, and how many of them are
    already done."""

    clip_id: str
    input: str
    source: Source
    expected_frames: int
    done: int = 0


@dataclass(frozen=True)
class Rows:
    """Consecutive embeddings (n, D), or uint8 (n, S, S, C), of one clip, with frame_indices and pts_seconds (n,)."""

    clip_id: str
    input: str
    embeddings: np.ndarray
    frame_indices: np.ndarray
    pts_seconds: np.ndarray


@dataclass(frozen=True)
class Finished:
    """All rows of a clip have been given."""

    clip_id: str
    input: str
    truth: VideoTruth


@dataclass(frozen=True)
class Failed:
    """The clip failed; discard the rows given before."""

    clip_id: str
    input: str
    error: VideoError


@dataclass(frozen=True)
class Waited:
    """Nothing has come for a second: time to look whether rows should be sealed, or the work stopped."""


Event = Opened | Rows | Finished | Failed | Waited


@dataclass(frozen=True)
class _Ended:
    """A clip is over; to be reported once `position` rows of all clips have been embedded."""

    position: int
    events: Sequence[Finished | Failed]


@dataclass(frozen=True)
class _Embedded:
    """A batch has been embedded: its number since the start, the rows (B, D), and whose they are."""

    number: int
    spans: list[Span]
    embeddings: np.ndarray


def embed_clips(
    work: Work,
    settings: DecodeSettings,
    engine: BatchEngine,
    *,
    decode_threads: int,
    seconds: StageSeconds,
    windows: WindowRule | None = None,
) -> Iterator[Event]:
    """Embed every sampled frame, or every window of sampled frames, of every clip.

    Args:
        work: Clips, each with its inputs (keys of `FRAME_TRANSFORMS`), and of each the beginning that is already done
            and is not embedded again, unless the file has changed since.
        settings: How frames are sampled and prepared, except for the input; with an image size.
        engine: The backbone; it is called with full batches; the last one is padded.
        decode_threads: Videos decoded at the same time.
        seconds: Filled with the time of each stage.
        windows: For an engine that takes windows of frames: which.

    Yields:
        Opened, then Rows in order, then Finished or Failed, for each input of each clip; events of several clips, and
        of the inputs of one, interleave. Waited, while nothing comes.
    """
    packer = _Packer(work, settings, engine, decode_threads, seconds, windows)
    try:
        yield from packer.events()
    finally:
        packer.stop()


class _Packer:
    """The threads, the ring between decoding and the backbone, and the queue between them and the caller."""

    def __init__(
        self,
        work: Work,
        settings: DecodeSettings,
        engine: BatchEngine,
        decode_threads: int,
        seconds: StageSeconds,
        windows: WindowRule | None,
    ) -> None:
        if settings.image_size is None:
            raise ValueError("frames of different sizes cannot share a batch: the decode settings need an image_size")
        self._work = iter(work)
        self._work_lock = threading.Lock()
        threads = ffmpeg_threads(max(1, len(work)), is_shared=engine.on_one_core)
        self._settings = replace(settings, threads=threads)
        self._engine = engine
        self._seconds = seconds
        self._windows = windows
        seconds.rows = "frame" if windows is None else "window"
        seconds.decode_threads = decode_threads
        fewest, most = SPARE_BATCHES
        frame_shape: tuple[int, ...] = (settings.image_size, settings.image_size, 3)
        if windows is not None:
            frame_shape = (windows.frames, *frame_shape)
        spare = max(fewest, min(most, SPARE_BYTES // (engine.batch_size * prod(frame_shape))))
        self._ring = Ring(
            batches=engine.streams + spare,
            batch_size=engine.batch_size,
            frame_shape=frame_shape,
            writers=decode_threads,
        )
        self._queue: queue.Queue[Opened | _Ended | _Embedded | BaseException | None] = queue.Queue(QUEUED_EVENTS)
        self._stopped = threading.Event()
        self._turns = CoreSlots(usable_cores()) if engine.on_one_core else None
        self._decoders = [
            threading.Thread(target=self._run_decoder, name=f"decode-{k}", daemon=True) for k in range(decode_threads)
        ]
        self._backbones = [
            threading.Thread(target=self._run_backbone, name=f"backbone-{k}", daemon=True)
            for k in range(engine.streams)
        ]
        seconds.start_engine(engine.units)
        for thread in (*self._decoders, *self._backbones):
            thread.start()

    def events(self) -> Iterator[Event]:
        """What the threads report: batches in order, each clip's end held back until its last row has come."""
        running, embedded, waiting = len(self._backbones), 0, deque[_Ended]()
        batch, early = 0, dict[int, _Embedded]()
        while running:
            try:
                report = self._queue.get(timeout=WAITED_SECONDS)
            except queue.Empty:
                yield Waited()
                continue
            if isinstance(report, BaseException):
                raise report  # a bug or a stop, not caused by one video
            with self._seconds.measure("store"):  # what the caller does with them
                if report is None:
                    running -= 1
                elif isinstance(report, Opened):
                    yield report
                elif isinstance(report, _Ended):
                    waiting.append(report)
                else:
                    early[report.number] = report
                while batch in early:
                    embedded += sum(len(span.frame_indices) for span in early[batch].spans)
                    yield from _rows(early.pop(batch))
                    batch += 1
                while waiting and waiting[0].position <= embedded:
                    yield from waiting.popleft().events
        yield from (event for ended in waiting for event in ended.events)

    def stop(self) -> None:
        """End the threads; one that hangs inside a decoder is left behind as a daemon."""
        self._stopped.set()
        self._ring.stop()
        for thread in self._decoders:
            thread.join(timeout=1.0)
        for thread in self._backbones:
            thread.join()  # at most one batch each
        self._seconds.end_engine()

    def _run_decoder(self) -> None:
        try:
            while not self._stopped.is_set():
                with self._work_lock:
                    work = next(self._work, None)
                if work is None:
                    break
                self._decode(*work)
        except BaseException as error:  # the thread must never die silently: the caller's thread raises it
            self._put(error)
        self._ring.writer_done()

    def _decode(self, item: VideoItem, begun: Mapping[str, Partial | None]) -> None:
        ends: list[Finished | Failed]
        try:
            with self._seconds.measure("decode"):
                source = source_of(item, with_digest=True)
            done = {name: _rows_done(partial, source) for name, partial in begun.items()}
            with open_clip(
                item, self._settings, chunk_frames=CHUNK_FRAMES, turns=self._turns, inputs=tuple(begun)
            ) as reader:
                try:
                    self._write(item.clip_id, source, reader, done)
                finally:
                    self._seconds.add("decode", reader.busy_seconds)
                if self._stopped.is_set():
                    return
                ends = [Finished(item.clip_id, name, reader.truth) for name in begun]
        except VideoError as error:
            ends = [Failed(item.clip_id, name, error) for name in begun]
        self._put(_Ended(self._ring.position(), ends))

    def _write(self, clip_id: str, source: Source, reader: ClipReader, done: Mapping[str, int]) -> None:
        skip_rows: dict[str, int] = {}  # of the inputs that are open
        chunks = reader.by_input()
        for name, chunk in chunks if self._windows is None else _cut(chunks, self._windows, done):
            if name not in skip_rows:
                skip_rows[name], expected = done[name], reader.expected_frames or 0
                expected = self._windows.count(expected) if self._windows else expected
                self._put(Opened(clip_id, name, source, expected, done[name]))
            skipped = min(skip_rows[name], len(chunk))
            skip_rows[name] -= skipped
            with self._seconds.measure("decoders_waited"):
                self._ring.write(clip_id, _without_first(chunk, skipped), input=name)
            if self._stopped.is_set():
                return

    def _run_backbone(self) -> None:
        try:
            while (batch := self._ring.take()) is not None:
                with self._seconds.measure_engine("backbone"), self._turns.take() if self._turns else nullcontext():
                    if self._stopped.is_set():  # while it waited for its turn
                        break
                    with self._seconds.measure_engine("computing"):
                        embedded = _Embedded(batch.number, batch.spans, self._engine(batch.frames))
                self._seconds.embedded(batch.rows)
                self._ring.release(batch)
                with self._seconds.measure_engine("backbone_held"):
                    self._put(embedded)
        except BaseException as error:  # as above
            self._put(error)
        self._put(None)

    def _put(self, report: Opened | _Ended | _Embedded | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(report, timeout=POLL_SECONDS)
                return
            except queue.Full:
                continue


def _rows(embedded: _Embedded) -> Iterator[Rows]:
    for span in embedded.spans:
        rows = embedded.embeddings[span.row : span.row + len(span.frame_indices)]
        yield Rows(span.clip_id, span.input, rows, span.frame_indices, span.pts_seconds)


def _rows_done(partial: Partial | None, source: Source) -> int:
    """How many rows of a clip need not be embedded again: none if they are of another file."""
    if partial is None or partial.source is None or not same_source(partial.source, source):
        return 0
    return partial.rows


def _cut(
    chunks: Iterable[tuple[str, SampledFrames]], rule: WindowRule, inputs: Iterable[str]
) -> Iterator[tuple[str, SampledFrames]]:
    cutters = {name: WindowCutter(rule) for name in inputs}
    for name, chunk in chunks:
        yield from ((name, window) for window in cutters[name].take(chunk))
    for name, cutter in cutters.items():
        yield from ((name, window) for window in cutter.end())


def _without_first(chunk: SampledFrames, count: int) -> SampledFrames:
    return SampledFrames(chunk.frames[count:], chunk.frame_indices[count:], chunk.pts_seconds[count:])
