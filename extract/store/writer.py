"""Collects the rows of clips in memory and writes them as immutable shards; a kill loses only unsealed rows.

One writer belongs to one thread. Any number of writers, in any number of processes, may write to one store.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from extract.errors import (
    DamagedShardError,
    RecipeMismatchError,
    SchemaError,
    StoreError,
    UnstorableClipError,
    WriteError,
)
from extract.records import Source, VideoTruth
from extract.store.failures import Failure, append_failure
from extract.store.provenance import library_versions
from extract.store.recipe import claim, read_recipe, recipe_differences
from extract.store.schema import EMBEDDING_DTYPES, SHARD_PATTERN, Partial, check_clip_id
from extract.store.shard import open_shard
from extract.store.shard_writer import Block, Part, write_shard
from extract.system.files import remove_stale_temporaries, sealed_file, writer_id

# Small enough that a clip of any length costs at most 60 MB more memory than a short one: FFmpeg's own index of a long
# file takes the other 40.
SEAL_BYTES = 16 << 20
_JOINED_BYTES = 1 << 20
logger = logging.getLogger(__name__)


@dataclass
class _OpenClip:
    """A clip in progress: the rows collected for its next part."""

    source: Source
    part: int = 0
    first_row: int = 0
    last_frame_index: int = -1
    last_pts_seconds: float = -math.inf
    blocks: list[Block] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows collected but not sealed."""
        return sum(len(block[0]) for block in self.blocks)


class StoreWriter:
    """Adds clips to a store; leaving the `with` block seals the collected rows, even after an error or Ctrl-C.

    Args:
        path: The store's directory, created if it does not exist.
        recipe: What determines the numbers; must equal the recipe of an existing store.
        engine: Name of what runs the backbone, recorded.
        dtype: Type of the stored rows: float16 embeddings, float32 imported features, uint8 raw frames.
        flush_seconds: Rows wait at most this long (and at most 16 MiB of them) to be sealed.
        rules: Version of the rules that clips are decoded with (decode/rules.py).
        clips_from: "list" if a list named the clips, recorded: then the folder above a clip is its class.
        after_ns: No clip written so far, some of which may be replaced, is later than this.

    Raises:
        RecipeMismatchError: The store was made with another recipe.
        StoreError: It holds another kind of rows.
        WriteError: The directory cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        recipe: dict[str, object],
        *,
        engine: str,
        dtype: str = "float16",
        flush_seconds: float = 60.0,
        rules: int = 1,
        clips_from: str = "",
        after_ns: int = 0,
    ) -> None:
        if dtype not in EMBEDDING_DTYPES:
            raise ValueError(f"dtype {dtype} is not one of {', '.join(EMBEDDING_DTYPES)}")
        self.path = Path(path)
        self.recipe = recipe
        self.engine = engine
        self.dtype = np.dtype(dtype)
        self.flush_seconds = flush_seconds
        self._rules, self._clips_from = rules, clips_from
        self._newest_ns = after_ns
        self.writer = writer_id()
        claim(self.path, recipe)
        remove_stale_temporaries(self.path)
        self._row_shape = _row_shape_of(self.path, self.dtype)
        self._open: dict[str, _OpenClip] = {}
        self._finished: list[Part] = []
        self._seconds: dict[str, float] = {}
        self._gathered_bytes = 0
        self._oldest: float | None = None  # when the oldest unsealed row came
        self._shards = 0

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._seal_at_last()
        except WriteError as failed:
            if error is None:
                raise
            if not isinstance(error, WriteError):  # that would be this very one
                logger.error("%s", failed)

    @property
    def unsealed(self) -> set[str]:
        """The finished clips that are not on disk yet."""
        return {part.clip_id for part in self._finished}

    def resume(self, partial: Partial) -> None:
        """Resumes a clip after its sealed rows (`Store.partial`); the next `append` gives row `partial.rows`."""
        if partial.clip_id in self._open:
            raise ValueError(f"{partial.clip_id} is open already")
        if partial.rows and partial.source is not None:
            last = partial.last_frame_index, partial.last_pts_seconds
            self._open[partial.clip_id] = _OpenClip(partial.source, partial.parts, partial.rows, *last)

    def append(
        self,
        clip_id: str,
        embeddings: np.ndarray,
        frame_indices: np.ndarray,
        pts_seconds: np.ndarray,
        source: Source,
    ) -> None:
        """Adds the next rows of a clip; the arrays may be reused afterwards. Several clips may be open at once.

        Args:
            clip_id: Name of the clip.
            embeddings: (n, D), or uint8 (n, H, W, C) raw frames.
            frame_indices: (n,) integers, increasing within the clip.
            pts_seconds: (n,) float64, increasing within the clip.
            source: What the clip is made from.

        Raises:
            UnstorableClipError: These rows cannot be stored; none of them is kept, and this clip should fail.
            WriteError: A shard was due and could not be written; the job should stop.
        """
        if (clip := self._open.get(clip_id)) is None:
            check_clip_id(clip_id)
            clip = _OpenClip(source)
        rows = self._storable(clip_id, embeddings)
        indices = np.array(frame_indices, np.int64)
        times = np.array(pts_seconds, np.float64)
        if indices.shape != (len(rows),) or times.shape != (len(rows),):
            raise ValueError(f"{clip_id}: {len(rows)} rows, {indices.shape} frame indices, {times.shape} timestamps")
        _check_rising(clip_id, times, clip.last_pts_seconds, "timestamps")
        _check_rising(clip_id, indices, clip.last_frame_index, "frame indices")
        self._open[clip_id] = clip
        clip.source = source
        if len(rows):
            self._row_shape = rows.shape[1:]
            clip.blocks.append((rows, indices, times))
            clip.last_frame_index, clip.last_pts_seconds = int(indices[-1]), float(times[-1])
            self._gathered(rows.nbytes + indices.nbytes + times.nbytes)
        self.seal_if_due()

    def finish(self, clip_id: str, truth: VideoTruth | None) -> None:
        """Marks a clip as complete; readers see it once its last part is sealed.

        Raises:
            UnstorableClipError: It has no rows.
            WriteError: A shard was due and could not be written.
        """
        clip = self._open.get(clip_id)
        if clip is None or clip.first_row + clip.rows == 0:
            self.discard(clip_id)
            raise UnstorableClipError(f"{clip_id} has no frame to store: check the video and the sampling rule.")
        self._finished.append(_part(clip_id, clip, last_part=True, truth_json=truth.to_json() if truth else ""))
        del self._open[clip_id]
        self._gathered(0)
        self.seal_if_due()

    def discard(self, clip_id: str) -> None:
        """Drops the unsealed rows of an unfinished clip."""
        clip = self._open.pop(clip_id, None)
        if clip is not None:
            self._gathered_bytes -= sum(array.nbytes for block in clip.blocks for array in block)

    def fail(self, clip_id: str, error: Exception, source: Source | None) -> None:
        """Records in the ledger that a clip failed, and drops its unsealed rows.

        Raises:
            WriteError: The ledger cannot be written.
        """
        self.discard(clip_id)
        size, mtime_ns = (source.size, source.mtime_ns) if source else (None, None)
        failure = Failure(clip_id, type(error).__name__, str(error), size, mtime_ns, self._now_ns())
        append_failure(self.path / f"failures-{self.writer}.jsonl", failure)

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Counts time spent in a stage; the next shard records it."""
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def seal_if_due(self) -> None:
        """Seals if 16 MiB are collected or the oldest row has waited `flush_seconds`; call it while idle too."""
        waited = 0.0 if self._oldest is None else time.monotonic() - self._oldest
        if self._gathered_bytes >= SEAL_BYTES or (self._oldest is not None and waited >= self.flush_seconds):
            self.seal()

    def seal(self) -> None:
        """Writes all collected rows as one complete shard; clips in progress go in as a part and stay open.

        Raises:
            WriteError: The shard cannot be written; the rows are kept, and everything sealed before is safe.
        """
        in_progress = {clip_id: clip for clip_id, clip in self._open.items() if clip.blocks}
        now = self._now_ns()
        parts = [*self._finished, *(_part(clip_id, clip) for clip_id, clip in in_progress.items())]
        parts = [replace(part, written_ns=now, rules=self._rules) for part in parts]
        path = self.path / f"shard-{self.writer}-{self._shards:06d}.h5"
        try:
            if parts:
                self._shards += 1  # a number is used only once, even if writing fails
                self._write(path, parts)
        finally:
            # Ctrl-C may come after the shard has its name: what is sealed must not be sealed again.
            if not parts or path.exists():
                self._forget_sealed(in_progress)

    def _seal_at_last(self) -> None:
        try:
            self.seal()
        except (KeyboardInterrupt, SystemExit):  # it was interrupted, and no later seal will make up for it
            self.seal()
            raise

    def _forget_sealed(self, in_progress: dict[str, _OpenClip]) -> None:
        """Each line is atomic: a signal between two lines cannot leave a clip half advanced."""
        self._finished = []
        moved_on = {clip_id: _next_part(clip) for clip_id, clip in in_progress.items()}
        self._open = {**self._open, **moved_on}
        self._gathered_bytes, self._oldest = 0, None

    def _write(self, path: Path, parts: Sequence[Part]) -> None:
        made: dict[str, object] = {
            "writer": self.writer,
            "engine": self.engine,
            "versions": library_versions(),
            "seconds": self._seconds,
        }
        made |= {"clips_from": self._clips_from} if self._clips_from else {}
        shape = self._row_shape or ()
        if recipe_differences(read_recipe(self.path) or self.recipe, self.recipe):
            raise RecipeMismatchError(f"{self.path} got another recipe before anything was stored; start again.")
        with sealed_file(path) as temporary:
            write_shard(temporary, parts, recipe=self.recipe, made=[made], dtype=self.dtype, row_shape=shape)
        self._seconds = {}

    def _now_ns(self) -> int:
        """The time, always later than existing clips even if the clock was set back: the newest version counts."""
        self._newest_ns = max(time.time_ns(), self._newest_ns + 1)
        return self._newest_ns

    def _gathered(self, num_bytes: int) -> None:
        self._gathered_bytes += num_bytes
        if self._oldest is None:
            self._oldest = time.monotonic()

    def _storable(self, clip_id: str, embeddings: np.ndarray) -> np.ndarray:
        """A copy of the rows as stored, (n, D), after all checks."""
        if embeddings.ndim not in (2, 4) or (self.dtype == np.uint8 and embeddings.dtype != np.uint8):
            raise ValueError(f"{clip_id}: {embeddings.dtype}{embeddings.shape} cannot be stored as {self.dtype} rows")
        if self._row_shape is not None and embeddings.shape[1:] != self._row_shape:
            raise UnstorableClipError(
                f"{clip_id} has rows of shape {embeddings.shape[1:]}, but {self.path} holds {self._row_shape}: "
                "all clips of a store must have equal width."
            )
        with np.errstate(over="ignore"):
            rows = embeddings.astype(self.dtype, order="C", copy=True)
        if self.dtype.kind == "f":
            _check_finite(clip_id, rows, embeddings)
        return rows


def _row_shape_of(path: Path, dtype: np.dtype) -> tuple[int, ...] | None:
    """Shape of the rows a store already holds, from any readable shard."""
    for shard_path in sorted(path.glob(SHARD_PATTERN)):
        try:
            extent = open_shard(shard_path).embeddings
        except (DamagedShardError, SchemaError):
            continue  # reading the store reports it
        if extent.dtype != dtype:
            raise StoreError(f"{path} holds {extent.dtype} rows, not {dtype}. Use another --output.")
        return extent.shape[1:]
    return None


def _part(clip_id: str, clip: _OpenClip, *, last_part: bool = False, truth_json: str = "") -> Part:
    blocks = list(clip.blocks)
    return Part(
        clip_id=clip_id,
        source=clip.source,
        part=clip.part,
        last_part=last_part,
        first_row=clip.first_row,
        length=clip.rows,
        written_ns=0,
        truth_json=truth_json,
        blocks=lambda: _joined(blocks),
    )


def _next_part(clip: _OpenClip) -> _OpenClip:
    return replace(clip, part=clip.part + 1, first_row=clip.first_row + clip.rows, blocks=[])


def _joined(blocks: Iterable[Block]) -> Iterator[Block]:
    """The same rows in blocks of about 1 MiB: many small writes are slow."""
    gathered: list[Block] = []
    num_bytes = 0
    for block in blocks:
        gathered.append(block)
        num_bytes += block[0].nbytes
        if num_bytes >= _JOINED_BYTES:
            yield tuple(map(np.concatenate, zip(*gathered, strict=True)))  # type: ignore[misc]
            gathered, num_bytes = [], 0
    if gathered:
        yield tuple(map(np.concatenate, zip(*gathered, strict=True)))  # type: ignore[misc]


def _check_finite(clip_id: str, rows: np.ndarray, embeddings: np.ndarray) -> None:
    wrong = ~np.isfinite(rows)
    if not wrong.any():
        return
    where = np.unravel_index(int(np.argmax(wrong)), rows.shape)
    value = embeddings[where]
    if np.isfinite(value):
        raise UnstorableClipError(
            f"{clip_id}: a row contains {value}, beyond the range of {rows.dtype} "
            f"({np.finfo(rows.dtype).max:g}), so this clip is not stored: use another backbone or scale its output."
        )
    raise UnstorableClipError(
        f"{clip_id}: a row contains {value}, but values must be finite: check the weights and the precision."
    )


def _check_rising(clip_id: str, values: np.ndarray, last: float, name: str) -> None:
    if not len(values):
        return
    if not np.isfinite(values).all() or values[0] <= last or (values[1:] <= values[:-1]).any():
        raise UnstorableClipError(
            f"{clip_id}: the {name} do not strictly increase (near {values[0]}), so this clip is not stored: "
            "check its timestamps with `clipseq scan`."
        )
