"""Chooses the decoder of a clip (`--decoder auto`):

a folder of numbered pictures                                 images
few frames are wanted (or a late span): from keyframes no
  more than half of the frames need decoding                  PyAV, seeking
the timestamps are unusable and have to be rebuilt            PyAV
the video that players show is not the file's first stream    PyAV
more than 8 bits per colour (OpenCV maps HDR tones, slowly)   PyAV
the first frame is damaged, and PyAV counts such frames       PyAV
OpenCV decodes not one frame (AV1)                            PyAV
all else: dense reading                                       OpenCV
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain

import numpy as np

from extract import decode_images, decode_opencv, decode_pyav
from extract.decode_frames import FrameStream
from extract.decode_packets import PacketIndex
from extract.records import VideoItem

DECODERS = ("auto", "opencv", "pyav")
SPARSE_SHARE = 0.5  # of the frames; with more, reading all of them is as fast


def choose_decoder(
    item: VideoItem, decoder: str, index: PacketIndex, wanted: np.ndarray, beat: Callable[[], None]
) -> tuple[FrameStream, bool, str]:
    """Apply the rule in this file's docstring.

    Args:
        item: The clip.
        decoder: "auto", or the one asked for.
        index: Its packet index.
        wanted: int64 (N,), rising positions in the index.
        beat: To be called with every step.

    Returns:
        The frames, whether only the wanted ones come, and why in a few words ("" for the ordinary case).
    """
    if item.path.is_dir():
        return decode_images.read_all(item.path, beat), False, ""
    if decoder != "opencv" and _seeking_pays(item, index, wanted):
        return decode_pyav.read_some(item.path, index, wanted, beat), True, "few frames wanted, seeking"
    if decoder == "opencv":
        return decode_opencv.read_all(item.path, index, beat), False, "asked for"
    pyav = decode_pyav.read_all(item.path, index, beat)
    if decoder == "pyav":
        return pyav, False, "asked for"
    if reason := _why_not_opencv(index):
        return pyav, False, reason
    opencv = decode_opencv.read_all(item.path, index, beat)
    first = next(opencv.frames, None)
    if first is None:
        return pyav, False, "OpenCV decodes no frame"
    opencv.frames = chain([first], opencv.frames)
    return opencv, False, ""


def frames_to_decode(item: VideoItem, index: PacketIndex, wanted: np.ndarray) -> int:
    """How many frames "auto" has to decode.

    Args:
        item: The clip.
        index: Its packet index.
        wanted: int64 (N,), rising positions in the index.

    Returns:
        The number of frames.
    """
    if not item.path.is_dir() and _seeking_pays(item, index, wanted):
        return decode_pyav.decoding_cost(index, wanted)
    return _frames_up_to_end(item, index)


def _why_not_opencv(index: PacketIndex) -> str:
    """What speaks against reading densely with OpenCV; "" for nothing."""
    if index.timestamps != "real":
        return "its timestamps are rebuilt"
    if not index.is_first_video:
        return "OpenCV would take another video stream"
    if index.bits > 8:
        return "more than 8 bits per colour"
    return "it says which frames are damaged" if index.starts_damaged else ""


def _seeking_pays(item: VideoItem, index: PacketIndex, wanted: np.ndarray) -> bool:
    if index.timestamps != "real" or not index.counts_frames:
        return False
    return decode_pyav.decoding_cost(index, wanted) <= SPARSE_SHARE * _frames_up_to_end(item, index)


def _frames_up_to_end(item: VideoItem, index: PacketIndex) -> int:
    """How many frames reading densely decodes."""
    if not math.isfinite(item.end_seconds):
        return len(index.pts_seconds)
    return int(np.searchsorted(index.pts_seconds, item.end_seconds))
