"""Writes labels in any format that is written: converts units, overwrites nothing, leaves no folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from extract.errors import LabelError, UsageError
from extract.store.reader import open_store
from extract.system.files import make_folder, write_text
from extract.text import counted
from sequence_models.labels.clip_names import ClipNames, without_ending
from sequence_models.labels.formats.contract import LabelFormat, WriteOptions
from sequence_models.labels.formats.registry import WRITTEN, format_named
from sequence_models.labels.reading import read_chosen, refuse_several_annotators, understood, unused_columns
from sequence_models.labels.table import BY_SECONDS, PER_CLIP, LabelRow, LabelTable
from sequence_models.settings import DataSettings


@dataclass(frozen=True)
class Written:
    """What was written.

    Args:
        files: The paths.
        rows: Number of intervals.
        left_out: What the format cannot hold, and how many.
    """

    files: tuple[Path, ...]
    rows: int
    left_out: Mapping[str, int]


def written_format(name: str) -> LabelFormat:
    """The format of --to; UsageError if there is none, or it is only read."""
    found = format_named(name, flag="--to")
    if found.write is None:
        raise UsageError(f"--to {name} is only read, not written; choose one of {', '.join(WRITTEN)}.")
    return found


def convert_labels(source: Path, output: Path, *, to: str, settings: DataSettings, stores: Sequence[str] = ()) -> str:
    """Reads labels in one format and writes them in another.

    Args:
        source: A file or folder, as for `read_chosen`.
        output: Must not exist.
        to: A format that is written.
        settings: How to read; `labels_fps` also converts between seconds and frames.
        stores: Feature stores that know the videos.

    Returns:
        What was read and what was written, a line each.

    Raises:
        LabelError, UsageError, StoreError, WriteError: As for `read_chosen`, `options_for` and `write_labels`.
    """
    used = written_format(to)
    check_output(output)
    table = read_chosen(source, settings)
    refuse_several_annotators(table)
    options = options_for(table, fps=settings.labels_fps, background=settings.background, stores=stores)
    done = write_labels(table, output, used, options)
    return "\n".join([f"{source}: {understood(table)}", *unused_columns(table), written_text(output, done)])


def written_text(output: Path, done: Written) -> str:
    """What was written, and what the format could not hold."""
    left_out = ", ".join(counted(number, noun) for noun, number in done.left_out.items())
    said = f"wrote {output}: {counted(done.files, 'file')}, {counted(done.rows, 'interval')}"
    return said + (f"; {left_out} left out" if left_out else "")


def options_for(
    table: LabelTable, *, fps: float | None, background: str | None, stores: Sequence[str] = ()
) -> WriteOptions:
    """What is known about the videos of a table.

    Args:
        table: Its labels.
        fps: Frames per second of all videos; None takes those of the stores, or the only rate that the labels name.
        background: The class of frames without any other.
        stores: Feature stores that know the videos: their rates and numbers of frames.

    Raises:
        LabelError: A name matches several clips of a store.
        StoreError: A store cannot be read.
    """
    names = table.rows_by_clip()
    tool_rates = table.tool.rates if table.tool else frozenset()
    rate = fps or (next(iter(tool_rates)) if len(tool_rates) == 1 else None)
    rates = dict.fromkeys(names, rate) if rate else {}
    num_frames = dict(table.tool.num_frames) if table.tool else {}
    for store in map(open_store, stores):
        index = ClipNames(store.clip_ids)
        for name, rows in names.items():
            clip_id = index.find(name, where=table.where(rows[0]))
            truth = store.truth(clip_id) if clip_id is not None else None
            if truth is not None:
                num_frames[name] = truth.decoded_frames
                if fps is None and truth.average_rate:
                    rates[name] = truth.average_rate
    return WriteOptions({name: value for name, value in rates.items() if value}, num_frames, background or "")


def check_output(path: Path) -> None:
    """UsageError if labels would be written over something."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"{path} exists already: choose another name or remove it.")


def write_labels(table: LabelTable, output: Path, used: LabelFormat, options: WriteOptions) -> Written:
    """Writes a table of intervals.

    Args:
        table: Intervals or point events.
        output: A file, or a folder for formats with a file per clip; must not exist.
        used: A format with `write`.
        options: With the rates of all clips if the table counts seconds and the format frames, or the reverse.

    Raises:
        LabelError: The format cannot hold a name or an interval.
        UsageError: The rate is not known, or the output exists.
        WriteError: It cannot be written.
    """
    if table.kind == PER_CLIP:
        raise LabelError(f"{table.path} holds one label per clip, but {used.title} holds intervals.")
    check_output(output)
    left_out: Counter[str] = Counter()
    rows = [row for row in table.rows if used.holds_points or not row.is_point]
    if len(rows) < len(table.rows):
        left_out["point event"] = len(table.rows) - len(rows)
    for what in ("subject", "group", "split", "annotator"):
        if what not in used.holds and (values := {getattr(row, what) for row in rows} - {""}):
            left_out[what] = len(values)
    converted = _converted(replace(table, rows=tuple(rows)), used.unit or table.kind, options, left_out)
    if not converted.rows:
        raise LabelError(f"{table.path} has no interval that {used.title} can hold; nothing was written.")
    if used.write is None:
        raise UsageError(f"--to {used.name} is only read, not written.")
    contents = used.write(converted, options)
    if "" not in contents:
        for row in converted.rows:
            _refuse_other_places(row.clip_id, output)
    targets: dict[Path, str] = {}
    for name, content in contents.items():
        target = _target(output, name, used.ending) if name else output
        if target in targets:
            raise LabelError(f"two clips would be written to {target}; rename one (endings of videos are left out).")
        targets[target] = content
    for target, content in targets.items():
        make_folder(target.parent)
        write_text(target, content)
    return Written(tuple(targets), len(converted.rows), left_out)


def _converted(table: LabelTable, unit: str, options: WriteOptions, left_out: Counter[str]) -> LabelTable:
    """The rows in another unit; intervals that are shorter than a frame are counted and left out."""
    if unit == table.kind:
        return table
    rows = []
    for row in table.rows:
        rate = options.rates.get(row.clip_id)
        if not rate:
            raise UsageError(
                f"{table.path} counts {table.kind}, the format counts {unit}: give the frames per second of the videos "
                "with --labels-fps."
            )
        converted = _in_seconds(row, rate) if unit == BY_SECONDS else _in_frames(row, rate)
        if converted.is_point and not row.is_point:
            left_out["too short interval"] += 1
        else:
            rows.append(converted)
    return replace(table, kind=unit, rows=tuple(rows))


def _in_seconds(row: LabelRow, rate: float) -> LabelRow:
    return replace(row, start=row.start / rate, end=row.end / rate)


def _in_frames(row: LabelRow, rate: float) -> LabelRow:
    """The nearest frames: tools round the times of frames."""
    return replace(row, start=float(round(row.start * rate)), end=float(round(row.end * rate)))


def _refuse_other_places(clip_id: str, output: Path) -> None:
    """LabelError if a clip's name leads out of the output, or cannot be a file name."""
    path = PurePosixPath(clip_id.replace("\\", "/"))
    leads_away = path.is_absolute() or ".." in path.parts or any(part.endswith(":") for part in path.parts)
    if leads_away or not path.name or not clip_id.isprintable():
        raise LabelError(f"clip_id {clip_id!r} cannot be the name of a file in {output}; rename it in the labels.")


def _target(output: Path, name: str, ending: str) -> Path:
    """The file of a clip below the output."""
    return output / f"{without_ending(name.replace(chr(92), '/'))}{ending}"
