"""Re-reads a whole store and names damage per clip; repairing sets damaged shards aside to be redone."""

from __future__ import annotations

import json
import os
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from extract.errors import DamagedShardError, SchemaError, StoreError, UnstorableClipError
from extract.records import VideoTruth
from extract.store.checked_rows import part_blocks, truth_bytes
from extract.store.index import indexed_clip_ids
from extract.store.parts import Segment
from extract.store.provenance import stored_recipe
from extract.store.reader import Store
from extract.store.recipe import RECIPE_NAME, fingerprint, read_recipe, recipe_text
from extract.store.schema import SHARD_PATTERN, check_clip_id, no_store
from extract.store.shard import Shard, ShardFile, open_shard, salvage_clip_ids
from extract.store.shard_writer import Block, RowsDigest
from extract.system.files import TEMPORARY_PATTERN, fsync_directory, write_text, writing
from extract.text import counted

ASIDE_SUFFIX = ".damaged"


@dataclass(frozen=True)
class Damage:
    """What is wrong in one file of a store.

    Args:
        file: Name of the file.
        reason: What is wrong, one sentence.
        clip_ids: The affected clips, as far as known.
    """

    file: str
    reason: str
    clip_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found.

    Args:
        path: The store.
        num_shards, num_clips, num_frames: What is sound: shards, complete clips and their rows, including sound clips
            in a damaged shard.
        damages: What is wrong; empty if the store is sound.
        notes: What is worth knowing but not damage, one sentence each.
        clips_aside: Clips that the store loses when its damaged shards are set aside, including sound ones.
        sound_aside: How many of those are sound.
        num_sampled: Clips or parts whose rows were read, if not all were; None if all were.
        set_aside: Names of the files that `repair` renamed or rewrote.
    """

    path: Path
    num_shards: int
    num_clips: int
    num_frames: int
    damages: tuple[Damage, ...]
    notes: tuple[str, ...]
    clips_aside: tuple[str, ...] = ()
    sound_aside: int = 0
    set_aside: tuple[str, ...] = ()
    num_sampled: int | None = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages

    @property
    def damaged_clip_ids(self) -> tuple[str, ...]:
        """All affected clips, sorted."""
        return tuple(sorted({clip_id for damage in self.damages for clip_id in damage.clip_ids}))

    @property
    def damaged_shards(self) -> tuple[str, ...]:
        """Names of the shards that `repair` sets aside, sorted."""
        return tuple(sorted({damage.file for damage in self.damages} - {RECIPE_NAME}))


def verify(path: str | Path, *, repair: bool = False, sample: int | None = None) -> VerifyReport:
    """Reads every byte of a store and checks digests, finite values, increasing timestamps and truth records.

    Args:
        path: A store directory or a packed file.
        repair: Whether to rename damaged shards to `*.damaged`, so that the next extraction redoes their clips, and to
            rewrite a damaged recipe.json from the shards. Nothing is deleted.
        sample: Read the rows of so many clips or parts only, chosen at random anew each time; of every shard the table.

    Returns:
        What was found; with `repair`, also what was set aside.

    Raises:
        StoreError: Nothing is there, it may not be read, or a packed file needs repair.
        SchemaError: The store has a newer schema, or a file is not a store.
    """
    path = Path(path)
    if path.is_file():
        return _verify_packed(path, repair=repair, sample=sample)
    shards, chosen, damages = _check_shards(path, sample)
    recipe, recipe_damages = _check_recipe_file(path, shards)
    fitting = []
    for shard in shards:
        if recipe is not None and shard.attributes["fingerprint"] != fingerprint(recipe):
            reason = "it was made with another recipe"
            damages.append(Damage(shard.path.name, reason, tuple(dict.fromkeys(shard.texts("clip_id")))))
        else:
            fitting.append(shard)
    broken = {damage.file for damage in damages}
    store = Store(path, recipe or {}, [shard for shard in fitting if shard.path.name not in broken], {})
    damages = [*recipe_damages, *damages, *_check_joints(store, chosen)]
    aside = _repair(path, recipe, damages) if repair else ()
    if len(store.shards) < len(fitting):  # sound clips in damaged shards count too
        store = Store(path, recipe or {}, fitting, {})
    return _report(store, damages, aside, sample)


def verdict_lines(report: VerifyReport) -> list[str]:
    """The closing lines of `clipseq verify`: what is sound, and what a repair would do or has done."""
    clips, frames = counted(report.num_clips, "clip"), counted(report.num_frames, "frame")
    if report.is_sound and report.num_sampled is not None:
        tables = f"the tables of {counted(report.num_shards, 'shard')} with {clips}"
        rows = counted(report.num_sampled, "clip or part", "clips or parts")
        return [f"read {tables}, and the rows of {rows} chosen at random: all sound"]
    if report.is_sound:
        return [f"read {clips}, {frames} in {counted(report.num_shards, 'shard')}: all sound"]
    files, shards = {damage.file for damage in report.damages}, report.damaged_shards
    found = f"{counted(len(report.damaged_clip_ids), 'damaged clip')} in {counted(len(files), 'damaged file')}"
    lines = [f"found {found}; sound: {clips}, {frames}"]
    if report.path.is_file():
        return [*lines, "a packed file cannot be repaired: pack its directory again"]
    if shards:
        gone = f"{counted(len(shards), 'shard')} with {counted(len(report.clips_aside), 'clip')}"
        gone += f", {report.sound_aside:,} of them sound" if report.clips_aside else ""
        if report.set_aside:
            lines.append(f"set aside {gone} ({', '.join(shards)}): run the same clipseq extract again to redo them")
        else:
            lines.append(f"--repair would set aside {gone}, and the next clipseq extract would redo them")
    if RECIPE_NAME in files:
        lines.append(f"{'wrote' if report.set_aside else '--repair would write'} {RECIPE_NAME} again from the shards")
    return lines


def _verify_packed(path: Path, *, repair: bool, sample: int | None) -> VerifyReport:
    shard = open_shard(path)
    found = _check_rows(shard, _choose([shard], sample)[0])
    store = Store(path, stored_recipe(shard), [shard], {})
    damages = [found] if found else []
    if repair and damages:
        raise StoreError(f"{path} is damaged ({found}): a packed file cannot be repaired, so pack its directory again.")
    return _report(store, damages, (), sample)


def _report(store: Store, damages: list[Damage], aside: tuple[str, ...], sample: int | None) -> VerifyReport:
    """Counts over all shards of a store that can be opened, including those with damaged rows."""
    broken = {damage.file for damage in damages}
    kept_shards = [shard for shard in store.shards if shard.path.name not in broken]
    left = store if len(kept_shards) == len(store.shards) else Store(store.path, store.recipe, kept_shards, {})
    named = {clip_id for damage in damages for clip_id in damage.clip_ids}
    kept = left.lengths()
    sound = kept | {clip_id: length for clip_id, length in store.lengths().items() if clip_id not in named}
    gone = tuple(sorted({*store.lengths(), *named} - set(kept)))
    return VerifyReport(
        path=store.path,
        num_shards=len(left.shards),
        num_clips=len(sound),
        num_frames=sum(sound.values()),
        damages=tuple(damages),
        notes=_notes(left),
        clips_aside=gone,
        sound_aside=len(sound.keys() & set(gone)),
        set_aside=aside,
        num_sampled=None if sample is None else min(sample, sum(map(len, store.shards))),
    )


def _check_shards(path: Path, sample: int | None) -> tuple[list[Shard], set[str] | None, list[Damage]]:
    """The shards whose clip table is valid, the clips that were chosen (None: all), and what is wrong in all shards."""
    shards, damages = [], []
    for shard_path in sorted(path.glob(SHARD_PATTERN)):
        try:
            shards.append(open_shard(shard_path))
        except (DamagedShardError, SchemaError) as error:
            clip_ids = salvage_clip_ids(shard_path) or indexed_clip_ids(path, shard_path.name)
            damages.append(Damage(shard_path.name, str(error), tuple(dict.fromkeys(clip_ids))))
    chosen = _choose(shards, sample)
    for shard, rows in zip(shards, chosen, strict=True):
        try:
            found = _check_rows(shard, rows)
        except DamagedShardError as error:
            found = Damage(shard.path.name, str(error), tuple(dict.fromkeys(shard.texts("clip_id"))))
        if found:
            damages.append(found)
    names = {shard.text("clip_id", row) for shard, rows in zip(shards, chosen, strict=True) for row in rows}
    return shards, (None if sample is None else names), sorted(damages, key=lambda damage: damage.file)


def _choose(shards: list[Shard], sample: int | None) -> list[Sequence[int]]:
    """The rows of each clip table to check: all, or a random sample over all shards."""
    if sample is None:
        return [range(len(shard)) for shard in shards]
    firsts = [0, *accumulate(map(len, shards))]
    numbers = sorted(random.SystemRandom().sample(range(firsts[-1]), min(sample, firsts[-1])))
    ends = [bisect_left(numbers, first) for first in firsts]
    return [[n - first for n in numbers[a:b]] for first, (a, b) in zip(firsts, pairwise(ends), strict=False)]


def _check_recipe_file(path: Path, shards: list[Shard]) -> tuple[dict[str, object] | None, list[Damage]]:
    """The store's recipe, from recipe.json or, failing that, from a sound shard."""
    try:
        recipe = read_recipe(path)
    except DamagedShardError as error:
        return (stored_recipe(shards[0]) if shards else None), [Damage(RECIPE_NAME, str(error))]
    if recipe is None:
        raise no_store(path)
    return recipe, []


def _check_rows(shard: Shard, rows: Sequence[int]) -> Damage | None:
    """Checks rows of a shard's clip table against the rows they stand for."""
    if not rows:
        return None
    file = ShardFile(shard.path)
    wrong: dict[str, str] = {}
    for row in rows:
        clip_id = shard.text("clip_id", row)
        reason = _wrong_with(shard, file, row, clip_id, shard.text("rows_digest", row))
        if reason:
            wrong[clip_id] = reason
    if not wrong:
        return None
    reasons = ", ".join(sorted(set(wrong.values())))
    share = f"{len(wrong)} of {counted(len(rows), 'clip or part', 'clips or parts')} damaged"
    return Damage(shard.path.name, f"{share}: {reasons}", tuple(wrong))


def _wrong_with(shard: Shard, file: ShardFile, row: int, clip_id: str, digest: str) -> str:
    """What is wrong with one row of the clip table; "" if nothing is."""
    try:
        check_clip_id(clip_id)
        checked, hasher = _RisingFinite(), RowsDigest()
        for block in part_blocks(shard, file, row):
            hasher.update(block)
            checked.update(block)
        truth = truth_bytes(shard, file, row)
        if hasher.hexdigest(truth) != digest:
            return "the digest of their rows is wrong"
        if truth:
            VideoTruth.from_json(truth.decode())
    except (DamagedShardError, UnstorableClipError) as error:
        return str(error)
    except ValueError:
        return "a truth record is malformed"
    return checked.reason


class _RisingFinite:
    """Checks the blocks of one part: values finite, timestamps and frame indices increasing."""

    def __init__(self) -> None:
        self.reason = ""
        self._last: Block | None = None

    def update(self, block: Block) -> None:
        """Takes the next rows."""
        embeddings, indices, times = block
        if embeddings.dtype.kind == "f" and not np.isfinite(embeddings).all():
            self.reason = "values are not finite"
        if self._last is not None:
            indices = np.concatenate([self._last[1][-1:], indices])
            times = np.concatenate([self._last[2][-1:], times])
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any() or (np.diff(indices) <= 0).any():
            self.reason = "timestamps do not increase"
        self._last = block


def _check_joints(store: Store, chosen: set[str] | None) -> list[Damage]:
    """Timestamps must increase from part to part, too."""
    damages = []
    for clip_id in store.clip_ids if chosen is None else filter(store.__contains__, sorted(chosen)):
        for before, after in pairwise(part for part in store.parts(clip_id) if part.length):
            last, first = _row(store, before, before.length - 1), _row(store, after, 0)
            if not (last[0] < first[0] and last[1] < first[1]):
                damages.append(Damage(after.shard_name, "timestamps do not increase from part to part", (clip_id,)))
    return damages


def _row(store: Store, part: Segment, row: int) -> tuple[float, int]:
    """Timestamp and frame index of one row of a part."""
    shard = store.shards[part.shard]
    file, row = ShardFile(shard.path), row + int(shard.columns["start"][part.row])
    return float(file.read(shard.extents["pts_seconds"], row, 1)[0]), int(
        file.read(shard.extents["frame_index"], row, 1)[0]
    )


def _repair(path: Path, recipe: dict[str, object] | None, damages: list[Damage]) -> tuple[str, ...]:
    names = sorted({damage.file for damage in damages})
    for name in names:
        if name == RECIPE_NAME:
            _rewrite_recipe(path, recipe)
            continue
        with writing(path / name):
            os.replace(path / name, path / f"{name}{ASIDE_SUFFIX}")
    if names:
        fsync_directory(path)
    return tuple(names)


def _rewrite_recipe(path: Path, recipe: dict[str, object] | None) -> None:
    if recipe is None:
        raise StoreError(f"{path} has no shard left to recover the recipe from: remove it, and extract again.")
    write_text(path / RECIPE_NAME, recipe_text(json.loads(json.dumps(recipe))))


def _notes(store: Store) -> tuple[str, ...]:
    unfinished = store.unfinished()
    halves = len(list(store.path.glob(TEMPORARY_PATTERN))) if store.path.is_dir() else 0
    aside = len(list(store.path.glob(f"*{ASIDE_SUFFIX}"))) if store.path.is_dir() else 0
    notes = []
    if unfinished:
        clips = counted(len(unfinished), "unfinished clip")
        notes.append(f"{clips}, which a rerun resumes: {', '.join(unfinished)}")
    if halves:
        notes.append(f"{counted(halves, 'half-written file')} of stopped or running writers, which you can ignore")
    if aside:
        notes.append(f"{counted(aside, 'damaged shard')} set aside as *{ASIDE_SUFFIX}, which you can delete")
    return tuple(notes)
