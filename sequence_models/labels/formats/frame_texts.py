"""Per-frame text files: a class per line, a file per video, as MS-TCN and its kin write them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from extract.errors import LabelError, UsageError
from extract.system.files import read_text, reason_of

HEADING = "###"
Files = dict[str, dict[str, Path]]  # split -> video -> file; the only split of a flat folder is ""


def find_label_files(folder: Path) -> Files:
    """Lists the label files of a folder.

    Args:
        folder: Holds files, or one sub-folder of files per split; hidden files are passed over.

    Returns:
        Split -> video -> file; the only split of a flat folder is "".

    Raises:
        UsageError: It is no folder, is empty, or mixes files and sub-folders.
        LabelError: Two files are of one video.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give one that holds a text file per video.")
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    if not entries or 0 < len(folders) < len(entries):
        what = f"holds files and the folder {folders[0].name}" if folders else "is empty"
        raise UsageError(f"{folder} {what}; it must hold a text file per video, or a sub-folder of them per split.")
    if not folders:
        return {"": _by_video(entries)}
    found: Files = {}
    for each in folders:
        inside = [entry for entry in sorted(each.iterdir()) if not entry.name.startswith(".")]
        if not inside or any(entry.is_dir() for entry in inside):
            raise UsageError(f"{each} must hold the text files of one split and no folders; give the folder above it.")
        found[each.name] = _by_video(inside)
    return found


def read_frame_labels(path: Path) -> list[str]:
    """Reads the labels of one video.

    Args:
        path: One label a line (it may hold spaces), or all labels in a single line; lines that start with ### are
            headings, as MS-TCN writes them.

    Returns:
        T labels.

    Raises:
        LabelError: The file is no text, has no label, or has an empty line between labels.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{path} cannot be read as text ({reason_of(error)}); give one label a line.") from None
    lines = text.rstrip().splitlines()
    first = next((number for number, line in enumerate(lines) if not line.startswith(HEADING)), len(lines))
    labels = [line.strip() for line in lines[first:]]
    if not labels:
        raise LabelError(f"{path} holds no label; write one for every frame, or remove the file.")
    if len(labels) == 1:
        return labels[0].split()
    if "" in labels:
        line = first + labels.index("") + 1
        raise LabelError(f"{path} line {line} is empty, so the frames after it would shift; write a label there.")
    return labels


def _by_video(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if video_name(path.name) in found:
            raise LabelError(f"{found[video_name(path.name)]} and {path} are of one video; remove one.")
        found[video_name(path.name)] = path
    return found


def video_name(name: str) -> str:
    """Only .txt is an ending: video names hold dots."""
    return name.removesuffix(".txt")
