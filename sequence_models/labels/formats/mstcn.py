"""MS-TCN's folder: groundTruth/VIDEO.txt with a class per frame, mapping.txt, splits/*.bundle.

The frames are those of the data set's own rate, and every one has a class.
"""

from __future__ import annotations

import re
from pathlib import Path

from extract.errors import LabelError
from extract.system.files import reason_of
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions, WriteOptions
from sequence_models.labels.formats.frame_runs import end_of, frames_of, runs_of
from sequence_models.labels.formats.frame_texts import HEADING, TRUTH, label_lines, video_name
from sequence_models.labels.formats.tool_files import read_tool_text
from sequence_models.labels.table import BY_FRAMES, LabelRow, LabelTable, ToolFacts

MAPPING = "mapping.txt"
_BUNDLE = re.compile(r"(train|test)\.split(\d+)\.bundle")


def recognise(path: Path, head: str) -> bool:
    """Whether it is a folder with groundTruth/ or mapping.txt in it, or groundTruth/ itself."""
    return path.is_dir() and (path.name == TRUTH or (path / TRUTH).is_dir() or (path / MAPPING).is_file())


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads a whole data set; its split too, if it has exactly one.

    Raises:
        LabelError: A file is empty or names a class that mapping.txt lacks; a bundle names a video without labels.
    """
    folder = path / TRUTH if (path / TRUTH).is_dir() else path
    home = folder.parent if folder.name == TRUTH else folder
    try:
        files = sorted(f for f in folder.rglob("*.txt") if f.name != MAPPING and not f.name.startswith("."))
    except OSError as error:
        raise LabelError(f"{folder} cannot be read ({reason_of(error)}); give a folder of text files.") from None
    if not files:
        raise LabelError(f"{folder} holds no .txt files; it must have one per video, with a class per line.")
    known = _mapping(home / MAPPING) if (home / MAPPING).is_file() else set()
    rows: list[LabelRow] = []
    lengths = {}
    names = {file: video_name(file.relative_to(folder).as_posix()) for file in files}
    splits, left_out = _splits(home / "splits", set(names.values()))
    for file, name in names.items():
        lines = label_lines(file, known)
        for line, label in lines:
            if known and label not in known:
                raise LabelError(f"{file} line {line}: class {label!r} is not in {home / MAPPING}; add it there.")
        lengths[name] = len(lines)
        rows += [
            LabelRow(name, label, lines[start][0], split=splits.get(name, ""), start=start, end=end, file=str(file))
            for label, start, end in runs_of([label] for _, label in lines)
        ]
    facts = ToolFacts("MS-TCN folder", left_out=left_out, num_frames=lengths)
    return LabelTable(path, BY_FRAMES, tuple(rows), tool=facts)


def write(table: LabelTable, options: WriteOptions) -> dict[str, str]:
    """groundTruth/VIDEO.txt for each clip, and mapping.txt with the classes by name.

    Raises:
        LabelError: A frame has no class, or two; a class cannot stand on a line.
    """
    files = {}
    names = {row.label for row in table.rows} | ({options.background} if options.background else set())
    for row in table.rows:
        if re.search(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", row.label) or row.label.startswith(HEADING):
            raise LabelError(
                f"{table.where(row)}: the class {row.label!r} has a new line or begins with {HEADING}, which a file "
                "with a class per line cannot hold; rename it."
            )
    for clip_id, rows in table.rows_by_clip().items():
        length = options.num_frames.get(clip_id, end_of(rows))
        lines = []
        for number, held in enumerate(frames_of(rows, length, where=table.where)):
            if len(held) > 1:
                both = " and ".join(map(repr, sorted(held)[:2]))
                raise LabelError(
                    f"{table.path}: frame {number} of {clip_id!r} is both {both}, but MS-TCN has one class per frame; "
                    "choose a --subject, or another format."
                )
            if not held and not options.background:
                raise LabelError(
                    f"{table.path}: frame {number} of {clip_id!r} has no label, but MS-TCN has a class for every "
                    "frame; name the class of such frames with --background NAME."
                )
            lines.append(next(iter(held), options.background))
        files[f"{TRUTH}/{clip_id}"] = "".join(f"{line}\n" for line in lines)
    mapping = "".join(f"{number} {name}\n" for number, name in enumerate(sorted(names)))
    return {**files, "mapping": mapping}


def _mapping(path: Path) -> set[str]:
    """The classes: an index, a space and a name on each line."""
    names: set[str] = set()
    for line, text in enumerate(read_tool_text(path).split("\n"), start=1):
        index, _, name = text.strip().partition(" ")
        if not text.strip():
            continue
        if not index.isdecimal() or not name or name in names:
            raise LabelError(f"{path} line {line} is {text.strip()!r}; it must be a number, a space and a new class.")
        names.add(name)
    return names


def _splits(folder: Path, videos: set[str]) -> tuple[dict[str, str], dict[str, int]]:
    """video -> split, if there is just one pair of bundles; else what is left out."""
    pairs = [(file, match) for file in sorted(folder.glob("*.bundle")) if (match := _BUNDLE.fullmatch(file.name))]
    numbers = {match[2] for _, match in pairs}
    if len(numbers) != 1:
        return {}, {"split": len(numbers)} if numbers else {}
    found: dict[str, str] = {}
    for file, match in pairs:
        for line, text in enumerate(read_tool_text(file).split("\n"), start=1):
            name = video_name(text.strip())
            if not name:
                continue
            if name not in videos or name in found:
                what = "has no labels" if name not in videos else f"is in {found[name]} already"
                raise LabelError(f"{file} line {line}: {name!r} {what}; correct the bundle.")
            found[name] = match[1]
    return found, {}


FORMAT = LabelFormat("mstcn", "MS-TCN folder", recognise, read, write, unit=BY_FRAMES, is_folder=True, ending=".txt")
