"""What a label format is: how it is recognised, read and written. Plug-ins offer the same record.

A package adds a format by an entry point in the group `clipseq.label_formats` that names a `LabelFormat`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sequence_models.labels.table import BY_SECONDS, LabelTable


@dataclass(frozen=True)
class ReadOptions:
    """What a file may leave open.

    Args:
        clip_name: The video, for formats whose files name none: path of the file in the folder given, without ending.
        labels_fps: Frames per second of a format that counts frames of its own clock.
        tier: The ELAN tier whose values are the classes.
        tiers_as_classes: Whether the names of ELAN tiers are the classes.
        first_frame, inclusive: How our own CSV files count frames, as in `read_labels`.
    """

    clip_name: str = ""
    labels_fps: float | None = None
    tier: str | None = None
    tiers_as_classes: bool = False
    first_frame: int = 0
    inclusive: bool = False


@dataclass(frozen=True)
class WriteOptions:
    """What a format wants to know besides the rows.

    Args:
        rates: clip_id -> frames per second, as far as they are known.
        num_frames: clip_id -> number of frames, as far as they are known.
        background: The class of frames without any other, "" if there is none.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    num_frames: Mapping[str, int] = field(default_factory=dict)
    background: str = ""


@dataclass(frozen=True)
class LabelFormat:
    """One format.

    Args:
        name: As in --label-format and --to.
        title: As in messages.
        recognise: Whether a file is of this format, from its path and its first characters; "" for a folder.
        read: Reads one file, or for `is_folder` one folder, into half-open intervals from 0.
        write: The files that hold a table, path below the output -> content; "" is the output itself, a file. Intervals
            are in `unit`. None: the format is only read.
        unit: BY_SECONDS or BY_FRAMES, of the intervals that `write` takes; "" for both.
        holds_points: Whether it is written with events without a length.
        holds: Which of subject, group, split and annotator it is written with.
        has_background: Whether it has a value for a frame that was watched and has none of the classes.
        gaps_are_background: Whether its users write nothing where there is nothing.
        is_folder: Whether a data set is a folder, not each of its files.
        ending: Of the file written.
    """

    name: str
    title: str
    recognise: Callable[[Path, str], bool]
    read: Callable[[Path, ReadOptions], LabelTable]
    write: Callable[[LabelTable, WriteOptions], dict[str, str]] | None = None
    unit: str = BY_SECONDS
    holds_points: bool = False
    holds: frozenset[str] = frozenset()
    has_background: bool = False
    gaps_are_background: bool = False
    is_folder: bool = False
    ending: str = ".csv"
