"""Packs a store into one HDF5 file of the same schema: each clip in one piece, its rows unchanged to the byte."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from extract.errors import DamagedShardError, StoreError, UsageError
from extract.store.checked_rows import checked_blocks
from extract.store.failures import ledger_line
from extract.store.provenance import made_of
from extract.store.reader import Store, open_store
from extract.store.recipe import canonical_json
from extract.store.schema import PACKED_ENDINGS
from extract.store.shard_writer import Part, write_shard
from extract.system.files import make_folder, remove_stale_temporaries, sealed_file


@dataclass(frozen=True)
class Packed:
    """What was packed: the file, and its numbers of clips, rows and bytes."""

    path: Path
    num_clips: int
    num_frames: int
    num_bytes: int


def pack(path: str | Path, file: str | Path) -> Packed:
    """Writes all complete clips of a store and its failure ledger into one new file.

    Args:
        path: A store directory or a packed file.
        file: The file to make; it appears only when complete.

    Returns:
        What was packed.

    Raises:
        DamagedShardError: A shard cannot be read, or its digest is wrong.
        UsageError: The file does not end in .h5 or .hdf5.
        StoreError: The store is empty, or the file exists.
        WriteError: It cannot be written.
    """
    store, target = open_store(path), Path(file)
    if target.suffix not in PACKED_ENDINGS:
        raise UsageError(f"{target} must end in {' or '.join(PACKED_ENDINGS)}, which marks it as a store")
    remove_stale_temporaries(target.parent)  # a kill between naming it and dropping its temporary name leaves both
    if target.exists():
        raise StoreError(f"{target} exists already: choose another name or remove it.")
    if store.damaged:
        raise DamagedShardError(f"{path} has damaged shards: run `clipseq verify {path} --repair` and extract again.")
    if not len(store):
        raise StoreError(f"{path} holds no complete clip to pack.")
    parts = [_part(store, clip_id) for clip_id in store.clip_ids]
    settings = {"recipe": store.recipe, "dtype": store.dtype, "row_shape": store.row_shape, "made": _made(store)}
    failures = b"".join(ledger_line(failure) for failure in store.failures().values())
    make_folder(target.parent)
    try:
        with sealed_file(target, exclusive=True) as temporary:
            write_shard(temporary, parts, failures_jsonl=failures, **settings)  # type: ignore[arg-type]
    except FileExistsError as error:
        raise StoreError(f"{target} exists already: choose another name or remove it.") from error
    return Packed(target, len(parts), sum(part.length for part in parts), target.stat().st_size)


def _part(store: Store, clip_id: str) -> Part:
    segments = store.parts(clip_id)
    return Part(
        clip_id=clip_id,
        source=store.source(clip_id),
        part=0,
        last_part=True,
        first_row=0,
        length=segments[-1].first_row + segments[-1].length,
        written_ns=segments[-1].written_ns,
        truth_json=store.truth_bytes(segments[-1]).decode("utf-8", "surrogateescape"),
        blocks=partial(checked_blocks, store, clip_id),
        rules=segments[-1].rules,
    )


def _made(store: Store) -> list[dict[str, object]]:
    """How the rows were made: one record per engine and set of versions, with the seconds of all its shards."""
    seconds: dict[str, Counter[str]] = {}
    for record in (record for shard in store.shards for record in made_of(shard)):
        kind = canonical_json({key: record.get(key) for key in ("engine", "versions", "clips_from") if key in record})
        seconds.setdefault(kind, Counter()).update(record.get("seconds") or {})
    return [{**json.loads(kind), "writer": "pack", "seconds": dict(total)} for kind, total in seconds.items()]
