"""What a label file holds: how often and how long each class, by whom, overlaps and gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from extract.text import aligned, counted, first_few
from sequence_models.labels.intervals import pieces_of
from sequence_models.labels.reading import understood, unused_columns
from sequence_models.labels.table import BY_FRAMES, PER_CLIP, LabelRow, LabelTable

MOST_PEOPLE = 9


def overview_text(table: LabelTable) -> str:
    """What `clipseq show-labels` prints.

    Args:
        table: From `read_everything`, or with the labels of one subject or annotator.

    Returns:
        The line of `understood`, a table with a line per class, and lines on subjects, annotators, overlaps and gaps.
    """
    lines = [f"{table.path}: {understood(table)}", *unused_columns(table), *aligned(_class_rows(table))]
    lines += _who("subject", table.rows) + _who("annotator", table.rows)
    if table.kind != PER_CLIP:
        lines += [_overlap_line(table), _gap_line(table)]
    return "\n".join(lines)


def _class_rows(table: LabelTable) -> list[list[str]]:
    """A header and a row per class, the most frequent first."""
    by_class: dict[str, list[LabelRow]] = {}
    for row in table.rows:
        by_class.setdefault(row.label, []).append(row)
    ordered = sorted(by_class.items(), key=lambda item: (-len(item[1]), item[0]))
    if table.kind == PER_CLIP:
        return [["class", "clips"], *([name or "(no label)", f"{len(rows):,}"] for name, rows in ordered)]
    unit = "frames" if table.kind == BY_FRAMES else "s"
    has_points = any(row.is_point for row in table.rows)
    header = ["class", "intervals", "clips", f"total {unit}", f"mean {unit}", f"shortest {unit}", f"longest {unit}"]
    return [
        header + (["points"] if has_points else []),
        *(_class_row(*item, table.kind, has_points) for item in ordered),
    ]


def _class_row(name: str, rows: Sequence[LabelRow], kind: str, has_points: bool) -> list[str]:
    lengths = [row.end - row.start for row in rows if not row.is_point]
    shown = "{:,.0f}" if kind == BY_FRAMES else "{:,.3f}"
    cells = [name, f"{len(lengths):,}", f"{len({row.clip_id for row in rows}):,}"]
    if lengths:
        mean = sum(lengths) / len(lengths)
        cells += [shown.format(sum(lengths)), f"{mean:,.1f}" if kind == BY_FRAMES else shown.format(mean)]
        cells += [shown.format(min(lengths)), shown.format(max(lengths))]
    else:
        cells += ["-"] * 4
    return cells + ([f"{len(rows) - len(lengths):,}"] if has_points else [])


def _who(what: str, rows: Iterable[LabelRow]) -> list[str]:
    counts: dict[str, int] = {}
    for row in rows:
        name = getattr(row, what)
        counts[name] = counts.get(name, 0) + 1
    if not counts.keys() - {""}:
        return []
    named = [
        f"{name or f'no {what}'} ({number:,})" for name, number in sorted(counts.items(), key=lambda item: -item[1])
    ]
    return [f"labels per {what}: {first_few(named, MOST_PEOPLE)}"]


def _overlap_line(table: LabelTable) -> str:
    """How long different classes hold at once, and where first."""
    total, clips, first = 0.0, set(), ""
    for clip_id, rows in table.rows_by_clip().items():
        for piece in pieces_of(rows):
            if len(piece.labels) > 1:
                total += piece.end - piece.start
                clips.add(clip_id)
                names = " and ".join(map(repr, sorted(piece.labels)))
                first = first or f"{clip_id!r} is {names} from {piece.start:g} to {piece.end:g}"
    if not clips:
        return "overlaps of different classes: none"
    return f"overlaps of different classes: {_length(table, total)} in {counted(clips, 'clip')}; the first: {first}"


def _gap_line(table: LabelTable) -> str:
    """Gaps between the intervals of a clip; what is before the first and after the last is not known here."""
    gaps, clips = [], set()
    for clip_id, rows in table.rows_by_clip().items():
        pieces = pieces_of(rows)
        found = [
            (after.start - before.end, before.end) for before, after in pairwise(pieces) if after.start > before.end
        ]
        gaps += [(length, start, clip_id) for length, start in found]
        clips |= {clip_id} if found else set()
    if not gaps:
        return "gaps between labels: none"
    longest, start, clip_id = max(gaps)
    whole = _length(table, sum(length for length, _, _ in gaps))
    where = f"{_length(table, longest)} from {start:g} in {clip_id!r}"
    return f"gaps between labels: {len(gaps):,}, {whole} in {counted(clips, 'clip')}; the longest: {where}"


def _length(table: LabelTable, amount: float) -> str:
    return counted(int(amount), "frame") if table.kind == BY_FRAMES else f"{amount:,.3f} s"
