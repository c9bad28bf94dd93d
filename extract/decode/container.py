"""Opens a video file and picks the stream a player would show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import Type

from extract.errors import NoDecoderError, NoVideoStreamError, UnreadableVideoError
from extract.videos.remote import RemoteFile

OPEN_SECONDS = 20.0

READ_SECONDS = 30.0

READ_BYTES = 256 << 10  # asked of Python at once

UPRIGHT = (1, 0, 0, 1)


def open_container(path: str | Path | RemoteFile) -> av.container.InputContainer:
    """Open a file, and nothing but that file, with PyAV and with time-outs.

    Args:
        path: A regular file, or an open remote one.

    Raises:
        UnreadableVideoError: FFmpeg cannot open it.
    """
    try:
        if isinstance(path, RemoteFile):
            return av.open(path.open(), "r", buffer_size=READ_BYTES, container_options={"protocol_whitelist": ""})
        return av.open(
            os.path.abspath(path),
            timeout=(OPEN_SECONDS, READ_SECONDS),
            container_options={"protocol_whitelist": "file"},
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableVideoError(f"{path} cannot be opened as a video ({reason}); replace or remove it") from error


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The stream that a player would show.

    Args:
        container: An open file.

    Returns:
        The best video stream; only that one is read.

    Raises:
        NoVideoStreamError: There is none (a cover picture in an audio file does not count).
        NoDecoderError: FFmpeg has no decoder for it.
    """
    streams = shown_streams(container)
    if not streams:
        others = ", ".join(
            f"{s.type}: {s.codec_context.codec.canonical_name if s.codec_context else 'unknown'}"
            for s in container.streams
        )
        raise NoVideoStreamError(f"{container.name} has no video stream ({others or 'nothing'}); leave it out")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise NoDecoderError(f"{container.name} has a video stream that FFmpeg cannot decode; convert it")
    read_only(container, stream)
    return stream


def shown_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video streams, without cover pictures."""
    return [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]


def read_only(container: av.container.InputContainer, stream: av.VideoStream, *, threads: int = 1) -> None:
    """Make a container give only one stream's packets, and set how many threads decode that stream.

    Args:
        container: An open file.
        stream: One of its video streams.
        threads: FFmpeg's threads, each of which decodes one frame.
    """
    stream.thread_type = "FRAME" if threads > 1 else "NONE"
    stream.codec_context.thread_count = threads
    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all


def orientation(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """How to rotate or flip a frame: the four numbers of its display matrix, each -1, 0 or 1."""
    # Iterating over these gives different things in PyAV 18 and 19.
    turned = cast(Mapping[Type, Any], frame.side_data).get(Type.DISPLAYMATRIX)
    if turned is None:
        return UPRIGHT
    matrix = np.frombuffer(memoryview(turned), np.int32)
    a, b, c, d = (int(np.sign(matrix[i])) for i in (0, 1, 3, 4))
    return (a, b, c, d) if (a and d and not (b or c)) or (b and c and not (a or d)) else UPRIGHT
