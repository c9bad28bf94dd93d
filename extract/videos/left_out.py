"""Searches folders and counts what is left out, to report it at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from extract.text import counted, first_few


class LeftOut:
    """What a search has left out.

    Args:
        where: What is searched, for the messages.

    Attributes:
        unreadable: Folder -> why it could not be read.
    """

    def __init__(self, where: str | Path) -> None:
        self._where = where
        self._found: dict[tuple[str, str], list[str]] = {}
        self._remarks: list[str] = []
        self.unreadable: dict[str, str] = {}

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    def add(self, kind: str, name: str, *, noun: str = "file") -> None:
        """Count one file or folder.

        Args:
            kind: The reason, to be put in brackets, such as "pictures beside videos".
            name: Its name.
            noun: What it is called.
        """
        self._found.setdefault((noun, kind), []).append(name)

    def remark(self, sentence: str) -> None:
        """Note something that is used, but perhaps not as intended."""
        self._remarks.append(sentence)

    def lines(self) -> list[str]:
        """One sentence per kind, with the number and the first names."""
        return self._remarks + [
            f"{self._where}: left out {counted(names, noun)} ({kind}): {first_few(names)}"
            for (noun, kind), names in sorted(self._found.items())
        ]

    def failures(self) -> list[str]:
        """One sentence per folder that could not be read."""
        return [f"{name}: the folder cannot be read ({reason})" for name, reason in self.unreadable.items()]

    def cannot_read(self, folder: str | Path, error: OSError) -> None:
        """Note a folder that could not be read."""
        self.unreadable[str(folder)] = error.strerror or str(error)


def walk(folder: Path, left_out: LeftOut) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below with its file names, without hidden ones; follows links, but never in a loop.

    Args:
        folder: Where to start.
        left_out: Records the folders that cannot be read.

    Yields:
        A folder and the sorted names of its files.
    """

    def note(error: OSError) -> None:
        left_out.cannot_read(error.filename, error)

    for here, folders, names in os.walk(folder, followlinks=True, onerror=note):
        above = {os.path.realpath(parent) for parent in [Path(here), *Path(here).parents] if parent != Path(".")}
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(here, name)) not in above
        )
        yield Path(here), sorted(name for name in names if not name.startswith("."))
