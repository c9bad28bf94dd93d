"""ActivityNet's JSON: videos with segments in seconds, a subset each. Many detection data sets come in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extract.errors import LabelError
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions
from sequence_models.labels.formats.tool_files import read_tool_json, refuse_reversed
from sequence_models.labels.table import BY_SECONDS, SPLITS, LabelRow, LabelTable, ToolFacts


def recognise(path: Path, head: str) -> bool:
    """Whether it is an object with a database."""
    return bool(re.match(r"\s*\{", head)) and '"database"' in head


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads one file; a segment that runs past its video is cut there, and counted.

    Raises:
        LabelError: The content is not as described; names the video.
    """
    record = read_tool_json(path)
    database = record.get("database") if isinstance(record, dict) else None
    if not isinstance(database, dict):
        raise LabelError(f"{path} has no database of videos; give the file with the annotations.")
    left_out: Counter[str] = Counter()
    rows = [row for name, video in database.items() for row in _rows(path, name, video, left_out)]
    things = {"video": len(database)}
    facts = ToolFacts("ActivityNet", things, left_out=dict(left_out), times_are_rounded=False, name_prefix="v_")
    return LabelTable(path, BY_SECONDS, tuple(rows), tool=facts)


def _rows(path: Path, name: str, video: Any, left_out: Counter[str]) -> Iterator[LabelRow]:
    at = f"video {name!r}"
    annotations = video.get("annotations", []) if isinstance(video, dict) else None
    if not isinstance(annotations, list):
        raise LabelError(f"{path} {at}: annotations are not a list.")
    subset = str(video.get("subset", "")).lower()
    if subset not in SPLITS:
        raise LabelError(f"{path} {at}: subset is {subset!r}; it must be training, validation or testing.")
    duration = video.get("duration")
    for each in annotations:
        label, segment = (each.get(key) for key in ("label", "segment")) if isinstance(each, dict) else (None, None)
        if not isinstance(label, str) or not label.strip() or not _is_span(segment):
            raise LabelError(f"{path} {at}: {each!r:.80} must have a label and a segment of two times >= 0.")
        start, end = segment  # type: ignore[misc]
        refuse_reversed(start, end, where=f"{path} {at}")
        if type(duration) in (int, float) and end > duration > 0:
            left_out["overlong tail"] += 1
            end = duration
        if start < end:
            yield LabelRow(name, label.strip(), 0, split=SPLITS[subset], start=start, end=end, at=at)
        else:
            left_out["empty segment"] += 1


def _is_span(segment: Any) -> bool:
    return isinstance(segment, list) and len(segment) == 2 and all(type(t) in (int, float) and t >= 0 for t in segment)


FORMAT = LabelFormat("activitynet", "ActivityNet", recognise, read, ending=".json")
