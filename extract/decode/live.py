"""A camera, a network stream or a file -> its sampled frames, one by one, as they come.

Cameras and streams are read in their own thread, which never waits for whoever takes the frames: if more than a few
wait, the oldest is dropped and counted. What is interrupted is opened again, and begins a new part with its own clock.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np

from extract.decode.container import OPEN_SECONDS, UPRIGHT, orientation, read_only, shown_streams
from extract.decode.fit import FrameFitter
from extract.decode.pyav import deinterlaced
from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.decode.transforms import make_transform
from extract.errors import NoVideoStreamError, UnreadableVideoError, UsageError
from extract.records import SampledFrames, VideoItem
from extract.videos.sampling import FramePicker

PROTOCOLS = ("udp", "rtp", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "tcp", "http", "https")
INNER_PROTOCOLS = ("tls", "httpproxy", "crypto", "data")  # which the others are made of; never local files
OPTIONS = {"fflags": "nobuffer", "overrun_nonfatal": "1"}
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}  # format and name of camera N
MOST_WAITING = 4  # sampled frames
QUIET_SECONDS = 10.0  # without a packet, a stream counts as interrupted
JUMP_SECONDS = 10.0  # forward on a stream's own clock: what was before says nothing about what comes
BACK_SECONDS = 1.0  # backward: the sender has started again; less is a frame out of order
KEYFRAME_SECONDS = 10.0  # a stream that sends no keyframe for so long is decoded without
WAIT_SECONDS = (0.5, 5.0)  # before the first and the later attempts to open a stream again
FRAMEWISE = ("wrapped_avframe",)  # of lavfi, which marks no keyframes
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class LiveSource:
    """What to watch.

    Args:
        name: A file, an address or a device, as FFmpeg takes it.
        format: FFmpeg's name of the input format, for devices; "" otherwise.
        is_file: Whether it is read from start to end, with nothing dropped.
    """

    name: str
    format: str = ""
    is_file: bool = False


@dataclass(frozen=True)
class LiveFrames:
    """One sampled frame.

    Args:
        frames: The frame as each of the settings wants it, (1, S, S, 3).
        arrived: When it was decoded, or taken from a file, on the clock `time.monotonic`.
        part: Number of the part it belongs to; a new one begins after every interruption.
    """

    frames: tuple[SampledFrames, ...]
    arrived: float
    part: int = 0


@dataclass(frozen=True)
class Interruption:
    """A stream has stopped, or its clock has jumped: what comes next is another part."""

    reason: str


class LiveReader(Protocol):
    """Iterates over the frames of a source; made by `open_live`."""

    dropped: int  # sampled frames that nobody took in time
    damaged: int  # frames that could not be decoded, or only in part

    def __iter__(self) -> Iterator[LiveFrames | Interruption]: ...

    def __enter__(self) -> LiveReader: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def live_source(text: str, *, format: str = "") -> LiveSource:
    """What a user's words mean.

    Args:
        text: A file, an address such as udp://127.0.0.1:5000 or rtsp://..., or the number of a camera.
        format: FFmpeg's name of the input format: `text` is then a device.

    Raises:
        UsageError: The address begins with an unknown protocol, or cameras have no numbers on this system.
    """
    if format:
        return LiveSource(text, format)
    if text.isdecimal():
        if sys.platform not in CAMERAS:
            raise UsageError(
                f"cameras have names, not numbers, on this system: give 'video=NAME' with --format dshow, not {text}"
            )
        kind, name = CAMERAS[sys.platform]
        return LiveSource(name.format(text), kind)
    if text.startswith("/dev/video"):
        return LiveSource(text, "v4l2")
    protocol, is_address, _ = text.partition("://")
    if is_address and protocol.lower() not in PROTOCOLS:
        raise UsageError(f"{text}: {protocol}:// is unknown; use one of {', '.join(PROTOCOLS)}, or the path of a file")
    return LiveSource(text, is_file=not is_address)


def open_live(source: LiveSource, settings: Sequence[DecodeSettings], *, patience_seconds: float) -> LiveReader:
    """Start reading; the result is a context manager.

    Args:
        source: From `live_source`.
        settings: What is wanted of every frame; all with the sampling rule of the first.
        patience_seconds: How long to try again when a camera or stream does not come, or is interrupted.

    Returns:
        The reader. Iterating over it may raise UnreadableVideoError or another VideoError.

    Raises:
        UsageError: The sampling rule needs the end of the video, and the source is not a file.
        UnreadableVideoError: The file is missing, empty or not a regular file.
    """
    rule = settings[0].sampling
    if source.is_file:
        return _FileReader(source, settings)
    if rule.kind == "num_frames":
        raise UsageError(
            f"the run was trained on num_frames={rule.value:g} of every video, which needs its end: watch files with "
            "it, or train on features extracted with --fps or --every"
        )
    return _StreamReader(source, settings, patience_seconds)


class _FileReader:
    """A file, read exactly as `clipseq extract` reads it."""

    def __init__(self, source: LiveSource, settings: Sequence[DecodeSettings]) -> None:
        self.dropped = self.damaged = 0
        item = VideoItem(Path(source.name).name, Path(source.name))
        self._readers = [open_clip(item, each, chunk_frames=1) for each in settings]

    def __enter__(self) -> _FileReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for reader in self._readers:
            reader.close()

    def __iter__(self) -> Iterator[LiveFrames]:
        for frames in zip(*self._readers, strict=True):
            yield LiveFrames(frames, time.monotonic())


@dataclass(frozen=True)
class _Decoded:
    picture: av.VideoFrame
    index: int
    seconds: float
    arrived: float
    part: int


class _StreamReader:
    """A camera or stream, read by a thread of its own."""

    def __init__(self, source: LiveSource, settings: Sequence[DecodeSettings], patience_seconds: float) -> None:
        self.dropped = self.damaged = 0
        self._source, self._settings, self._patience = source, settings, patience_seconds
        self._items: deque[Any] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._part, self._came = -1, 0
        self._thread = threading.Thread(target=self._run, name=f"live {source.name}", daemon=True)

    def __enter__(self) -> _StreamReader:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join(timeout=1.0)  # a read that hangs ends after QUIET_SECONDS

    def __iter__(self) -> Iterator[LiveFrames | Interruption]:
        part, fit = -1, _Fit(self._settings, UPRIGHT)
        while True:
            item = self._take()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, _Decoded):
                if item.part != part:
                    part, fit = item.part, _Fit(self._settings, orientation(item.picture))
                yield LiveFrames(fit(item), item.arrived, part)
            else:
                yield item

    def _take(self) -> Any:
        """The next item; waits in short steps, so that Ctrl-C is obeyed."""
        with self._changed:
            while not self._items:
                self._changed.wait(POLL_SECONDS)
            return self._items.popleft()

    def _put(self, item: Any) -> None:
        with self._changed:
            waiting = [each for each in self._items if isinstance(each, _Decoded)]
            if isinstance(item, _Decoded) and len(waiting) >= MOST_WAITING:
                self._items.remove(waiting[0])
                self.dropped += 1
            self._items.append(item)
            self._changed.notify()

    def _run(self) -> None:
        """Reads until nobody listens, the source has ended, or patience has."""
        until, wait, told = time.monotonic() + self._patience, WAIT_SECONDS[0], ""
        while not self._stopped.is_set():
            came = self._came
            try:
                if self._read_once():
                    self._put(None)
                    return
                reason = "it has ended"
            except (av.error.FFmpegError, OSError, NoVideoStreamError) as error:
                reason = _reason_of(error)
                if not self._came and isinstance(error, (FileNotFoundError, PermissionError, NoVideoStreamError)):
                    until = 0.0  # waiting does not help
            except BaseException as error:  # a bug: the thread must not die silently
                self._put(error)
                return
            if self._came > came:
                until, wait, told = time.monotonic() + self._patience, WAIT_SECONDS[0], ""
            if time.monotonic() >= until:
                self._put(self._end(reason))
                return
            if reason != told:
                self._put(Interruption(reason))
                told = reason
            self._stopped.wait(wait)
            wait = min(2 * wait, WAIT_SECONDS[1])

    def _end(self, reason: str) -> UnreadableVideoError:
        tried = f", and did not come back within {self._patience:g} s" if self._came else ""
        return UnreadableVideoError(
            f"{self._source.name} cannot be watched ({reason}){tried}; check that it is there, or wait longer with "
            "--patience"
        )

    def _read_once(self) -> bool:
        """Read from opening to the end; whether it is the end of a recording that will not go on."""
        with self._open() as container:
            streams = shown_streams(container)
            if not streams:
                raise NoVideoStreamError("it has no video")
            stream = streams[0]
            read_only(container, stream)
            frames = self._decoded(container, stream)
            self._take_part(deinterlaced(frames) if self._settings[0].deinterlace == "bwdif" else frames)
            return not self._source.format and container.duration is not None and not self._stopped.is_set()

    def _open(self) -> av.container.InputContainer:
        is_device = bool(self._source.format)
        options = OPTIONS if is_device else {**OPTIONS, "protocol_whitelist": ",".join((*PROTOCOLS, *INNER_PROTOCOLS))}
        timeouts = (min(OPEN_SECONDS, max(self._patience, 1.0)), QUIET_SECONDS)
        return av.open(
            self._source.name, format=self._source.format or None, timeout=timeouts, container_options=options
        )

    def _decoded(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """The frames from the first keyframe on."""
        codec, began = stream.codec_context.codec, time.monotonic()
        started = codec.intra_only or codec.name in FRAMEWISE  # every frame stands for itself
        try:
            for packet in container.demux(stream):
                if self._stopped.is_set():
                    return
                started = started or packet.is_keyframe or time.monotonic() - began > KEYFRAME_SECONDS
                yield from self._counted(packet.decode) if started else ()
        except av.error.FFmpegError:
            yield from self._counted(lambda: stream.decode(None))  # those that the decoder still held
            raise

    def _counted(self, decode: Callable[[], list[av.VideoFrame]]) -> list[av.VideoFrame]:
        """The frames that a call gives; damage is counted."""
        try:
            frames = decode()
        except av.error.FFmpegError:
            self.damaged += 1
            return []
        self.damaged += sum(frame.is_corrupt for frame in frames)
        return frames

    def _take_part(self, frames: Iterator[av.VideoFrame]) -> None:
        """Sample the frames of one connection, and begin a new part where its clock jumps."""
        rule = self._settings[0].sampling
        picker, index, start, before = FramePicker(rule), 0, 0.0, None
        for frame in frames:
            arrived = time.monotonic()
            now = arrived if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
            if before is not None and before - BACK_SECONDS < now <= before:
                self.damaged += 1  # out of order
                continue
            if before is None or not before < now < before + JUMP_SECONDS:
                if before is not None:
                    self._put(Interruption(f"its clock has jumped by {now - before:+.1f} s"))
                self._part += 1
                picker, index, start = FramePicker(rule), 0, now
            before = now
            if picker.takes(now - start):
                self._put(_Decoded(frame, index, now - start, arrived, self._part))
            self._came += 1
            index += 1


class _Fit:
    """Brings the frames of one part into the forms that settings ask for."""

    def __init__(self, settings: Sequence[DecodeSettings], turned: tuple[int, int, int, int]) -> None:
        self._ways = [(FrameFitter(each.image_size, each.fit, turned), make_transform(each.input)) for each in settings]

    def __call__(self, decoded: _Decoded) -> tuple[SampledFrames, ...]:
        index, seconds = np.array([decoded.index], np.int64), np.array([decoded.seconds], np.float64)
        found = []
        for fitter, transform in self._ways:
            picture = np.empty((1, *fitter.shape(decoded.picture)), np.uint8)
            fitter.fit(decoded.picture, picture[0])
            found.append(transform(SampledFrames(picture, index, seconds)))
        return tuple(found)


def _reason_of(error: BaseException) -> str:
    if isinstance(error, av.error.ExitError):  # how FFmpeg reports our own time limit
        return f"nothing came for {QUIET_SECONDS:g} s"
    return str(getattr(error, "strerror", None) or error)
