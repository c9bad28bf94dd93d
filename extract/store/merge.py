"""Joins stores of one recipe, such as those that several machines filled on their own disks, into one directory.

Shards never change, so a shard whose rows are all wanted gets a second name in the output (or is copied, to another
disk); of others, the wanted rows are written into a new shard. What the output already has is never done again: after a
kill, the same command goes on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from extract.errors import DamagedShardError, RecipeMismatchError, StoreError
from extract.records import Source
from extract.store.checked_rows import checked_part, rows_digest
from extract.store.failures import ledger_line
from extract.store.parts import Segment
from extract.store.provenance import made_of
from extract.store.reader import Store, open_made_with, open_store
from extract.store.recipe import claim, recipe_differences
from extract.store.schema import TRUTH
from extract.store.shard import Shard, ShardFile, open_shard
from extract.store.shard_writer import Part, RowsDigest, write_shard
from extract.system.files import fsync_directory, remove_stale_temporaries, sealed_file, write_bytes
from extract.system.terminal import progress_bar
from extract.text import counted


@dataclass(frozen=True)
class Merged:
    """What a store holds after stores were merged into it.

    Args:
        path: The store.
        num_clips, num_frames: All of its complete clips and their rows.
        num_repeated: Clips that several stores had, and that it has once.
        num_shards: Shards that were added.
    """

    path: Path
    num_clips: int
    num_frames: int
    num_repeated: int
    num_shards: int


def merge(paths: Sequence[str | Path], output: str | Path, *, newest: bool = False) -> Merged:
    """Brings all clips and failures of several stores into one, with a progress bar in bytes.

    Args:
        paths: Store directories or packed files; they are only read.
        output: The directory to make, or a store of the same recipe to add to.
        newest: Of clips that differ from store to store, take the one written last, instead of refusing.

    Returns:
        What the output holds.

    Raises:
        RecipeMismatchError: Two stores have different recipes; names each difference.
        StoreError: Stores have different rows for one clip, or another kind of rows.
        DamagedShardError: A shard cannot be read.
        WriteError: The output cannot be written.
    """
    target = Path(output)
    stores = [open_store(path) for path in _different(paths, target)]
    recipe = _one_recipe(stores, target)
    before = open_made_with(recipe, target)
    every = [*([before] if before else []), *stores]
    _check_readable(every)
    owners, num_repeated = _owners(every, newest=newest)
    claim(target, recipe)
    remove_stale_temporaries(target)
    num_shards = 0
    wanted = [(store, shard, rows) for store in stores for shard, rows in _wanted_rows(store, owners, before)]
    num_bytes = [_num_bytes(shard, rows) for _, shard, rows in wanted]
    with progress_bar(total=sum(num_bytes), unit="B", unit_scale=True) as bar:
        for (store, shard, rows), size in zip(wanted, num_bytes, strict=True):
            num_shards += _add_shard(store, shard, rows, target)
            bar.update(size)
    _add_failures(stores, before, target)
    fsync_directory(target)
    lengths = {id(store): store.lengths() for store in every}
    frames = sum(lengths[id(store)][clip_id] for clip_id, store in owners.items())
    return Merged(target, len(owners), frames, num_repeated, num_shards)


def _different(paths: Sequence[str | Path], target: Path) -> list[Path]:
    """Each store once, without the output."""
    found = {os.path.realpath(path): Path(path) for path in paths}
    found.pop(os.path.realpath(target), None)
    return list(found.values())


def _one_recipe(stores: Sequence[Store], target: Path) -> dict[str, object]:
    if not stores:
        raise StoreError(f"there is nothing to merge into {target}: give the stores that it should hold.")
    first = stores[0]
    for store in stores[1:]:
        if differing := recipe_differences(first.recipe, store.recipe):
            listed = "; ".join(f"{key}={theirs} instead of {ours}" for key, ours, theirs in differing)
            raise RecipeMismatchError(
                f"{store.path} was made with {listed} in {first.path}: only one recipe can be merged."
            )
    return first.recipe


def _check_readable(stores: Sequence[Store]) -> None:
    for store in stores:
        if store.damaged:
            raise DamagedShardError(
                f"{store.path} has damaged shards: run `clipseq verify {store.path} --repair`, and extract again."
            )
    kinds = {(store.dtype, store.row_shape): store for store in stores if len(store)}
    if len(kinds) > 1:
        shown = ", ".join(f"{store.path} holds {dtype}{shape}" for (dtype, shape), store in kinds.items())
        raise StoreError(f"rows of different types or widths cannot be merged: {shown}.")


def _owners(stores: Sequence[Store], *, newest: bool) -> tuple[dict[str, Store], int]:
    """Every complete clip -> the store to take it from, the first that has it; and how many have several."""
    owners: dict[str, Store] = {}
    repeated: set[str] = set()
    differing: list[tuple[str, Store, Store]] = []
    for store in stores:
        for clip_id in store.clip_ids:
            owner = owners.setdefault(clip_id, store)
            if owner is store:
                continue
            repeated.add(clip_id)
            if _has_same_rows(owner, store, clip_id):
                continue
            if not newest:
                differing.append((clip_id, owner, store))
            elif store.written_ns(clip_id) > owner.written_ns(clip_id):
                owners[clip_id] = store
    if differing:
        clip_id, one, other = differing[0]
        raise StoreError(
            f"{clip_id} has other rows in {other.path} than in {one.path} ({counted(len(differing), 'clip')} of this "
            "kind): give --newest to take what was written last, or leave a store out."
        )
    return owners, len(repeated)


def _has_same_rows(one: Store, other: Store, clip_id: str) -> bool:
    """By the digests in their tables; rows are read only if they are split differently, or by other libraries."""
    first, second = ([_digest(store, part) for part in store.parts(clip_id)] for store in (one, other))
    return first == second or rows_digest(one, clip_id) == rows_digest(other, clip_id)


def _digest(store: Store, part: Segment) -> bytes:
    return bytes(store.shards[part.shard].columns["rows_digest"][part.row])


def _wanted_rows(store: Store, owners: dict[str, Store], before: Store | None) -> Iterator[tuple[Shard, list[int]]]:
    """The rows of each shard's clip table that the output needs, in order."""
    rows: dict[int, list[int]] = defaultdict(list)
    for clip_id in store.clip_ids:
        if owners[clip_id] is store:
            for part in store.parts(clip_id):
                rows[part.shard].append(part.row)
    for clip_id in store.unfinished():
        if clip_id not in owners:
            there = {(part.first_row, _digest(before, part)) for part in before.segments(clip_id)} if before else set()
            for part in store.segments(clip_id):
                if (part.first_row, _digest(store, part)) not in there:
                    rows[part.shard].append(part.row)
    return ((store.shards[number], sorted(rows[number])) for number in sorted(rows))


def _num_bytes(shard: Shard, rows: Sequence[int]) -> int:
    return int(shard.columns["length"][rows].sum()) * shard.embeddings.row_bytes


def _add_shard(store: Store, shard: Shard, rows: list[int], target: Path) -> bool:
    """Gives a shard, or some of its rows, a place in the output; False if it has one already."""
    digest = shard.attributes["digest"]
    if len(rows) == len(shard):
        path = target / (shard.path.name if store.path.is_dir() else f"shard-packed-{digest}.h5")
        if not path.exists():
            _link_or_copy(shard.path, path)
            return True
        if open_shard(path).attributes["digest"] == digest:
            return False
    name = hashlib.blake2b(f"{digest} {rows}".encode(), digest_size=16).hexdigest()
    path = target / f"shard-merged-{name}.h5"
    if path.exists():
        return False
    parts = [_part(store, shard, row) for row in rows]
    with sealed_file(path) as temporary:
        write_shard(
            temporary,
            parts,
            recipe=store.recipe,
            made=made_of(shard),
            dtype=store.dtype,
            row_shape=store.row_shape,
        )
    return True


def _link_or_copy(source: Path, path: Path) -> None:
    try:
        os.link(os.path.realpath(source), path)
    except OSError:  # another disk, or one without links
        with sealed_file(path) as temporary:
            shutil.copyfile(source, temporary)


def _part(store: Store, shard: Shard, row: int) -> Part:
    columns = shard.columns
    start, end = shard.truth_span(row)
    clip_id, path, digest = (shard.text(name, row) for name in ("clip_id", "path", "digest"))
    return Part(
        clip_id=clip_id,
        source=Source(path, int(columns["size"][row]), int(columns["mtime_ns"][row]), digest),
        part=int(columns["part"][row]),
        last_part=bool(columns["last_part"][row]),
        first_row=int(columns["first_row"][row]),
        length=int(columns["length"][row]),
        written_ns=int(columns["written_ns"][row]),
        truth_json=ShardFile(shard.path).read(shard.extents[TRUTH], start, end - start).tobytes().decode(),
        blocks=lambda: checked_part(shard, row, clip_id, RowsDigest()),
        rules=int(columns["rules"][row]),
    )


def _add_failures(stores: Sequence[Store], before: Store | None, target: Path) -> None:
    """One ledger of the latest failures, named by its content."""
    known = set(before.failures().values()) if before else set()
    failures = [failure for store in stores for failure in store.failures().values() if failure not in known]
    if failures:
        content = b"".join(map(ledger_line, failures))
        name = hashlib.blake2b(content, digest_size=16).hexdigest()
        write_bytes(target / f"failures-merged-{name}.jsonl", content)
