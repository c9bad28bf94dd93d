"""CSV exports of the VGG Image Annotator 3: of temporal segments, and of everything."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extract.errors import LabelError
from extract.system.typed_json import parse_json
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions
from sequence_models.labels.formats.tool_files import read_cells, read_tool_text, refuse_reversed, video_name
from sequence_models.labels.table import BY_SECONDS, LabelRow, LabelTable, ToolFacts

_HEADER = re.compile(r"# ?CSV_HEADER ?= ?(.+)")
_ATTRIBUTES = re.compile(r"# ?ATTRIBUTES? ?= ?(\{.*\})")
_UNTOUCHED = ("_DEFAULT", "default")


def recognise(path: Path, head: str) -> bool:
    """Whether it begins with one of VIA's comments."""
    return bool(re.match(r"\s*# ?(Exported using VGG|CSV_HEADER|SHAPE_ID|FLAG_ID|ATTRIBUTE)", head))


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads one export.

    Raises:
        LabelError: The header is missing, a cell is not the JSON it must be, a segment has no class; names the line.
    """
    text = read_tool_text(path)
    comments = [line.rstrip("\r") for line in text.split("\n") if line.startswith("#")]
    header = next((found[1] for line in comments if (found := _HEADER.match(line))), None)
    if header is None:
        raise LabelError(f"{path} has no line # CSV_HEADER = ...; export it again from VIA.")
    names = [name.strip() for name in header.split(",")]
    needed = {"file_list", "metadata"}
    is_full = "temporal_coordinates" in names
    needed |= {"temporal_coordinates"} if is_full else {"temporal_segment_start", "temporal_segment_end"}
    if not needed <= set(names):
        raise LabelError(f"{path} has the header {header!r}; it must have {', '.join(sorted(needed))}.")
    told = next((found[1] for line in comments if (found := _ATTRIBUTES.match(line))), "{}")
    attributes = _json(f"{path}, the line of ATTRIBUTES", told, dict)
    left_out: Counter[str] = Counter()
    body = "\n".join("" if line.startswith("#") else line for line in text.split("\n"))  # keeps the line numbers
    rows: list[LabelRow] = []
    for line, cells in read_cells(path, body, separator=","):
        where = f"{path} line {line}"
        if len(cells) != len(names):
            raise LabelError(f"{where} has {len(cells)} cells but the header has {len(names)}; export it again.")
        row = dict(zip(names, cells, strict=True))
        if row.get("spatial_coordinates", "[]").strip() not in ("[]", ""):
            left_out["box"] += 1
            continue
        times = f"[{row['temporal_segment_start']},{row['temporal_segment_end']}]" if not is_full else ""
        span = _json(where, times or row["temporal_coordinates"], list)
        if not span:
            left_out["whole-file label"] += 1
            continue
        rows += _rows(where, line, row, span, attributes)
    facts = ToolFacts("VIA 3, everything" if is_full else "VIA 3, temporal segments", left_out=dict(left_out))
    return LabelTable(path, BY_SECONDS, tuple(rows), tool=facts)


def _rows(where: str, line: int, row: dict[str, str], span: list, attributes: dict) -> Iterator[LabelRow]:
    if len(span) > 2 or not all(type(time) in (int, float) and time >= 0 for time in span):
        raise LabelError(f"{where}: the times are {span}; they must be one or two numbers of seconds.")
    refuse_reversed(span[0], span[-1], where=where)
    files = _json(where, row["file_list"], list)
    if len(files) != 1 or not isinstance(files[0], str):
        raise LabelError(f"{where}: it is about {len(files)} files; export segments of one file each.")
    labels = [
        label
        for key, value in _json(where, row["metadata"], dict).items()
        for label in _texts(value, attributes.get(key, {}))
    ]
    if not labels or any(label in _UNTOUCHED for label in labels):
        raise LabelError(f"{where}: the segment from {span[0]:g} s has no class yet ({labels}); choose one in VIA.")
    for label in labels:
        yield LabelRow(video_name(files[0]), label, line, start=span[0], end=span[-1])


def _texts(value: Any, attribute: Any) -> Iterator[str]:
    """The texts of an attribute's value, which may be ids of options, several with commas."""
    options = attribute.get("options", {}) if isinstance(attribute, dict) else {}
    for part in str(value).split(",") if options else [str(value)]:
        if part.strip():
            yield str(options.get(part.strip(), part)).strip() if isinstance(options, dict) else part.strip()


def _json(where: str, text: str, kind: type) -> Any:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise LabelError(f"{where}: {text[:60]!r} is not valid JSON ({error}); export it again.") from None
    if not isinstance(found, kind):
        raise LabelError(f"{where}: {text[:60]!r} is not what VIA writes there; export it again.")
    return found


FORMAT = LabelFormat("via", "VIA 3", recognise, read)
