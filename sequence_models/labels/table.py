"""The content of a label file, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
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
        start, end: Half-open interval in seconds or frames, equal for a point event; infinite for a label of the whole
            clip.
        subject: Who is labelled, "" if the file names nobody.
        annotator: Who labelled, "" if the file does not say.
        file: The file, if the table was read from several.
        at: The place in the file, if that has no useful lines, such as "task 7".
    """

    clip_id: str
    label: str
    line: int
    group: str = ""
    split: str = ""
    start: float = 0.0
    end: float = math.inf
    subject: str = ""
    annotator: str = ""
    file: str = ""
    at: str = ""

    @property
    def is_point(self) -> bool:
        """Whether it is an event without a length."""
        return self.start == self.end

    @property
    def place(self) -> str:
        """Where in its file it is: "line 7", or what the format has instead."""
        return self.at or f"line {self.line}"


@dataclass(frozen=True)
class ToolFacts:
    """What a label file of another tool says besides its rows.

    Args:
        title: The format, such as "BORIS aggregated".
        things: What the tool calls its units, and how many there are, such as {"observation": 12}.
        rates: Frames per second that the file names.
        left_out: What the rows leave out, and how many, such as {"point event": 41}.
        background: The class of what was watched without any other class; other gaps between the rows are unlabelled.
        num_frames: Number of frames of a video, for formats with a label for each.
        views: Names of videos of one scene: what one file labels for all of them at once.
        name_prefix: What the files of videos may have in front of the names here.
        times_are_rounded: Whether times are those of frames, rounded: a label begins and ends at the nearest frame.
    """

    title: str
    things: Mapping[str, int] = field(default_factory=dict)
    rates: frozenset[float] = frozenset()
    left_out: Mapping[str, int] = field(default_factory=dict)
    background: str = ""
    num_frames: Mapping[str, int] = field(default_factory=dict)
    views: tuple[frozenset[str], ...] = ()
    name_prefix: str = ""
    times_are_rounded: bool = True


@dataclass(frozen=True)
class LabelTable:
    """A label file.

    Args:
        path: The file or folder.
        kind: PER_CLIP, BY_SECONDS or BY_FRAMES.
        rows: In file order.
        ignored: Columns of the file that are not used.
        tool: What else the file says; None for our own CSV files of clips and intervals.
    """

    path: Path
    kind: str
    rows: tuple[LabelRow, ...]
    ignored: tuple[str, ...] = ()
    tool: ToolFacts | None = None

    @property
    def background(self) -> str:
        """The class of what was watched without any other class; "" if the gaps are simply unlabelled."""
        return self.tool.background if self.tool else ""

    def where(self, row: LabelRow) -> str:
        """The file and place of a row, for messages."""
        return f"{row.file or self.path} {row.place}"

    def rows_by_clip(self) -> dict[str, list[LabelRow]]:
        """The rows of each clip under its name in the file, clips in file order."""
        grouped: dict[str, list[LabelRow]] = {}
        for row in self.rows:
            grouped.setdefault(row.clip_id, []).append(row)
        return grouped
