"""Assigns labelled intervals to the timesteps and original frames of a clip, by time or by frame index.

interval   [start ---------- end)      a position belongs to it if start <= position < end
timesteps  .  x     x     x     .      each covers [its own position, the next one's), the first also what comes before
frames     0  1  2  3  4  5  6  7      it, the last everything up to the end of the clip
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from extract.errors import LabelError
from extract.records import ClipEmbeddings
from sequence_models.labels.clip_names import span_of
from sequence_models.labels.table import BY_SECONDS, LabelRow

UNLABELLED = -1
CLOCK_TOLERANCE_SECONDS = 1e-6
# Matroska rounds timestamps to milliseconds, which must not move a frame into the next one.
FRAME_CLOCK_TOLERANCE_SECONDS = 1e-3
MAX_LABEL_FRAMES = 10_000_000


@dataclass(frozen=True)
class Timeline:
    """Where the timesteps of a clip are on its label axis.

    Args:
        positions: float64 (T,), seconds or frames, increasing; late by `tolerance`, so that rounding down is harmless.
        start: Where the clip starts on that axis: one sampling interval before the first timestep, but not below 0.
        end: Where the clip ends on that axis; infinite if unknown.
        unit: "s" or "frames".
        rate: Units of the axis per second; 1 for seconds, 0 if unknown.
        tolerance: How far off a position may be, in that unit.
        end_tolerance: How far labels may run past the end: rounding, or less than a frame of the source video.
    """

    positions: np.ndarray
    start: float
    end: float
    unit: str
    rate: float = 1.0
    tolerance: float = CLOCK_TOLERANCE_SECONDS
    end_tolerance: float = CLOCK_TOLERANCE_SECONDS


@dataclass(frozen=True)
class IntervalPiece:
    """A stretch [start, end) of the label axis with the same classes throughout; `labels` is never empty."""

    start: float
    end: float
    labels: frozenset[str]


@dataclass(frozen=True)
class OriginalFrames:
    """The frames that labels count, or those of the source video, and the timestep that covers each.

    Args:
        positions: float64 (F,), on the label axis.
        steps: int32 (F,), below T.
    """

    positions: np.ndarray
    steps: np.ndarray


def timeline_of(
    clip: ClipEmbeddings, *, kind: str, labels_fps: float | None, has_rate: bool = True, is_rounded: bool = False
) -> Timeline:
    """Puts the timesteps of a clip on its label axis.

    Args:
        clip: The cached clip.
        kind: BY_SECONDS or BY_FRAMES.
        labels_fps: Rate of the frames that BY_FRAMES counts; None if they are the video's own.
        has_rate: Whether the clip's times are seconds; if they only count timesteps, only frame labels can be used.
        is_rounded: Whether seconds are times of frames, rounded by the tool: they mean the nearest frame of the video.

    Returns:
        The positions (T,), and the end: as seen by the decoder, else one median interval after the last position.
    """
    truth, times = clip.truth, clip.pts_seconds
    span_end = span_of(clip.clip_id)[1]
    duration = min(truth.duration_seconds, span_end) if truth else None
    if kind == BY_SECONDS:
        frame = 1 / truth.average_rate if truth and truth.average_rate else 0.0
        rounding = (frame / 2 or FRAME_CLOCK_TOLERANCE_SECONDS) if is_rounded else CLOCK_TOLERANCE_SECONDS
        timeline = _timeline(times, duration, "s", rate=1.0, tolerance=rounding)
        return replace(timeline, end_tolerance=max(frame, FRAME_CLOCK_TOLERANCE_SECONDS))
    if labels_fps is not None:
        end = duration * labels_fps if duration else None
        tolerance = FRAME_CLOCK_TOLERANCE_SECONDS * labels_fps
        timeline = _timeline(times * labels_fps, end, "frames", rate=labels_fps, tolerance=tolerance)
        if not math.isfinite(timeline.end):
            return timeline
        return replace(timeline, end=float(math.ceil(timeline.end - _slack(labels_fps))))  # frames are whole
    end = float(truth.decoded_frames) if truth and math.isinf(span_end) else None
    rate = _source_rate(clip) if has_rate else 0.0
    return _timeline(clip.frame_indices.astype(np.float64), end, "frames", rate=rate, tolerance=0.0)


def pieces_of(rows: Sequence[LabelRow]) -> list[IntervalPiece]:
    """Cuts intervals that may overlap into pieces that do not.

    Args:
        rows: Intervals of one clip, in any order.

    Returns:
        The pieces in order; there is none where there is no interval.
    """
    opening: dict[float, list[str]] = defaultdict(list)
    closing: dict[float, list[str]] = defaultdict(list)
    for row in rows:
        opening[row.start].append(row.label)
        closing[row.end].append(row.label)
    pieces, active = [], Counter[str]()
    for start, end in pairwise(sorted({*opening, *closing})):
        active.update(opening[start])
        active.subtract(closing[start])
        active += Counter()  # drops the classes whose count is 0
        if active:
            pieces.append(IntervalPiece(start, end, frozenset(active)))
    return pieces


def empty_labels(
    timeline: Timeline, positions: np.ndarray, *, gap: int = UNLABELLED, num_classes: int | None = None
) -> np.ndarray:
    """The labels of positions that no interval covers.

    Args:
        timeline: Where the clip starts and ends.
        positions: float64 (N,).
        gap: The class of positions inside the clip; ignored with num_classes.
        num_classes: K, for many labels per position.

    Returns:
        int64 (N,), or with num_classes int8 (N, K) of 0; -1 outside the clip.
    """
    inside = (positions >= timeline.start) & (positions < timeline.end + timeline.tolerance)
    if num_classes is None:
        return np.where(inside, gap, UNLABELLED).astype(np.int64)
    return np.where(inside[:, None], 0, UNLABELLED).astype(np.int8).repeat(num_classes, axis=1)


def label_positions(
    pieces: Sequence[IntervalPiece], positions: np.ndarray, class_index: Mapping[str, int], *, empty: np.ndarray
) -> np.ndarray:
    """The label of every position.

    Args:
        pieces: From `pieces_of`.
        positions: float64 (N,), increasing.
        class_index: Class name -> index; other classes are left out.
        empty: From `empty_labels`; (N, K) allows several classes at once.

    Returns:
        Same shape and type as `empty`: one class, -1 for several or only other classes; or K values of 0 or 1.
    """
    labels = empty.copy()
    for piece in pieces:
        first, last = np.searchsorted(positions, (piece.start, piece.end))
        used = [class_index[name] for name in piece.labels if name in class_index]
        if labels.ndim == 2:
            labels[first:last] = np.isin(np.arange(labels.shape[1]), used)
        else:
            labels[first:last] = used[0] if len(used) == 1 else UNLABELLED
    return labels


def original_frames(clip: ClipEmbeddings, timeline: Timeline, *, label_end: float) -> OriginalFrames:
    """Every frame from 0 to the end of the clip or of its labels, whichever is later.

    For frame labels, these are the frames that the labels count. For labels in seconds, they are the frames of the
    source video, or the timesteps themselves if there is no video.

    Args:
        clip: The cached clip.
        timeline: Its T timesteps on the label axis.
        label_end: Where the last interval ends.

    Returns:
        F positions and the timestep that covers each: the last one at or before it, else the first.

    Raises:
        LabelError: The labels end so far out that they cannot be right.
    """
    seconds = timeline.unit == "s"
    rate = clip.truth.average_rate if seconds and clip.truth else timeline.rate
    if not len(clip) or (seconds and not (clip.truth and rate)):
        return OriginalFrames(timeline.positions, np.arange(len(clip), dtype=np.int32))
    known_end, num_frames = _known_frames(clip, timeline, rate)
    if label_end > known_end + timeline.end_tolerance:
        num_frames += math.ceil((label_end - known_end) * (rate if seconds else 1) - _slack(rate))
    if num_frames > MAX_LABEL_FRAMES:
        raise LabelError(
            f"the labels of clip {clip.clip_id!r} end at {label_end:g} {timeline.unit}, but its features end at "
            f"{known_end:g}; at most {MAX_LABEL_FRAMES:,} frames are kept per clip, so correct the label file."
        )
    frames = np.arange(num_frames)
    starts = clip.frame_indices if seconds else timeline.positions - 2 * timeline.tolerance
    steps = steps_of_frames(starts, frames)
    positions = _frame_times(clip, frames, rate) + timeline.tolerance if seconds else frames.astype(np.float64)
    return OriginalFrames(positions, steps)


def steps_of_frames(starts: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """int32 (F,): the timestep that stands for each original frame, the last one at or before it, else the first.

    Args:
        starts: (T,), increasing: the frame of each timestep.
        frames: (F,).
    """
    return np.maximum(np.searchsorted(starts, frames, side="right") - 1, 0).astype(np.int32)


def refuse_overlaps(rows: Sequence[LabelRow], *, clip_id: str, where: str, unit: str) -> None:
    """Raises if two intervals of a clip overlap and differ in label.

    Args:
        rows: Intervals of one clip.
        clip_id, where, unit: For the message: the clip, the label file, "s" or "frames".

    Raises:
        LabelError: Names the clip, both labels and the times.
    """
    latest: LabelRow | None = None
    for row in sorted(rows, key=lambda row: (row.start, row.end)):
        if latest is not None and row.start < latest.end and row.label != latest.label:
            places = f"lines {latest.line} and {row.line}" if not row.at else f"{latest.at} and {row.at}"
            choice = "choose one subject with --subject, " if row.subject != latest.subject else ""
            raise LabelError(
                f"{row.file or where} {places}: clip {clip_id!r} is both {latest.label!r} and "
                f"{row.label!r} from {row.start:g} to {min(row.end, latest.end):g} {unit}; "
                f"a timestep has only one label, so {choice}shorten one of the two, give --multi-label, "
                "or leave such timesteps unlabelled with --alignment tolerant."
            )
        if latest is None or row.end > latest.end:
            latest = row


def _timeline(true: np.ndarray, decoded_end: float | None, unit: str, *, rate: float, tolerance: float) -> Timeline:
    interval = float(np.median(np.diff(true))) if len(true) > 1 else math.inf
    start = max(0.0, float(true[0]) - interval) if len(true) else 0.0
    return Timeline(true + tolerance, start, _end(true, decoded_end), unit, rate, tolerance)


def _end(positions: np.ndarray, decoded_end: float | None) -> float:
    if len(positions) == 0:
        return 0.0
    if decoded_end and decoded_end > positions[-1]:
        return decoded_end
    return float(positions[-1] + np.median(np.diff(positions))) if len(positions) > 1 else math.inf


def _source_rate(clip: ClipEmbeddings) -> float:
    """Source frames per second; 0 if unknown."""
    if clip.truth and clip.truth.average_rate:
        return clip.truth.average_rate
    if len(clip) < 2:
        return 0.0
    return float(clip.frame_indices[-1] - clip.frame_indices[0]) / float(clip.pts_seconds[-1] - clip.pts_seconds[0])


def _known_frames(clip: ClipEmbeddings, timeline: Timeline, rate: float) -> tuple[float, int]:
    """Where the features end on the label axis, and how many original frames that is."""
    end = timeline.end if math.isfinite(timeline.end) else math.floor(timeline.positions[-1]) + 1.0
    if timeline.unit != "s":
        return end, math.ceil(end - _slack(rate))
    last = int(clip.frame_indices[-1])
    if clip.truth and math.isinf(span_of(clip.clip_id)[1]):
        return end, max(clip.truth.decoded_frames, last + 1)
    return end, last + math.ceil((end - clip.pts_seconds[-1]) * rate - _slack(rate))


def _slack(rate: float) -> float:
    """How many frames a rounded timestamp may be off; a quarter at most."""
    return min(FRAME_CLOCK_TOLERANCE_SECONDS * rate, 0.25)


def _frame_times(clip: ClipEmbeddings, frames: np.ndarray, rate: float) -> np.ndarray:
    """Seconds (F,): exact at the sampled frames, interpolated in between, at the average rate beyond them."""
    indices, times = clip.frame_indices, clip.pts_seconds
    inside = np.interp(frames, indices, times)
    before, after = np.minimum(frames - indices[0], 0), np.maximum(frames - indices[-1], 0)
    return inside + (before + after) / rate
