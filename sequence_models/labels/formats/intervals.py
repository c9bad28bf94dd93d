"""Our own CSV of intervals, in seconds or in frames, as one of the formats; reading is in plain_csv.py."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from extract.system.files import guarded
from extract.system.separators import separator_of
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions, WriteOptions
from sequence_models.labels.formats.plain_csv import read_labels
from sequence_models.labels.table import BY_SECONDS, LabelTable

COLUMNS = ("group", "split", "subject")  # where a row has any


def recognise(path: Path, head: str) -> bool:
    """Whether the header has the columns clip_id or path, and no frame."""
    first = head.lstrip().partition("\n")[0]
    names = {cell.strip().strip('"').lower() for cell in first.split(separator_of(first))}
    return bool({"clip_id", "path"} & names) and "frame" not in names


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads any of the four headers of plain_csv.py."""
    return read_labels(path, first_frame=options.first_frame, inclusive=options.inclusive)


def write(table: LabelTable, options: WriteOptions) -> dict[str, str]:
    """One file; groups, splits and subjects where there are any."""
    unit = ("start_seconds", "end_seconds") if table.kind == BY_SECONDS else ("start_frame", "end_frame")
    more = [name for name in COLUMNS if any(getattr(row, name) for row in table.rows)]
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["clip_id", *unit, "label", *more])
    for row in table.rows:
        times = (f"{time:.6f}".rstrip("0").rstrip(".") for time in (row.start, row.end))
        cells = (row.clip_id, *times, row.label, *(getattr(row, name) for name in more))
        writer.writerow([guarded(cell) for cell in cells])
    return {"": file.getvalue()}


FORMAT = LabelFormat("intervals", "our CSV", recognise, read, write, unit="", holds=frozenset(COLUMNS))
