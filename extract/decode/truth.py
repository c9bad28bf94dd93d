"""Builds the truth record from the packet index and what decoding found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from extract.decode.clock import FrameClock
from extract.decode.packets import PacketIndex
from extract.decode.stream import FrameStream
from extract.records import VideoTruth
from extract.text import counted

ROUNDING_SECONDS = 0.0011  # intervals that differ by a rounded millisecond count as equal
MOST_SPANS = 100


def make_truth(
    index: PacketIndex,
    *,
    decoder: str,
    decoded_frames: int,
    interlaced: bool = False,
    lost_spans: Sequence[tuple[float, float]] = (),
    notes: Sequence[str] = (),
) -> VideoTruth:
    """The record of one video.

    Args:
        index: Its packet index.
        decoder: Its name and version, and how it read.
        decoded_frames: Frames that came out.
        interlaced: Whether frames hold two fields.
        lost_spans: Half-open spans in seconds where frames are missing.
        notes: One sentence each.

    Returns:
        The record, with at most 100 lost spans and a note on the others.
    """
    width, height = index.display_size
    return VideoTruth(
        decoder=decoder,
        codec=index.codec,
        width=width,
        height=height,
        rotation_degrees=index.rotation_degrees,
        stream_start_seconds=index.start_pts * index.tick_seconds,
        declared_frames=index.declared_frames,
        decoded_frames=decoded_frames,
        average_rate=index.average_rate,
        variable_rate=_varies(index),
        timestamps="real" if not index.rebuilt_because else "rebuilt",
        interlaced=interlaced,
        lost_spans=tuple(lost_spans[:MOST_SPANS]),
        duration_seconds=index.duration_seconds,
        remarks=tuple(index.remarks.values()),
        notes=(*notes, *_file_notes(index, more_spans=len(lost_spans) - MOST_SPANS)),
    )


def reading_notes(stream: FrameStream, clock: FrameClock, *, fields: str) -> list[str]:
    """What was odd while reading, in sentences.

    Args:
        stream: The frames, read.
        clock: Their times.
        fields: What was done with the two fields of interlaced frames.

    Returns:
        A list of sentences, possibly empty.
    """
    notes = []
    if stream.errors:
        notes.append(f"decoding failed {counted(stream.errors, 'time')} (last: {stream.last_error})")
    if stream.interlaced:
        notes.append(f"{counted(stream.interlaced, 'frame')} with two interlaced fields, {fields}")
    if stream.damaged:
        notes.append(f"{counted(stream.damaged, 'frame')} flagged as damaged by the decoder")
    if clock.moved:
        notes.append(
            f"{counted(clock.moved, 'frame')} came without an increasing timestamp and got the time of the next packet"
        )
    if clock.stopped:
        notes.append(f"reading ended after {counted(len(clock), 'frame')}, at the last wanted frame")
    return notes


def _file_notes(index: PacketIndex, *, more_spans: int) -> list[str]:
    notes = []
    if index.rebuilt_because:
        notes.append(f"timestamps rebuilt: {index.rebuilt_because}")
    if index.hdr:
        notes.append(f"HDR colours ({index.hdr}), used as they are")
    if more_spans > 0:
        notes.append(f"{more_spans} more lost spans")
    return notes


def _varies(index: PacketIndex) -> bool:
    if index.timestamps != "real" or len(index.pts_seconds) < 3:
        return False
    intervals = np.diff(index.pts_seconds)
    return float(np.ptp(intervals)) > max(2 * index.tick_seconds, ROUNDING_SECONDS) + 1e-9
