"""The content of a label file, whatever its format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

PER_CLIP = "per clip"
BY_SECONDS = "seconds"
BY_FRAMES = "frames"
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "": "",
}


@dataclass(frozen=True)
class LabelRow:
    """One line of a label file.

    Args:
        clip_id: The clip as the file names it.
        label: Name of the class; "" only in a list of clips, for an unlabelled one.
        line: Line number in the file, for messages.
        group, split: From the file, else "".
        start, end: Half-open interval in seconds or frames; infinite for a label of the whole clip.
    """

    clip_id: str
    label: str
    line: int
    group: str = ""
    split: str = ""
    start: float = 0.0
    end: float = math.inf


@dataclass(frozen=True)
class LabelTable:
    """A label file.

    Args:
        path: The file.
        kind: PER_CLIP, BY_SECONDS or BY_FRAMES.
        rows: In file order.
        ignored: Columns of the file that are not used.
    """

    path: Path
    kind: str
    rows: tuple[LabelRow, ...]
    ignored: tuple[str, ...] = ()

    def rows_by_clip(self) -> dict[str, list[LabelRow]]:
        """The rows of each clip under its name in the file, clips in file order."""
        grouped: dict[str, list[LabelRow]] = {}
        for row in self.rows:
            grouped.setdefault(row.clip_id, []).append(row)
        return grouped
