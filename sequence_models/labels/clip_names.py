"""Finds the clip that a name in a label file refers to: the same clip_id, else one clip by file name or stem.

For a looser match, one name must be the end of the other ("x.avi" or "videos/hug/x" for "hug/x.avi"), so that
"point/01.avi" never matches "hug/01.avi". A span `#t=start,end` must be the same span. Both Unicode forms of an accent
count as the same name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from unicodedata import normalize

from extract.errors import LabelError

FIRST_NAMES = 3
_SPAN = re.compile(r"^(?P<path>.*)#t=(?P<start>\d+(?:\.\d+)?),(?P<end>\d+(?:\.\d+)?|inf)?$", re.DOTALL)
_EXTENSION = re.compile(r"(?<=[^/])\.(?=[^./]*[A-Za-z])[A-Za-z0-9]{1,5}$")

_Key = tuple[str, float, float]


class ClipNames:
    """An index of clip ids that tells which clip a name refers to.

    Args:
        clip_ids: All clips (failed ones too, so that their labels can be matched).
    """

    def __init__(self, clip_ids: Iterable[str]) -> None:
        self._ids = set(clip_ids)
        self._by_stem: dict[_Key, list[str]] = defaultdict(list)
        for clip_id in sorted(self._ids):
            path, start, end = _split_span(clip_id)
            self._by_stem[_file_name(without_ending(path)), start, end].append(clip_id)

    def find(self, name: str, *, where: str) -> str | None:
        """The clip that a name refers to.

        Args:
            name: A clip_id, or its end, with or without folders and extension.
            where: How an error names the place, such as "labels.csv line 7".

        Returns:
            The clip_id, or None if nothing matches.

        Raises:
            LabelError: Several clips match equally well; names them.
        """
        if name in self._ids:
            return name
        path, start, end = _split_span(name.replace("\\", "/").removeprefix("./"))
        candidates = self._by_stem.get((_file_name(without_ending(path)), start, end), [])
        for ending in (_same, without_ending):
            found = [
                clip_id for clip_id in candidates if _one_ends_other(ending(path), ending(_split_span(clip_id)[0]))
            ]
            if len(found) > 1:
                raise LabelError(f"{where}: clip_id {name!r} matches {quoted(found)}; write the full clip_id.")
            if found:
                return found[0]
        return None


def quoted(names: Sequence[str]) -> str:
    """The first few names in quotes, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:FIRST_NAMES])
    rest = len(names) - FIRST_NAMES
    return f"{shown} and {rest} more" if rest > 0 else shown


def span_of(clip_id: str) -> tuple[float, float]:
    """The seconds of its video that a clip covers: from its `#t=start,end`, else 0 to infinity."""
    return _split_span(clip_id)[1:]


def is_whole(clip_id: str) -> bool:
    """Whether a clip is a whole video, not a span of one."""
    return span_of(clip_id) == (0.0, float("inf"))


def without_ending(path: str) -> str:
    """A path without the ending of its file, such as ".mp4"; a number after a point is none."""
    return _EXTENSION.sub("", path)


def _split_span(clip_id: str) -> _Key:
    clip_id = normalize("NFC", clip_id)
    found = _SPAN.match(clip_id)
    if not found:
        return clip_id, 0.0, float("inf")
    return found["path"], round(float(found["start"]), 6), round(float(found["end"] or "inf"), 6)


def _one_ends_other(name: str, clip_id: str) -> bool:
    return name == clip_id or name.endswith(f"/{clip_id}") or clip_id.endswith(f"/{name}")


def _same(path: str) -> str:
    return path


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]
