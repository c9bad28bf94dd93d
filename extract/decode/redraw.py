"""Draws on every frame of a video and writes it again: each frame at its own time, upright, with the sound as it is.

Frame by frame: memory does not grow with the length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from extract.decode import images, pyav
from extract.decode.clock import FrameClock
from extract.decode.container import open_container
from extract.decode.fit import FrameFitter
from extract.decode.packets import PacketIndex
from extract.decode.reader import index_of, named_errors
from extract.decode.watchdog import Heartbeat
from extract.errors import NoFramesError, UsageError
from extract.system.files import sealed_file, write_error
from extract.videos.sources import check_file

ENDINGS = (".mp4", ".mov")  # containers that keep exact times; Matroska rounds to milliseconds
REBUILT_TICKS = 90_000  # per second, for times that are not the file's own
BT709 = 1
ENCODER = {"crf": "20", "preset": "veryfast"}

Draw = Callable[[np.ndarray, int, float], np.ndarray]


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video before it is drawn on.

    Args:
        pts_seconds: float64 (M,), the times of its frames, from the packets.
        duration_seconds: End of the last one.
        size: (width, height) as displayed.
    """

    pts_seconds: np.ndarray
    duration_seconds: float
    size: tuple[int, int]


@dataclass(frozen=True)
class Redrawn:
    """What was written: the number of frames, and the codecs of sound tracks that were kept or could not be."""

    num_frames: int
    kept_sound: tuple[str, ...]
    lost_sound: tuple[str, ...]


def video_facts(path: Path) -> VideoFacts:
    """Read the packets of a video, or a folder of numbered pictures; raises VideoError as extraction does."""
    check_file(path)
    with named_errors(path):
        index = index_of(path, Heartbeat())
    return VideoFacts(index.pts_seconds, index.duration_seconds, index.display_size)


def check_video_output(output: Path, *, flag: str) -> None:
    """UsageError if a path cannot be that of an annotated video."""
    if output.suffix.lower() not in ENDINGS:
        raise UsageError(f"{flag} {output} must end in {' or '.join(ENDINGS)}, which keep the time of every frame")
    if output.exists():
        raise UsageError(f"{flag} {output} exists already: choose another name or remove it")


def redraw(path: Path, output: Path, draw: Draw, *, tick: Callable[[], object] = lambda: None) -> Redrawn:
    """Write a video with something drawn on every frame that decodes.

    Args:
        path: The video, or a folder of numbered pictures.
        output: Ends in .mp4 or .mov; it appears when it is complete.
        draw: From a picture uint8 (H, W, 3), its number from 0 among the frames that decode, and its time in seconds to
            the picture to write; all of one size with even sides.
        tick: Called after every frame.

    Raises:
        VideoError: The video cannot be read.
        WriteError: The output cannot be written.
    """
    with named_errors(path):
        index = index_of(path, Heartbeat())
    with sealed_file(output) as temporary, _written(output), ExitStack() as stack:
        writer = _Writer(stack, path, temporary, index)
        count = 0
        for picture, seconds in _pictures(path, index):
            writer.write(draw(picture, count, seconds), seconds)
            count += 1
            tick()
        writer.finish()
    return Redrawn(count, writer.kept_sound, writer.lost_sound)


def _pictures(path: Path, index: PacketIndex) -> Iterator[tuple[np.ndarray, float]]:
    """Every frame upright with its time; errors are those of the video, not of what is done with it."""
    beat = Heartbeat().beat
    fitter, clock = FrameFitter(None, orientation=index.orientation), FrameClock(index)
    with named_errors(path):
        stream = images.read_all(path, beat) if path.is_dir() else pyav.read_all(path, index, beat)
        for frame in stream.frames:
            picture = np.empty(fitter.shape(frame.picture), np.uint8)
            fitter.fit(frame.picture, picture)
            yield picture, clock.next_time(frame.pts_seconds)
        if not len(clock):
            said = f" ({stream.last_error})" if stream.last_error else ""
            raise NoFramesError(f"{path}: {stream.decoder} cannot decode a single frame{said}; replace it")


@contextmanager
def _written(output: Path) -> Iterator[None]:
    """Turns what the encoder or the file says into a failure to write it."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise write_error(output, error) from error


class _Writer:
    """The new file: H.264 pictures at the times of the old ones, and the packets of its sound."""

    def __init__(self, stack: ExitStack, path: Path, output: Path, index: PacketIndex) -> None:
        self._out = stack.enter_context(av.open(str(output), "w"))
        self._tick = Fraction(1, REBUILT_TICKS)
        if index.timestamps == "real":
            self._tick = Fraction(index.tick_seconds).limit_denominator(10**7)
        rate = Fraction(index.average_rate).limit_denominator(1000) or Fraction(25)
        self._video = self._out.add_stream("libx264", rate=rate, options=dict(ENCODER))
        self._scaler, self._last = VideoReformatter(), -1
        self.kept_sound: tuple[str, ...] = ()
        self.lost_sound: tuple[str, ...] = ()
        self._sound: Iterator[tuple[float, av.Packet]] = iter(())
        if not path.is_dir():
            self._sound = self._open_sound(stack.enter_context(open_container(path)), index)
        self._next = next(self._sound, None)

    def write(self, picture: np.ndarray, seconds: float) -> None:
        """Encode one picture, after the sound before it."""
        if self._last < 0:
            self._begin(picture)
        frame = self._scaler.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
        )
        self._last = max(round(seconds / self._tick), self._last + 1)
        frame.pts, frame.time_base = self._last, self._tick
        self._mux_sound(seconds)
        self._out.mux(self._video.encode(frame))

    def finish(self) -> None:
        """Write what the encoder holds, and the rest of the sound."""
        if self._last >= 0:
            self._out.mux(self._video.encode(None))
            self._mux_sound(float("inf"))

    def _begin(self, picture: np.ndarray) -> None:
        self._video.height, self._video.width = picture.shape[:2]
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.time_base = self._tick
        context.colorspace = context.color_primaries = context.color_trc = BT709

    def _open_sound(self, source: av.container.InputContainer, index: PacketIndex) -> Iterator[tuple[float, av.Packet]]:
        """The packets of all sound tracks that the new file can hold, with their times, in order."""
        streams = {}
        for track in source.streams.audio:
            name = track.codec_context.codec.canonical_name if track.codec_context else "unknown"
            try:
                streams[track.index] = self._out.add_stream_from_template(track)
                self.kept_sound += (name,)
            except (ValueError, av.error.FFmpegError):
                self.lost_sound += (name,)
        for other in source.streams:
            if other.index not in streams:
                other.discard = av.stream.Discard.all
        start_seconds = index.start_pts * index.tick_seconds
        return _sound_packets(source, streams, start_seconds)

    def _mux_sound(self, until: float) -> None:
        while self._next is not None and self._next[0] <= until:
            self._out.mux(self._next[1])
            self._next = next(self._sound, None)


def _sound_packets(
    source: av.container.InputContainer, streams: Mapping[int, av.stream.Stream], start_seconds: float
) -> Iterator[tuple[float, av.Packet]]:
    if not streams:
        return
    last = dict.fromkeys(streams, -(2**62))
    with suppress(av.error.FFmpegError):  # what follows is damaged; the pictures go on
        for packet in source.demux([source.streams[number] for number in streams]):
            if packet.dts is None or packet.pts is None or not packet.size or packet.dts <= last[packet.stream.index]:
                continue
            last[packet.stream.index] = packet.dts
            offset = round(Fraction(start_seconds) / packet.time_base)
            packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
            seconds = float(packet.dts * packet.time_base)
            packet.stream = streams[packet.stream.index]
            yield seconds, packet
