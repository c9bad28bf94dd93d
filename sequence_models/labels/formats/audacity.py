"""Audacity label tracks: `start<TAB>end<TAB>label` in seconds, one file per recording."""

from __future__ import annotations

import re
from pathlib import Path

from extract.errors import LabelError
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions, WriteOptions
from sequence_models.labels.formats.tool_files import read_tool_text, refuse_reversed, seconds_of
from sequence_models.labels.table import BY_SECONDS, LabelRow, LabelTable, ToolFacts

_BEGINNING = re.compile(r"\s*\d+(\.\d*)?\t\d+(\.\d*)?(\t|\r?\n|$)")


def recognise(path: Path, head: str) -> bool:
    """Whether the first line is two numbers and tabs."""
    return bool(_BEGINNING.match(head))


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads one file; the video is named as the file is.

    Raises:
        LabelError: A line has no two times or no label; names it.
    """
    rows = []
    for line, text in enumerate(read_tool_text(path).split("\n"), start=1):
        if not text.strip() or text.startswith("\\"):  # a backslash: frequencies of the label above
            continue
        where, cells = f"{path} line {line}", text.rstrip("\r").split("\t")
        if len(cells) != 3:
            raise LabelError(f"{where}: it has {len(cells)} cells; a label has start, end and name, with tabs.")
        start, end = (
            seconds_of(cell, where=where, name=name) for cell, name in zip(cells, ("start", "end"), strict=False)
        )
        refuse_reversed(start, end, where=where)
        if start < 0:
            raise LabelError(f"{where}: it starts at {start:g} s; move it behind 0 in Audacity.")
        if not cells[2].strip():
            raise LabelError(f"{where}: the label from {start:g} to {end:g} s has no name; name it in Audacity.")
        rows.append(LabelRow(options.clip_name or path.stem, cells[2].strip(), line, start=start, end=end))
    return LabelTable(path, BY_SECONDS, tuple(rows), tool=ToolFacts("Audacity label track"))


def write(table: LabelTable, options: WriteOptions) -> dict[str, str]:
    """A file per clip, times with 6 decimals."""
    files = {}
    for clip_id, rows in table.rows_by_clip().items():
        for row in rows:
            if re.search(r"[\t\r\n]", row.label):
                raise LabelError(
                    f"{table.where(row)}: the class {row.label!r} has a tab or a new line, which an Audacity "
                    "label cannot hold; rename it."
                )
        ordered = sorted(rows, key=lambda row: (row.start, row.end))
        files[clip_id] = "".join(f"{row.start:.6f}\t{row.end:.6f}\t{row.label}\n" for row in ordered)
    return files


FORMAT = LabelFormat(
    "audacity",
    "Audacity label track",
    recognise,
    read,
    write,
    holds_points=True,
    gaps_are_background=True,
    ending=".txt",
)
