"""Joins labelled intervals to the timesteps of a clip, by time or by frame index; -1 where no interval lies.

interval   [start ---------- end)      a timestep belongs to it if start <= position < end
timesteps  .  x  x  x  x  x  x  .  .   the last one reaches one sampling interval past its own position
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from extract.errors import LabelError
from extract.records import ClipEmbeddings
from sequence_models.labels import BY_SECONDS, LabelRow

UNLABELLED = -1
CLOCK_TOLERANCE_SECONDS = 1e-6
# Matroska rounds timestamps to milliseconds, which must not move a frame into its neighbour.
FRAME_CLOCK_TOLERANCE_SECONDS = 1e-3


@dataclass(frozen=True)
class Timeline:
    """Where the timesteps of a clip lie on the axis of its labels.

    Args:
        positions: float64 (T,), seconds or frames, rising.
        end: Where the clip ends on that axis; infinite where that is unknown.
        unit: "s" or "frames".
    """

    positions: np.ndarray
    end: float
    unit: str


def timeline_of(clip: ClipEmbeddings, *, kind: str, labels_fps: float | None) -> Timeline:
    """Puts the timesteps of a clip on the axis of its labels.

    Args:
        clip: The cached clip.
        kind: BY_SECONDS or BY_FRAMES.
        labels_fps: Rate of the frames that BY_FRAMES counts; None if they are the video's own.

    Returns:
        The positions (T,), and the end: one median interval after the last position, or where the decoder saw the end.
    """
    truth = clip.truth
    if kind == BY_SECONDS:
        positions = clip.pts_seconds + CLOCK_TOLERANCE_SECONDS
        return Timeline(positions, _end(positions, truth.duration_seconds if truth else None), "s")
    if labels_fps is None:
        positions = clip.frame_indices.astype(np.float64)
        return Timeline(positions, _end(positions, truth.decoded_frames if truth else None), "frames")
    positions = (clip.pts_seconds + FRAME_CLOCK_TOLERANCE_SECONDS) * labels_fps
    return Timeline(positions, _end(positions, truth.duration_seconds * labels_fps if truth else None), "frames")


def label_timesteps(
    rows: Sequence[LabelRow], timeline: Timeline, class_index: Mapping[str, int], *, gap: int = UNLABELLED
) -> np.ndarray:
    """The class of every timestep.

    Args:
        rows: Intervals of one clip; those of classes that are not in class_index give -1.
        timeline: T positions.
        class_index: Class name -> index.
        gap: What a timestep gets where no interval lies.

    Returns:
        int64 (T,).
    """
    labels = np.full(len(timeline.positions), gap, dtype=np.int64)
    for row in sorted(rows, key=lambda row: row.label in class_index):
        first, last = np.searchsorted(timeline.positions, (row.start, row.end))
        labels[first:last] = class_index.get(row.label, UNLABELLED)
    return labels


def overrun(rows: Sequence[LabelRow], timeline: Timeline) -> float:
    """By how much the labels run past the end of the features, in the unit of the timeline; 0 if they do not."""
    past = max(row.end for row in rows) - timeline.end
    return past if past > CLOCK_TOLERANCE_SECONDS else 0.0


def refuse_overlaps(rows: Sequence[LabelRow], *, clip_id: str, where: str, unit: str) -> None:
    """Raises where two intervals of a clip overlap and differ in label.

    Args:
        rows: Intervals of one clip.
        clip_id, where, unit: For the message: the clip, the label file, "s" or "frames".

    Raises:
        LabelError: Names the clip, both labels and the times.
    """
    latest: LabelRow | None = None
    for row in sorted(rows, key=lambda row: (row.start, row.end)):
        if latest is not None and row.start < latest.end and row.label != latest.label:
            raise LabelError(
                f"{where} lines {latest.line} and {row.line}: clip {clip_id!r} is both {latest.label!r} and "
                f"{row.label!r} from {row.start:g} to {min(row.end, latest.end):g} {unit}; "
                "a timestep has one label, so cut one of the two."
            )
        if latest is None or row.end > latest.end:
            latest = row


def _end(positions: np.ndarray, decoded_end: float | None) -> float:
    if len(positions) == 0:
        return 0.0
    if len(positions) == 1 and not decoded_end:
        return float("inf")
    interval = float(np.median(np.diff(positions))) if len(positions) > 1 else 0.0
    return max(float(positions[-1]) + interval, decoded_end or 0.0)
