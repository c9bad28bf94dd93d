"""Frames of many videos in, full fixed-size batches through the backbone, rows back to their clips.

Decode threads (one video each) fill a bounded queue; one loop packs their frames into one preallocated batch, so the
backbone never waits for the end of a video and memory does not grow with its length:

    thread 1  aaaa aaaa aa|done          batch   [aaaabbbb] [aaaabbaa] [bb......]
    thread 2  bbbb bb.. bb|done    ->    rows     a a b b    a b a      b         -> events, per clip in order
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from extract.decode import DecodeSettings, open_clip
from extract.errors import ClipseqError, VideoError
from extract.records import SampledFrames, Source, VideoItem, VideoTruth
from extract.videos import source_of

CHUNK_FRAMES = 16
QUEUED_CHUNKS = 8

Engine = Callable[[np.ndarray], np.ndarray]  # uint8 (B, S, S, 3) -> float32 (B, D)


@dataclass(frozen=True)
class Opened:
    """The first frames of a clip are there: what its file is, and how many rows its packets promise."""

    clip_id: str
    source: Source
    expected_frames: int


@dataclass(frozen=True)
class Rows:
    """Consecutive embeddings (n, D) of one clip, with frame_indices and pts_seconds (n,)."""

    clip_id: str
    embeddings: np.ndarray
    frame_indices: np.ndarray
    pts_seconds: np.ndarray


@dataclass(frozen=True)
class Finished:
    """All rows of a clip have been given."""

    clip_id: str
    truth: VideoTruth


@dataclass(frozen=True)
class Failed:
    """The clip cannot be done; rows given before are void."""

    clip_id: str
    error: VideoError


Event = Opened | Rows | Finished | Failed


@dataclass
class StageSeconds:
    """Where the time went: seconds of all decode threads together, in the backbone, and of waiting for one another."""

    decode: float = 0.0
    backbone: float = 0.0
    decoders_waited: float = 0.0
    backbone_waited: float = 0.0
    frames: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, name: str, seconds: float) -> None:
        """Add `seconds` to the stage of that name; threads may call this at once."""
        with self.lock:
            setattr(self, name, getattr(self, name) + seconds)


def embed_clips(
    work: Iterable[tuple[VideoItem, int]],
    settings: DecodeSettings,
    make_engine: Callable[[], Engine],
    *,
    batch_size: int,
    decode_threads: int,
    seconds: StageSeconds,
) -> Iterator[Event]:
    """Embed every sampled frame of every clip.

    Args:
        work: Clips, each with the number of its first rows that are already done and shall not be embedded again.
        settings: How frames are sampled and prepared.
        make_engine: Called once, when the first frame is there; decoding goes on meanwhile.
        batch_size: Rows of every call of the engine; the last batch is padded.
        decode_threads: Videos decoded at the same time.
        seconds: Filled with the time of each stage.

    Yields:
        Opened, then Rows in order, then Finished or Failed, for each clip; events of several clips interleave.
    """
    decoders = _Decoders(work, settings, decode_threads, seconds)
    try:
        batch = _Batch(make_engine, batch_size, seconds)
        for event in decoders.events():
            yield from batch.put(event)
        yield from batch.flush()
    finally:
        decoders.stop()


class _Decoders:
    """Threads that decode one clip at a time each and put what comes out into one bounded queue."""

    def __init__(
        self, work: Iterable[tuple[VideoItem, int]], settings: DecodeSettings, count: int, seconds: StageSeconds
    ) -> None:
        self._work = iter(work)
        self._work_lock = threading.Lock()
        self._settings = settings
        self._seconds = seconds
        self._queue: queue.Queue[tuple[str, object] | None] = queue.Queue(maxsize=QUEUED_CHUNKS + count)
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"decode-{k}", daemon=True) for k in range(count)]
        for thread in self._threads:
            thread.start()

    def events(self) -> Iterator[tuple[str, object]]:
        """(clip_id, Opened | SampledFrames | VideoTruth | error), until every thread is done."""
        running = len(self._threads)
        while running:
            began = time.perf_counter()
            event = self._queue.get()
            self._seconds.add("backbone_waited", time.perf_counter() - began)
            if event is None:
                running -= 1
            elif isinstance(event[1], BaseException) and not isinstance(event[1], VideoError):
                raise event[1]  # a bug or a stop, not a property of one video
            else:
                yield event

    def stop(self) -> None:
        """End the threads; a thread that hangs inside a decoder is left behind as a daemon."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=1.0)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                with self._work_lock:
                    item, skip_rows = next(self._work, (None, 0))
                if item is None:
                    break
                self._decode(item, skip_rows)
        except BaseException as error:  # the thread must never die unheard: the main loop raises it
            self._put(("", error))
        self._put(None)

    def _decode(self, item: VideoItem, skip_rows: int) -> None:
        began = time.perf_counter()
        try:
            source = source_of(item, with_digest=True)
            with open_clip(item, self._settings, chunk_frames=CHUNK_FRAMES) as reader:
                is_open = False
                for chunk in reader:
                    self._seconds.add("decode", time.perf_counter() - began)
                    if not is_open:
                        self._put((item.clip_id, Opened(item.clip_id, source, reader.expected_frames or 0)))
                        is_open = True
                    if skip_rows < len(chunk):
                        self._put((item.clip_id, _without_first(chunk, skip_rows)))
                    skip_rows = max(0, skip_rows - len(chunk))
                    if self._stopped.is_set():
                        return
                    began = time.perf_counter()
                self._put((item.clip_id, reader.truth))
        except VideoError as error:
            self._put((item.clip_id, error))

    def _put(self, event: tuple[str, object] | None) -> None:
        began = time.perf_counter()
        while not self._stopped.is_set():
            try:
                self._queue.put(event, timeout=0.1)
                break
            except queue.Full:
                continue
        self._seconds.add("decoders_waited", time.perf_counter() - began)


class _Batch:
    """One preallocated batch; what was put in comes out as events, in order, once the backbone has seen it."""

    def __init__(self, make_engine: Callable[[], Engine], batch_size: int, seconds: StageSeconds) -> None:
        self._make_engine = make_engine
        self._engine: Engine | None = None
        self._size = batch_size
        self._seconds = seconds
        self._frames: np.ndarray | None = None  # (B, S, S, 3), made when the first frame shows its shape
        self._filled = 0
        self._pending: list[tuple[str, object, int]] = []  # (clip_id, chunk or marker, rows of this batch)

    def put(self, event: tuple[str, object]) -> Iterator[Event]:
        clip_id, content = event
        if isinstance(content, Opened):
            yield content
        elif not isinstance(content, SampledFrames):
            self._pending.append((clip_id, content, 0))
            if not self._filled:
                yield from self.flush()
        else:
            start = 0
            while start < len(content):
                count = min(len(content) - start, self._size - self._filled)
                yield from self._fill(clip_id, _rows(content, start, start + count))
                start += count

    def flush(self) -> Iterator[Event]:
        """Run what is in the batch, padded with what lay there before, and give all pending events."""
        if self._filled and self._engine is not None and self._frames is not None:
            began = time.perf_counter()
            embeddings = self._engine(self._frames)  # (B, D)
            self._seconds.add("backbone", time.perf_counter() - began)
            self._seconds.frames += self._filled
        start = 0
        for clip_id, content, count in self._pending:
            if isinstance(content, SampledFrames):
                rows = embeddings[start : start + count]  # (n, D)
                yield Rows(clip_id, rows, content.frame_indices, content.pts_seconds)
                start += count
            elif isinstance(content, VideoTruth):
                yield Finished(clip_id, content)
            elif isinstance(content, VideoError):
                yield Failed(clip_id, content)
        self._pending, self._filled = [], 0

    def _fill(self, clip_id: str, chunk: SampledFrames) -> Iterator[Event]:
        if self._frames is None:
            self._engine = self._make_engine()
            self._frames = np.zeros((self._size, *chunk.frames.shape[1:]), np.uint8)
        elif chunk.frames.shape[1:] != self._frames.shape[1:]:
            raise ClipseqError(
                f"{clip_id}: a frame of shape {chunk.frames.shape[1:]} cannot join a batch of "
                f"{self._frames.shape[1:]}; this is a bug of the decoder, please report it with the video"
            )
        self._frames[self._filled : self._filled + len(chunk)] = chunk.frames
        self._pending.append((clip_id, chunk, len(chunk)))
        self._filled += len(chunk)
        if self._filled == self._size:
            yield from self.flush()


def _rows(chunk: SampledFrames, start: int, stop: int) -> SampledFrames:
    return SampledFrames(chunk.frames[start:stop], chunk.frame_indices[start:stop], chunk.pts_seconds[start:stop])


def _without_first(chunk: SampledFrames, count: int) -> SampledFrames:
    return _rows(chunk, min(count, len(chunk)), len(chunk))
