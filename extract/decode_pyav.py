"""Decodes with PyAV: every frame in order, or only some by seeking to the keyframe before each."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import av
import numpy as np

from extract.decode_frames import DecodedFrame, FrameStream
from extract.decode_packets import PacketIndex, open_container, read_only

NAME = f"pyav {av.__version__}"
SALVAGE_ATTEMPTS = 1000  # read failures in a row; damaged files give one per damaged block
SALVAGE_SECONDS = 20.0


def read_all(path: Path, index: PacketIndex, beat: Callable[[], None]) -> FrameStream:
    """Every frame that decodes, going on after failures.

    Args:
        path: The video.
        index: Its packet index.
        beat: To be called with every step.

    Returns:
        The frames, to be taken one at a time.
    """
    stream = FrameStream(NAME, beat)
    stream.frames = _read_all(path, index, stream)
    return stream


def read_some(path: Path, index: PacketIndex, wanted: np.ndarray, beat: Callable[[], None]) -> FrameStream:
    """Chosen frames only: seek to the keyframe before each, decode forward, check the timestamp.

    Args:
        path: The video.
        index: Its packet index, with real timestamps.
        wanted: int64 (N,), rising positions in `index.pts_seconds`.
        beat: To be called with every step.

    Returns:
        The wanted frames; where one is lost, the next that decodes stands in.
    """
    stream = FrameStream(NAME, beat)
    stream.frames = _read_some(path, index, wanted, stream)
    return stream


def decoding_cost(index: PacketIndex, wanted: np.ndarray) -> int:
    """How many frames `read_some` has to decode.

    Args:
        index: The packet index.
        wanted: int64 (N,), rising positions.

    Returns:
        The number of frames.
    """
    keys = _places_to_start(index)
    before = keys[np.searchsorted(keys, wanted, side="right") - 1]
    starts = np.maximum(before, np.concatenate([[-1], wanted[:-1]]) + 1)  # going on beats seeking back
    return int((wanted - starts + 1).sum())


def _read_all(path: Path, index: PacketIndex, stream: FrameStream) -> Iterator[DecodedFrame]:
    with open_container(path) as container:
        source = _prepare(container, index)
        for frame in _decoded(container, source, stream):
            yield _wrap(frame, index)


def _read_some(path: Path, index: PacketIndex, wanted: np.ndarray, stream: FrameStream) -> Iterator[DecodedFrame]:
    ticks = np.rint(index.pts_seconds / index.tick_seconds).astype(np.int64) + index.start_pts
    keys = _places_to_start(index)
    shown = {int(tick) for tick in ticks[wanted]}
    with open_container(path) as container:
        source = _prepare(container, index)
        frames: Iterator[av.VideoFrame] = iter(())
        reached = -1
        for position in wanted:
            if reached >= position:  # the frame that stood in for a lost one is already behind this one
                continue
            key = int(np.searchsorted(keys, position, side="right")) - 1
            frame = None
            if keys[key] <= reached:
                frame, reached = _forward(frames, ticks, position)
            # A container may seek too far: then the keyframes before are tried, the last time the start of the file.
            for start in () if reached == position else (key, key - 1, 0):
                container.seek(int(ticks[keys[max(start, 0)]]), stream=source, backward=True, any_frame=False)
                frames = _decoded(container, source, stream, shown=shown)
                frame, reached = _forward(frames, ticks, position)
                if reached == position:
                    break
            if frame is None:
                return
            yield _wrap(frame, index)._replace(position=reached)


def _forward(frames: Iterator[av.VideoFrame], ticks: np.ndarray, position: int) -> tuple[av.VideoFrame | None, int]:
    """Decode up to the wanted position or the first frame behind it; returns the frame and its position."""
    for frame in frames:
        if frame.pts is not None and frame.pts >= ticks[position]:
            return frame, int(np.searchsorted(ticks, frame.pts))
    return None, len(ticks)


def _places_to_start(index: PacketIndex) -> np.ndarray:
    """Positions of the keyframes, and the start of the file."""
    return np.union1d([0], np.flatnonzero(index.is_keyframe))


def _prepare(container: av.container.InputContainer, index: PacketIndex) -> av.VideoStream:
    source = cast(av.VideoStream, container.streams[index.stream_index])
    read_only(container, source)
    return source


def _decoded(
    container: av.container.InputContainer, source: av.VideoStream, stream: FrameStream, shown: Container[int] | None = None
) -> Iterator[av.VideoFrame]:
    """Frames from here on; a failure is noted and the next packet tried, within bounds of number and time.

    With `shown` (timestamps in ticks) other frames are left undecoded where no frame depends on them.
    """
    failures, since = 0, time.monotonic()
    while True:
        try:
            for packet in container.demux(source):
                stream.beat()
                if shown is not None:
                    source.codec_context.skip_frame = "DEFAULT" if packet.pts in shown else "NONREF"
                try:
                    frames = packet.decode()
                except av.error.FFmpegError as error:
                    stream.note_error(str(error.strerror))
                    continue
                yield from frames
                failures, since = 0, time.monotonic()  # after the yield: the reader's own time is not the file's
            return
        except av.error.FFmpegError as error:  # reading failed, not decoding
            failures += 1
            stream.note_error(str(error.strerror))
            if failures > SALVAGE_ATTEMPTS or time.monotonic() - since > SALVAGE_SECONDS:
                return


def _wrap(frame: av.VideoFrame, index: PacketIndex) -> DecodedFrame:
    pts = float("nan") if frame.pts is None else (frame.pts - index.start_pts) * index.tick_seconds
    return DecodedFrame(pts, partial(_picture, frame))


def _picture(frame: av.VideoFrame) -> np.ndarray:
    return frame.reformat(format="rgb24", threads=1).to_ndarray()
