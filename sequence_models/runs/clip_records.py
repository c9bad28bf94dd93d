"""What a run records about each clip, so that no model is evaluated on changed data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from extract.text import counted, first_few
from sequence_models.records import Clip

# Key of a record -> what differs, after "3 clips have".
KEPT = {
    "timesteps": "other numbers of timesteps",
    "rows": "other features",
    "group": "other groups",
    "label": "other labels",
    "labels": "other labels",
}


def clip_record(clip: Clip, vocabulary: Sequence[str]) -> dict[str, Any]:
    """Group, length and label of a clip, and digests of its rows and its labels.

    Args:
        clip: From `load_clips`.
        vocabulary: Class names in the order of their indices.

    Returns:
        Its entry in run.json, independent of where and how the rows are stored.
    """
    record = {"group": clip.group, "timesteps": len(clip), "rows": clip.rows_digest}
    if not clip.labels.ndim:
        return record | {"label": vocabulary[int(clip.labels)]}
    digest = hashlib.blake2b(digest_size=16)
    for array in (clip.labels, clip.label_steps, clip.frame_labels):
        if array is not None:
            digest.update(np.ascontiguousarray(array, "<i8").data)
    return record | {"labels": digest.hexdigest()}


def clip_differences(before: Mapping[str, dict], now: Mapping[str, dict]) -> list[str]:
    """The differences between the clips of two run.json records, one phrase for each kind.

    Args:
        before, now: clip_id -> `clip_record`.

    Returns:
        Such as "3 clips have other labels (a.avi, b.avi, c.avi)"; [] if they are the same.
    """
    told = [
        f"{counted(names, 'clip')} {verb} ({first_few(sorted(names))})"
        for names, verb in ((before.keys() - now.keys(), "fewer"), (now.keys() - before.keys(), "more"))
        if names
    ]
    common = sorted(before.keys() & now.keys())
    differing: dict[str, list[str]] = {}
    for clip_id in common:
        for what in dict.fromkeys(KEPT[key] for key in KEPT if before[clip_id].get(key) != now[clip_id].get(key)):
            differing.setdefault(what, []).append(clip_id)
    return told + [
        f"{counted(names, 'clip')} {'has' if len(names) == 1 else 'have'} {what} ({first_few(names)})"
        for what, names in differing.items()
    ]


def changed_clips(run_clips: Mapping[str, dict], clips: Iterable[Clip], vocabulary: Sequence[str]) -> list[str]:
    """As `clip_differences`, for those clips of a run that still exist."""
    now = {clip.clip_id: clip_record(clip, vocabulary) for clip in clips if clip.clip_id in run_clips}
    return clip_differences({clip_id: run_clips[clip_id] for clip_id in now}, now)
