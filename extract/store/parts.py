"""Joins the sealed parts of a clip: which of them form a complete version, and which a beginning to resume from.

    part 0 [0, 700)   part 1 [700, 1300)   part 2 [1300, 1500) last      complete
    part 0 [0, 700)   part 1 [700, 1300)                                 a beginning of 1300 rows

Parts belong together only if they were made from the same source and follow one another without a gap, whoever wrote
them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from extract.records import Source
from extract.store.schema import same_source
from extract.store.shard import Shard


class Segment(NamedTuple):
    """One part of one clip, and where it is; sorts by time of writing, then by shard name."""

    written_ns: int
    shard_name: str
    shard: int  # index among the store's shards
    row: int  # of the shard's clip table
    first_row: int  # of the clip
    length: int
    last_part: int  # 1: the clip ends with it
    rules: int  # by which it was decoded


class ClipRows:
    """Which rows of which clip tables make up each clip; a clip with one row, the usual case, costs one number.

    Args:
        shards: The readable shards of a store.

    Attributes:
        oldest_rules: The earliest version of the rules that any row was decoded with; None if there are no rows.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._firsts = list(accumulate(map(len, shards), initial=0))  # rows are numbered across all shards
        clip_ids = [clip_id for shard in shards for clip_id in shard.texts("clip_id")]
        self._single, self._several = _numbers_by_clip(clip_ids)
        for clip_id in [clip_id for clip_id in self._unwhole() if clip_id in self._single]:
            self._several[clip_id] = [self._single.pop(clip_id)]
        self.oldest_rules = min((int(shard.columns["rules"].min()) for shard in shards if len(shard)), default=None)
        self._chains = {clip_id: complete_version(self.segments(clip_id), self.source_of) for clip_id in self._several}

    def __len__(self) -> int:
        return len(self._single) + sum(map(bool, self._chains.values()))

    def __contains__(self, clip_id: object) -> bool:
        """Whether a clip is complete."""
        return clip_id in self._single or bool(self._chains.get(clip_id))  # type: ignore[call-overload]

    def clip_ids(self) -> list[str]:
        """All complete clips, sorted."""
        return sorted([*self._single, *(clip_id for clip_id, chain in self._chains.items() if chain)])

    def parts(self, clip_id: str) -> list[Segment]:
        """The parts of a complete clip, in order."""
        return self._chains.get(clip_id) or [self._segment(self._single[clip_id])]

    def segments(self, clip_id: str) -> list[Segment]:
        """All parts of a clip, of any version; empty for an unknown clip."""
        numbers = [self._single[clip_id]] if clip_id in self._single else self._several.get(clip_id, [])
        return [self._segment(number) for number in numbers]

    def lengths(self) -> dict[str, int]:
        """Number of rows of every complete clip."""
        lengths = [length for shard in self._shards for length in shard.columns["length"].tolist()]
        found = {clip_id: lengths[number] for clip_id, number in self._single.items()}
        return found | {id_: parts[-1].first_row + parts[-1].length for id_, parts in self._chains.items() if parts}

    def unfinished(self) -> dict[str, int]:
        """Clips that are not complete -> total rows of their sealed parts."""
        missing = sorted(clip_id for clip_id, chain in self._chains.items() if not chain)
        return {clip_id: sum(part.length for part in self.segments(clip_id)) for clip_id in missing}

    def source_of(self, part: Segment) -> Source:
        """What a part was made from."""
        shard, row = self._shards[part.shard], part.row
        size, mtime_ns = (int(shard.columns[name][row]) for name in ("size", "mtime_ns"))
        return Source(shard.text("path", row), size, mtime_ns, shard.text("digest", row))

    def _unwhole(self) -> Iterator[str]:
        """The clips of rows that are only a part of a clip."""
        for shard in self._shards:
            is_part = (shard.columns["first_row"] != 0) | (shard.columns["last_part"] == 0)
            yield from (shard.text("clip_id", row) for row in np.flatnonzero(is_part).tolist())

    def _segment(self, number: int) -> Segment:
        place = bisect_right(self._firsts, number) - 1
        shard, row = self._shards[place], number - self._firsts[place]
        written_ns, *rest = (
            int(shard.columns[name][row]) for name in ("written_ns", "first_row", "length", "last_part", "rules")
        )
        return Segment(written_ns, shard.path.name, place, row, *rest)


def complete_version(segments: Sequence[Segment], source_of: Callable[[Segment], Source]) -> list[Segment] | None:
    """The parts of the version of a clip that counts: the last complete one.

    Args:
        segments: All parts of one clip.
        source_of: What a part was made from.

    Returns:
        The parts in order, or None if no version is complete.
    """
    if len(segments) == 1:  # nearly always
        return [segments[0]] if segments[0].last_part and segments[0].first_row == 0 else None
    before = _link(segments, source_of)
    ends = [segment for segment in before if segment.last_part]
    return _back_to_start(max(ends), before) if ends else None


def longest_beginning(
    segments: Iterable[Segment], source: Source, source_of: Callable[[Segment], Source], *, rules: int
) -> list[Segment]:
    """The parts of the longest sealed beginning of a clip made from `source` by `rules`; empty if there is none."""
    fitting = [part for part in segments if not part.last_part and same_source(source_of(part), source)]
    before = _link([part for part in fitting if part.rules == rules], source_of)
    return _back_to_start(max(before, key=lambda part: (part.first_row + part.length, part)), before) if before else []


def _link(segments: Iterable[Segment], source_of: Callable[[Segment], Source]) -> dict[Segment, Segment | None]:
    """Every part reachable by a chain from the clip's first row -> the part before it (None: it is the first)."""
    before: dict[Segment, Segment | None] = {}
    by_end: dict[int, list[Segment]] = {}
    for segment in sorted(segments, key=lambda part: part.first_row):
        source = source_of(segment)
        fitting = [
            part
            for part in by_end.get(segment.first_row, ())
            if part.rules == segment.rules and same_source(source_of(part), source)
        ]
        if segment.first_row and not fitting:
            continue
        before[segment] = max(fitting) if segment.first_row else None
        if not segment.last_part and segment.length:
            by_end.setdefault(segment.first_row + segment.length, []).append(segment)
    return before


def _back_to_start(segment: Segment | None, before: dict[Segment, Segment | None]) -> list[Segment]:
    chain: list[Segment] = []
    while segment is not None:
        chain.append(segment)
        segment = before[segment]
    return chain[::-1]


def _numbers_by_clip(clip_ids: list[str]) -> tuple[dict[str, int], dict[str, list[int]]]:
    """The row of every clip that has only one, and the rows of every clip that has several."""
    single = dict(zip(clip_ids, range(len(clip_ids)), strict=True))  # the last row of each
    several: dict[str, list[int]] = {}
    for number, clip_id in enumerate(clip_ids):
        if single[clip_id] != number:
            several.setdefault(clip_id, []).append(number)
    for clip_id, numbers in several.items():
        numbers.append(single.pop(clip_id))
    return single, several
