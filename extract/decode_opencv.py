"""Decodes with OpenCV: fast for reading densely, since frames that are not wanted are never converted to RGB."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from extract.decode_frames import DecodedFrame, FrameStream
from extract.decode_packets import OPEN_SECONDS, READ_SECONDS, PacketIndex

NAME = f"opencv {cv2.__version__}"
SALVAGE_MARGIN = 16  # failed reads in a row beyond the number of frames that should still come
SALVAGE_SECONDS = 20.0

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first video is opened
if hasattr(cv2, "utils") and hasattr(cv2.utils, "logging"):
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_all(path: Path, index: PacketIndex, beat: Callable[[], None]) -> FrameStream:
    """Every frame that decodes, going on after failures.

    Args:
        path: The video.
        index: Its packet index.
        beat: To be called with every step.

    Returns:
        The frames, to be taken one at a time; none where OpenCV has no decoder.
    """
    stream = FrameStream(NAME, beat, is_bgr=True)
    stream.frames = _read_all(path, index, stream)
    return stream


def _read_all(path: Path, index: PacketIndex, stream: FrameStream) -> Iterator[DecodedFrame]:
    capture = _open(path)
    offset = (index.declared_start_pts - index.start_pts) * index.tick_seconds
    expected, seen, failures, since = len(index.pts_seconds), 0, 0, time.monotonic()
    try:
        while time.monotonic() - since < SALVAGE_SECONDS:
            stream.beat()
            if not capture.grab():  # not the end: behind damage there are more frames
                failures += 1
                if seen >= expected or seen + failures > expected + SALVAGE_MARGIN:
                    return
                continue
            for _ in range(failures):  # only now known to be no end
                stream.note_error("a read failed")
            seen, failures = seen + 1, 0
            yield DecodedFrame(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 + offset, lambda: _picture(capture))
            since = time.monotonic()  # after the yield: the reader's own time is not the file's
    finally:
        capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    """One FFmpeg thread, time-outs, and pictures as they are coded: the caller turns them."""
    settings = [
        *(cv2.CAP_PROP_N_THREADS, 1),
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_SECONDS * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_SECONDS * 1000)),
    ]
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG, settings)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return capture


def _picture(capture: cv2.VideoCapture) -> np.ndarray:
    fetched, picture = capture.retrieve()
    if not fetched:
        raise cv2.error("retrieve() gave no picture after grab()")
    return picture
