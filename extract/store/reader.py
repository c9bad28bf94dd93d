"""Reads a store, whether a directory of shards or a packed file: one contiguous read per clip and part.

A damaged shard does not hide the rest: it is named in `Store.damaged` and in one warning, and its clips count as
missing, so that the next extraction redoes them. A `Store` shows the state at the time it was opened.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import DamagedShardError, RecipeMismatchError, SchemaError, StoreError, UnknownClipError
from extract.records import ClipEmbeddings, Source, VideoTruth
from extract.store.failures import Failure, latest_failures, parse_ledger, read_ledgers
from extract.store.index import ShardIndex
from extract.store.lazy_rows import LazyRows, all_rows
from extract.store.parts import ClipRows, Segment, longest_beginning
from extract.store.provenance import made_of, mixture_warnings, stored_recipe
from extract.store.recipe import fingerprint, read_recipe, recipe_differences
from extract.store.schema import SCHEMA_VERSION, SHARD_PATTERN, TRUTH, Partial, no_store
from extract.store.shard import Shard, ShardFile, damaged, open_shard
from extract.text import counted, did_you_mean, lost_frames_text

MAX_OPEN_FILES = 64
MOST_SPREAD = 2  # rows read for one that is wanted, rather than each by itself
COMPARED = 2000  # names, with one that does not exist
_NO_LOSS = re.compile(rb'"lost_spans"\s*:\s*\[\s*\]')

logger = logging.getLogger(__name__)


def open_made_with(recipe: Mapping[str, object], path: str | Path) -> Store | None:
    """The store that a writer with this recipe would extend; None if there is none or it holds no clip."""
    stored = read_recipe(Path(path))
    if stored is None or recipe_differences(stored, recipe):
        return None
    return open_store(path)


def open_store(path: str | Path) -> Store:
    """Opens a store for reading.

    Args:
        path: A store directory or a packed file.

    Raises:
        StoreError: Nothing is there, or it may not be read.
        SchemaError: It is not a clipseq store, or has a newer schema.
        RecipeMismatchError: A shard in it was made with another recipe.
        DamagedShardError: A packed file or recipe.json is damaged; damaged shards are only named in `Store.damaged`.
    """
    path = Path(path)
    if path.is_file():
        shard = open_shard(path)
        return Store(path, stored_recipe(shard), [shard], {})
    recipe = read_recipe(path)
    if recipe is None:
        raise no_store(path)
    shards, broken = _open_shards(path, recipe)
    if broken:
        logger.warning(
            "%s: %d of %s cannot be read; their clips count as missing (%s). See `clipseq verify %s`.",
            *(path, len(broken), counted(len(broken) + len(shards), "shard"), ", ".join(broken), path),
        )
    return Store(path, recipe, shards, broken)


class Store:
    """A store as it was when opened; safe to use from several threads and after a fork.

    Attributes:
        path: The directory or packed file.
        recipe: What determines the numbers.
        fingerprint: The recipe's hash.
        dtype: Type of the rows.
        row_shape: Shape of one row: (D,), or (H, W, C) for raw frames; () in an empty store.
        clip_ids: All complete clips, sorted.
        damaged: Name of every shard that cannot be read -> why.
        shards: The readable shards, by name.
    """

    def __init__(self, path: Path, recipe: dict[str, object], shards: Sequence[Shard], broken: dict[str, str]) -> None:
        self.path, self.recipe, self.shards, self.damaged = path, recipe, tuple(shards), broken
        self.fingerprint = fingerprint(recipe)
        self.dtype = shards[0].embeddings.dtype if shards else np.dtype("float16")
        self.row_shape = shards[0].embeddings.shape[1:] if shards else ()
        self._files: OrderedDict[int, ShardFile] = OrderedDict()
        self._lock = threading.Lock()
        self._rows = ClipRows(shards)
        self.clip_ids = self._rows.clip_ids()

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._rows

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which opens the files itself and sees the same clips."""
        return self.__dict__ | {"_files": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_lock": threading.Lock()})

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {len(self)} clips, {self.dtype}{self.row_shape})"

    @property
    def embedding_dim(self) -> int:
        """D; StoreError if the store holds raw frames or no clip."""
        if len(self.row_shape) != 1:
            held = f"raw frames of shape {self.row_shape}" if self.row_shape else "no clip yet"
            raise StoreError(f"{self.path} holds {held}, not embeddings.")
        return self.row_shape[0]

    def read(self, clip_id: str) -> ClipEmbeddings:
        """One clip: embeddings (T, D) as stored, frame_indices (T,), pts_seconds (T,) in seconds, truth record.

        Raises:
            StoreError: The store has no such clip.
            DamagedShardError: Its rows cannot be read; names the shard and the clip.
        """
        parts = self.parts(clip_id)
        embeddings = np.empty((sum(part.length for part in parts), *self.row_shape), self.dtype)
        frame_indices, pts_seconds, truth = self._read_times(clip_id, parts)
        with _naming(clip_id):
            for part in parts:
                self._read_column(part, "embeddings", embeddings[part.first_row : part.first_row + part.length])
        return ClipEmbeddings(clip_id, embeddings, frame_indices, pts_seconds, truth)

    def read_lazily(self, clip_id: str) -> ClipEmbeddings:
        """One clip like `read`, but with embeddings as `LazyRows`, which stay in the store until needed."""
        parts = self.parts(clip_id)
        frame_indices, pts_seconds, truth = self._read_times(clip_id, parts)
        rows, place = all_rows(len(frame_indices)), (parts[0].shard, parts[0].row)
        embeddings = LazyRows(partial(self._read_rows, clip_id), rows, self.row_shape, self.dtype, place)
        return ClipEmbeddings(clip_id, embeddings, frame_indices, pts_seconds, truth)  # type: ignore[arg-type]

    def lengths(self) -> dict[str, int]:
        """Number of rows of every complete clip."""
        return self._rows.lengths()

    def source(self, clip_id: str) -> Source:
        """What a clip was made from."""
        return self._rows.source_of(self.parts(clip_id)[-1])

    def last_source(self, clip_id: str) -> Source | None:
        """What the last written part of a clip, even an unfinished one, was made from; None if it has no part."""
        segments = self._rows.segments(clip_id)
        return self._rows.source_of(max(segments)) if segments else None

    def truth(self, clip_id: str) -> VideoTruth | None:
        """What was found while decoding a clip; None for imported features.

        Raises:
            DamagedShardError: The record is malformed.
        """
        part = self.parts(clip_id)[-1]
        text = self.truth_bytes(part)
        if not text:
            return None
        try:
            return VideoTruth.from_json(text.decode())
        except ValueError as error:
            raise damaged(self.shards[part.shard].path, f"the truth record of {clip_id} is malformed") from error

    def lost_spans(self) -> dict[str, tuple[tuple[float, float], ...]]:
        """Half-open spans in seconds for every clip whose video has missing frames."""
        suspected = [set(_rows_of_losses(self._file(n), shard)) for n, shard in enumerate(self.shards)]
        lasts = ((clip_id, self.parts(clip_id)[-1]) for clip_id in (self.clip_ids if any(suspected) else ()))
        truths = ((clip_id, self.truth(clip_id)) for clip_id, part in lasts if part.row in suspected[part.shard])
        return {clip_id: truth.lost_spans for clip_id, truth in truths if truth and truth.lost_spans}

    def written_ns(self, clip_id: str) -> int:
        """When a clip was completed, nanoseconds since 1970."""
        return self.parts(clip_id)[-1].written_ns

    def parts(self, clip_id: str) -> list[Segment]:
        """Where the parts of a complete clip are, in order.

        Raises:
            UnknownClipError: The store has no such clip.
        """
        if clip_id not in self:
            meant = did_you_mean(clip_id, self.near(clip_id))
            held = f"{self.path} has no clip {clip_id!r} among its {counted(len(self), 'clip')}"
            raise UnknownClipError(f"{held}; {meant}" if meant else f"{held}.")
        return self._rows.parts(clip_id)

    def segments(self, clip_id: str) -> list[Segment]:
        """All parts of a clip, of any version and in no order; empty for an unknown clip."""
        return self._rows.segments(clip_id)

    def truth_bytes(self, part: Segment) -> bytes:
        """The truth record stored with a part, as raw bytes; b"" if there is none."""
        shard = self.shards[part.shard]
        start, end = shard.truth_span(part.row)
        return self._file(part.shard).read(shard.extents[TRUTH], start, end - start).tobytes() if end > start else b""

    def rules(self, clip_id: str) -> int:
        """Version of the rules a clip was decoded with."""
        return self.parts(clip_id)[-1].rules

    def are_listed(self) -> bool:
        """Whether all clips were named by a list, not found in a folder."""
        made = [record for shard in self.shards for record in made_of(shard)]
        return bool(made) and all(record.get("clips_from") == "list" for record in made)

    def near(self, clip_id: str) -> Sequence[str]:
        """The clips among which to look for similar names: all, or of very many those that are near in the order."""
        if len(self) <= COMPARED:
            return self.clip_ids
        place = bisect_left(self.clip_ids, clip_id)
        return self.clip_ids[max(0, place - COMPARED // 2) : place + COMPARED // 2]

    def oldest_rules(self) -> int | None:
        """The earliest version of the rules that any row was decoded with; None in an empty store."""
        return self._rows.oldest_rules

    def latest_ns(self) -> int:
        """Time of the last write, nanoseconds since 1970; 0 in an empty store."""
        written = [int(shard.columns["written_ns"].max()) for shard in self.shards if len(shard)]
        return max(written + [failure.when_ns for failure in self._all_failures()], default=0)

    def partial(self, clip_id: str, source: Source, *, rules: int) -> Partial:
        """The sealed beginning of an unfinished clip, for `StoreWriter.resume`.

        Args:
            clip_id: Name of the clip.
            source: Its current source; parts made from anything else do not count.
            rules: Current version of the decoding rules; likewise.

        Returns:
            The longest beginning, from any writers; `rows` is 0 if there is none.
        """
        parts = longest_beginning(self._rows.segments(clip_id), source, self._rows.source_of, rules=rules)
        if not parts:
            return Partial(clip_id)
        last, shard = parts[-1], self.shards[parts[-1].shard]
        row = int(shard.columns["start"][last.row]) + last.length - 1
        file = self._file(last.shard)
        index, pts = (file.read(shard.extents[name], row, 1)[0] for name in ("frame_index", "pts_seconds"))
        return Partial(
            clip_id, last.first_row + last.length, len(parts), self._rows.source_of(last), int(index), float(pts)
        )

    def unfinished(self) -> dict[str, int]:
        """Clips that are not complete -> total rows of their sealed parts."""
        return self._unfinished

    @cached_property
    def _unfinished(self) -> dict[str, int]:
        return self._rows.unfinished()

    def failures(self) -> dict[str, Failure]:
        """The latest failure of every clip that was not completed afterwards.

        Raises:
            StoreError: A ledger may not be read.
        """
        return self._failures

    @cached_property
    def _failures(self) -> dict[str, Failure]:
        found = latest_failures(self._all_failures())
        return {
            clip_id: found[clip_id]
            for clip_id in sorted(found)
            if clip_id not in self or self.written_ns(clip_id) < found[clip_id].when_ns
        }

    def summary(self) -> dict[str, Any]:
        """What `clipseq info` shows: recipe, counts, sizes, engines and versions, seconds per stage, warnings."""
        made = [record for shard in self.shards for record in made_of(shard)]
        engines = sorted({str(record.get("engine")) for record in made})
        versions = sorted({json.dumps(record.get("versions"), sort_keys=True) for record in made})
        lengths = self.lengths()
        return {
            "path": str(self.path),
            "kind": "packed" if self.path.is_file() else "directory",
            "schema_version": SCHEMA_VERSION,
            "fingerprint": self.fingerprint,
            "recipe": self.recipe,
            "clips": len(lengths),
            "frames": sum(lengths.values()),
            "row_shape": list(self.row_shape),
            "dtype": str(self.dtype),
            "shards": len(self.shards),
            "bytes": sum(shard.path.stat().st_size for shard in self.shards),
            "failed": len(self.failures()),
            "unfinished": self.unfinished(),
            "damaged": dict(self.damaged),
            "engines": engines,
            "versions": [json.loads(text) for text in versions],
            "seconds": self.stage_seconds(),
            "warnings": [*mixture_warnings(engines, versions), *self._lost_warning()],
        }

    def stage_seconds(self) -> dict[str, float]:
        """Stage -> total seconds of all jobs that filled the store."""
        seconds: Counter[str] = Counter()
        for record in (record for shard in self.shards for record in made_of(shard)):
            seconds.update({str(stage): float(value) for stage, value in dict(record.get("seconds", {})).items()})
        return {stage: round(value, 3) for stage, value in sorted(seconds.items())}

    def _lost_warning(self) -> list[str]:
        try:
            lost = list(self.lost_spans().items())
        except DamagedShardError as error:
            return [f"lost frames cannot be listed: {error}"]
        return [lost_frames_text(lost, store=str(self.path))] if lost else []

    def _read_times(self, clip_id: str, parts: list[Segment]) -> tuple[np.ndarray, np.ndarray, VideoTruth | None]:
        """frame_indices (T,), pts_seconds (T,) and the truth record of a clip."""
        num_rows = sum(part.length for part in parts)
        frame_indices, pts_seconds = np.empty(num_rows, np.int64), np.empty(num_rows, np.float64)
        with _naming(clip_id):
            for part in parts:
                rows = slice(part.first_row, part.first_row + part.length)
                self._read_column(part, "frame_index", frame_indices[rows])
                self._read_column(part, "pts_seconds", pts_seconds[rows])
            return frame_indices, pts_seconds, self.truth(clip_id)

    def _read_rows(self, clip_id: str, rows: np.ndarray) -> np.ndarray:
        """Rows int64 (n,) of a clip; consecutive rows take one read, and so do most rows of a stretch in any order."""
        if len(rows) > 1 and not (np.diff(rows) == 1).all():
            first, end = int(rows.min()), int(rows.max()) + 1
            if end - first <= MOST_SPREAD * len(rows):
                return self._read_rows(clip_id, np.arange(first, end))[rows - first]
        values = np.empty((len(rows), *self.row_shape), self.dtype)
        with _naming(clip_id):
            for part in self.parts(clip_id):
                inside = np.flatnonzero((rows >= part.first_row) & (rows < part.first_row + part.length))
                gaps = np.flatnonzero((np.diff(inside) != 1) | (np.diff(rows[inside]) != 1)) + 1
                for run in np.split(inside, gaps) if len(inside) else ():
                    first = int(rows[run[0]]) - part.first_row
                    self._read_column(part, "embeddings", values[run[0] : run[-1] + 1], first)
        return values

    def _read_column(self, part: Segment, name: str, into: np.ndarray, first: int = 0) -> None:
        """Fills an array with the rows of a part, starting at its row `first`."""
        shard = self.shards[part.shard]
        self._file(part.shard).read_into(into, shard.extents[name], int(shard.columns["start"][part.row]) + first)

    def _file(self, number: int) -> ShardFile:
        """The open file of a shard; keeps the 64 most recently used, others close once unused."""
        with self._lock:
            file = self._files.pop(number, None) or ShardFile(self.shards[number].path)
            self._files[number] = file
            if len(self._files) > MAX_OPEN_FILES:
                self._files.popitem(last=False)
            return file

    def _all_failures(self) -> list[Failure]:
        if self.path.is_dir():
            return read_ledgers(self.path)
        extent = self.shards[0].extents.get("failures_jsonl")
        return parse_ledger(self._file(0).read(extent, 0, extent.shape[0]).tobytes()) if extent else []


def _rows_of_losses(file: ShardFile, shard: Shard) -> Iterator[int]:
    """Rows whose truth record may name lost frames: all except those that clearly have none."""
    ends = shard.columns["truth_end"].tolist()
    records = file.read(shard.extents[TRUTH], 0, ends[-1] if ends else 0).tobytes()
    for row, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if start < end and not _NO_LOSS.search(records, start, end):
            yield row


def _open_shards(path: Path, recipe: dict[str, object]) -> tuple[list[Shard], dict[str, str]]:
    shards: list[Shard] = []
    broken: dict[str, str] = {}
    wanted, index = fingerprint(recipe), ShardIndex(path)
    for shard_path in sorted(path.glob(SHARD_PATTERN)):
        try:
            shard = index.open_shard(shard_path)
            if shard.attributes["fingerprint"] != wanted:
                raise _foreign(shard, recipe, path)
            first = shards[0].embeddings if shards else shard.embeddings
            if (first.dtype, first.shape[1:]) != (shard.embeddings.dtype, shard.embeddings.shape[1:]):
                raise damaged(shard_path, "its rows differ in type or width from those of the other shards")
        except (DamagedShardError, SchemaError) as error:
            broken[shard_path.name] = str(error)
        else:
            shards.append(shard)
    index.save()
    return shards, broken


def _foreign(shard: Shard, recipe: dict[str, object], path: Path) -> RecipeMismatchError:
    differing = recipe_differences(stored_recipe(shard), recipe)
    listed = "; ".join(f"{key}={theirs} instead of {ours}" for key, theirs, ours in differing)
    return RecipeMismatchError(f"{shard.path} was made with {listed}: move it out of {path}.")


@contextmanager
def _naming(clip_id: str) -> Iterator[None]:
    """Adds the name of the clip whose rows cannot be read."""
    try:
        yield
    except DamagedShardError as error:
        raise DamagedShardError(f"{clip_id}: {error}") from error
