"""Looks at every video without a backbone: packets and one decoded frame -> what it contains and what is odd.

Reading the packets reads the file once. Contents are compared (by hash) only for files of the same size.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from extract.decode.probe import probe_clip
from extract.errors import NoDecoderError, NoFramesError, NoVideoStreamError, VideoError, VideoTimeoutError
from extract.records import VideoItem, VideoTruth
from extract.system.addresses import Address
from extract.system.cores import default_decode_threads
from extract.videos.rule import SamplingRule
from extract.videos.sources import source_of

SHORT_SECONDS = 0.5  # too short for a sequence model to learn from
CLIPS_AHEAD = 4  # per thread
FAILURE_FLAGS: dict[type[VideoError], str] = {
    NoVideoStreamError: "no video stream",
    NoDecoderError: "no decoder",
    NoFramesError: "no frame",
    VideoTimeoutError: "time-out",
    VideoError: "unreadable",
}


@dataclass(frozen=True)
class ScanResult:
    """What was found about one clip.

    Args:
        clip_id: Name of the clip.
        path: Where it is.
        size_bytes: Size of the file; 0 if it is gone.
        truth: The record of its video, counted from packets; None if it cannot be extracted.
        duration_seconds: Length of the clip, which may be a span of the video.
        sampled_frames: How many frames the rule takes.
        read_frames: How many frames must be decoded for them.
        flags: What is odd, in a few words each; for a failed clip, the kind of failure.
        remarks: Flag -> sentence, for flags that have one.
        error: Why it cannot be extracted, "" if it can.
        digest: SHA-256 of the content, "" if no other file has the same size.
        same_content_as: An earlier clip whose file has the same content, "" for none.
    """

    clip_id: str
    path: str
    size_bytes: int = 0
    truth: VideoTruth | None = None
    duration_seconds: float = 0.0
    sampled_frames: int = 0
    read_frames: int = 0
    flags: tuple[str, ...] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    digest: str = ""
    same_content_as: str = ""


@dataclass
class ScanTotals:
    """Totals over the results passed to `add`."""

    clips: int = 0
    failed: int = 0
    frames: int = 0
    sampled_frames: int = 0
    read_pixels: int = 0
    seconds: float = 0.0
    size_bytes: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    codecs: Counter[str] = field(default_factory=Counter)
    _paths: set[str] = field(default_factory=set, repr=False)

    def add(self, result: ScanResult) -> None:
        """Count one clip; a video's frames and bytes count once, however many spans it has.

        Args:
            result: From `scan_videos`.
        """
        self.clips += 1
        self.flags.update(result.flags)
        self.failed += bool(result.error)
        is_new = result.path not in self._paths
        self._paths.add(result.path)
        self.size_bytes += result.size_bytes * is_new
        if result.truth is not None:
            self.codecs[result.truth.codec] += 1
            self.frames += result.truth.decoded_frames * is_new
            self.seconds += result.duration_seconds
            self.sampled_frames += result.sampled_frames
            self.read_pixels += result.read_frames * result.truth.width * result.truth.height


def scan_videos(
    items: Sequence[VideoItem], sampling: SamplingRule, *, threads: int | None = None
) -> Iterator[ScanResult]:
    """Look at every clip.

    Args:
        items: The clips.
        sampling: The rule used to count frames.
        threads: Files read at the same time; None for one per core, at most 8.

    Yields:
        One result per clip, in the order of the items, as soon as it and all earlier ones are known.
    """
    sizes = _sizes(items)
    shared = {size for size, count in Counter(sizes.values()).items() if count > 1}
    first_with: dict[str, ScanResult] = {}
    waiting: deque[Future[ScanResult]] = deque()
    threads = threads or default_decode_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="scan")
    try:
        for item in items:
            compares = sizes.get(_name(item)) in shared
            waiting.append(pool.submit(_scan, item, sampling, with_digest=compares))
            if len(waiting) >= CLIPS_AHEAD * threads:
                yield _with_duplicate(waiting.popleft().result(), first_with)
        while waiting:
            yield _with_duplicate(waiting.popleft().result(), first_with)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _sizes(items: Sequence[VideoItem]) -> dict[str, int]:
    """Size in bytes of every existing, non-empty local file, by absolute path."""
    sizes = {}
    for path, item in {_name(item): item for item in items if not isinstance(item.path, Address)}.items():
        try:
            sizes[path] = source_of(item, with_digest=False).size
        except VideoError:
            continue
    return {path: size for path, size in sizes.items() if size}


def _name(item: VideoItem) -> str:
    """The absolute path, or the address."""
    return str(item.path) if isinstance(item.path, Address) else os.path.abspath(item.path)


def _scan(item: VideoItem, sampling: SamplingRule, *, with_digest: bool) -> ScanResult:
    result = ScanResult(item.clip_id, _name(item))
    try:
        source = source_of(item, with_digest=with_digest)
        digest = source.digest if with_digest else ""  # the ETags of two files may be equal by chance
        result = replace(result, size_bytes=source.size, digest=digest)
        probe = probe_clip(item, sampling)
    except VideoError as error:
        kind = next(flag for kind, flag in FAILURE_FLAGS.items() if isinstance(error, kind))
        return replace(result, error=str(error), flags=(kind,))
    duration = min(item.end_seconds, probe.truth.duration_seconds) - item.start_seconds
    return replace(
        result,
        truth=probe.truth,
        duration_seconds=duration,
        sampled_frames=probe.sampled_frames,
        read_frames=probe.read_frames,
        flags=(*odd_flags(probe.truth, duration_seconds=duration), *probe.remarks),
        remarks=probe.remarks,
    )


def odd_flags(truth: VideoTruth, *, duration_seconds: float) -> tuple[str, ...]:
    """What is odd about a video, in a few words each.

    Args:
        truth: Its record.
        duration_seconds: Length of the clip.

    Returns:
        The flags; empty for an ordinary video.
    """
    found = {
        "declared frames differ": truth.declared_frames not in (None, truth.decoded_frames),
        "variable rate": truth.variable_rate,
        "rebuilt timestamps": truth.timestamps == "rebuilt",
        "rotated": truth.rotation_degrees != 0,
        "interlaced": truth.interlaced,
        "lost spans": bool(truth.lost_spans),
        "very short": duration_seconds < SHORT_SECONDS,
    }
    return tuple(flag for flag, is_there in found.items() if is_there)


def _with_duplicate(result: ScanResult, first_with: dict[str, ScanResult]) -> ScanResult:
    """The result, with a flag if an earlier, different file has the same content."""
    if not result.digest:
        return result
    first = first_with.setdefault(result.digest, result)
    if first.path == result.path:
        return result
    return replace(result, flags=(*result.flags, "duplicate content"), same_content_as=first.clip_id)
