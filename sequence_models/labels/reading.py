"""Reads labels in any format, from a file or a folder of files, and says in one line what was understood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from extract.errors import LabelError, UsageError
from extract.system.files import reason_of
from extract.text import counted, first_few
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions
from sequence_models.labels.formats.intervals import FORMAT as INTERVALS
from sequence_models.labels.formats.registry import all_formats, format_named
from sequence_models.labels.formats.tool_files import first_characters
from sequence_models.labels.table import BY_FRAMES, LabelRow, LabelTable, ToolFacts
from sequence_models.settings import INCLUSIVE, DataSettings

ENDINGS = frozenset({".csv", ".tsv", ".txt", ".json", ".eaf", ".annot", ".xml"})


def read_label_source(path: Path, data: DataSettings) -> LabelTable:
    """Reads the labels of a file or folder and keeps what the settings choose.

    Args:
        path: A file of any format, a folder of files of one format, or a folder that is a data set.
        data: What the format leaves open, the subject, the annotator, and how wide a point event is.

    Returns:
        Intervals without point events.

    Raises:
        LabelError: It cannot be read or understood, or is empty after the choice.
        UsageError: An option is missing, or does not suit the format.
    """
    table = read_chosen(path, data)
    refuse_several_annotators(table)
    return _with_lengths(table, data.point_width)


def read_chosen(path: Path, data: DataSettings) -> LabelTable:
    """As `read_label_source`, with point events unless they get a width, and all annotators unless one is named."""
    table = read_everything(path, data)
    rows = _of_one(table, table.rows, "subject", data.subject)
    table = replace(table, rows=tuple(_of_one(table, rows, "annotator", data.annotator)))
    return table if data.point_width is None else _with_lengths(table, data.point_width)


def read_two(path: Path, other: Path, data: DataSettings, *, other_tier: str | None) -> tuple[LabelTable, LabelTable]:
    """Two sources to compare, as `read_chosen`; what is said of tiers holds for those that are ELAN files.

    Args:
        path, other: Files or folders.
        data: What the formats leave open.
        other_tier: The tier of the other, if it is not that of the first.
    """
    elan = {each for each in (path, other) if _found(each, data.label_format)[1].name == "elan"}
    plain = replace(data, tier=None, tiers_as_classes=False) if elan else data
    of_other = replace(data, tier=other_tier or data.tier)
    return (
        read_chosen(path, data if path in elan else plain),
        read_chosen(other, of_other if other in elan or other_tier else plain),
    )


def read_everything(path: Path, data: DataSettings) -> LabelTable:
    """As `read_label_source`, with point events and all subjects and annotators."""
    files, used, others = _found(path, data.label_format)
    if data.renumbers and used.name not in ("intervals", "frames"):
        raise UsageError(f"--labels-from and --labels-end are for our own CSV files; {used.title} says how it counts.")
    if (data.tier is not None or data.tiers_as_classes) and used.name != "elan":
        raise UsageError(f"--tier and --tiers-as-classes are for ELAN files, but {path} is {used.title}.")
    tables = []
    for file in files:
        inside = file != path and not used.is_folder
        name = file.relative_to(path).with_suffix("").as_posix() if inside else file.stem
        options = ReadOptions(name, data.labels_fps, data.tier, data.tiers_as_classes, data.labels_from,
                              data.labels_end == INCLUSIVE)  # fmt: skip
        table = used.read(file, options)
        tables.append(_in_folder(table) if inside else table)
    merged = tables[0] if len(tables) == 1 and tables[0].path == path else _merged(path, tables)
    if others and merged.tool:
        merged = replace(merged, tool=replace(merged.tool, left_out={**merged.tool.left_out, "unknown file": others}))
    if not merged.rows:
        raise LabelError(f"{path} holds no labels; annotate something first.")
    return _with_short_names(merged)


def understood(table: LabelTable) -> str:
    """What was read, such as "BORIS aggregated, 12 observations, 7 classes, 25 fps; 41 point events left out"."""
    tool = table.tool
    parts = [tool.title if tool else f"our CSV, {table.kind}"]
    parts += [counted(number, noun) for noun, number in (tool.things if tool else {}).items()]
    parts += [
        counted(names, noun)
        for noun, names in (
            ("clip", {row.clip_id for row in table.rows}),
            ("class", {row.label for row in table.rows}),
            ("subject", {row.subject for row in table.rows} - {""}),
            ("annotator", {row.annotator for row in table.rows} - {""}),
        )
        if names and noun not in (tool.things if tool else {})
    ]
    if tool and tool.rates:
        parts.append(" and ".join(f"{rate:g}" for rate in sorted(tool.rates)) + " fps")
    left_out = ", ".join(counted(number, noun) for noun, number in (tool.left_out if tool else {}).items())
    return ", ".join(parts) + (f"; {left_out} left out" if left_out else "")


def unused_columns(table: LabelTable) -> list[str]:
    """A line on the columns of the file that are not used, if there are any."""
    return [f"columns that are not used: {first_few(table.ignored, 9)}"] if table.ignored else []


def _found(path: Path, name: str | None) -> tuple[list[Path], LabelFormat, int]:
    """The files to read, their format, and how many other files a folder holds."""
    given = format_named(name, flag="--label-format") if name is not None else None
    if not path.is_dir():
        if given is not None and given.is_folder:
            raise UsageError(f"--label-format {name} is a folder, but {path} is not one.")
        found = given
        with suppress(OSError):  # reading it as ours says what is wrong
            found = given or _recognised(path)
        return [path], found or INTERVALS, 0
    for whole in [given] if given else all_formats().values():
        if whole.is_folder and (given or whole.recognise(path, "")):
            return [path], whole, 0
    files = [file for file in sorted(path.rglob("*")) if _may_hold_labels(path, file)]
    try:
        known = {file: each for file in files if (each := _recognised(file)) is not None and given in (None, each)}
    except OSError as error:
        raise LabelError(f"{path} cannot be read ({reason_of(error)}); make its files readable.") from None
    kinds = {each.name: file for file, each in reversed(known.items())}
    if not known:
        what = f"holds no file in the format {name}" if given else "holds no label file of a known format"
        raise LabelError(
            f"{path} {what}; known are {', '.join(all_formats())} (a folder of text files with a class per line "
            "and frame is --label-format mstcn)."
        )
    if len(kinds) > 1:
        pairs = ", ".join(f"{file.name} is {kind}" for kind, file in sorted(kinds.items()))
        raise UsageError(f"{path} holds files of several formats ({pairs}); choose one with --label-format.")
    return list(known), next(iter(known.values())), len(files) - len(known)


def _may_hold_labels(folder: Path, file: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not is_hidden and file.suffix.lower() in ENDINGS and file.is_file()


def _recognised(path: Path) -> LabelFormat | None:
    """The format of a file, None if it is unknown.

    Raises:
        UsageError: It could be several.
        OSError: It cannot be read.
    """
    head = first_characters(path)
    found = [each for each in all_formats().values() if not each.is_folder and each.recognise(path, head)]
    if len(found) > 1:
        names = " and ".join(each.name for each in found)
        raise UsageError(f"{path} could be {names}; choose one with --label-format.")
    return found[0] if found else None


def _in_folder(table: LabelTable) -> LabelTable:
    """Its rows say which file they are from."""
    return replace(table, rows=tuple(replace(row, file=row.file or str(table.path)) for row in table.rows))


def _merged(path: Path, tables: Sequence[LabelTable]) -> LabelTable:
    """The rows of several files.

    Raises:
        LabelError: One counts seconds and another frames, or two hold the same clip.
    """
    kinds = {table.kind: table for table in reversed(tables)}
    if len(kinds) > 1:
        first, other = sorted(kinds.values(), key=lambda table: str(table.path))[:2]
        raise LabelError(f"{first.path} has labels by {first.kind} and {other.path} by {other.kind}; keep one kind.")
    _refuse_two_files(row for table in tables for row in table.rows)
    tools = [table.tool for table in tables if table.tool is not None]
    return LabelTable(
        path,
        tables[0].kind,
        tuple(row for table in tables for row in table.rows),
        tuple(dict.fromkeys(name for table in tables for name in table.ignored)),
        _merged_facts(tools) if tools else None,
    )


def _with_short_names(table: LabelTable) -> LabelTable:
    """Paths of another computer become names of files, with as many folders as tell them apart."""
    views = table.tool.views if table.tool else ()
    names = {row.clip_id for row in table.rows}.union(*views)
    long = sorted(name for name in names if name.startswith("/"))
    if not long or table.tool is None:
        return table
    short = {}
    for name in long:
        parts = name.strip("/").split("/")
        alike = [other for other in long if other != name and other.rpartition("/")[2] == parts[-1]]
        fewest = (k for k in range(1, len(parts)) if not any(o.endswith("/" + "/".join(parts[-k:])) for o in alike))
        short[name] = "/".join(parts[-next(fewest, len(parts)) :])
    rows = tuple(replace(row, clip_id=short.get(row.clip_id, row.clip_id)) for row in table.rows)
    renamed = tuple(frozenset(short.get(name, name) for name in view) for view in views)
    return replace(table, rows=rows, tool=replace(table.tool, views=renamed))


def _refuse_two_files(rows: Iterable[LabelRow]) -> None:
    """Two files may share a clip, but not a subject in it: they are of two people, or copies."""
    first: dict[tuple[str, str], LabelRow] = {}
    for row in rows:
        other = first.setdefault((row.clip_id, row.subject), row)
        if other.file != row.file:
            raise LabelError(
                f"{other.file} and {row.file} both label {row.clip_id!r}; keep one of them in the folder, or compare "
                "them with clipseq show-labels ONE --against OTHER."
            )


def _merged_facts(tools: Sequence[ToolFacts]) -> ToolFacts:
    return replace(
        tools[0],
        title=" and ".join(dict.fromkeys(tool.title for tool in tools)),
        things=_summed(tool.things for tool in tools),
        rates=frozenset().union(*(tool.rates for tool in tools)),
        left_out=_summed(tool.left_out for tool in tools),
        background=next((tool.background for tool in tools if tool.background), ""),
        num_frames={name: number for tool in tools for name, number in tool.num_frames.items()},
        views=tuple(view for tool in tools for view in tool.views),
    )


def _summed(counts: Iterable) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _with_lengths(table: LabelTable, point_width: float | None) -> LabelTable:
    """Point events become intervals, or are left out and counted."""
    points = [row for row in table.rows if row.is_point]
    if not points:
        return table
    if point_width is not None:
        if table.kind == BY_FRAMES:
            raise UsageError(f"--point-width is in seconds, but {table.path} counts frames.")
        rows = tuple(_widened(row, point_width) if row.is_point else row for row in table.rows)
        return replace(table, rows=rows)
    states = tuple(row for row in table.rows if not row.is_point)
    if not states:
        raise LabelError(
            f"{table.path} holds only point events ({len(points)}), which have no length; give them one with "
            "--point-width SECONDS."
        )
    tool = table.tool or ToolFacts(table.kind)
    return replace(table, rows=states, tool=replace(tool, left_out={"point event": len(points), **tool.left_out}))


def _of_one(table: LabelTable, rows: Sequence[LabelRow], what: str, wanted: str | None) -> Sequence[LabelRow]:
    if wanted is None:
        return rows
    found = [row for row in rows if getattr(row, what) == wanted]
    if not found:
        names = sorted({getattr(row, what) for row in rows} - {""})
        there = f"there are {first_few(names, 9)}" if names else "the file names none"
        raise LabelError(f"{table.path} has no labels of --{what} {wanted!r}; {there}.")
    return found


def refuse_several_annotators(table: LabelTable) -> None:
    """UsageError if two people labelled one clip: their labels must not be mixed."""
    first: dict[str, LabelRow] = {}
    for row in table.rows:
        other = first.setdefault(row.clip_id, row)
        if other.annotator != row.annotator:
            raise UsageError(
                f"{table.where(row)}: {row.clip_id!r} was labelled by {other.annotator!r} and by {row.annotator!r}; "
                "choose one with --annotator."
            )


def _widened(row: LabelRow, width: float) -> LabelRow:
    """A point event as an interval around it."""
    return replace(row, start=max(0.0, row.start - width / 2), end=row.start + width / 2)
