"""Reads label files: one label per clip, or labelled intervals of clips; the header tells which.

clip_id,label[,group,split]                               per clip
path[,clip_id,start_seconds,end_seconds,label,group,split]  a list of clips, its labels are per clip
clip_id,start_seconds,end_seconds,label[,group,split,subject]  intervals, half-open, joined by time
clip_id,start_frame,end_frame,label[,group,split,subject]      intervals by frame index, half-open and from 0 by default
"""

from __future__ import annotations

import csv
import io
import math
import posixpath
from pathlib import Path, PurePosixPath

from extract.errors import LabelError
from extract.system.addresses import as_address
from extract.system.files import read_regular, unguarded
from extract.system.separators import separator_hint, separator_of
from sequence_models.labels.formats.tool_files import UTF16
from sequence_models.labels.formats.tool_hints import pickle_hint, tool_hint
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS, PER_CLIP, SPLITS, LabelRow, LabelTable

KNOWN_COLUMNS = frozenset(
    {"clip_id", "path", "label", "group", "split", "subject"}
    | {"start_seconds", "end_seconds", "start_frame", "end_frame"}
)
HEADERS = (
    "clip_id,label for whole clips, clip_id,start_seconds,end_seconds,label or clip_id,start_frame,end_frame,label "
    "for intervals"
)


def read_labels(path: Path, *, first_frame: int = 0, inclusive: bool = False) -> LabelTable:
    """Reads a label file with any of the four headers.

    Args:
        path: CSV in UTF-8, separated by commas, semicolons or tabs; a byte order mark, CRLF and quoted names are fine.
        first_frame: What start_frame and end_frame call the first frame of a clip, 0 or 1.
        inclusive: Whether end_frame is the last frame of the interval, not the one after it.

    Returns:
        Its validated rows.

    Raises:
        LabelError: The file cannot be read, a column is missing or a value is invalid; names the line.
    """
    header, lines = _read_csv(path)
    kind = _kind_of(path, header)
    numbering = first_frame, first_frame - inclusive
    rows = tuple(_row(path, kind, line, cells, numbering) for line, cells in lines)
    if not rows:
        raise LabelError(f"{path} has a header but no rows; add a line per clip or interval.")
    if kind == PER_CLIP:
        _refuse_repeated_clips(path, rows)
    else:
        _refuse_torn_columns(path, rows)
    return LabelTable(path, kind, rows, tuple(name for name in header if name not in KNOWN_COLUMNS))


def read_split_file(path: Path) -> list[LabelRow]:
    """Reads `clip_id,split`, the official split of a data set.

    Args:
        path: CSV in UTF-8 with the columns clip_id and split; others are ignored.

    Returns:
        One row per clip, `split` being train, validation or test.

    Raises:
        LabelError: As in `read_labels`; also an unknown split, or a clip named twice.
    """
    header, lines = _read_csv(path)
    _require(path, header, ("clip_id", "split"))
    rows = tuple(
        LabelRow(_filled(path, line, cells, "clip_id"), "", line, split=_split(path, line, cells))
        for line, cells in lines
        if _filled(path, line, cells, "split")
    )
    _refuse_repeated_clips(path, rows)
    return list(rows)


def read_clip_ids(path: Path) -> list[str]:
    """Reads which clips to use: a CSV with a clip_id column, or one name per line without a header.

    Args:
        path: UTF-8 text.

    Returns:
        The names in file order.

    Raises:
        LabelError: The file cannot be read or names no clip.
    """
    first, _, rest = _read_text(path).partition("\n")
    if "clip_id" in [cell.strip().lower() for cell in first.split(separator_of(first))]:
        return [_filled(path, line, cells, "clip_id") for line, cells in _read_csv(path)[1]]
    names = [name.strip() for name in [first, *rest.splitlines()] if name.strip()]
    if not names:
        raise LabelError(f"{path} names no clip; write one clip_id per line.")
    return names


def _read_text(path: Path) -> str:
    try:
        content = read_regular(path)
    except OSError as error:
        raise LabelError(f"{path} cannot be read ({error.strerror}); give an existing CSV file.") from error
    if hint := pickle_hint(content):
        raise LabelError(f"{path} {hint}.")
    if content.startswith(UTF16) and (hint := tool_hint(content.decode("utf-16", "replace"))):
        raise LabelError(f"{path} {hint}.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LabelError(
            f"{path} line {line} is not UTF-8 text (byte 0x{content[error.start]:02x}); save it as CSV in UTF-8."
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise LabelError(f"{path} line {line} contains a zero byte, so it is not text; give a CSV file in UTF-8.")
    if not text.strip(" \t\r\n,;"):
        raise LabelError(f"{path} is empty; the first line must be its header: {HEADERS}.")
    return text


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The lower-case header, and for each non-blank line its number and its cells by column."""
    text = _read_text(path)
    separator = separator_of(text)
    if hint := tool_hint(text) or separator_hint(text, separator):
        raise LabelError(f"{path} {hint}.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True, delimiter=separator)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise LabelError(f"{path} line {reader.line_num} is not valid CSV ({error}); check its quotes.") from error
    if not lines:
        raise LabelError(f"{path} has only empty cells; the first line must be its header: {HEADERS}.")
    header = [name.strip().lower() for name in lines[0][1]]
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise LabelError(f"{path} line {lines[0][0]} names the column {repeated[0]!r} twice; keep one.")
    return header, [(line, _cells(path, line, header, cells)) for line, cells in lines[1:]]


def _cells(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise LabelError(
            f"{path} line {line} has {len(cells)} cells but the header has {len(header)}; "
            f"put names that contain the separator in double quotes, and write decimal numbers with a point "
            f"(the line starts with {cells[0]!r})."
        )
    return dict(zip(header, (unguarded(cell.strip()) for cell in cells), strict=True))


def _kind_of(path: Path, header: list[str]) -> str:
    if "path" in header:
        _require(path, header, ("path", "label"))
        return PER_CLIP
    seconds = [name for name in ("start_seconds", "end_seconds") if name in header]
    frames = [name for name in ("start_frame", "end_frame") if name in header]
    if seconds and frames:
        raise LabelError(f"{path} has both {seconds[0]} and {frames[0]}; keep the seconds or the frames.")
    if frames:
        _require(path, header, ("clip_id", "start_frame", "end_frame", "label"))
        return BY_FRAMES
    if seconds:
        _require(path, header, ("clip_id", "start_seconds", "end_seconds", "label"))
        return BY_SECONDS
    if not {"clip_id", "label"} & set(header):
        raise LabelError(f"{path} has the header {','.join(header)!r}; it must be {HEADERS}.")
    _require(path, header, ("clip_id", "label"))
    return PER_CLIP


def _require(path: Path, header: list[str], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in header]
    if missing:
        raise LabelError(
            f"{path} has no column {missing[0]!r}, its header is {','.join(header)!r}; it must have {','.join(names)}."
        )


def _row(path: Path, kind: str, line: int, cells: dict[str, str], numbering: tuple[int, int]) -> LabelRow:
    is_list = "path" in cells
    clip_id = _listed_id(path, line, cells) if is_list else _filled(path, line, cells, "clip_id")
    label = cells["label"] if is_list else _filled(path, line, cells, "label")
    start, end = 0.0, math.inf
    if kind == BY_SECONDS:
        start, end = _interval(path, line, cells, ("start_seconds", "end_seconds"))
    if kind == BY_FRAMES:
        start, end = _interval(path, line, cells, ("start_frame", "end_frame"), numbering)
    group, split, subject = cells.get("group", ""), _split(path, line, cells), cells.get("subject", "")
    return LabelRow(clip_id, label, line, group, split, start, end, subject)


def _filled(path: Path, line: int, cells: dict[str, str], name: str) -> str:
    if not cells[name]:
        raise LabelError(f"{path} line {line}: {name} is empty; fill it in or remove the line.")
    return cells[name]


def _split(path: Path, line: int, cells: dict[str, str]) -> str:
    value = cells.get("split", "")
    if value.lower() not in SPLITS:
        raise LabelError(f"{path} line {line}: split is {value!r}; it must be train, validation or test.")
    return SPLITS[value.lower()]


def _listed_id(path: Path, line: int, cells: dict[str, str]) -> str:
    """The clip_id that extraction gives a line of a list of clips."""
    if cells.get("clip_id"):
        return cells["clip_id"]
    name = _listed_name(path, _filled(path, line, cells, "path"))
    start, end = (
        _number(path, line, cells, column) if cells.get(column) else otherwise
        for column, otherwise in (("start_seconds", 0.0), ("end_seconds", math.inf))
    )
    return name if start == 0 and math.isinf(end) else f"{name}#t={start:.6f},{end:.6f}"


def _listed_name(path: Path, text: str) -> str:
    if address := as_address(text):
        return address.clip_id
    video, folder = PurePosixPath(text), PurePosixPath(path.parent.absolute().as_posix())
    return posixpath.normpath(video.relative_to(folder) if video.is_relative_to(folder) else video)


def _interval(
    path: Path, line: int, cells: dict[str, str], names: tuple[str, str], numbering: tuple[int, int] = (0, 0)
) -> tuple[float, float]:
    """The interval, half-open, from 0; `numbering` is what the file adds to start and end."""
    start, end = (_number(path, line, cells, name) - more for name, more in zip(names, numbering, strict=True))
    if start < 0:
        raise LabelError(f"{path} line {line}: {names[0]} is {cells[names[0]]}, but --labels-from 1 counts from 1.")
    if start >= end:
        may_include = names[1] == "end_frame" and cells[names[0]] == cells[names[1]]
        hint = "; if end_frame is the last frame itself, give --labels-end inclusive" if may_include else ""
        raise LabelError(
            f"{path} line {line}: {names[0]} {cells[names[0]]} is not before {names[1]} {cells[names[1]]}; "
            f"intervals are half-open, [start, end){hint}."
        )
    return start, end


def _number(path: Path, line: int, cells: dict[str, str], name: str) -> float:
    text = _filled(path, line, cells, name)
    rule = "a whole number >= 0" if name.endswith("_frame") else "a number of seconds >= 0"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0 and (value.is_integer() or not name.endswith("_frame"))):
        raise LabelError(f"{path} line {line}: {name} is {text!r}; it must be {rule}.")
    return value


def _refuse_repeated_clips(path: Path, rows: tuple[LabelRow, ...]) -> None:
    first_line: dict[str, int] = {}
    for row in rows:
        if row.clip_id in first_line:
            raise LabelError(
                f"{path} line {row.line}: clip_id {row.clip_id!r} is also on line {first_line[row.clip_id]}; keep one."
            )
        first_line[row.clip_id] = row.line


def _refuse_torn_columns(path: Path, rows: tuple[LabelRow, ...]) -> None:
    """Intervals of one clip must agree on its group and split."""
    first: dict[str, LabelRow] = {}
    for row in rows:
        other = first.setdefault(row.clip_id, row)
        for name, old, new in (("group", other.group, row.group), ("split", other.split, row.split)):
            if old != new:
                raise LabelError(
                    f"{path} line {row.line}: {name} of clip_id {row.clip_id!r} is {new!r}, "
                    f"on line {other.line} it is {old!r}; write one {name} per clip."
                )
