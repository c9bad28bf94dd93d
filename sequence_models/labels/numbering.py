"""Detects from the intervals whether a label file includes the last frame of each, and whether it counts from 1.

Also compares the number of frames with the video's, for files with a label for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from extract.errors import LabelError
from sequence_models.labels.intervals import Timeline
from sequence_models.labels.table import BY_FRAMES, LabelRow, LabelTable

FEWEST_GAPS = 3
MOST_GAPS = 0.5  # of the gaps; other gaps have no label
MOST_CLIPS = 0.8
FRAMES_OFF = 2  # that decoders may differ at the end of a video


def inclusive_ends(table: LabelTable) -> str:
    """A sentence if intervals end one frame before the next begins, as happens when both ends are included.

    Args:
        table: The label file, as read.

    Returns:
        What was detected, and the flags that fix it; "" if intervals touch or have other gaps.
    """
    if table.kind != BY_FRAMES:
        return ""
    gaps = np.array(list(_gaps(table)))
    ones = int((gaps == 1).sum())
    if ones < FEWEST_GAPS or (gaps == 0).any() or ones < MOST_GAPS * len(gaps):
        return ""
    how_many = "every interval" if ones == len(gaps) else f"{ones} of {len(gaps)} intervals"
    first = " and --labels-from 1" if _starts_at_one(table) else ""
    return (
        f"{how_many} ends one frame before the next begins, as if the last frame were included"
        f"{' and the first were 1' if first else ''}: give --labels-end inclusive{first}"
    )


def counts_from_one(table: LabelTable) -> str:
    """A sentence if the labels of nearly every clip begin at frame 1; "" otherwise, or if --labels-from 1 is set."""
    if table.kind != BY_FRAMES or not _starts_at_one(table):
        return ""
    return "the labels of nearly every clip begin at frame 1: if that is the first frame, give --labels-from 1"


def check_frame_count(table: LabelTable, row: LabelRow, timeline: Timeline, *, is_strict: bool) -> str:
    """Compares the labels of a file that has one for every frame with the frames of the video.

    Args:
        table: The label file.
        row: One of the clip's rows.
        timeline: Of the clip, in frames.
        is_strict: Whether other numbers are an error if they differ by more than FRAMES_OFF.

    Returns:
        A note, "" if the numbers are equal or one is unknown.

    Raises:
        LabelError: They differ.
    """
    held = table.tool.num_frames.get(row.clip_id) if table.tool else None
    if held is None or timeline.unit != "frames" or not math.isfinite(timeline.end):
        return ""
    wanted = round(timeline.end)
    said = f"{row.file or table.path} has labels for {held} frames, but {row.clip_id!r} has {wanted}"
    if abs(held - wanted) > FRAMES_OFF and is_strict:
        raise LabelError(
            f"{said}; if the labels count frames at another rate, give it with --labels-fps, else make both from the "
            "same video file, or keep what fits with --alignment tolerant."
        )
    return said if held != wanted else ""


def _gaps(table: LabelTable) -> Iterable[float]:
    """From the end of each interval to the start of the next one of its clip; frames."""
    for rows in table.rows_by_clip().values():
        ordered = sorted(rows, key=lambda row: (row.start, row.end))
        yield from (after.start - before.end for before, after in pairwise(ordered))


def _starts_at_one(table: LabelTable) -> bool:
    starts = np.array([min(row.start for row in rows) for rows in table.rows_by_clip().values()])
    return len(starts) > 1 and starts.min() == 1 and float((starts == 1).mean()) >= MOST_CLIPS
