"""Terminal output: text with file names, which may contain anything, tables and progress bars."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from extract.text import aligned, duration_text

SECONDS_BETWEEN_LINES = 30.0

_MARKS = (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))  # change the writing direction
_CONTROLS = (*range(9), *range(11, 32), *range(127, 160), *_MARKS)  # except newline and tab
_ESCAPES = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CONTROLS}


def plain(text: str) -> str:
    """The text with control characters, which could manipulate the terminal, escaped."""
    return text.translate(_ESCAPES)


class PlainStream:
    """A stream wrapper that writes `plain` text, with characters missing from the stream's encoding escaped.

    Args:
        stream: Such as sys.stdout.
    """

    def __init__(self, stream: Any) -> None:
        self.raw_stream = stream

    def write(self, text: str) -> int:
        """Write all of the text; returns its length."""
        encoding = self.raw_stream.encoding or "utf-8"
        self.raw_stream.write(plain(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw_stream, name)


@contextmanager
def plain_output() -> Iterator[None]:
    """Send all output, including errors, through `PlainStream`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and PlainStream(stream) for stream in before)  # None: closed by the caller
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """A table as text: on a terminal with a rule below its first row and fitted to the window, otherwise plain.

    Args:
        rows: Cells; columns of numbers are right-aligned. Rows may be shorter than the first.
    """
    if not (sys.stdout and sys.stdout.isatty()):
        return "\n".join(aligned(rows))
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column, name in enumerate(rows[0]):
        cells = [row[column] for row in rows[1:] if column < len(row)]
        is_number = all(not cell or cell[0].isdigit() for cell in cells)
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    console = Console(width=shutil.get_terminal_size().columns, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


_asked: ContextVar[bool | None] = ContextVar("progress bars", default=None)


@contextmanager
def progress_bars(shown: bool) -> Iterator[None]:
    """In this block, every bar is shown, in notebooks as theirs, or none is; elsewhere bars are shown on terminals."""
    before = _asked.set(shown)
    try:
        yield
    finally:
        _asked.reset(before)


def progress_bar(**settings: Any) -> Any:
    """A tqdm bar on standard error, if that is a terminal, or as `progress_bars` says; text for it must be `plain`."""
    shown = _asked.get()
    if shown:
        from tqdm.auto import tqdm as bar_for_notebooks

        return bar_for_notebooks(**{"dynamic_ncols": True, **settings, "disable": bool(settings.get("disable"))})
    from tqdm import tqdm

    file = getattr(sys.stderr, "raw_stream", sys.stderr)
    hidden = {} if shown is None else {"disable": True}
    return tqdm(**{"disable": None, "dynamic_ncols": True, "file": file, **settings, **hidden})


class CountedLines:
    """In place of a bar where standard error is a file: a line every half minute, and none for short jobs.

    Args:
        total: How many there are.
        unit: What they are, such as " fits".
    """

    def __init__(self, *, total: int, unit: str) -> None:
        self._total, self._unit, self._done = total, unit, 0
        self._began = self._told = time.monotonic()

    def __enter__(self) -> CountedLines:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left to do."""

    def set_postfix_str(self, text: str, *, refresh: bool = True) -> None:
        """As for a bar: what was done last, which lines leave out."""

    def update(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if now - self._told >= SECONDS_BETWEEN_LINES and self._done < self._total:
            left = (self._total - self._done) * (now - self._began) / self._done
            sys.stderr.write(f"{self._done} of {self._total}{self._unit}, about {duration_text(left)} left\n")
            sys.stderr.flush()
            self._told = now


def counted_bar(*, total: int, unit: str) -> Any:
    """A bar as from `progress_bar`, or `CountedLines` if it would not be seen."""
    is_hidden = _asked.get() is None and not (sys.stderr and sys.stderr.isatty())
    return CountedLines(total=total, unit=unit) if is_hidden and sys.stderr else progress_bar(total=total, unit=unit)
