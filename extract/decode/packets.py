"""Reads a video's packets without decoding them: when each frame is shown, where keyframes are, what is declared.

One frame is decoded: only that proves that a decoder exists, and only a frame carries the rotation.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from extract.decode.container import open_container, orientation, shown_streams, video_stream
from extract.decode.ends import missing_bytes
from extract.errors import NoFramesError
from extract.text import counted
from extract.videos.remote import RemoteFile

PROBE_SECONDS = 20.0  # for finding the first frame of a file whose start is damaged
ASSUMED_RATE = 25.0  # if a file names no rate; FFmpeg assumes the same
NO_TIME = -(2**63)  # FFmpeg's AV_NOPTS_VALUE
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273
# AVI stores the decoding order only; FFmpeg guesses presentation times, a frame late or not even increasing.
FORMATS_WITHOUT_PTS = ("avi",)
FEWEST_FIELDS = 3
MOST_FRAMES_HELD = 16  # by a decoder that reorders frames for display (H.264, A.4.2)

RECENT = 8
_recent: dict[tuple[object, ...], PacketIndex] = {}
_recent_lock = threading.Lock()

av.logging.set_level(None)


@dataclass(frozen=True)
class PacketIndex:
    """What the packets of a video tell.

    Args:
        pts_seconds: float64 (M,), strictly increasing: when each frame is shown, minus the stream's start.
        is_keyframe: bool (M,), in the same order.
        timestamps: "real", or "rebuilt": frames take the times in order, however many frames are lost.
        rebuilt_because: Why they were rebuilt; "" if they are real.
        average_rate: Frames per second.
        duration_seconds: End of the last frame.
        tick_seconds: The unit in which the file stores time.
        start_pts: The stream's start in ticks: as declared, or its first frame if that is earlier.
        pts_is_dts: Whether the decoding times are used as presentation times, whatever FFmpeg guesses.
        declared_frames: The container's own frame count, None if it has none.
        codec: FFmpeg's name of the codec, such as "h264".
        hdr: "PQ" or "HLG" if the colours use that transfer function, else "".
        is_interlaced: Whether the first frame holds two fields.
        counts_frames: Whether packets and decoded frames correspond one to one: not if fields have packets of their
            own, nor if the file starts with frames whose keyframe is missing.
        stream_index: Which stream of the file this is.
        coded_size: (width, height) of a decoded frame, before rotation.
        orientation: The display matrix reduced to (a, b, c, d) in -1, 0, 1: x' = a x + c y, y' = b x + d y.
        missing_bytes: How much the file lacks at its end, as far as its container tells.
        remarks: What is present but unused, or probably unwanted: in a few words -> in a sentence.
    """

    pts_seconds: np.ndarray
    is_keyframe: np.ndarray
    timestamps: str
    rebuilt_because: str
    average_rate: float
    duration_seconds: float
    tick_seconds: float
    start_pts: int
    declared_frames: int | None
    codec: str
    hdr: str
    is_interlaced: bool
    counts_frames: bool
    stream_index: int
    coded_size: tuple[int, int]
    orientation: tuple[int, int, int, int]
    pts_is_dts: bool = False
    missing_bytes: int = 0
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def rounding_seconds(self) -> float:
        """How much too early a stored time may be: half a tick of a fine clock; coarse ticks count frames exactly."""
        return max(self.tick_seconds / 2, 1e-6) if self.tick_seconds <= 0.001 and self.timestamps == "real" else 1e-6

    @property
    def rotation_degrees(self) -> int:
        """Clockwise rotation of the display matrix, ignoring reflections."""
        a, b, _, d = self.orientation
        return {(1, 0): 0, (0, 1): 90, (-1, 0): 180 if d < 0 else 0, (0, -1): 270}[(a, b)]

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) as displayed."""
        width, height = self.coded_size
        return (width, height) if self.orientation[0] else (height, width)


def scan_packets(path: Path | RemoteFile, beat: Callable[[], None]) -> PacketIndex:
    """Read all packets of a video and decode its first frame.

    Args:
        path: A regular file, or an open remote one.
        beat: Called at every packet, so that a slow file is not mistaken for a stalled one.

    Returns:
        The index; the last few are cached, so that many spans of one video need only one scan.

    Raises:
        UnreadableVideoError: Not a video, or FFmpeg cannot open it.
        NoFramesError: Not one frame of the video stream can be decoded.
    """
    if isinstance(path, RemoteFile):
        key: tuple[object, ...] = (path.address, path.source)
    else:
        status = os.stat(path)
        key = (os.path.abspath(path), status.st_size, status.st_mtime_ns)
    with _recent_lock:
        index = _recent.get(key)
    if index is None:
        index = _scan(path, beat)
        if isinstance(path, RemoteFile):
            path.check()
        with _recent_lock:
            _recent[key] = index
            while len(_recent) > RECENT:
                del _recent[next(iter(_recent))]
    return index


def _scan(path: Path | RemoteFile, beat: Callable[[], None]) -> PacketIndex:
    with open_container(path) as container:
        stream = video_stream(container)
        declared_start = stream.start_time  # before reading: FFmpeg corrects it on the way
        others = [other for other in shown_streams(container) if other.index != stream.index]
        packets, frame, held, counts = _read_packets(container, stream, others, path, beat)
        clock = _clock(packets, container, stream, declared_start, held)
        missing = missing_bytes(path)
        return PacketIndex(
            **clock,
            declared_frames=stream.frames or None,
            codec=stream.codec_context.codec.canonical_name,
            hdr=HDR_TRANSFERS.get(int(frame.color_trc), ""),
            is_interlaced=bool(frame.interlaced_frame),
            counts_frames=not frame.interlaced_frame
            and bool(clock["is_keyframe"][0])
            and not (_may_have_fields(container, stream) and _has_fields(clock["pts_seconds"])),
            stream_index=stream.index,
            coded_size=(frame.width, frame.height),
            orientation=orientation(frame),
            missing_bytes=missing,
            remarks=_other_streams(counts) | _missing_end(missing),
        )


class _Packets:
    """Times in ticks of the packets that show a frame, in file order, 25 bytes each."""

    def __init__(self) -> None:
        self._pts, self._dts, self._duration, self._is_keyframe = array("q"), array("q"), array("q"), array("b")

    def __len__(self) -> int:
        return len(self._pts)

    def add(self, packet: av.Packet) -> None:
        """Record one packet."""
        self._pts.append(NO_TIME if packet.pts is None else packet.pts)
        self._dts.append(NO_TIME if packet.dts is None else packet.dts)
        self._duration.append(packet.duration or 0)
        self._is_keyframe.append(packet.is_keyframe)

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """int64 (M,) pts, dts and duration, bool (M,) is_keyframe."""
        pts, dts, duration = (np.array(column, np.int64) for column in (self._pts, self._dts, self._duration))
        return pts, dts, duration, np.array(self._is_keyframe, bool)


def _read_packets(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    others: Sequence[av.VideoStream],
    path: Path | RemoteFile,
    beat: Callable[[], None],
) -> tuple[_Packets, av.VideoFrame, int, Counter[int]]:
    """All packets that show a frame, the first frame that decodes, how many others the decoder held by then, and how
    many packets each other video stream has."""
    packets, held, counts = _Packets(), 0, Counter({other.index: 0 for other in others})
    for other in others:
        other.discard = av.stream.Discard.default
    codec = stream.codec_context.codec.canonical_name
    frame: av.VideoFrame | None = None
    last_error = "none came out"
    deadline = time.monotonic() + PROBE_SECONDS
    for packet in _demux(container, [stream, *others]):
        beat()
        if packet.stream.index != stream.index:
            counts[packet.stream.index] += bool(packet.size)
            continue
        if packet.size and not packet.is_discard and _is_shown(packet, codec):
            packets.add(packet)
        if frame is None and time.monotonic() < deadline:
            try:
                frame = next(iter(packet.decode()), None)
                held = min(max(len(packets) - 1, 0), MOST_FRAMES_HELD)
            except av.error.FFmpegError as error:
                last_error = str(error.strerror)
    if frame is None or not len(packets):
        raise NoFramesError(
            f"{path}: no frame comes out of {counted(len(packets), 'packet')} of {codec} video "
            f"({last_error}); the file is encrypted, damaged or only a header: replace it"
        )
    return packets, frame, held, counts


def _other_streams(counts: Mapping[int, int]) -> dict[str, str]:
    if not counts:
        return {}
    frames = " and ".join(counted(count, "frame") for count in counts.values())
    what = "another video stream" if len(counts) == 1 else f"{len(counts)} other video streams"
    return {"several video streams": f"{what} of {frames}, not read"}


def _missing_end(missing: int) -> dict[str, str]:
    if not missing:
        return {}
    return {"cut short": f"the last {missing / 1e3:,.1f} kB are missing: the file was cut short, and its end is lost"}


def _demux(container: av.container.InputContainer, streams: Sequence[av.VideoStream]) -> Iterator[av.Packet]:
    """The streams' packets; a read error ends the file, as in a player."""
    try:
        yield from container.demux(streams)
    except av.error.FFmpegError:
        return


def _is_shown(packet: av.Packet, codec: str) -> bool:
    """False for packets without a picture: hidden reference frames of VP8 and VP9, and placeholders of XviD."""
    if codec == "mpeg4":
        return packet.size > 4  # less than a start code
    if codec == "vp8":
        return bool(memoryview(packet)[0] >> 4 & 1)  # RFC 6386, 9.1: show_frame
    return codec != "vp9" or _vp9_is_shown(memoryview(packet)[0], memoryview(packet)[-1])


def _vp9_is_shown(head: int, tail: int) -> bool:
    """VP9 bitstream specification, 6.2 and Annex B: a superframe or a frame with show_existing_frame or show_frame."""
    if tail & 0b11100000 == 0b11000000:  # the marker of a superframe index; its last frame is shown
        return True
    shift = 1 if head >> 4 & 0b11 == 0b11 else 0  # profile 3 has a reserved bit
    return bool(head >> (3 - shift) & 1) or bool(head >> (1 - shift) & 1)


def _clock(
    packets: _Packets,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    declared_start: int | None,
    held: int,
) -> dict[str, Any]:
    """The time-related fields of `PacketIndex`."""
    pts, dts, duration, is_keyframe = packets.columns()
    has_no_pts, dts_rise = container.format.name in FORMATS_WITHOUT_PTS, bool((np.diff(dts) > 0).all())
    is_guessed = has_no_pts and (bool(stream.codec_context.has_b_frames) or not dts_rise)
    if has_no_pts:
        pts, declared_start = dts, int(dts[0])
    reason = _why_unusable(pts, dts, is_guessed=is_guessed)
    tick, rate = float(stream.time_base or Fraction(1, 1000)), _container_rate(stream)
    declared = declared_start if declared_start is not None else 0 if reason else int(pts.min())
    start = declared if reason else min(declared, int(pts.min()))
    seconds, end_seconds = np.arange(len(pts)) / rate, len(pts) / rate
    if is_guessed and dts_rise:
        seconds, rate = _times_from_dts(dts, held, tick, rate)
        end_seconds = float(seconds[-1]) + 1 / rate
    elif not reason:
        order = np.argsort(pts)
        seconds, is_keyframe = (pts[order] - start) * tick, is_keyframe[order]
        rate = (len(pts) - 1) / float(seconds[-1] - seconds[0]) if len(pts) > 1 else rate
        end_seconds = float(seconds[-1]) + (float(duration[order[-1]]) * tick or 1 / rate)
    return {
        "pts_seconds": seconds,
        "is_keyframe": is_keyframe,
        "timestamps": "rebuilt" if reason else "real",
        "rebuilt_because": reason,
        "average_rate": rate,
        "duration_seconds": end_seconds,
        "tick_seconds": tick,
        "start_pts": start,
        "pts_is_dts": has_no_pts and not is_guessed,
    }


def _may_have_fields(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """H.264 that starts with whole frames may go on with single fields (broadcasts do); MP4 keeps both in a packet."""
    return stream.codec_context.codec.canonical_name == "h264" and "mp4" not in container.format.name


def _has_fields(pts_seconds: np.ndarray) -> bool:
    """Whether packets come at two rates, one twice the other: some hold a frame, some a field, as in broadcasts."""
    intervals, counts = np.unique(np.diff(pts_seconds).round(3), return_counts=True)
    common = intervals[counts >= FEWEST_FIELDS]
    return bool((np.abs(2 * common[:, None] - common) < 0.0015).any())


def _times_from_dts(dts: np.ndarray, held: int, tick: float, rate: float) -> tuple[np.ndarray, float]:
    """Seconds (M,) of the frames in display order, and their rate, if only decoding times are stored.

    A decoder that holds `held` frames back shows the first one when that many more have come, and so on; gaps left by
    empty packets are gaps in display too.
    """
    seconds = (dts[held:] - dts[min(held, len(dts) - 1)]) * tick
    step = 1 / rate
    if len(seconds) > 1:
        rate, step = (len(seconds) - 1) / float(seconds[-1]), float(np.median(np.diff(seconds)))
    last = float(seconds[-1]) if len(seconds) else 0.0
    behind = last + np.arange(1, len(dts) - len(seconds) + 1) * step
    return np.concatenate([seconds, behind]), rate


def _why_unusable(pts: np.ndarray, dts: np.ndarray, *, is_guessed: bool) -> str:
    """Why the presentation times in file order cannot be used; "" if they can."""
    if is_guessed:
        return "the container stores no presentation times"
    if (pts == NO_TIME).any():
        return "timestamps are missing"
    if len(np.unique(pts)) < len(pts):
        return "timestamps are repeated"
    return "timestamps go backwards" if (np.diff(dts[dts != NO_TIME]) < 0).any() else ""


def _container_rate(stream: av.VideoStream) -> float:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= 1000:
            return float(rate)
    return ASSUMED_RATE
