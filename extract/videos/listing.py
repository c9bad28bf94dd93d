"""The user's target -> the list of clips: a folder, a glob, one file, an address, or a CSV with a `path` column.

An existing path is never read as a glob or a span: data sets have names with brackets and `#`.
"""

from __future__ import annotations

import csv
import glob
import io
import logging
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from extract.errors import InputError, UsageError
from extract.records import VideoItem
from extract.system.addresses import Address, as_address
from extract.system.files import read_text, reason_of
from extract.system.separators import separator_hint, separator_of
from extract.text import counted, first_few
from extract.videos.left_out import LeftOut, walk
from extract.videos.remote import list_files
from extract.videos.sources import IMAGE_ENDINGS, NUMBER_AT_END, is_numbered_image, natural_key

# fmt: off
VIDEO_ENDINGS = frozenset((
    ".264", ".265", ".3g2", ".3gp", ".apng", ".asf", ".av1", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif",
    ".h264", ".h265", ".hevc", ".insv", ".ivf", ".lrv", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg",
    ".mk3d", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".obu", ".ogm",
    ".ogv", ".ps", ".qt", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm", ".wmv", ".y4m",
))
# fmt: on
TABLE_COLUMNS = ("path", "clip_id", "start_seconds", "end_seconds", "label", "group", "split")
OTHER_SPANS = frozenset(
    (
        *(
            "start",
            "end",
            "start_frame",
            "end_frame",
            "start_time",
            "end_time",
            "start_sec",
            "end_sec",
            "start_s",
            "end_s",
        ),
        *("begin", "stop", "begin_frame", "stop_frame", "begin_time", "stop_time", "from", "to", "t0", "t1"),
        *("onset", "offset", "duration", "first_frame", "last_frame"),
    )
)
SPAN = re.compile(r"^(?P<path>.+)#t=(?P<start>\d+\.?\d*),(?P<end>\d+\.?\d*|inf)$", re.DOTALL)
PICTURES = "pictures whose names do not end in a number"
BESIDE_VIDEOS = "pictures beside videos"
OTHER_FILES = "files that are not videos"
OTHER_FOLDERS = "which hold no numbered pictures themselves"

logger = logging.getLogger(__name__)


def find_videos(target: str | Path) -> list[VideoItem]:
    """Like `search_videos`, but logs what is left out."""
    items, left_out = search_videos(target)
    for line in left_out.lines() + left_out.failures():
        logger.warning("%s", line)
    return items


def is_list(target: str | Path) -> bool:
    """Whether a target is a CSV list of clips."""
    return Path(target).suffix.lower() == ".csv" and Path(target).is_file()


def search_videos(target: str | Path) -> tuple[list[VideoItem], LeftOut]:
    """All clips in a target, and what is left out.

    Args:
        target: A folder (searched with its sub-folders; one that directly holds numbered pictures is one clip), a
            glob, a file, `file#t=start,end`, or a CSV with a `path` column; or the address of a video, or of a folder
            or glob on S3.

    Returns:
        The clips, in natural order of their ids (clip2 before clip10); none if no folder can be read.

    Raises:
        UsageError: Nothing is there, a table is malformed, or two clips have the same id.
        RemoteReadError: A server does not say what is there.
    """
    path, left_out = Path(target), LeftOut(target)
    if path.is_dir():
        items = _of_folder(path, left_out)
    elif is_list(path):
        items = _of_table(path)
    elif path.exists() or os.path.islink(path):
        items = [VideoItem(path.name, path)]
    elif span := _as_span(str(target)):
        file, start, end = span
        items = [VideoItem(_span_id(file.name, start, end), file, start, end)]
    elif address := as_address(str(target)):
        left_out = LeftOut(str(address))
        items = _of_address(address, left_out)
    elif glob.has_magic(str(target)):
        items = _of_glob(str(target), left_out)
    else:
        raise InputError(f"{target} does not exist; give a folder of videos, a glob in quotes, a file or a CSV")
    check_ids(items)
    return sorted(items, key=lambda item: natural_key(item.clip_id)), left_out


def read_clip_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV list of clips.

    Args:
        path: A CSV file, UTF-8, with the columns `path[,clip_id,start_seconds,end_seconds,label,group,split]`, in
            upper or lower case; a warning names other columns.

    Returns:
        For each row, its line in the file and its cells; all columns are present, "" if the file lacks one.

    Raises:
        UsageError: No `path` column, spans in other columns, an unreadable file, or a row without a path.
    """
    try:
        text = read_text(path)
        separator = separator_of(text)
        if hint := separator_hint(text, separator):
            raise InputError(f"{path} {hint}")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = [(reader.line_num, dict(row)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV in UTF-8 ({reason_of(error)}); export it again") from error
    if "path" not in columns:
        raise InputError(f"{path} has the columns {', '.join(columns) or 'none'}; a list of clips needs `path`")
    if spans := [name for name in columns if name in OTHER_SPANS]:
        raise InputError(
            f"{path} has the columns {', '.join(spans)}, which a list of clips cannot use: give a span as "
            "start_seconds and end_seconds (frames divided by the frame rate), or rename what is not a span"
        )
    if unknown := [name for name in columns if name not in TABLE_COLUMNS]:
        logger.warning("%s: the columns %s are not known here and not used", path, ", ".join(unknown))
    table = [(line, {name: (row.get(name) or "").strip() for name in {*TABLE_COLUMNS, *columns}}) for line, row in rows]
    for (line, row), (_, cells) in zip(rows, table, strict=True):
        if None in row:
            raise InputError(
                f"{path} line {line} has more cells than the header; put names with separators in double quotes"
            )
        if not cells["path"]:
            raise InputError(f"{path} line {line} has no path; fill it in or delete the line")
    return table


def _of_folder(folder: Path, left_out: LeftOut) -> list[VideoItem]:
    """Clips of a folder tree."""
    items: list[VideoItem] = []
    for here, names in walk(folder, left_out):
        videos = [name for name in names if Path(name).suffix.lower() in VIDEO_ENDINGS]
        pictures = [name for name in names if is_numbered_image(name)]
        items += [VideoItem((here / name).relative_to(folder).as_posix(), here / name) for name in videos]
        used = {*videos, *([] if videos else pictures)}
        if pictures and not videos:
            name = here.relative_to(folder).as_posix()
            items.append(VideoItem(here.resolve().name if name == "." else name, here))
            _remark_on_sequences(pictures, here, left_out)
        for name in names:
            if name not in used:
                left_out.add(_kind_of(name, beside_videos=bool(videos)), (here / name).relative_to(folder).as_posix())
    if not items and not left_out.unreadable:
        raise InputError(
            f"{folder} holds no videos ({counted(len(left_out), 'other file')}); looked for {_endings()}, and for "
            "folders of pictures whose names end in a number"
        )
    return items


def _of_address(address: Address, left_out: LeftOut) -> list[VideoItem]:
    """One video, or those of a folder or a glob on S3."""
    if Path(address.name).suffix.lower() == ".csv":
        raise UsageError(f"{address}: a list of clips is read from a local file; copy it, its paths may be addresses")
    if address.scheme != "s3":
        if not address.name or str(address).endswith("/"):
            raise UsageError(f"{address}: a web server does not list its files; give a CSV whose paths are addresses")
        return [VideoItem(address.name, address)]
    files = list_files(address)
    if files is None:
        return [VideoItem(address.name, address)]
    items = []
    for name, file, source in files:
        if Path(name).suffix.lower() in VIDEO_ENDINGS:
            items.append(VideoItem(name, file, listed=source))
        else:
            left_out.add("which are not videos; pictures are read from a local disk only", name)
    if not items:
        raise InputError(f"{address} holds no videos ({counted(len(files), 'other file')}); looked for {_endings()}")
    return items


def _kind_of(name: str, *, beside_videos: bool = False) -> str:
    """What kind of file a left-out file is."""
    if os.path.splitext(name)[1].lower() not in IMAGE_ENDINGS:
        return OTHER_FILES
    return BESIDE_VIDEOS if beside_videos else PICTURES


def _remark_on_sequences(pictures: Sequence[str], folder: Path, left_out: LeftOut) -> None:
    """Several numbered sequences in one folder, such as a_1 a_2 b_1 b_2, are still read as one clip."""
    beginnings = sorted({NUMBER_AT_END.sub("", os.path.splitext(name)[0]) for name in pictures})
    if len(beginnings) > 1:
        left_out.remark(
            f"{folder} holds {len(beginnings)} numbered sequences of pictures ({first_few(beginnings)}), which are "
            "read as one clip; give each a folder of its own"
        )


def _endings() -> str:
    usual = (".mp4", ".avi", ".mov", ".mkv", ".webm")
    return f"{' '.join(usual)} and {len(VIDEO_ENDINGS) - len(usual)} other endings"


def _of_glob(pattern: str, left_out: LeftOut) -> list[VideoItem]:
    prefix, rest = _wildcard_free_prefix(pattern)
    matches = [Path(match) for match in glob.glob(os.path.join(glob.escape(str(prefix)), rest), recursive=True)]
    kept = [path for path in matches if _is_clip(path, left_out)]
    if not kept and not left_out.unreadable:
        raise InputError(
            f"the glob {pattern} matches no video ({counted(len(matches), 'other match', 'other matches')}); "
            f"looked for {_endings()}"
        )
    beside = {path.parent for path in kept if path.is_file()}
    for path in sorted({*matches} - {*kept}):
        if path.is_file():
            left_out.add(_kind_of(path.name, beside_videos=path.parent in beside), path.relative_to(prefix).as_posix())
        elif str(path) not in left_out.unreadable:
            left_out.add(OTHER_FOLDERS, path.relative_to(prefix).as_posix(), noun="folder")
    return [VideoItem(path.relative_to(prefix).as_posix(), path) for path in kept]


def _wildcard_free_prefix(pattern: str) -> tuple[Path, str]:
    """A folder and the glob below it; a part that exists as written is not a glob, even with brackets."""
    prefix, parts = Path(Path(pattern).anchor), list(Path(pattern).parts)
    parts = parts[1:] if Path(pattern).anchor else parts
    while len(parts) > 1 and (not glob.has_magic(parts[0]) or (prefix / parts[0]).exists()):
        prefix /= parts.pop(0)
    return prefix, os.path.join(*parts)


def _of_table(table: Path) -> list[VideoItem]:
    rows = read_clip_table(table)
    if not rows:
        raise InputError(f"{table} lists no clips; add lines below the header")
    return [_of_row(row, table, number) for number, row in rows]


def _of_row(row: dict[str, str], table: Path, number: int) -> VideoItem:
    path, start, end = _place_of_row(row["path"], table, number)
    start = _seconds(row["start_seconds"], start, f"{table} line {number}: start_seconds")
    end = _seconds(row["end_seconds"], end, f"{table} line {number}: end_seconds")
    if not 0 <= start < end:
        raise InputError(
            f"{table} line {number}: the span {start:g} to {end:g} s must start at 0 or later and end later"
        )
    if isinstance(path, Address):
        return VideoItem(row["clip_id"] or _span_id(path.clip_id, start, end), path, start, end)
    if not row["clip_id"] and not _is_below(path, table.parent):
        raise InputError(
            f"{table} line {number}: {row['path']} is not below the folder of the list, so the clip has no name "
            "of its own; add a clip_id column, or put the list above its videos"
        )
    name = os.path.relpath(path, table.parent) if _is_below(path, table.parent) else path.as_posix()
    clip_id = row["clip_id"] or _span_id(PurePosixPath(Path(name)).as_posix(), start, end)
    return VideoItem(clip_id, path, start, end)


def _place_of_row(text: str, table: Path, number: int) -> tuple[Path | Address, float, float]:
    """Where the video of a row is, and its span."""
    try:
        if as_address(text):
            return _as_span(text) or (Address(text), 0.0, math.inf)
    except UsageError as error:
        raise InputError(f"{table} line {number}: {error}") from None
    path = table.parent / text
    if "\\" in text and not path.exists():  # written on Windows
        path = table.parent / text.replace("\\", "/")
    return (not path.exists() and _as_span(str(path))) or (path, 0.0, math.inf)


def _is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def _as_span(text: str) -> tuple[Path | Address, float, float] | None:
    """`path#t=start,end` split into its parts, or None."""
    match = SPAN.match(text)
    if match is None:
        return None
    start, end = float(match["start"]), float(match["end"])
    if start >= end:
        raise UsageError(f"the span {text} must end after it starts")
    return as_address(match["path"]) or Path(match["path"]), start, end


def _span_id(name: str, start: float, end: float) -> str:
    if start == 0 and math.isinf(end):
        return name
    return f"{name}#t={_plain(start)},{_plain(end)}"


def _plain(seconds: float) -> str:
    """Without exponent or trailing zeros."""
    return "inf" if math.isinf(seconds) else f"{seconds:.6f}".rstrip("0").rstrip(".")


def _seconds(text: str, default: float, where: str) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        raise InputError(f"{where} is {text!r}, but must be a number of seconds") from None


def check_ids(items: Iterable[VideoItem]) -> None:
    """Check that ids are relative, stay inside, and are unique.

    Raises:
        UsageError: One is not.
    """
    seen: dict[str, VideoItem] = {}
    for item in items:
        if item.clip_id.startswith("/") or Path(item.clip_id).is_absolute() or ".." in item.clip_id.split("/"):
            raise UsageError(
                f"the clip_id {item.clip_id!r} must be relative and without '..'; move the list beside its videos or "
                "give it a clip_id column"
            )
        if item.clip_id in seen:
            raise UsageError(
                f"two clips are named {item.clip_id!r} ({seen[item.clip_id].path} and {item.path}); give each a clip_id"
            )
        seen[item.clip_id] = item


def _is_clip(path: Path, left_out: LeftOut) -> bool:
    if path.is_dir():
        try:
            pictures = [name for name in os.listdir(path) if is_numbered_image(name)]
        except OSError as error:
            left_out.cannot_read(path, error)
            return False
        if pictures:
            _remark_on_sequences(pictures, path, left_out)
        return bool(pictures)
    return path.suffix.lower() in VIDEO_ENDINGS
