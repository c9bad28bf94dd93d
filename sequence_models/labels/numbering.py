"""Detects from the intervals whether a label file includes the last frame of each, and whether it counts from 1."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from sequence_models.labels.table import BY_FRAMES, LabelTable

FEWEST_GAPS = 3
MOST_GAPS = 0.5  # of the gaps; other gaps have no label
MOST_CLIPS = 0.8


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


def _gaps(table: LabelTable) -> Iterable[float]:
    """From the end of each interval to the start of the next one of its clip; frames."""
    for rows in table.rows_by_clip().values():
        ordered = sorted(rows, key=lambda row: (row.start, row.end))
        yield from (after.start - before.end for before, after in pairwise(ordered))


def _starts_at_one(table: LabelTable) -> bool:
    starts = np.array([min(row.start for row in rows) for rows in table.rows_by_clip().values()])
    return len(starts) > 1 and starts.min() == 1 and float((starts == 1).mean()) >= MOST_CLIPS
