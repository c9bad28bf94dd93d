"""Reads a video file with PyAV: every frame in order, or only some, by seeking to the keyframe before each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias, cast

import av
import numpy as np

from extract.decode.container import open_container, read_only
from extract.decode.fit import FrameFilter
from extract.decode.packets import PacketIndex
from extract.decode.stream import DecodedFrame, FrameStream
from extract.records import VideoItem
from extract.videos.remote import RemoteFile

Video: TypeAlias = Path | RemoteFile

NAME = f"pyav {av.__version__}"
SPARSE_SHARE = 0.5  # of the frames; beyond that, reading all of them is as fast
SMALLEST_FIELDS = (3, 4)  # width and height of the smallest frames that bwdif accepts
SALVAGE_ATTEMPTS = 1000  # read failures in a row; damaged files give one per damaged block
SALVAGE_SECONDS = 20.0


def read_all(
    path: Video,
    index: PacketIndex,
    beat: Callable[[], None],
    *,
    deinterlace: str = "none",
    threads: int = 1,
) -> FrameStream:
    """Every frame that decodes, continuing after failures.

    Args:
        path: The video.
        index: Its packet index.
        beat: Called at every step.
        deinterlace: "bwdif" merges the two fields of an interlaced frame into one picture, "none" leaves them woven.
        threads: FFmpeg's threads, each of which decodes one frame; the frames are the same with any number.

    Returns:
        The frames, one at a time.
    """
    stream = FrameStream(NAME, beat)
    frames = (_read_all if threads == 1 else _read_by_threads)(path, index, stream, threads)
    stream.frames = (_wrap(frame, index) for frame in (deinterlaced(frames) if deinterlace == "bwdif" else frames))
    return stream


def read_some(path: Video, index: PacketIndex, wanted: np.ndarray, beat: Callable[[], None]) -> FrameStream:
    """Chosen frames only: seek to the keyframe before each, decode forward, check the timestamp.

    Args:
        path: The video.
        index: Its packet index, with real timestamps.
        wanted: int64 (N,), increasing positions in `index.pts_seconds`.
        beat: Called at every step.

    Returns:
        The wanted frames; if one is lost, the next that decodes replaces it.
    """
    stream = FrameStream(NAME, beat)
    stream.frames = _read_some(path, index, wanted, stream)
    return stream


def seeking_pays(item: VideoItem, index: PacketIndex, wanted: np.ndarray) -> bool:
    """Whether to fetch the wanted frames with `read_some`: it decodes at most half as many frames as `read_all`.

    Args:
        item: The clip.
        index: The packet index of its video.
        wanted: int64 (N,), increasing positions in it.
    """
    if index.timestamps != "real" or not index.counts_frames:
        return False
    return decoding_cost(index, wanted) <= SPARSE_SHARE * frames_up_to_end(item, index)


def frames_up_to_end(item: VideoItem, index: PacketIndex) -> int:
    """How many frames `read_all` decodes for a clip.

    Args:
        item: The clip.
        index: The packet index of its video.
    """
    return int(np.searchsorted(index.pts_seconds, item.end_seconds))


def decoding_cost(index: PacketIndex, wanted: np.ndarray) -> int:
    """How many frames `read_some` has to decode.

    Args:
        index: The packet index.
        wanted: int64 (N,), increasing positions.

    Returns:
        The number of frames.
    """
    keys = _places_to_start(index)
    before = keys[np.searchsorted(keys, wanted, side="right") - 1]
    starts = np.maximum(before, np.concatenate([[-1], wanted[:-1]]) + 1)  # reading on is cheaper than seeking back
    return int((wanted - starts + 1).sum())


def _read_all(path: Video, index: PacketIndex, stream: FrameStream, threads: int) -> Iterator[av.VideoFrame]:
    with open_container(path) as container:
        source = _prepare(container, index, threads=threads)
        for frame in _decoded(_packets(container, source, stream, index), source, stream):
            _count(frame, stream)
            yield frame


def _read_by_threads(path: Video, index: PacketIndex, stream: FrameStream, threads: int) -> Iterator[av.VideoFrame]:
    """Multi-threaded up to the first damage, then one thread: with threads, damage differs from run to run."""
    count, trial = 0, replace(stream, frames=iter(()))
    if index.counts_frames:
        for frame in _read_all(path, index, trial, threads):
            if trial.errors or trial.damaged:
                break
            stream.interlaced = trial.interlaced
            count += 1
            yield frame
        else:
            if count == len(index.pts_seconds):
                return
    stream.interlaced = 0  # counted again
    yield from islice(_read_all(path, index, stream, threads=1), count, None)


def _read_some(path: Video, index: PacketIndex, wanted: np.ndarray, stream: FrameStream) -> Iterator[DecodedFrame]:
    seeker = _Seeker(path, index, wanted, stream)
    try:
        for position in wanted:
            if seeker.reached >= position:  # the replacement for a lost frame is already past this one
                continue
            frame = seeker.find(int(position))
            if frame is None:
                return
            _count(frame, stream)
            yield _wrap(frame, index, position=seeker.reached)
    finally:
        seeker.close()


class _Seeker:
    """An open video that seeks to keyframes; `reached` is the position of the last frame found."""

    def __init__(self, path: Video, index: PacketIndex, wanted: np.ndarray, stream: FrameStream) -> None:
        self._path, self._index, self._stream = path, index, stream
        self._ticks = np.rint(index.pts_seconds / index.tick_seconds).astype(np.int64) + index.start_pts
        self._shown = frozenset(int(tick) for tick in self._ticks[wanted])
        self._keys = _places_to_start(index)
        self._open()
        self._frames: Iterator[av.VideoFrame] = iter(())
        self.reached = -1

    def find(self, position: int) -> av.VideoFrame | None:
        """The frame at a position, or the first one after it if it is lost."""
        key = int(np.searchsorted(self._keys, position, side="right")) - 1
        frame = None
        if self._keys[key] <= self.reached:
            frame = self._forward(position)
        if self.reached == position:
            return frame
        # Transport streams have no index: if seeking lands after the keyframe, try an earlier one.
        for earlier in (key, key - 1, key - 2, 0):
            if self._start(max(earlier, 0), limit=int(self._ticks[self._keys[key]])):
                frame = self._forward(position)
                if frame is not None and self.reached == position and not frame.is_corrupt:
                    return frame
            if earlier <= 0:
                break
        self._keys = self._keys[:1]  # seeking does not help here: only read forward from now on
        return frame

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _open(self) -> None:
        self._container = open_container(self._path)
        self._source = _prepare(self._container, self._index)

    def _start(self, key: int, *, limit: int) -> bool:
        """Go to a keyframe, 0 being the start of the file; False if that lands after `limit` (ticks)."""
        if key == 0:
            self.close()
            self._open()
            packets = _packets(self._container, self._source, self._stream, self._index)
        else:
            tick = int(self._ticks[self._keys[key]])
            self._container.seek(tick, stream=self._source, backward=True, any_frame=False)
            packets = _packets(self._container, self._source, self._stream, self._index)
            first = next((packet for packet in packets if packet.is_keyframe), None)
            if first is None or first.pts is None or first.pts > limit:
                return False
            packets = chain([first], packets)
        self._frames = _decoded(packets, self._source, self._stream, shown=self._shown)
        return True

    def _forward(self, position: int) -> av.VideoFrame | None:
        """Decode up to a position or the first frame after it."""
        for frame in self._frames:
            if frame.pts is not None and frame.pts >= self._ticks[position]:
                self.reached = int(np.searchsorted(self._ticks, frame.pts))
                return frame
        self.reached = len(self._ticks)
        return None


def _places_to_start(index: PacketIndex) -> np.ndarray:
    """Positions of the keyframes, and the start of the file."""
    return np.union1d([0], np.flatnonzero(index.is_keyframe))


def _prepare(container: av.container.InputContainer, index: PacketIndex, *, threads: int = 1) -> av.VideoStream:
    source = cast(av.VideoStream, container.streams[index.stream_index])
    read_only(container, source, threads=threads)
    return source


def _packets(
    container: av.container.InputContainer, source: av.VideoStream, stream: FrameStream, index: PacketIndex
) -> Iterator[av.Packet]:
    """The packets from here on; a failed read is retried with the next packet, up to a count and time limit."""
    failures, since = 0, time.monotonic()
    while failures < SALVAGE_ATTEMPTS and time.monotonic() - since < SALVAGE_SECONDS:
        try:
            for packet in container.demux(source):
                stream.beat()
                if index.pts_is_dts:
                    packet.pts = packet.dts
                yield packet
                failures, since = (
                    0,
                    time.monotonic(),
                )  # after the yield: the consumer's time does not count
            return
        except av.error.FFmpegError as error:
            failures += 1
            stream.note_error(str(error.strerror))


def _decoded(
    packets: Iterator[av.Packet], source: av.VideoStream, stream: FrameStream, shown: Container[int] | None = None
) -> Iterator[av.VideoFrame]:
    """The frames of packets; failures are noted.

    With `shown` (timestamps in ticks), other frames are not decoded unless some frame depends on them.
    """
    for packet in packets:
        if shown is not None:
            source.codec_context.skip_frame = "DEFAULT" if packet.pts in shown else "NONREF"
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            stream.note_error(str(error.strerror))
            continue
        yield from frames


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The same frames at the same times; interlaced ones are built from their two fields and their neighbours."""
    bwdif, times = FrameFilter("bwdif", "mode=send_frame:deint=interlaced"), deque[int | None]()
    for frame in frames:
        is_tiny = frame.width < SMALLEST_FIELDS[0] or frame.height < SMALLEST_FIELDS[1]
        if is_tiny or not bwdif.fits(frame):
            yield from _pulled(bwdif.graph, times, ends=True)
            if is_tiny:
                yield frame
                continue
            bwdif.renew(frame)
        times.append(frame.pts)
        frame.pts = None  # the filter counts in another unit
        bwdif.graph.push(frame)
        yield from _pulled(bwdif.graph, times)
    yield from _pulled(bwdif.graph, times, ends=True)


def _pulled(graph: av.filter.Graph, times: deque[int | None], *, ends: bool = False) -> Iterator[av.VideoFrame]:
    """The frames that are ready, one per input frame; with `ends`, also those that waited for a neighbour."""
    if ends and times:
        graph.push(None)
    while times:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        frame.pts = times.popleft()
        yield frame


def _count(frame: av.VideoFrame, stream: FrameStream) -> None:
    stream.damaged += frame.is_corrupt
    stream.interlaced += bool(frame.interlaced_frame)


def _wrap(frame: av.VideoFrame, index: PacketIndex, position: int | None = None) -> DecodedFrame:
    pts = float("nan") if frame.pts is None else (frame.pts - index.start_pts) * index.tick_seconds
    return DecodedFrame(pts, frame, position)
