"""Label Studio exports (JSON and JSON-MIN) of timeline labels. Frames count from 1, both ends included.

They are frames of Label Studio's own clock, whose rate stands in the labelling configuration and not in the export.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extract.errors import LabelError, UsageError
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions
from sequence_models.labels.formats.tool_files import LARGEST_FRAME, read_tool_json, video_name
from sequence_models.labels.table import BY_FRAMES, LabelRow, LabelTable, ToolFacts

KEY = "timelinelabels"
_UPLOAD = re.compile(r"(?:^|.*/)upload/(?:.*/)?(?:[0-9a-f]{8}-)?([^/]+)$", re.DOTALL)


def recognise(path: Path, head: str) -> bool:
    """Whether it is a list of tasks with annotations, or has timeline labels."""
    begins = re.match(r"\s*\[\s*\{", head)
    return bool(begins) and (f'"{KEY}"' in head or ('"annotations"' in head and '"data"' in head))


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads one export; predictions are left out, they are no one's labels.

    Raises:
        LabelError: The content is not as Label Studio writes it; names task and result.
        UsageError: The rate is not given.
    """
    tasks = read_tool_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise LabelError(f"{path} is not a list of tasks; export as JSON or JSON-MIN from Label Studio.")
    left_out: Counter[str] = Counter()
    rows: list[LabelRow] = []
    rates = []
    for number, task in enumerate(tasks, start=1):
        name = f"task {task.get('id', number)}"
        for annotator, result in _results(f"{path} {name}", task, left_out):
            at = f"{name}, result {result.get('id', '')!r}"
            value = result.get("value", result)
            if not isinstance(value, dict) or KEY not in value or not value.get("ranges"):
                left_out["phantom result"] += 1
                continue
            rows += _rows(f"{path} {at}", value, _video(f"{path} {name}", task), annotator, at)
            rates += [value["framesCount"] / value["duration"]] if _has_rate(value) else []
    if options.labels_fps is None:
        hint = f"; this export looks like {sorted(rates)[len(rates) // 2]:.4g}" if rates else ""
        raise UsageError(
            f"{path} counts frames at the frameRate of its <Video> tag (24 or 25 unless you set another): give it with "
            f"--labels-fps{hint}."
        )
    facts = ToolFacts("Label Studio", {"task": len(tasks)}, frozenset({options.labels_fps}), dict(left_out))
    return LabelTable(path, BY_FRAMES, tuple(rows), tool=facts)


def _results(where: str, task: dict[str, Any], left_out: Counter[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(annotator, result) of every annotation of a task that was not skipped."""
    if "annotations" not in task:  # JSON-MIN: the results stand under the name of their control
        for value in task.values():
            for result in value if isinstance(value, list) else []:
                if isinstance(result, dict) and KEY in result:
                    yield str(task.get("annotator", "")), result
        return
    for annotation in _list(where, task, "annotations"):
        if annotation.get("was_cancelled"):
            left_out["skipped annotation"] += 1
            continue
        who = annotation.get("completed_by", "")
        who = who.get("email") or who.get("id", "") if isinstance(who, dict) else who
        for result in _list(where, annotation, "result"):
            yield str(who), result


def _list(where: str, record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = record.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise LabelError(f"{where}: {name} is not a list of objects; export it again.")
    return found


def _video(where: str, task: dict[str, Any]) -> str:
    data = task.get("data", task)
    found = data.get("video") if isinstance(data, dict) else None
    if not isinstance(found, str):
        texts = [v for v in data.values() if isinstance(v, str) and "/" in v] if isinstance(data, dict) else []
        found = texts[0] if len(texts) == 1 else ""
    upload = _UPLOAD.match(found)
    name = video_name(upload[1] if upload else found)
    if not name:
        raise LabelError(f"{where} names no video; its data must have the key 'video'.")
    return name


def _rows(where: str, value: dict[str, Any], clip_id: str, annotator: str, at: str) -> Iterator[LabelRow]:
    names, ranges = value[KEY], value["ranges"]
    if not (isinstance(names, list) and names and all(isinstance(n, str) and n.strip() for n in names)):
        raise LabelError(f"{where}: {KEY} is {names!r}; it must be a list of names.")
    for span in ranges if isinstance(ranges, list) else [ranges]:
        start, end = (span.get("start"), span.get("end")) if isinstance(span, dict) else (None, None)
        frames: list[int] = [number for number in (start, end) if type(number) is int]
        if len(frames) < 2 or not 1 <= frames[0] <= frames[1] <= LARGEST_FRAME:
            raise LabelError(f"{where}: the range {start} to {end} is not two frames from 1 on, the first one first.")
        for name in names:
            yield LabelRow(clip_id, name.strip(), 0, start=frames[0] - 1, end=frames[1], annotator=annotator, at=at)


def _has_rate(value: dict[str, Any]) -> bool:
    numbers = value.get("framesCount"), value.get("duration")
    return all(isinstance(number, int | float) and number > 0 for number in numbers)


FORMAT = LabelFormat("labelstudio", "Label Studio", recognise, read, unit=BY_FRAMES, ending=".json")
