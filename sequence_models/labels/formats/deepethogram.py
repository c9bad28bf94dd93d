"""DeepEthogram's `<video>_labels.csv`: a row per decoded frame, a column per class, -1 where nothing is labelled."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from extract.errors import LabelError
from extract.text import counted
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions, WriteOptions
from sequence_models.labels.formats.frame_runs import end_of, frames_of, runs_of
from sequence_models.labels.formats.tool_files import number_of, read_cells, read_tool_text
from sequence_models.labels.table import BY_FRAMES, LabelRow, LabelTable, ToolFacts

BACKGROUND = "background"
SUFFIX = "_labels"


def recognise(path: Path, head: str) -> bool:
    """Whether the header is an index without a name, then background."""
    names = [cell.strip().strip('"') for cell in head.partition("\n")[0].split(",")]
    return names[:2] in (["", BACKGROUND], ["Unnamed: 0", BACKGROUND]) or (
        names[:1] == [BACKGROUND] and path.stem.endswith(SUFFIX)
    )


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads one file; the video is named as the file is, without `_labels`.

    Returns:
        The frames of each class, and as `background` those with none; frames with -1 are in no row.

    Raises:
        LabelError: A value other than 0, 1 and -1, a row with -1 and others, frames out of order; names the line.
    """
    rows = list(read_cells(path, read_tool_text(path)))
    names = [cell.strip() for cell in rows[0][1]] if rows else []
    index = 0 if names[:1] in ([""], ["Unnamed: 0"]) else None
    classes = [(k, name) for k, name in enumerate(names) if k != index]
    if BACKGROUND not in names:
        raise LabelError(f"{path} has no column {BACKGROUND!r}; its header is {','.join(names)!r}.")
    if len(set(names)) < len(names) or "" in (name for _, name in classes):
        raise LabelError(f"{path} line 1 names a class twice, or not at all; each column needs its own name.")
    held: list[frozenset[str] | None] = []
    known: dict[tuple[str, ...], frozenset[str] | None] = {}  # few rows differ, and there are many
    for line, cells in rows[1:]:
        where = f"{path} line {line}"
        if len(cells) != len(names):
            raise LabelError(f"{where} has {len(cells)} cells but the header has {len(names)}; export it again.")
        if index is not None and cells[index] != str(len(held)) and number_of(cells[index]) != len(held):
            raise LabelError(
                f"{where}: its frame is {cells[index]!r}, after {counted(held, 'frame')}; there must be a row for each "
                "frame, from 0 on."
            )
        values = tuple(cells if index is None else cells[1:])
        if values not in known:
            known[values] = _classes_of(where, dict(zip((name for _, name in classes), values, strict=True)))
        held.append(known[values])
    clip_id = options.clip_name or path.stem
    found = [
        LabelRow(clip_id.removesuffix(SUFFIX), name, rows[start + 1][0], start=start, end=end)
        for name, start, end in runs_of(held)
    ]
    facts = ToolFacts(
        "DeepEthogram labels", background=BACKGROUND, num_frames={clip_id.removesuffix(SUFFIX): len(held)}
    )
    return LabelTable(path, BY_FRAMES, tuple(found), tool=facts)


def write(table: LabelTable, options: WriteOptions) -> dict[str, str]:
    """A file per clip; its classes are those of the whole table, in the same order in all files."""
    nothing = {BACKGROUND, options.background, table.background}
    others = dict.fromkeys(row.label for row in table.rows if row.label not in nothing)
    classes = [BACKGROUND, *others]
    files = {}
    for clip_id, rows in table.rows_by_clip().items():
        length = options.num_frames.get(clip_id, end_of(rows))
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow(["", *classes])
        for number, names in enumerate(frames_of(rows, length, where=table.where)):
            here = {BACKGROUND if name in nothing else name for name in names}
            if not here and not options.background:
                writer.writerow([number, *[-1] * len(classes)])
            else:
                here = here - {BACKGROUND} or {BACKGROUND}
                writer.writerow([number, *(int(name in here) for name in classes)])
        files[clip_id] = file.getvalue()
    return files


def _classes_of(where: str, cells: dict[str, str]) -> frozenset[str] | None:
    """The classes of one frame, None if it is not labelled."""
    values = {name: number_of(cell) for name, cell in cells.items()}
    wrong = next((name for name, value in values.items() if value not in (0, 1, -1)), None)
    if wrong is not None:
        raise LabelError(f"{where}: {wrong} is {cells[wrong]!r}; it must be 0, 1, or -1 for frames without a label.")
    if -1 in values.values():
        if set(values.values()) != {-1}:
            raise LabelError(f"{where}: only some classes are -1; a frame without a label has -1 in all of them.")
        return None
    here = {name for name, value in values.items() if value == 1}
    if here != (here - {BACKGROUND} or {BACKGROUND}):
        raise LabelError(f"{where}: background is {cells[BACKGROUND]}; it must be 1 exactly where all others are 0.")
    return frozenset(here)


FORMAT = LabelFormat(
    "deepethogram",
    "DeepEthogram labels",
    recognise,
    read,
    write,
    unit=BY_FRAMES,
    has_background=True,
    ending=f"{SUFFIX}.csv",
)
