"""How far two annotators agree: Cohen's kappa frame by frame, and segments that overlap by half, per class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from extract.errors import LabelError, UsageError
from extract.text import aligned, counted
from sequence_models.labels.clip_names import ClipNames, quoted
from sequence_models.labels.formats.frame_runs import MAX_FRAMES
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS, PER_CLIP, LabelRow, LabelTable
from sequence_models.scoring.metrics import cohens_kappa
from sequence_models.scoring.segments import f1_counts, f1_from_counts, segments

FRAMES_PER_SECOND = 25.0  # of the grid on which times are compared, unless a rate is given
OVERLAP = 0.5


@dataclass(frozen=True)
class ClassAgreement:
    """One class.

    Args:
        name: The class.
        frames: Frames with it in the first, in the second, and in both.
        kappa: Cohen's kappa of having it or not, over all frames; None if one of the two has it always or never and so
            does the other.
        segments: Numbers of segments of the two.
        f1: 0 to 100, of segments whose overlap is at least half of what they cover together.
    """

    name: str
    frames: tuple[int, int, int]
    kappa: float | None
    segments: tuple[int, int]
    f1: float


@dataclass(frozen=True)
class Agreement:
    """Two sets of labels.

    Args:
        classes: By name.
        clips: Number of clips that both have.
        frames: Number of frames compared: of each clip from 0 to the last label of either.
        kappa: Cohen's kappa over all classes and "none"; None where classes overlap, so that a frame has no single one.
        only: Clips that only the first has, and only the second.
        points: Number of point events, which are not compared.
        rate: Frames per second of the grid; 0 if the labels count frames themselves.
    """

    classes: tuple[ClassAgreement, ...]
    clips: int
    frames: int
    kappa: float | None
    only: tuple[tuple[str, ...], tuple[str, ...]]
    points: int
    rate: float


def agreement(first: LabelTable, second: LabelTable, *, rate: float | None = None) -> Agreement:
    """Compares two sets of intervals of the same clips.

    Args:
        first, second: Intervals; clips are matched by name.
        rate: Frames per second: of the grid for seconds, and to turn seconds into frames if only one counts frames.

    Raises:
        LabelError: Labels of whole clips, or no clip in common.
        UsageError: One counts seconds and the other frames, and no rate is given.
    """
    for table in (first, second):
        if table.kind == PER_CLIP:
            raise LabelError(f"{table.path} has one label per clip; agreement over time needs intervals.")
    if first.kind != second.kind and rate is None:
        raise UsageError(
            f"{first.path} counts {first.kind} and {second.path} {second.kind}: give the frames per second of the "
            "videos with --labels-fps."
        )
    grid = 0.0 if first.kind == second.kind == BY_FRAMES else rate or FRAMES_PER_SECOND
    points = sum(row.is_point for table in (first, second) for row in table.rows)
    first, second = (
        replace(table, rows=tuple(row for row in table.rows if not row.is_point)) for table in (first, second)
    )
    pairs, only = _pairs(first, second)
    if not pairs:
        raise LabelError(f"{first.path} and {second.path} have no clip in common; check the names of the videos.")
    names = sorted({row.label for sides in pairs for rows in sides for row in rows})
    held = [_held(sides, kinds=(first.kind, second.kind), names=names, grid=grid) for sides in pairs]
    classes = [_class_agreement(name, [sides[:, k] for sides in held]) for k, name in enumerate(names)]
    total = sum(sides.shape[2] for sides in held)
    return Agreement(tuple(classes), len(pairs), total, _overall(held), only, points, grid)


def agreement_text(found: Agreement, *, names: tuple[str, str]) -> str:
    """The table that `clipseq show-labels --against` prints; `names` are what the two are called."""
    grid = f" at {found.rate:g} frames/s" if found.rate else ""
    lines = [f"{names[0]} against {names[1]}: {counted(found.clips, 'clip')}, {counted(found.frames, 'frame')}{grid}"]
    for name, clips in zip(names, found.only, strict=True):
        if clips:
            lines.append(f"only in {name}, left out: {counted(clips, 'clip')} ({quoted(clips)})")
    if found.points:
        lines.append(
            f"{counted(found.points, 'point event')} left out: they have no length; give one with --point-width"
        )
    rows = [["class", "kappa", "frames 1st", "2nd", "both", "segments 1st", "2nd", "F1@50"]]
    for each in found.classes:
        numbers = [f"{number:,}" for number in (*each.frames, *each.segments)]
        rows.append([each.name, _shown(each.kappa), *numbers, f"{each.f1:.1f}"])
    lines += aligned(rows)
    overall = "not defined, since classes overlap" if found.kappa is None else f"{found.kappa:.3f}"
    return "\n".join([*lines, f"Cohen's kappa over all classes and none, frame by frame: {overall}"])


def by_annotator(table: LabelTable) -> dict[str, LabelTable]:
    """The labels of each annotator, if there are several."""
    names = dict.fromkeys(row.annotator for row in table.rows)
    parts = {name: replace(table, rows=tuple(row for row in table.rows if row.annotator == name)) for name in names}
    return parts if len(parts) > 1 else {}


def _pairs(
    first: LabelTable, second: LabelTable
) -> tuple[list[tuple[list[LabelRow], list[LabelRow]]], tuple[tuple[str, ...], tuple[str, ...]]]:
    """The rows of both for every common clip, and the clips of only one."""
    mine, others = first.rows_by_clip(), second.rows_by_clip()
    index = ClipNames(mine)
    matched: dict[str, list[LabelRow]] = {}
    unknown = []
    for name, rows in others.items():
        clip_id = index.find(name, where=second.where(rows[0]))
        if clip_id is None:
            unknown.append(name)
        else:
            matched.setdefault(clip_id, []).extend(rows)
    pairs = [(mine[clip_id], rows) for clip_id, rows in matched.items()]
    return pairs, (tuple(name for name in mine if name not in matched), tuple(unknown))


def _held(
    sides: tuple[Sequence[LabelRow], Sequence[LabelRow]], *, kinds: tuple[str, str], names: Sequence[str], grid: float
) -> np.ndarray:
    """bool (2, K, F): which classes hold in each frame of a clip; times go to the nearest frame."""
    scales = [grid if kind == BY_SECONDS else 1.0 for kind in kinds]
    length = max(
        math.ceil(round(row.end * scale, 6)) for rows, scale in zip(sides, scales, strict=True) for row in rows
    )
    if length > MAX_FRAMES:
        row = max((row for rows in sides for row in rows), key=lambda row: row.end)
        raise LabelError(f"{row.clip_id!r} has labels up to {row.end:g}; at most {MAX_FRAMES:,} frames are compared.")
    index = {name: k for k, name in enumerate(names)}
    held = np.zeros((2, len(names), length), bool)
    for side, (rows, scale) in enumerate(zip(sides, scales, strict=True)):
        for row in rows:
            held[side, index[row.label], round(row.start * scale) : round(row.end * scale)] = True
    return held


def _class_agreement(name: str, clips: Sequence[np.ndarray]) -> ClassAgreement:
    """`clips`: bool (2, F) each."""
    table = np.zeros((2, 2), np.int64)
    counts = np.zeros(3, np.int64)
    numbers = [0, 0]
    for first, second in clips:
        table += np.histogram2d(first, second, bins=[[-0.5, 0.5, 1.5]] * 2)[0].astype(np.int64)
        pieces = [segments(np.where(side, 0, -1)) for side in (first, second)]
        counts += f1_counts(*pieces, overlap=OVERLAP)
        numbers = [number + len(some) for number, some in zip(numbers, pieces, strict=True)]
    is_defined = np.count_nonzero(table) > 1
    return ClassAgreement(
        name,
        (int(table[1].sum()), int(table[:, 1].sum()), int(table[1, 1])),
        cohens_kappa(table) if is_defined else None,
        (numbers[0], numbers[1]),
        f1_from_counts(*counts.tolist()),
    )


def _overall(clips: Sequence[np.ndarray]) -> float | None:
    """Kappa over K classes and none."""
    if any((held.sum(axis=1) > 1).any() for held in clips):
        return None
    size = clips[0].shape[1] + 1
    table = np.zeros((size, size), np.int64)
    for held in clips:
        first, second = (np.where(side.any(axis=0), side.argmax(axis=0), size - 1) for side in held)
        np.add.at(table, (first, second), 1)
    return cohens_kappa(table) if np.count_nonzero(table) > 1 else None


def _shown(kappa: float | None) -> str:
    return "-" if kappa is None else f"{kappa:.3f}"
