"""Reads the official train and test lists of UCF101 and HMDB51, as distributed by their authors.

UCF101   classInd.txt          1 ApplyEyeMakeup
         trainlist01.txt       ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
         testlist01.txt        ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi
HMDB51   clap_test_split1.txt  #20_Rhythm_clap_u_nm_np1_fr_goo_0.avi 1      (0 unused, 1 train, 2 test)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from extract.errors import LabelError, UsageError
from extract.system.files import read_text, reason_of
from sequence_models.labels.clip_names import quoted

DATA_SETS = ("ucf101", "hmdb51")
ALL = "all"
NUMBERS = (1, 2, 3)
_HMDB51_PARTS = {"0": "", "1": "train", "2": "test"}


@dataclass(frozen=True)
class OfficialLists:
    """The request in `--split ucf101:DIR:1`.

    Args:
        data_set: "ucf101" or "hmdb51"; also the name of the rule for their groups (see groups.py).
        folder: Where the lists are.
        numbers: The splits to use, out of 1, 2 and 3.
    """

    data_set: str
    folder: Path
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class ListedClip:
    """One line of a list.

    Args:
        name: The clip's name, for clip_names.py.
        split: "train", "validation" or "test"; "" for an unused clip.
        where: File and line, for messages.
    """

    name: str
    split: str
    where: str


def official_lists(split: str | Path | None) -> OfficialLists | None:
    """Parses `--split ucf101:DIR:1`, `hmdb51:DIR:all` and so on.

    Args:
        split: The argument of --split.

    Returns:
        Which lists it names; None if it is the user's own file, or nothing.

    Raises:
        UsageError: It names one of the data sets but no split of it.
    """
    data_set, colon, rest = str(split or "").partition(":")
    if not colon or data_set not in DATA_SETS:
        return None
    folder, _, number = rest.rpartition(":")
    if not folder or number not in (ALL, *map(str, NUMBERS)):
        raise UsageError(
            f"--split {split} must be {data_set}:DIR:1, {data_set}:DIR:2, {data_set}:DIR:3 or {data_set}:DIR:{ALL}, "
            "DIR being the folder of the official lists."
        )
    return OfficialLists(data_set, Path(folder), NUMBERS if number == ALL else (int(number),))


def read_official(lists: OfficialLists, clip_ids: Iterable[str]) -> dict[str, list[ListedClip]]:
    """Reads the lists.

    Args:
        lists: Which ones.
        clip_ids: The existing clips, whose spelling takes precedence: UCF101's lists say
            v_HandStandPushups_g01_c01.avi for videos named v_HandstandPushups_g01_c01.avi.

    Returns:
        "split1" and so on -> its clips, in list order.

    Raises:
        LabelError: A list is missing, has a malformed line, or lacks a class; names the file, line or class.
    """
    if lists.data_set == "ucf101":
        stems = {PurePosixPath(clip_id).stem.casefold(): PurePosixPath(clip_id).stem for clip_id in clip_ids}
        return {f"split{number}": list(_ucf101(lists.folder, number, stems)) for number in lists.numbers}
    return {f"split{number}": list(_hmdb51(lists.folder, number)) for number in lists.numbers}


def _ucf101(folder: Path, number: int, stems: dict[str, str]) -> Iterator[ListedClip]:
    classes = [match["name"] for _, match in _lines(folder / "classInd.txt", r"\d+\s+(?P<name>\S+)")]
    for part in ("train", "test"):
        path = folder / f"{part}list{number:02d}.txt"
        lacking = set(classes)
        for where, match in _lines(path, r"(?P<folder>[^/]+)/(?P<name>.+?)(\s+\d+)?"):
            lacking.discard(match["folder"])
            stem = PurePosixPath(match["name"]).stem  # names are unique in UCF101, folders have two spellings
            yield ListedClip(stems.get(stem.casefold(), stem), part, where)
        _refuse_lacking(sorted(lacking), path=path, of="classInd.txt")


def _hmdb51(folder: Path, number: int) -> Iterator[ListedClip]:
    ending = f"_test_split{number}.txt"
    paths = sorted(folder.glob(f"*{ending}"))
    if not paths:
        raise LabelError(f"{folder} has no list such as clap{ending}; give the folder of HMDB51's official lists.")
    for path in paths:
        name = path.name.removesuffix(ending)
        seen = set()
        for where, match in _lines(path, r"(?P<name>.+?)\s+(?P<part>[012])"):
            seen.add(match["part"])
            yield ListedClip(f"{name}/{match['name']}", _HMDB51_PARTS[match["part"]], where)
        _refuse_lacking([name] if not {"1", "2"} <= seen else [], path=path, of="both parts (1 train, 2 test)")


def _lines(path: Path, pattern: str) -> Iterator[tuple[str, re.Match[str]]]:
    """File and line number, and the match, of every non-blank line."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(
            f"{path} cannot be read ({reason_of(error)}); give the folder of the official lists."
        ) from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            match = re.fullmatch(pattern, line.strip())
            if match is None:
                raise LabelError(
                    f"{path} line {number} is {line!r}, which is not a list entry; download the lists again."
                )
            yield f"{path} line {number}", match


def _refuse_lacking(classes: list[str], *, path: Path, of: str) -> None:
    if classes:
        raise LabelError(f"{path} has no clip of class {quoted(classes)} of {of}; download the lists again.")
