"""Features in a table with one row a frame: CSV of any tool, and DeepLabCut's, whose header has three or four lines.

The columns are found by name. The numbers are parsed once into a temporary file, so that memory does not grow with
the length of a recording.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from extract.errors import UnstorableClipError
from extract.store.feature_files import FeatureFile
from extract.store.numpy_arrays import BLOCK_BYTES
from extract.system.files import open_regular, reason_of
from extract.text import counted

FRAME_NAMES = frozenset({"", "index", "frame", "frames", "frame_index", "frame_idx", "frame_number", "frame_id"})
FRAME_NAMES |= {"unnamed: 0", "__index_level_0__"}
SECONDS_NAMES = {"seconds": 1.0, "time": 1.0, "time_s": 1.0, "time_seconds": 1.0, "pts_seconds": 1.0, "timestamp": 1.0}
SECONDS_NAMES |= {"time (s)": 1.0, "time_ms": 1e-3, "milliseconds": 1e-3}
LONGEST_SECONDS = 1e6  # eleven days; larger "times" are those of a calendar
POINT = ("x", "y", "likelihood")
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none"})
ROWS_PER_BLOCK = 4096
LONGEST_LINE = 1 << 20


@contextmanager
def open_table(path: Path) -> Iterator[FeatureFile]:
    """Open a CSV; separators are commas, semicolons or tabs.

    Raises:
        UnstorableClipError: It is not a table of numbers with one row a frame.
    """
    try:
        with open_regular(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            first = text.readline(LONGEST_LINE)
            separator = max(",;\t", key=first.count)
            text.seek(0)
            reader = csv.reader(text, delimiter=separator, strict=True)
            heading = _heading(path, reader)
            with tempfile.TemporaryFile() as file:
                yield table_file(path, heading, file, _parsed(path, reader, heading))
    except UnicodeDecodeError:
        raise UnstorableClipError(f"{path} is not UTF-8 text: save it as CSV in UTF-8.") from None
    except csv.Error as error:
        raise UnstorableClipError(f"{path} is no valid CSV ({error}): export it again.") from None
    except OSError as error:
        raise UnstorableClipError(f"{path} cannot be read ({reason_of(error)}): export it again.") from error


class Heading:
    """What the header of a table says.

    Args:
        path: For messages.
        names: All columns.
        title, made_of: As in `FeatureFile`; made_of "" where columns have no structure.
        lines: How many lines it takes.
    """

    def __init__(self, path: Path, names: Sequence[str], *, title: str, made_of: str = "", lines: int = 1) -> None:
        self.names, self.title, self.made_of, self.lines = tuple(names), title, made_of, lines
        lowered = [name.strip().lower() for name in names]
        frames = [n for n, name in enumerate(lowered) if name in FRAME_NAMES and (name or n == 0)]
        seconds = [n for n, name in enumerate(lowered) if name in SECONDS_NAMES]
        if len(seconds) > 1 or len(frames) > 2:
            several = " and ".join(repr(names[n]) for n in (seconds if len(seconds) > 1 else frames))
            raise UnstorableClipError(f"{path} has several columns of time ({several}): keep one.")
        self.clock = seconds[0] if seconds else frames[-1] if frames else None
        self.scale = SECONDS_NAMES[lowered[seconds[0]]] if seconds else 1.0
        self.has_seconds = bool(seconds)
        aside = {*frames, *seconds}
        self.features = [n for n in range(len(names)) if n not in aside]
        self.columns = tuple(names[n] for n in self.features)
        unnamed = next((n for n in self.features if not lowered[n]), None)
        if unnamed is not None:
            raise UnstorableClipError(f"{path} has no name for column {unnamed + 1}: name it, or remove it.")
        if len(set(self.columns)) < len(self.columns):
            twice = next(name for name in self.columns if self.columns.count(name) > 1)
            raise UnstorableClipError(f"{path} has two columns {twice!r}: rename or remove one.")
        if not self.columns:
            raise UnstorableClipError(f"{path} has no column of features, only {', '.join(map(repr, names))}.")

    @property
    def clock_name(self) -> str:
        """The column of time, for people; "" if there is none."""
        if self.clock is None:
            return ""
        name = self.names[self.clock].strip()
        return f"column {name!r}" if name else "the first column"


def table_file(path: Path, heading: Heading, file: IO[bytes], blocks: Iterable[np.ndarray]) -> FeatureFile:
    """A table whose numbers are kept in a temporary file.

    Args:
        path: The table.
        heading: What its header says.
        file: Empty, open for reading and writing.
        blocks: All columns, float64 (n, number of columns); taken at the first use.
    """
    width, waiting, place = len(heading.names), [iter(blocks)], heading.clock

    def rows() -> Iterator[np.ndarray]:
        if waiting:
            for block in waiting.pop():
                file.write(np.ascontiguousarray(block, np.float64).data)
        file.seek(0)
        size = max(1, BLOCK_BYTES // (8 * width)) * 8 * width
        while content := file.read(size):
            yield np.frombuffer(content, np.float64).reshape(-1, width)

    def features() -> Iterator[np.ndarray]:
        empty = True
        for block in rows():
            empty = False
            yield block[:, heading.features]
        if empty:
            raise UnstorableClipError(f"{path} has a header but no row: export it again, or leave it out.")

    def clock() -> np.ndarray:
        times = np.concatenate([block[:, place] for block in rows()] or [np.zeros(0)])
        return _checked_clock(path, times * heading.scale, heading)

    return FeatureFile(
        path,
        heading.title,
        len(heading.features),
        features,
        heading.columns,
        heading.made_of,
        heading.clock_name,
        clock if place is not None else None,
        heading.has_seconds,
    )


def _checked_clock(path: Path, times: np.ndarray, heading: Heading) -> np.ndarray:
    name = heading.clock_name
    wrong = np.flatnonzero(~np.isfinite(times) | (times < 0) | (not heading.has_seconds and times % 1 != 0))
    if len(wrong):
        rule = "a number of seconds >= 0" if heading.has_seconds else "a whole number >= 0"
        raise UnstorableClipError(
            f"{path}: {name} is {times[wrong[0]]:g} in row {wrong[0] + 1:,}; it must be {rule}: correct it."
        )
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        here, then = times[back[0]], times[back[0] + 1]
        raise UnstorableClipError(
            f"{path}: {name} goes from {here:g} to {then:g} in row {back[0] + 2:,}, but each row must be later than "
            "the one before: give one file per video, sorted by time."
        )
    if len(times) and times[-1] > LONGEST_SECONDS and heading.has_seconds:
        raise UnstorableClipError(
            f"{path}: {name} reaches {times[-1]:g} s, which is no time in a video: count from the start of the video, "
            "or remove the column and give --fps."
        )
    return times


def _heading(path: Path, reader: Any) -> Heading:
    first = next((cells for cells in reader if any(cell.strip() for cell in cells)), None)
    if first is None:
        raise UnstorableClipError(f"{path} is empty: export it again, or leave it out.")
    if first[0].strip().lower() == "scorer":
        return _deeplabcut(path, [first, *islice(reader, 2)], reader)
    if all(_is_number(cell) for cell in first):
        raise UnstorableClipError(
            f"{path} has numbers in its first line: put the names of the columns there, or save it as .npy."
        )
    return Heading(path, [cell.strip() for cell in first], title="CSV", lines=reader.line_num)


def _deeplabcut(path: Path, lines: list[list[str]], reader: Any) -> Heading:
    """scorer, [individuals,] bodyparts, coords: names of columns in lines above each other."""
    if len(lines) > 1 and lines[1][0].strip().lower() == "individuals":
        lines += list(islice(reader, 1))
    kinds = [line[0].strip().lower() for line in lines[1:]]
    if kinds not in (["bodyparts", "coords"], ["individuals", "bodyparts", "coords"]):
        raise UnstorableClipError(
            f"{path} begins like a DeepLabCut CSV, but its lines are {', '.join(['scorer', *kinds])}; they must be "
            "scorer, individuals (if there are several), bodyparts, coords: export it again."
        )
    widths = {len(line) for line in lines}
    if len(widths) > 1:
        raise UnstorableClipError(f"{path} has header lines of {min(widths)} and {max(widths)} cells: export it again.")
    levels = [[cell.strip() for cell in line[1:]] for line in lines[1:]]
    names = [" ".join(parts) for parts in zip(*levels, strict=True)]
    coordinates = list(dict.fromkeys(levels[-1]))
    unknown = [name for name in coordinates if name not in POINT]
    if unknown:
        raise UnstorableClipError(
            f"{path} has coords {unknown[0]!r}; known are {', '.join(POINT)} (3-D points: save them as a plain CSV)."
        )
    animals = list(dict.fromkeys(levels[0])) if len(levels) == 3 else []
    points = list(dict.fromkeys(levels[-2]))
    return Heading(
        path, ["", *names], title="DeepLabCut CSV", made_of=points_text(animals, points, coordinates), lines=len(lines)
    )


def points_text(animals: Sequence[str], points: Sequence[str], coordinates: Sequence[str]) -> str:
    """What the columns of a pose are, such as "2 animals x 5 keypoints x x, y, likelihood"."""
    of_animals = f"{counted(animals, 'animal')} x " if len(animals) > 1 else ""
    return f"{of_animals}{counted(points, 'keypoint')} x {', '.join(coordinates)}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.strip().lower() in MISSING
    return True


def _parsed(path: Path, reader: Any, heading: Heading) -> Iterator[np.ndarray]:
    width, line = len(heading.names), reader.line_num
    rows: list[list[str]] = []
    for cells in reader:
        if len(cells) == width:
            rows.append(cells)
        elif any(cell.strip() for cell in cells):
            raise UnstorableClipError(
                f"{path} line {reader.line_num} has {len(cells)} cells but the header has {width}: export it again."
            )
        if len(rows) == ROWS_PER_BLOCK:
            yield _numbers(path, rows, heading, line)
            rows, line = [], reader.line_num
    if rows:
        yield _numbers(path, rows, heading, line)


def _numbers(path: Path, rows: list[list[str]], heading: Heading, line: int) -> np.ndarray:
    """float64 (n, columns); empty cells are NaN."""
    try:
        return np.array([[cell or "nan" for cell in row] for row in rows], np.float64)
    except ValueError:
        pass
    numbers = np.empty((len(rows), len(rows[0])))
    for n, row in enumerate(rows):
        for column, cell in enumerate(row):
            if cell.strip().lower() in MISSING:
                numbers[n, column] = np.nan
            elif _is_number(cell):
                numbers[n, column] = float(cell)
            else:
                hint = ", and write decimal points" if cell.replace(",", ".", 1).replace(".", "", 1).isdigit() else ""
                raise UnstorableClipError(
                    f"{path} line {line + n + 1}: column {heading.names[column]!r} is {cell[:40]!r}, but features are "
                    f"numbers: remove the column{hint}."
                )
    return numbers
