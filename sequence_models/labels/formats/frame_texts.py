"""Per-frame text files: a class per line, a file per video, in the style of MS-TCN."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from extract.errors import InputError, LabelError
from extract.system.files import read_text, reason_of

HEADING = "###"
TRUTH = "groundTruth"
Files = dict[str, dict[str, Path]]  # split -> video -> file; the only split of a flat folder is ""


def find_label_files(folder: Path) -> Files:
    """Lists the label files of a folder.

    Args:
        folder: Holds files, or a sub-folder of them per split, or groundTruth/ with either; hidden files are ignored.

    Returns:
        Split -> video -> file; the only split of a flat folder is "".

    Raises:
        InputError: It is not a folder, is empty, or mixes files and sub-folders.
        LabelError: Two files are for the same video.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds a text file per video.")
    if (folder / TRUTH).is_dir():
        folder = folder / TRUTH
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    if not entries or 0 < len(folders) < len(entries):
        what = f"holds files and the folder {folders[0].name}" if folders else "is empty"
        raise InputError(f"{folder} {what}; it must hold a text file per video, or a sub-folder of them per split.")
    if not folders:
        return {"": _by_video(entries)}
    found: Files = {}
    for each in folders:
        inside = [entry for entry in sorted(each.iterdir()) if not entry.name.startswith(".")]
        if not inside or any(entry.is_dir() for entry in inside):
            raise InputError(f"{each} must hold only the text files of one split; give the folder above it.")
        found[each.name] = _by_video(inside)
    return found


def read_frame_labels(path: Path) -> list[str]:
    """Reads the labels of one video.

    Args:
        path: One label per line (spaces allowed), or all labels on a single line; lines starting with ### are
            headings, as written by MS-TCN.

    Returns:
        T labels.

    Raises:
        LabelError: The file is not text, has no label, or has an empty line between labels.
    """
    return [label for _, label in label_lines(path)]


def label_lines(path: Path, known: Collection[str] = ()) -> list[tuple[int, str]]:
    """As `read_frame_labels`, each label with its line; a single line may be a known class with spaces."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{path} cannot be read as text ({reason_of(error)}); give one label per line.") from None
    lines = text.rstrip().splitlines()
    first = next((number for number, line in enumerate(lines) if not line.startswith(HEADING)), len(lines))
    labels = [line.strip() for line in lines[first:]]
    if not labels:
        raise LabelError(f"{path} has no labels; write one for every frame, or remove the file.")
    if len(labels) == 1 and labels[0] not in known:
        return [(first + 1, label) for label in labels[0].split()]
    if "" in labels:
        line = first + labels.index("") + 1
        raise LabelError(f"{path} line {line} is empty, so the frames after it would shift; write a label there.")
    return list(enumerate(labels, start=first + 1))


def _by_video(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if video_name(path.name) in found:
            raise LabelError(f"{found[video_name(path.name)]} and {path} are for the same video; remove one.")
        found[video_name(path.name)] = path
    return found


def video_name(name: str) -> str:
    """Strips only .txt: video names may contain dots."""
    return name.removesuffix(".txt")
