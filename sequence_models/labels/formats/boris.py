"""BORIS exports: aggregated events, tabular events, and tabular events from before version 8; writes aggregated events.

An observation plays one or more files one after the other, so its times run on through all of them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from extract.errors import LabelError
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions, WriteOptions
from sequence_models.labels.formats.tool_files import (
    number_of,
    read_cells,
    read_tool_text,
    refuse_reversed,
    seconds_of,
    video_name,
)
from sequence_models.labels.table import BY_SECONDS, LabelRow, LabelTable, ToolFacts

NO_SUBJECT = "No focal subject"
NOT_AVAILABLE = ("", "na", "nan", "none")
SINCE_1970 = 1e8  # seconds; a recording that long has no labels, one with dates as times has
END_TOLERANCE_SECONDS = 0.1  # durations are of the container, whose last frame may end a little later
HEADER_LINES = 60
_AGGREGATED = {"behavior", "behavior type", "start (s)", "stop (s)"}
_TABULAR = {"behavior", "behavior type", "time"}
_BEFORE_8 = {"behavior", "status", "time"}
_BEFORE_VARIABLES = (  # the columns of variables, named by the user, stand behind these and before all others
    *("observation id", "observation date", "description", "observation type", "source", "time offset (s)"),
    *("coding duration", "media duration (s)", "fps (frame/s)", "fps"),
)
_KNOWN = {
    *_BEFORE_VARIABLES, *_AGGREGATED, *_TABULAR, *_BEFORE_8, "subject", "behavioral category", "media file name",
    "observation duration by subject by observation", "observation duration", "duration (s)", "total length",
    "media file path", "image index",
    "image index start", "image index stop", "image file path", "image file path start", "image file path stop",
    "comment", "comment start", "comment stop",
}  # fmt: skip
_WRITTEN = (
    "Observation id", "Observation date", "Description", "Observation type", "Source", "Time offset (s)",
    "Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject",
    "Observation duration by subject by observation", "Behavior", "Behavioral category", "Behavior type", "Start (s)",
    "Stop (s)", "Duration (s)", "Media file name", "Image index start", "Image index stop", "Image file path start",
    "Image file path stop", "Comment start", "Comment stop",
)  # fmt: skip


@dataclass(frozen=True)
class _Event:
    """One behaviour in the time of its observation; `end` equals `start` for a point."""

    line: int
    observation: str
    subject: str
    behavior: str
    start: float
    end: float
    cells: dict[str, str]


@dataclass(frozen=True)
class _Media:
    """The files of an observation, played one after the other; durations are () where the export has none."""

    names: tuple[str, ...]
    durations: tuple[float, ...]
    rates: tuple[float, ...]
    offset: float


def recognise(path: Path, head: str) -> bool:
    """Whether a line of the beginning is one of the three headers."""
    return _header_line(head) is not None


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads one export.

    Raises:
        LabelError: A state without an end, a time outside the media, a row that is cut off; names line and observation.
    """
    text = read_tool_text(path)
    at = _header_line(text)
    if at is None:
        raise LabelError(
            f"{path} has no header of BORIS events; export with Observations > Export events > Aggregated events."
        )
    lines = text.splitlines(keepends=True)
    rows = [(at + line - 1, cells) for line, cells in read_cells(path, "".join(lines[at - 1 :]))]
    names = [cell.strip().lower() for cell in rows[0][1]]
    table = [(line, _cells(path, line, names, cells)) for line, cells in rows[1:]]
    is_old = set(names) >= _BEFORE_8 and "behavior type" not in names
    if is_old:
        table = _with_metadata(path, table, lines[: at - 1])
    live = {cells.get("observation id", "") for _, cells in table if not _has_media(cells)}
    table = [(line, cells) for line, cells in table if _has_media(cells)]
    if live and not table:
        raise LabelError(f"{path} holds only live observations or folders of pictures, so no video to label.")
    is_aggregated = set(names) >= _AGGREGATED
    events = (
        _aggregated(path, table) if is_aggregated else _paired(path, table, "status" if is_old else "behavior type")
    )
    found, rates = _in_media_time(path, events)
    _refuse_two_observers(path, found)
    return LabelTable(
        path,
        BY_SECONDS,
        tuple(row for row, _ in found),
        tuple(dict.fromkeys(cell.strip() for cell, name in zip(rows[0][1], names, strict=True) if name not in _KNOWN)),
        ToolFacts(
            "BORIS aggregated" if is_aggregated else "BORIS tabular, before version 8" if is_old else "BORIS tabular",
            {"observation": len({event.observation for event in events})},
            rates,
            {"live observation": len(live)} if live else {},
        ),
    )


def write(table: LabelTable, options: WriteOptions) -> dict[str, str]:
    """Aggregated events, one observation per clip, times with 3 decimals."""
    file = io.StringIO(newline="")
    rows = csv.writer(file)
    rows.writerow(_WRITTEN)
    for clip_id, some in table.rows_by_clip().items():
        last = max(row.end for row in some)
        rate = options.rates.get(clip_id)
        frames = options.num_frames.get(clip_id)
        duration = max(frames / rate, last) if rate and frames else last
        head = [clip_id, "", "", "Media file", f"player #1:{clip_id}", "0.000", f"{last:.3f}", f"{duration:.3f}"]
        head.append(f"{rate:.3f}" if rate else "NA")
        for row in sorted(some, key=lambda row: row.start):
            length = ["NA"] if row.is_point else [f"{row.end - row.start:.3f}"]
            times = [f"{row.start:.3f}", f"{row.end:.3f}", *length]
            kind = "POINT" if row.is_point else "STATE"
            subject = row.subject or NO_SUBJECT
            rows.writerow([*head, subject, "NA", row.label, "", kind, *times, clip_id, *["NA"] * 4, "", ""])
    return {"": file.getvalue()}


def _header_line(text: str) -> int | None:
    """The number of the header's line, from 1."""
    for number, line in enumerate(text.splitlines()[:HEADER_LINES], start=1):
        separator = max(",;\t", key=line.count)
        cells = {cell.strip().strip('"').lower() for cell in line.split(separator)}
        if "clip_id" in cells:
            return None
        if any(columns <= cells for columns in (_AGGREGATED, _TABULAR, _BEFORE_8)):
            return number
    return None


def _cells(path: Path, line: int, names: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """By column: a variable may have the name of a column of BORIS, which then stands last, or first if before them."""
    if len(cells) != len(names):
        raise LabelError(
            f"{path} line {line} has {len(cells)} cells but the header has {len(names)}; export the file again."
        )
    found: dict[str, str] = {}
    for name, cell in zip(names, cells, strict=True):
        if name not in found or name not in _BEFORE_VARIABLES:
            found[name] = cell.strip()
    return found


def _with_metadata(path: Path, table: list[tuple[int, dict[str, str]]], above: Sequence[str]) -> list:
    """Adds what files from before version 8 say above their table."""
    told = {
        cells[0].strip().lower(): cells[1].strip() for _, cells in read_cells(path, "".join(above)) if len(cells) > 1
    }
    media = {cells.get("media file path", "") for _, cells in table}
    if len(media) > 1:
        raise LabelError(
            f"{path} is a BORIS export from before version 8 with events of {len(media)} media files, whose times run "
            "on; open the project in a later BORIS and export its aggregated events."
        )
    more = {
        "observation id": told.get("observation id", path.stem),
        "time offset (s)": told.get("time offset (s)", "0"),
    }
    return [(line, {**more, **cells, "media file name": cells.get("media file path", "")}) for line, cells in table]


def _has_media(cells: dict[str, str]) -> bool:
    return cells.get("observation type", "media").lower().startswith("media")


def _aggregated(path: Path, table: Iterable[tuple[int, dict[str, str]]]) -> list[_Event]:
    events = []
    for line, cells in table:
        where = f"{path} line {line}"
        kind, observation = cells["behavior type"].upper(), cells.get("observation id", "")
        if kind not in ("STATE", "POINT"):
            raise LabelError(f"{where}: Behavior type is {cells['behavior type']!r}; it must be STATE or POINT.")
        if kind == "STATE" and cells["stop (s)"].lower() in NOT_AVAILABLE:
            raise LabelError(
                f"{where}: {cells['behavior']!r} of observation {observation!r} starts at {cells['start (s)']} s and "
                "never stops; add the missing stop event in BORIS (Tools > Check state events)."
            )
        start = seconds_of(cells["start (s)"], where=where, name="Start (s)")
        end = start if kind == "POINT" else seconds_of(cells["stop (s)"], where=where, name="Stop (s)")
        refuse_reversed(start, end, where=where)
        if kind == "STATE" and start == end:
            raise LabelError(f"{where}: the state {cells['behavior']!r} starts and stops at {start:g} s; remove it.")
        events.append(_event(where, line, cells, start, end))
    return events


def _paired(path: Path, table: Iterable[tuple[int, dict[str, str]]], status: str) -> list[_Event]:
    """Joins START and STOP of the same observation, subject, behaviour and modifiers, in order of time."""
    rows = [(seconds_of(c["time"], where=f"{path} line {line}", name="Time"), line, c) for line, c in table]
    opened: dict[tuple[str, ...], tuple[float, int, dict[str, str]]] = {}
    events = []
    for time, line, cells in sorted(rows, key=lambda row: (row[0], row[1])):
        where, what = f"{path} line {line}", cells[status].upper()
        modifiers = (cell for name, cell in cells.items() if name.startswith("modifier"))
        key = (cells.get("observation id", ""), cells.get("subject", ""), cells["behavior"], *modifiers)
        if what == "POINT":
            events.append(_event(where, line, cells, time, time))
        elif what == "START":
            if key in opened:
                raise _unpaired(path, opened[key])
            opened[key] = (time, line, cells)
        elif what == "STOP":
            if key not in opened:
                raise _unpaired(path, (time, line, cells))
            start, line, cells = opened.pop(key)
            if time > start:
                events.append(_event(where, line, cells, start, time))
        else:
            raise LabelError(f"{where}: {status} is {cells[status]!r}; it must be START, STOP or POINT.")
    if opened:
        raise _unpaired(path, min(opened.values(), key=lambda entry: entry[1]))
    return sorted(events, key=lambda event: event.line)


def _unpaired(path: Path, entry: tuple[float, int, dict[str, str]]) -> LabelError:
    time, line, cells = entry
    return LabelError(
        f"{path} line {line}: observation {cells.get('observation id', '')!r} has a START or STOP of "
        f"{cells['behavior']!r} at {time:g} s without its partner; correct it in BORIS (Tools > Check state events)."
    )


def _event(where: str, line: int, cells: dict[str, str], start: float, end: float) -> _Event:
    if not cells["behavior"]:
        raise LabelError(f"{where}: Behavior is empty; export the file again.")
    subject = cells.get("subject", "")
    subject = "" if subject == NO_SUBJECT else subject
    return _Event(line, cells.get("observation id", ""), subject, cells["behavior"], start, end, cells)


def _in_media_time(path: Path, events: Sequence[_Event]) -> tuple[list[tuple[LabelRow, str]], frozenset[float]]:
    """The rows on the clock of each file, with their observations, split at the borders of files; and the rates."""
    media: dict[tuple[str, ...], _Media] = {}
    rate_of: dict[str, tuple[float, int]] = {}
    rows: list[tuple[LabelRow, str]] = []
    for event in events:
        where = f"{path} line {event.line}"
        names = ("observation id", "source", "media file name", "media duration (s)", "fps (frame/s)", "fps")
        key = tuple(event.cells.get(name, "") for name in (*names, "time offset (s)"))
        if key not in media:
            media[key] = _media(where, event.cells)
        played = media[key]
        for name, rate in zip(played.names, played.rates, strict=False):
            first, line = rate_of.setdefault(name, (rate, event.line))
            if first != rate:
                raise LabelError(f"{where}: {name!r} has {rate:g} frames/s, on line {line} it has {first:g}; keep one.")
        rows += [(row, event.observation) for row in _pieces(where, event, played)]
    return rows, frozenset(rate for rate, _ in rate_of.values())


def _media(where: str, cells: dict[str, str]) -> _Media:
    """The files of player 1; other players are other cameras at the same time."""
    players = cells.get("source", "").split("|")
    first = next((text for text in players if text.strip().startswith("player #1:")), "")
    names = [video_name(name) for name in first.partition(":")[2].split(";") if name.strip()]
    durations, rates = (_numbers(cells, *columns) for columns in (("media duration (s)",), ("fps (frame/s)", "fps")))
    if len(durations) < 2:  # a file name may hold a semicolon
        own = cells.get("media file name", "")
        known = own.lower() not in (*NOT_AVAILABLE, "not found")
        names = [video_name(own if known else first.partition(":")[2])]
    elif len(names) != len(durations):
        raise LabelError(
            f"{where}: Source names {len(names)} files but Media duration (s) has {len(durations)} numbers; "
            "rename files that have ; or | in their names, and export again."
        )
    if not all(names):
        raise LabelError(f"{where}: no media file is named; export again from a project with media files.")
    offset = cells.get("time offset (s)", "").strip()
    shift = 0.0 if offset.lower() in NOT_AVAILABLE else seconds_of(offset, where=where, name="Time offset (s)")
    return _Media(tuple(names), durations, rates, shift)


def _numbers(cells: dict[str, str], *columns: str) -> tuple[float, ...]:
    """Numbers of player 1's files; () if one is not available."""
    text = next((cells[name] for name in columns if name in cells), "").split("|")[0]
    found = [number_of(part) for part in text.split(";")]
    return () if None in found else tuple(number for number in found if number is not None)


def _pieces(where: str, event: _Event, media: _Media) -> list[LabelRow]:
    """An event on the clocks of the files that it covers."""
    start, end = (round(time - media.offset, 6) for time in (event.start, event.end))
    if start > SINCE_1970:
        raise LabelError(
            f"{where}: times are dates (seconds since 1970), not seconds of the video; switch off the creation date as "
            "time offset in the observation in BORIS, and export again."
        )
    if start < -0.001:
        raise LabelError(
            f"{where}: it starts at {event.start:g} s, before the time offset of {media.offset:g} s; correct it "
            "in BORIS."
        )
    row = LabelRow(media.names[0], event.behavior, event.line, start=max(start, 0.0), end=end, subject=event.subject)
    if not media.durations:
        return [row]
    whole = sum(media.durations)
    if end > whole + END_TOLERANCE_SECONDS:
        raise LabelError(
            f"{where}: {event.behavior!r} of observation {event.observation!r} ends at {end:g} s, but its media end at "
            f"{whole:g} s; correct it in BORIS."
        )
    borders = [0.0]
    for duration in media.durations:
        borders.append(round(borders[-1] + duration, 6))
    borders[-1] = max(borders[-1], end) + 1e-3 * row.is_point
    pieces = []
    for name, (first, last) in zip(media.names, pairwise(borders), strict=True):
        since, until = round(max(row.start, first) - first, 6), round(min(row.end, last) - first, 6)
        if since < until or (row.is_point and first <= row.start < last):
            pieces.append(replace(row, clip_id=name, start=since, end=until))
    return pieces


def _refuse_two_observers(path: Path, found: Iterable[tuple[LabelRow, str]]) -> None:
    """Two observations with the same behaviour of the same subject at the same time are of two people."""
    latest: dict[tuple[str, ...], tuple[LabelRow, str]] = {}
    for row, observation in sorted(found, key=lambda pair: (pair[0].start, pair[0].end)):
        key = row.clip_id, row.subject, row.label
        other, before = latest.get(key, (row, observation))
        if observation != before and row.start < other.end:
            raise LabelError(
                f"{path} line {row.line}: the observations {before!r} and {observation!r} both have {row.label!r} in "
                f"{row.clip_id!r} at {row.start:g} s, as of two observers; export one of them."
            )
        if key not in latest or row.end > other.end:
            latest[key] = (row, observation)


FORMAT = LabelFormat(
    "boris",
    "BORIS events",
    recognise,
    read,
    write,
    holds_points=True,
    holds=frozenset({"subject"}),
    gaps_are_background=True,
)
