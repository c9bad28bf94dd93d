"""One clip -> chunks of sampled RGB frames and a record of what is really in the video.

A video file is read with PyAV, by seeking where few of its frames are wanted; numbered pictures are read with OpenCV.
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
from extract.system.core_slots import CoreSlots
from extract.text import counted, span_text
from extract.videos.rule import SamplingRule
from extract.videos.sampling import ROUNDING_SECONDS, FramePicker, frames_inside, sample_indices
from extract.videos.sources import check_file

log = logging.getLogger(__name__)

STALL_SECONDS = 30.0
MARK = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)  # what no picture holds in these places
FIELDS = {"none": "woven as they are coded (--deinterlace)", "bwdif": "made into one picture by bwdif"}


class ClipReader:
    """A context manager; iterating it once yields the clip's `SampledFrames` chunks, then `truth` is there.

    Made by `open_clip`.

    Attributes:
        expected_frames: Rows that the packets promise, known from the first chunk on; None before.
    """

    def __init__(
        self,
        item: VideoItem,
        settings: DecodeSettings,
        chunk_frames: int,
        at_seconds: np.ndarray | None,
        turns: CoreSlots | None,
    ) -> None:
        self._truth: VideoTruth | None = None
        self.expected_frames: int | None = None
        self._watched = Watched(
            lambda heart: _read_clip(item, settings, chunk_frames, heart, at_seconds),
            name=str(item.path),
            stall_seconds=STALL_SECONDS,
            turns=turns,
        )

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[SampledFrames]:
        for part in self._watched:
            if isinstance(part, VideoTruth):
                self._truth = part
            elif isinstance(part, int):
                self.expected_frames = part
            else:
                yield part

    @property
    def busy_seconds(self) -> float:
        """How long reading, decoding and resizing took so far, without waiting for a turn or for the reader."""
        return self._watched.busy_seconds

    @property
    def truth(self) -> VideoTruth:
        """What was found in the video; complete, and only there, when the iteration has ended."""
        if self._truth is None:
            raise RuntimeError("the truth of a clip is known when all its frames have been read")
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
) -> ClipReader:
    """Start reading a clip in a thread of its own, a few chunks ahead.

    Args:
        item: The clip.
        settings: Which frames and in what form.
        chunk_frames: Rows per chunk at most.
        at_seconds: float64 (N,), rising: these frames instead of those that the rule would take, such as the
            timestamps that a store holds. Where one is lost the next takes its place.
        turns: Of all that decode and compute on the same cores at once; a chunk is a step.

    Returns:
        The reader. While it is iterated it may raise UnreadableVideoError, NoFramesError, CorruptVideoError or
        VideoTimeoutError.

    Raises:
        UnreadableVideoError: The file is missing, empty or no regular file.
    """
    check_file(item.path)
    return ClipReader(item, settings, chunk_frames, at_seconds, turns)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """The decoders' own errors become one of ours, and so does what nobody foresaw: it must not stop other videos."""
    try:
        yield
    except (ClipseqError, MemoryError):
        raise
    except (av.error.FFmpegError, cv2.error, OSError) as error:
        raise UnreadableVideoError(f"{path} cannot be decoded ({error}); replace or remove it") from error
    except Exception as error:
        log.debug("reading %s", path, exc_info=True)
        raise UnexpectedVideoError(
            f"{path} met a fault of clipseq or of a library ({type(error).__name__}: {error}); report it with this "
            "file; clipseq extract tries the file again each time"
        ) from error


@dataclass(frozen=True)
class _Job:
    """One clip to read: its packets, the positions that the rule wants, and the way of reading that was chosen."""

    item: VideoItem
    settings: DecodeSettings
    index: PacketIndex
    wanted: np.ndarray  # (N,)
    stream: FrameStream
    is_sparse: bool
    is_listed: bool  # the wanted frames were named, not chosen by the rule


_Pick = tuple[DecodedFrame, int, float]


def _read_clip(
    item: VideoItem,
    settings: DecodeSettings,
    chunk_frames: int,
    heart: Heartbeat,
    at_seconds: np.ndarray | None = None,
) -> Iterator[int | SampledFrames | VideoTruth]:
    """`_read_frames`, with all errors as errors of the video."""
    with named_errors(item.path):
        yield from _read_frames(item, settings, chunk_frames, heart, at_seconds)


def _read_frames(
    item: VideoItem,
    settings: DecodeSettings,
    chunk_frames: int,
    heart: Heartbeat,
    at_seconds: np.ndarray | None = None,
) -> Iterator[int | SampledFrames | VideoTruth]:
    """How many frames are expected, the chunks of a clip and, last, its truth record."""
    job = _start(item, settings, heart, at_seconds)
    yield len(job.wanted)
    clock = FrameClock(job.index)
    picks = _sparse_picks(job, clock) if job.is_sparse else _dense_picks(job, clock)
    fitter = FrameFitter(settings.image_size, settings.fit, job.index.orientation)
    transform = make_transform(settings.input)
    has_any = False
    try:
        while (sampled := _sampled(job, picks, fitter, clock, chunk_frames)) is not None:
            yield transform(sampled)
            has_any = True
        if not has_any:
            raise NoFramesError(_nothing(job, clock))
        yield _truth(job, clock)
    finally:
        job.stream.frames = iter(())  # which hold the stream that holds them, and the file with its decoder


def _sampled(
    job: _Job, picks: Iterator[_Pick], fitter: FrameFitter, clock: FrameClock, rows: int
) -> SampledFrames | None:
    """So many frames in one array, or as many as there are; None where there are none."""
    frames, positions, seconds = np.empty(0, np.uint8), list[int](), list[float]()
    for frame, position, at in picks:
        shape = fitter.shape(frame.picture)
        if not frames.size:
            frames = np.empty((rows, *shape), np.uint8)
        elif shape != frames.shape[1:]:
            raise UnreadableVideoError(
                f"{job.item.path} holds frames of several sizes; give an image size to bring them to one"
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
    """Fits a picture into its place; False where a part of that is as before, which another mark leaves no doubt of."""
    places = out[:: -(-len(out) // len(MARK)), :: -(-out.shape[1] // len(MARK))]
    mark = MARK[: len(places), : places.shape[1]]
    for before in (mark, ~mark):
        places[:] = before
        fitter.fit(picture, out)
        if (places != before).any(axis=(1, 2)).all():
            return True
    return False


def _start(item: VideoItem, settings: DecodeSettings, heart: Heartbeat, at_seconds: np.ndarray | None) -> _Job:
    """Scan the packets, choose the frames, and how to read them."""
    index = index_of(item.path, heart)
    wanted = wanted_frames(item, settings.sampling, index) if at_seconds is None else _nearest(at_seconds, index)
    is_file, weaves = not item.path.is_dir(), settings.deinterlace == "none"  # a frame alone has no neighbours
    is_sparse = is_file and weaves and pyav.seeking_pays(item, index, wanted)
    if not is_file:
        stream = images.read_all(item.path, heart.beat)
    elif is_sparse:
        stream = pyav.read_some(item.path, index, wanted, heart.beat)
    else:
        stream = pyav.read_all(item.path, index, heart.beat, deinterlace=settings.deinterlace, threads=settings.threads)
    return _Job(item, settings, index, wanted, stream, is_sparse, at_seconds is not None)


def wanted_frames(item: VideoItem, sampling: SamplingRule, index: PacketIndex) -> np.ndarray:
    """int64 (N,), the positions that a rule takes from a clip, never none."""
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
        f"{item.path} has no frame between {item.start_seconds:g} and {item.end_seconds:g} s, it is "
        f"{index.duration_seconds:g} s long; correct the span of {item.clip_id}"
    )


def _nearest(at_seconds: np.ndarray, index: PacketIndex) -> np.ndarray:
    """int64 (N,), the positions of given times."""
    slack = max(index.tick_seconds / 2, ROUNDING_SECONDS)
    return np.unique(np.minimum(np.searchsorted(index.pts_seconds, at_seconds - slack), len(index.pts_seconds) - 1))


def _dense_picks(job: _Job, clock: FrameClock) -> Iterator[_Pick]:
    """Every frame is decoded, those of the rule are taken."""
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
    """Only the frames of the rule come; their positions are known from the packets."""
    for frame in job.stream.frames:
        position = int(frame.position if frame.position is not None else 0)
        seconds = clock.next_time(float(job.index.pts_seconds[position]))
        if seconds >= job.item.end_seconds:
            return
        yield frame, position, seconds


def _nothing(job: _Job, clock: FrameClock) -> str:
    said = f" ({job.stream.last_error})" if job.stream.last_error else ""
    if not len(clock):
        return f"{job.item.path}: {job.stream.decoder} decodes not one frame{said}; replace it"
    return f"{job.item.path}: no frame of the span of {job.item.clip_id} can be decoded{said}; leave it out"


def _truth(job: _Job, clock: FrameClock) -> VideoTruth:
    """What was found; an error instead where frames are lost and the settings do not salvage."""
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
    if job.settings.on_corrupt != "salvage" and (lost or (job.stream.errors and job.index.timestamps != "real")):
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


def _corrupt(job: _Job, lost: Sequence[tuple[float, float]]) -> CorruptVideoError:
    where = ", ".join(map(span_text, lost[:3])) or job.stream.last_error
    error = CorruptVideoError(
        f"{job.item.path} has lost frames ({where}) and --on-corrupt is {job.settings.on_corrupt}; "
        "replace it, or keep what decodes with --on-corrupt salvage"
    )
    error.stops_job = job.settings.on_corrupt == "fail"
    return error


def index_of(path: Path, heart: Heartbeat) -> PacketIndex:
    """What the packets of a video, or the pictures of a folder, say."""
    return images.index_images(path) if path.is_dir() else scan_packets(path, heart.beat)
