"""Labels of a file -> what they say about each frame of one video, to be drawn on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from extract.errors import LabelError, UsageError
from extract.text import counted
from sequence_models.labels.clip_names import ClipNames, quoted
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS, PER_CLIP, LabelRow, LabelTable
from sequence_models.prediction.annotate import Track, VideoFacts


def label_track(table: LabelTable, video: Path, facts: VideoFacts, *, fps: float | None) -> tuple[Track, str]:
    """The labels of one video by frame.

    Args:
        table: Labels of any videos, without point events.
        video: The video; labels name it as they do for training.
        facts: From `video_facts`.
        fps: Frames per second of labels that count frames of another clock than the video's own.

    Returns:
        The track, and a remark on what lies outside the video, "" if nothing does.

    Raises:
        LabelError: No label is of this video, or none lies inside it.
        UsageError: The frames of the labels may be of another clock, and fps is not given.
    """
    if table.kind == BY_FRAMES and fps is not None:
        timed = tuple(replace(row, start=row.start / fps, end=row.end / fps) for row in table.rows)
        table = replace(table, kind=BY_SECONDS, rows=timed)
    index = ClipNames([video.as_posix()])
    rows_of = {name: each for name, each in table.rows_by_clip().items() if _is_of(index, name, table, each[0])}
    if not rows_of:
        names = sorted(table.rows_by_clip())
        raise LabelError(f"{table.path} has no label of {video.name}; it labels {quoted(names)}.")
    if len(rows_of) > 1:
        raise UsageError(f"{table.path} labels {quoted(sorted(rows_of))}, which may all be {video}; rename one.")
    (rows,) = rows_of.values()
    count, kept, outside = len(facts.pts_seconds), [], 0
    classes = tuple(dict.fromkeys(row.label for row in sorted(table.rows, key=lambda row: row.label)))
    for row in rows:
        start, end = _frames(row, table.kind, facts)
        outside += end > count or start >= count
        if start < min(end, count):
            kept.append((classes.index(row.label), start, min(end, count)))
    if not kept:
        raise LabelError(
            f"{table.where(rows[0])}: no label of {video.name} lies inside the video, which is "
            f"{facts.duration_seconds:.3f} s long and has {counted(count, 'frame')}; are they of another video?"
        )
    spans = tuple(sorted(kept, key=lambda span: span[1:]))
    remark = f"; {counted(outside, 'label')} reaching past the end of the video" if outside else ""
    return Track(classes, spans, np.zeros(0, np.int64), np.zeros((0, 0), np.float32)), remark


def _is_of(index: ClipNames, name: str, table: LabelTable, row: LabelRow) -> bool:
    return index.find(name, where=table.where(row)) is not None


def _frames(row: LabelRow, kind: str, facts: VideoFacts) -> tuple[int, int]:
    """Half-open frames; times mean the nearest frame, since tools round them."""
    times, count = facts.pts_seconds, len(facts.pts_seconds)
    if kind == PER_CLIP:
        return 0, count
    if kind == BY_FRAMES:
        return int(row.start), int(row.end)
    step = facts.duration_seconds / count
    start, end = (int(np.searchsorted(times, seconds - step / 2, side="left")) for seconds in (row.start, row.end))
    return start, end + (row.end > facts.duration_seconds + step / 2)
