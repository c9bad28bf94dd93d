"""One clip -> chunks of sampled RGB frames and a record of what the video really contains.

Video files are read with PyAV, by seeking if few frames are wanted; numbered pictures are read with OpenCV.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np

from extract.decode import images, pyav
from extract.decode.clock import FrameClock
from extract.decode.fit import FrameFitter
from extract.decode.packets import PacketIndex, scan_packets
from extract.decode.settings import DecodeSettings
from extract.decode.stream import DecodedFrame, FrameStream
from extract.decode.transforms import make_transform
from extract.decode.truth import make_truth, reading_notes
from extract.decode.watchdog import Heartbeat, Watched
from extract.errors import ClipseqError, CorruptVideoError, NoFramesError, UnexpectedVideoError, UnreadableVideoError
from extract.records import SampledFrames, VideoItem, VideoTruth
from extract.system.addresses import Address
from extract.system.core_slots import CoreSlots
from extract.text import counted, span_text
from extract.videos.remote import RemoteFile, readable
from extract.videos.rule import SamplingRule
from extract.videos.sampling import ROUNDING_SECONDS, FramePicker, frames_inside, sample_indices
from extract.videos.sources import check_file

log = logging.getLogger(__name__)

STALL_SECONDS = 30.0
MARK = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)  # no real picture has these pixels there
FIELDS = {"none": "left woven as coded (--deinterlace)", "bwdif": "merged into one picture by bwdif"}


class ClipReader:
    """A context manager; iterating over it once yields the clip's `SampledFrames` chunks, then `truth` is set.

    Made by `open_clip`. With several inputs, iterate over `by_input()` instead.

    Attributes:
        expected_frames: Rows to expect according to the packets, known from the first chunk on; None before.
    """

    def __init__(
        self,
        item: VideoItem,
        settings: DecodeSettings,
        chunk_frames: int,
        at_seconds: np.ndarray | None,
        turns: CoreSlots | None,
        inputs: Sequence[str],
    ) -> None:
        self._truth: VideoTruth | None = None
        self.expected_frames: int | None = None
        self._watched = Watched(
            lambda heart: _read_clip(item, settings, chunk_frames, heart, at_seconds, inputs),
            name=str(item.path),
            stall_seconds=STALL_SECONDS,
            turns=turns,
        )

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[SampledFrames]:
        return (chunk for _, chunk in self.by_input())

    def by_input(self) -> Iterator[tuple[str, SampledFrames]]:
        """Every chunk once per input, in turn, with the input's name."""
        for part in self._watched:
            if isinstance(part, VideoTruth):
                self._truth = part
            elif isinstance(part, int):
                self.expected_frames = part
            else:
                yield part

    @property
    def busy_seconds(self) -> float:
        """Time spent on reading, decoding and resizing so far, without waiting for a turn or for the consumer."""
        return self._watched.busy_seconds

    @property
    def truth(self) -> VideoTruth:
        """What was found in the video; available only when the iteration has ended."""
        if self._truth is None:
            raise RuntimeError("the truth of a clip is known only after all its frames have been read")
        return self._truth

    def close(self) -> None:
        """Stop reading and close the file."""
        self._watched.close()


def open_clip(
    item: VideoItem,
    settings: DecodeSettings,
    *,
    chunk_frames: int = 32,
    at_seconds: np.ndarray | None = None,
    turns: CoreSlots | None = None,
    inputs: Sequence[str] = (),
) -> ClipReader:
    """Start reading a clip in its own thread, a few chunks ahead.

    Args:
        item: The clip.
        settings: Which frames, and in what form.
        chunk_frames: Maximum rows per chunk.
        at_seconds: float64 (N,), increasing: take the frames at these times instead of those of the rule, such as the
            timestamps in a store. If one is lost, the next takes its place.
        turns: Shared by all that decode and compute on the same cores; one chunk takes one turn.
        inputs: What to make of the frames, keys of `FRAME_TRANSFORMS`, if not only what the settings name.

    Returns:
        The reader. Iterating over it may raise UnreadableVideoError, NoFramesError, CorruptVideoError or
        VideoTimeoutError.

    Raises:
        UnreadableVideoError: The file is missing, empty or not a regular file.
    """
    check_file(item.path)
    return ClipReader(item, settings, chunk_frames, at_seconds, turns, inputs)


@contextmanager
def named_errors(path: Path | Address) -> Iterator[None]:
    """Turn the decoders' errors into ours, and unexpected ones too: they must not stop other videos."""
    try:
        yield
    except (ClipseqError, MemoryError):
        raise
    except (av.error.FFmpegError, cv2.error, OSError) as error:
        raise UnreadableVideoError(f"{path} cannot be decoded ({error}); replace or remove it") from error
    except Exception as error:
        log.debug("reading %s", path, exc_info=True)
        raise UnexpectedVideoError(
            f"{path} triggered a bug in clipseq or a library ({type(error).__name__}: {error}); report it with this "
            "file; clipseq extract retries the file on every run"
        ) from error


@dataclass(frozen=True)
class _Job:
    """One clip to read: its packets, the positions the rule wants, and how to read them."""

    item: VideoItem
    settings: DecodeSettings
    index: PacketIndex
    wanted: np.ndarray  # (N,)
    stream: FrameStream
    is_sparse: bool
    is_listed: bool  # the wanted frames were given, not chosen by the rule


_Pick = tuple[DecodedFrame, int, float]


def _read_clip(
    item: VideoItem,
    settings: DecodeSettings,
    chunk_frames: int,
    heart: Heartbeat,
    at_seconds: np.ndarray | None = None,
    inputs: Sequence[str] = (),
) -> Iterator[int | tuple[str, SampledFrames] | VideoTruth]:
    """`_read_frames`, with all errors turned into errors of the video."""
    with named_errors(item.path), readable(item.path, heart.beat) as place:
        yield from _read_frames(item, place, settings, chunk_frames, heart, at_seconds, inputs)


def _read_frames(
    item: VideoItem,
    place: Path | RemoteFile,
    settings: DecodeSettings,
    chunk_frames: int,
    heart: Heartbeat,
    at_seconds: np.ndarray | None = None,
    inputs: Sequence[str] = (),
) -> Iterator[int | tuple[str, SampledFrames] | VideoTruth]:
    """The expected number of frames, then the chunks of a clip, then its truth record."""
    job = _start(item, place, settings, heart, at_seconds)
    yield len(job.wanted)
    clock = FrameClock(job.index)
    picks = _sparse_picks(job, clock) if job.is_sparse else _dense_picks(job, clock)
    fitter = FrameFitter(settings.image_size, settings.fit, job.index.orientation)
    transforms = {name: make_transform(name) for name in inputs or (settings.input,)}
    has_any = False
    try:
        while (sampled := _sampled(job, picks, fitter, clock, chunk_frames)) is not None:
            for name, transform in transforms.items():
                yield name, transform(sampled)
            has_any = True
        if not has_any:
            raise NoFramesError(_nothing(job, clock))
        yield _truth(job, clock)
    finally:
        job.stream.frames = iter(())  # breaks a reference cycle that keeps the file and its decoder open


def _sampled(
    job: _Job, picks: Iterator[_Pick], fitter: FrameFitter, clock: FrameClock, rows: int
) -> SampledFrames | None:
    """Up to `rows` frames in one array; None if there are no more."""
    frames, positions, seconds = np.empty(0, np.uint8), list[int](), list[float]()
    for frame, position, at in picks:
        shape = fitter.shape(frame.picture)
        if not frames.size:
            frames = np.empty((rows, *shape), np.uint8)
        elif shape != frames.shape[1:]:
            raise UnreadableVideoError(
                f"{job.item.path} has frames of different sizes; set an image size to make them equal"
            )
        if not _is_written(fitter, frame.picture, frames[len(positions)]):
            job.stream.note_error(f"the frame at {at:.3f} s came without a picture")
            clock.lose(at)
            continue
        positions.append(position)
        seconds.append(at)
        if len(positions) == rows:
            break
    if not positions:
        return None
    return SampledFrames(frames[: len(positions)], np.array(positions, np.int64), np.array(seconds, np.float64))


def _is_written(fitter: FrameFitter, picture: av.VideoFrame, out: np.ndarray) -> bool:
    """Fit a picture into its place; False if part of it was left unwritten, confirmed with a second mark."""
    places = out[:: -(-len(out) // len(MARK)), :: -(-out.shape[1] // len(MARK))]
    mark = MARK[: len(places), : places.shape[1]]
    for before in (mark, ~mark):
        places[:] = before
        fitter.fit(picture, out)
        if (places != before).any(axis=(1, 2)).all():
            return True
    return False


def _start(
    item: VideoItem,
    place: Path | RemoteFile,
    settings: DecodeSettings,
    heart: Heartbeat,
    at_seconds: np.ndarray | None,
) -> _Job:
    """Scan the packets, choose the frames and how to read them."""
    index = index_of(place, heart)
    wanted = wanted_frames(item, settings.sampling, index) if at_seconds is None else _nearest(at_seconds, index)
    is_file, weaves = not place.is_dir(), settings.deinterlace == "none"  # a single frame has no neighbours
    is_sparse = is_file and weaves and pyav.seeking_pays(item, index, wanted)
    if isinstance(place, Path) and not is_file:
        stream = images.read_all(place, heart.beat)
    elif is_sparse:
        stream = pyav.read_some(place, index, wanted, heart.beat)
    else:
        stream = pyav.read_all(place, index, heart.beat, deinterlace=settings.deinterlace, threads=settings.threads)
    return _Job(item, settings, index, wanted, stream, is_sparse, at_seconds is not None)


def wanted_frames(item: VideoItem, sampling: SamplingRule, index: PacketIndex) -> np.ndarray:
    """int64 (N,), the positions a rule takes from a clip, at least one."""
    wanted = sample_indices(
        index.pts_seconds,
        sampling,
        start_seconds=item.start_seconds,
        end_seconds=item.end_seconds,
        duration_seconds=index.duration_seconds,
        rounding_seconds=index.rounding_seconds,
    )
    if not len(wanted):
        raise NoFramesError(_no_frame(item, sampling, index))
    return wanted


def _no_frame(item: VideoItem, sampling: SamplingRule, index: PacketIndex) -> str:
    count = len(frames_inside(index.pts_seconds, item.start_seconds, item.end_seconds))
    if count:
        return (
            f"{item.clip_id} has {counted(count, 'frame')}, and --skip-frames {sampling.skip_frames} leaves none of "
            "them; skip fewer, or leave the clip out"
        )
    return (
        f"{item.path} has no frame between {item.start_seconds:g} and {item.end_seconds:g} s and is "
        f"{index.duration_seconds:g} s long; correct the span of {item.clip_id}"
    )


def _nearest(at_seconds: np.ndarray, index: PacketIndex) -> np.ndarray:
    """int64 (N,), the positions of the given times."""
    slack = max(index.tick_seconds / 2, ROUNDING_SECONDS)
    return np.unique(np.minimum(np.searchsorted(index.pts_seconds, at_seconds - slack), len(index.pts_seconds) - 1))


def _dense_picks(job: _Job, clock: FrameClock) -> Iterator[_Pick]:
    """Decode every frame and take those of the rule."""
    index = job.index
    rule = SamplingRule("num_frames", len(job.wanted)) if job.is_listed else job.settings.sampling
    picker = FramePicker(
        rule,
        start_seconds=job.item.start_seconds,
        wanted_seconds=index.pts_seconds[job.wanted] if rule.kind == "num_frames" else None,
        rounding_seconds=index.rounding_seconds,
    )
    for frame in job.stream.frames:
        seconds = clock.next_time(frame.pts_seconds)
        if seconds >= job.item.end_seconds:
            return
        if seconds >= job.item.start_seconds and picker.takes(seconds):
            yield frame, len(clock) - 1, seconds
        if picker.has_all:
            clock.stopped = True
            return


def _sparse_picks(job: _Job, clock: FrameClock) -> Iterator[_Pick]:
    """Decode only the frames of the rule; their positions are known from the packets."""
    for frame in job.stream.frames:
        position = int(frame.position if frame.position is not None else 0)
        seconds = clock.next_time(float(job.index.pts_seconds[position]))
        if seconds >= job.item.end_seconds:
            return
        yield frame, position, seconds


def _nothing(job: _Job, clock: FrameClock) -> str:
    said = f" ({job.stream.last_error})" if job.stream.last_error else ""
    if not len(clock):
        return f"{job.item.path}: {job.stream.decoder} cannot decode a single frame{said}; replace it"
    return f"{job.item.path}: no frame of the span of {job.item.clip_id} can be decoded{said}; leave it out"


def _truth(job: _Job, clock: FrameClock) -> VideoTruth:
    """The truth record; an error if frames are lost and the settings do not salvage."""
    notes = reading_notes(job.stream, clock, fields=FIELDS[job.settings.deinterlace])
    decoded = len(clock)
    if job.is_sparse:
        lost = clock.lost_among(job.index.pts_seconds[job.wanted])
        decoded = len(job.index.pts_seconds)
        notes.insert(0, f"frames are counted from packets, only {len(clock)} were fetched")
    else:
        lost = clock.lost_spans(job.item.end_seconds)
        if job.index.timestamps != "real" and job.stream.errors and not (job.item.is_span or clock.stopped):
            packets = len(job.index.pts_seconds)
            notes.append(f"{packets - decoded:,} of {counted(packets, 'packet')} gave no frame")
    first = job.settings.sampling.first_frames
    is_beginning = job.item.is_span or clock.stopped or (job.is_sparse and first and len(job.wanted) >= first)
    has_lost = lost or (job.stream.errors and job.index.timestamps != "real")
    if job.index.missing_bytes and not is_beginning:
        has_lost, lost = True, (*lost, *_missing_end(job.index))
    if job.settings.on_corrupt != "salvage" and has_lost:
        raise _corrupt(job, lost)
    decoder = f"{job.stream.decoder}: few frames wanted, seeking" if job.is_sparse else job.stream.decoder
    return make_truth(
        job.index,
        decoder=decoder,
        decoded_frames=decoded,
        interlaced=job.stream.interlaced > 0,
        lost_spans=lost,
        notes=notes,
    )


def _missing_end(index: PacketIndex) -> list[tuple[float, float]]:
    """What a file that was cut short lacks, if it says how many frames it had."""
    declared_seconds = (index.declared_frames or 0) / index.average_rate
    return [(index.duration_seconds, declared_seconds)] if declared_seconds > index.duration_seconds else []


def _corrupt(job: _Job, lost: Sequence[tuple[float, float]]) -> CorruptVideoError:
    where = ", ".join(map(span_text, lost[:3])) or job.stream.last_error or "its end is missing"
    error = CorruptVideoError(
        f"{job.item.path} has lost frames ({where}) and --on-corrupt is {job.settings.on_corrupt}; "
        "replace it, or keep what decodes with --on-corrupt salvage"
    )
    error.stops_job = job.settings.on_corrupt == "fail"
    return error


def index_of(path: Path | RemoteFile, heart: Heartbeat) -> PacketIndex:
    """The index of a video's packets or of a folder's pictures."""
    if isinstance(path, Path) and path.is_dir():
        return images.index_images(path)
    return scan_packets(path, heart.beat)
