"""Our own CSV with a label per frame: `clip_id,frame,label`, or `clip_id,frame` and a column of 0 and 1 per class."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from itertools import groupby, pairwise
from pathlib import Path

from extract.errors import LabelError
from extract.system.files import guarded, unguarded
from extract.system.separators import separator_of
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions, WriteOptions
from sequence_models.labels.formats.frame_runs import end_of, frames_of
from sequence_models.labels.formats.tool_files import frame_of, number_of, read_cells, read_tool_text
from sequence_models.labels.table import BY_FRAMES, LabelRow, LabelTable, ToolFacts

BACKGROUND = "background"
NOT_CLASSES = {"clip_id", "frame", "label", "raw_label", "pts_seconds", "group", "split"}

_Labelled = tuple[str, int, str, int]  # clip_id, frame, class, line


def recognise(path: Path, head: str) -> bool:
    """Whether the header has the columns clip_id and frame."""
    first = head.partition("\n")[0]
    names = {cell.strip().strip('"').lower() for cell in first.split(separator_of(first))}
    return {"clip_id", "frame"} <= names


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads one file into runs of frames with the same class; a frame may have several rows.

    Returns:
        With columns of classes, frames that have none of them are rows of `background`.

    Raises:
        LabelError: A value is invalid or repeated; names the line.
    """
    text = read_tool_text(path)
    rows = list(read_cells(path, text, separator=separator_of(text)))
    names = [cell.strip() for cell in rows[0][1]]
    lower = [name.lower() for name in names]
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None or not {"clip_id", "frame"} <= set(lower):
        what = f"names the column {repeated!r} twice" if repeated else "must have the columns clip_id and frame"
        raise LabelError(f"{path} line 1 {what}; its header is {','.join(names)!r}.")
    columns = [] if "label" in lower else [(k, name) for k, name in enumerate(names) if lower[k] not in NOT_CLASSES]
    if "label" not in lower and not columns:
        raise LabelError(f"{path} has no column label, nor one per class; its header is {','.join(names)!r}.")
    found: list[_Labelled] = []
    for line, cells in rows[1:]:
        where = f"{path} line {line}"
        if len(cells) != len(names):
            raise LabelError(
                f"{where} has {len(cells)} cells but the header has {len(names)}; quote cells with commas."
            )
        told = [unguarded(cell.strip()) for cell in cells]
        clip_id = told[lower.index("clip_id")]
        if not clip_id:
            raise LabelError(f"{where}: clip_id is empty; fill it in or remove the line.")
        frame = frame_of(told[lower.index("frame")], where=where, name="frame", first=options.first_frame)
        held = _one_hot(where, {name: told[k] for k, name in columns}) if columns else [told[lower.index("label")]]
        found += [(clip_id, frame, name, line) for name in held if name]
    if not found:
        raise LabelError(f"{path} labels no frame; add a line per frame.")
    ignored = () if columns else tuple(n for n, low in zip(names, lower, strict=True) if low not in NOT_CLASSES)
    return LabelTable(
        path,
        BY_FRAMES,
        tuple(_runs(path, found)),
        ignored,
        ToolFacts("a label per frame", background=BACKGROUND if columns else ""),
    )


def write(table: LabelTable, options: WriteOptions) -> dict[str, str]:
    """One file, a row per frame and class; frames without a class have none."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["clip_id", "frame", "label"])
    for clip_id, rows in table.rows_by_clip().items():
        length = options.num_frames.get(clip_id, end_of(rows))
        for number, names in enumerate(frames_of(rows, length, where=table.where)):
            here = names or ({options.background} if options.background else set())
            writer.writerows([guarded(clip_id), number, guarded(name)] for name in sorted(here))
    return {"": file.getvalue()}


def _one_hot(where: str, cells: dict[str, str]) -> list[str]:
    """The classes of one row; [] if the frame is not labelled."""
    values = {name: number_of(cell) if cell else -1 for name, cell in cells.items()}
    wrong = next((name for name, value in values.items() if value not in (0, 1, -1)), None)
    if wrong is not None:
        raise LabelError(f"{where}: {wrong} is {cells[wrong]!r}; it must be 0 or 1, or empty for an unlabelled frame.")
    if -1 in values.values():
        if set(values.values()) != {-1}:
            raise LabelError(f"{where}: only some classes are empty or -1; an unlabelled frame has none at all.")
        return []
    return [name for name, value in values.items() if value == 1] or [BACKGROUND]


def _runs(path: Path, found: Iterable[_Labelled]) -> Iterable[LabelRow]:
    """Joins consecutive frames of a clip with the same class; the line is the first one's."""
    order: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for clip_id, frame, name, line in found:
        order.setdefault((clip_id, name), []).append((frame, line))
    rows = []
    for (clip_id, name), frames in order.items():
        ordered = sorted(frames)
        for (frame, line), (after, again) in pairwise(ordered):
            if frame == after:
                raise LabelError(
                    f"{path} line {again}: frame {after} of {clip_id!r} is {name!r} on line {line} already; keep one."
                )
        for _, run in groupby(enumerate(ordered), key=lambda pair: pair[1][0] - pair[0]):
            members = [entry for _, entry in run]
            rows.append(LabelRow(clip_id, name, members[0][1], start=members[0][0], end=members[-1][0] + 1))
    return sorted(rows, key=lambda row: row.line)


FORMAT = LabelFormat("frames", "CSV with a label per frame", recognise, read, write, unit=BY_FRAMES)
