"""Labels frame by frame <-> intervals of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from extract.errors import LabelError
from sequence_models.labels.table import LabelRow

MAX_FRAMES = 10_000_000


def runs_of(frames: Iterable[Iterable[str] | None]) -> list[tuple[str, int, int]]:
    """The runs of each class.

    Args:
        frames: The classes of each frame, from 0 on; None for none.

    Returns:
        (class, start, end), half-open, by start.
    """
    began: dict[str, int] = {}
    runs = []
    number = -1
    for number, names in enumerate(frames):
        here = set(names or ())
        for name in [name for name in began if name not in here]:
            runs.append((name, began.pop(name), number))
        for name in here:
            began.setdefault(name, number)
    runs += [(name, start, number + 1) for name, start in began.items()]
    return sorted(runs, key=lambda run: (run[1], run[2], run[0]))


def end_of(rows: Sequence[LabelRow]) -> int:
    """The frame after the last one that is labelled."""
    return int(max(row.end for row in rows))


def frames_of(rows: Sequence[LabelRow], length: int, *, where: Callable[[LabelRow], str]) -> list[set[str]]:
    """The classes of each frame.

    Args:
        rows: Intervals of one clip, in whole frames.
        length: Number of frames.
        where: The place of a row, for messages.

    Raises:
        LabelError: A row ends behind the last frame, or there are too many frames.
    """
    if length > MAX_FRAMES:
        last = max(rows, key=lambda row: row.end)
        raise LabelError(f"{where(last)}: it ends at frame {last.end:g}; at most {MAX_FRAMES:,} frames are written.")
    frames: list[set[str]] = [set() for _ in range(length)]
    for row in rows:
        if row.end > length:
            raise LabelError(f"{where(row)}: it ends at frame {row.end:g}, but {row.clip_id!r} has {length} frames.")
        for number in range(int(row.start), int(row.end)):
            frames[number].add(row.label)
    return frames
