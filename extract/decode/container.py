"""An open video file, and the stream of it that is shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import Type

from extract.errors import NoDecoderError, NoVideoStreamError, UnreadableVideoError

OPEN_SECONDS = 20.0

READ_SECONDS = 30.0

UPRIGHT = (1, 0, 0, 1)


def open_container(path: str | Path) -> av.container.InputContainer:
    """Open a file with PyAV, with time-outs, and never anything but that file.

    Args:
        path: A regular file.

    Raises:
        UnreadableVideoError: FFmpeg does not open it.
    """
    try:
        return av.open(
            os.path.abspath(path),
            timeout=(OPEN_SECONDS, READ_SECONDS),
            container_options={"protocol_whitelist": "file"},
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableVideoError(f"{path} is no video that can be opened ({reason}); replace or remove it") from error


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The stream that a player would show.

    Args:
        container: An open file.

    Returns:
        The best video stream, the only one to be read.

    Raises:
        NoVideoStreamError: There is none (a cover picture in a sound file is none).
        NoDecoderError: FFmpeg knows no decoder for it.
    """
    streams = shown_streams(container)
    if not streams:
        others = ", ".join(
            f"{s.type}: {s.codec_context.codec.canonical_name if s.codec_context else 'unknown'}"
            for s in container.streams
        )
        raise NoVideoStreamError(f"{container.name} holds no video stream ({others or 'nothing'}); leave it out")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise NoDecoderError(f"{container.name} holds a video stream that no decoder knows; convert it")
    read_only(container, stream)
    return stream


def shown_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video streams that are no cover pictures."""
    return [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]


def read_only(container: av.container.InputContainer, stream: av.VideoStream, *, threads: int = 1) -> None:
    """Set a container to give one stream's packets alone, and how many threads decode that stream.

    Args:
        container: An open file.
        stream: One of its video streams.
        threads: Of FFmpeg, each of which works on a frame.
    """
    stream.thread_type = "FRAME" if threads > 1 else "NONE"
    stream.codec_context.thread_count = threads
    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all


def orientation(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """How a frame is to be turned: the four numbers of its display matrix, each -1, 0 or 1."""
    # Iterating over these gives other things in PyAV 18 than in 19.
    turned = cast(Mapping[Type, Any], frame.side_data).get(Type.DISPLAYMATRIX)
    if turned is None:
        return UPRIGHT
    matrix = np.frombuffer(memoryview(turned), np.int32)
    a, b, c, d = (int(np.sign(matrix[i])) for i in (0, 1, 3, 4))
    return (a, b, c, d) if (a and d and not (b or c)) or (b and c and not (a or d)) else UPRIGHT
