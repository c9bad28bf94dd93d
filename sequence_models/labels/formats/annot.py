"""Bento and MARS .annot files: frames from 1, both ends included; everything that no row covers is `other`."""

from __future__ import annotations

import re
from pathlib import Path

from extract.errors import LabelError
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions
from sequence_models.labels.formats.frame_runs import MAX_FRAMES
from sequence_models.labels.formats.tool_files import (
    LARGEST_FRAME,
    frame_of,
    number_of,
    read_tool_text,
    refuse_reversed,
    seconds_of,
    video_name,
)
from sequence_models.labels.table import BY_FRAMES, LabelRow, LabelTable, ToolFacts

OTHER = "other"
RATE = 30.0  # what files without a rate mean
_CHANNEL = re.compile(r"(\S.*?)-{5,}")


def recognise(path: Path, head: str) -> bool:
    """Whether it says that it is a Bento annotation file."""
    return bool(re.match(r"\s*Bento annotation file", head))


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads one file; times with a point are seconds, which the rate of the file turns into frames.

    Raises:
        LabelError: A row without a class above it, numbers that are none, times beyond the file's own last frame.
    """
    lines = [line.rstrip("\r") for line in read_tool_text(path).split("\n")]
    told = {key.strip().lower(): value.strip() for key, mark, value in (t.partition(":") for t in lines) if mark}
    said = told.get("annotation framerate", "") or f"{RATE}"
    rate = number_of(said) or 0.0
    if rate <= 0:
        raise LabelError(f"{path}: Annotation framerate is {said!r}; it must be a number of frames per second.")
    first, last = (int(number_of(told.get(f"annotation {name} frame", "")) or 0) for name in ("start", "stop"))
    if last > MAX_FRAMES or first > MAX_FRAMES:
        raise LabelError(f"{path}: its frames go to {max(first, last)}; at most {MAX_FRAMES:,} are read.")
    clip_id = _movie(lines) or options.clip_name or path.stem
    channel, label = "", ""
    rows: list[LabelRow] = []
    for line, text in enumerate(lines, start=1):
        where = f"{path} line {line}"
        if found := _CHANNEL.fullmatch(text.strip()):
            channel, label = found[1], ""
        elif channel and text.startswith(">"):
            label = text[1:].strip()
        elif channel and text.strip() and not text.lower().startswith("start"):
            if not label:
                raise LabelError(f"{where}: {text.strip()!r} stands under no >class; save the file again.")
            start, end = _span(where, text.split(), rate)
            if last and end > last:
                raise LabelError(f"{where}: it ends at frame {end}, but the file's last frame is {last}; correct it.")
            rows.append(LabelRow(clip_id, label, line, start=start, end=end))
    if last:
        rows += _uncovered(rows, clip_id, max(first - 1, 0), last)
    facts = ToolFacts("Bento annotations", rates=frozenset({rate}), background=OTHER if last else "")
    return LabelTable(path, BY_FRAMES, tuple(rows), tool=facts)


def _movie(lines: list[str]) -> str:
    """The first movie, which stands on the line of its heading or on the next one."""
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.lower().startswith("movie file"):
            return video_name(line.partition(":")[2].strip() or after)
    return ""


def _span(where: str, cells: list[str], rate: float) -> tuple[int, int]:
    """A half-open interval of frames from 0."""
    if len(cells) < 2:
        raise LabelError(f"{where}: it has {len(cells)} cells; a row has a start, a stop and a duration.")
    if any("." in cell for cell in cells):
        start, end = (round(rate * seconds_of(cell, where=where, name="a time")) for cell in cells[:2])
        if start < 0 or end > LARGEST_FRAME:
            raise LabelError(f"{where}: {cells[0]} to {cells[1]} s are no times of a video; correct them.")
    else:
        start = frame_of(cells[0], where=where, name="Start", first=1)
        end = frame_of(cells[1], where=where, name="Stop", first=1) + 1
    refuse_reversed(start, end, where=where)
    return start, end


def _uncovered(rows: list[LabelRow], clip_id: str, first: int, last: int) -> list[LabelRow]:
    found, position = [], first
    for row in sorted(rows, key=lambda row: row.start):
        if row.start > position:
            found.append(LabelRow(clip_id, OTHER, row.line, start=position, end=row.start))
        position = max(position, int(row.end))
    return found + ([LabelRow(clip_id, OTHER, 0, start=position, end=last)] if position < last else [])


FORMAT = LabelFormat("annot", "Bento annotations", recognise, read, unit=BY_FRAMES, ending=".annot")
