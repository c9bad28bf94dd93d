"""Reads clips from one or several stores, and decides whether their embeddings fit in memory or stay in the stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from extract.errors import ClipError, LabelError, StoreError, UsageError
from extract.records import ClipEmbeddings
from extract.store.checked_rows import rows_digest
from extract.store.lazy_rows import join_channels
from extract.store.reader import Store
from extract.system.cores import usable_cores
from extract.system.memory import available_bytes
from extract.system.terminal import progress_bar
from extract.text import counted
from sequence_models.clips.buffers import bytes_in_memory, place_of
from sequence_models.records import Clip
from sequence_models.settings import TrainSettings

PTS_TOLERANCE_SECONDS = 1e-3
LARGEST_FEATURE = 1e18  # the square of a larger one overflows float32
KEPT_FREE = 2_000_000_000  # bytes for libraries, model and batches, where nobody says what embeddings may take
Reader = Callable[[str], ClipEmbeddings]


def reader_of(
    stores: Sequence[Store], clip_ids: Iterable[str], *, memory: float | None, settings: TrainSettings | None
) -> Reader:
    """How clips are read: into memory if all of them fit, otherwise so that their rows stay in the stores until needed.

    Args:
        stores: Stores of the same clips.
        clip_ids: The clips that will be read.
        memory: What their embeddings may take, in 10^9 bytes; None for what is free.
        settings: Name the derived channels, if any.

    Raises:
        UsageError: `memory` is negative.
    """
    if memory is not None and not 0 <= memory < float("inf"):
        raise UsageError(f"--memory {memory:g} must be 0 or more, in GB")
    if len(stores[0].row_shape) > 1:
        return partial(_read_joined, stores, True)
    lengths = stores[0].lengths()
    rows, width = sum(lengths[clip_id] for clip_id in clip_ids), sum(sum(store.row_shape) for store in stores)
    needed = bytes_in_memory(rows, width, max(store.dtype.itemsize for store in stores), settings)
    free = available_bytes()
    room = 1e9 * memory if memory is not None else None if free is None else max(free - KEPT_FREE, free // 2)
    return partial(_read_joined, stores, room is not None and needed > room)


def _read_joined(stores: Sequence[Store], lazily: bool, clip_id: str) -> ClipEmbeddings:
    """One clip with the embeddings of all stores side by side, (T, D1 + D2 + ...) or (T, H, W, C1 + C2 + ...)."""
    parts = [store.read_lazily(clip_id) if lazily else store.read(clip_id) for store in stores]
    for store, part in zip(stores, parts, strict=True):
        if store.row_shape[:-1] != stores[0].row_shape[:-1]:
            raise StoreError(
                f"{store.path} holds {held(store)} and {stores[0].path} {held(stores[0])}, which cannot be joined; "
                "give stores of embeddings, or stores of raw frames of one size."
            )
        _refuse_other_times(parts[0], part, paths=(stores[0].path, store.path))
    if len(parts) == 1:
        return parts[0]
    rows: list[Any] = [part.embeddings for part in parts]
    joined: Any = join_channels(rows) if lazily else np.concatenate(rows, axis=1)
    return replace(parts[0], embeddings=joined)


def held(store: Store) -> str:
    """What a store holds, in words."""
    size = " x ".join(map(str, store.row_shape))
    return f"raw frames of {size}" if len(store.row_shape) > 1 else f"embeddings of {size} numbers"


def _refuse_other_times(first: ClipEmbeddings, other: ClipEmbeddings, *, paths: tuple[object, object]) -> None:
    shared = min(len(first), len(other))
    differs = np.abs(first.pts_seconds[:shared] - other.pts_seconds[:shared]) > PTS_TOLERANCE_SECONDS
    if len(first) == len(other) and not differs.any():
        return
    step = int(np.argmax(differs)) if differs.any() else shared
    longer = first if len(first) > step else other
    raise LabelError(
        f"clip {first.clip_id!r} has other timestamps in {paths[1]} ({counted(len(other), 'timestep')}) than in "
        f"{paths[0]} ({counted(len(first), 'timestep')}), first at {longer.pts_seconds[step]:.3f} s; extract both "
        "with the same sampling."
    )


def refuse_no_features(clip: ClipEmbeddings) -> None:
    """Refuses unusable numbers, such as -3.4e38, which other tools write for missing values."""
    if clip.embeddings.dtype in (np.uint8, np.float16):  # neither can hold so large a number
        return
    values = np.asarray(clip.embeddings)
    is_fine = np.abs(values) <= LARGEST_FEATURE  # False for NaN too
    if not is_fine.all():
        step, column = (int(place) for place in np.argwhere(~is_fine)[0])
        raise ClipError(
            f"{clip.clip_id} holds {values[step, column]:g} in column {column} of timestep {step}, which "
            "cannot be a feature; if it marks a missing value, write NaN instead and import again with --nan"
        )


def with_digests(stores: Sequence[Store], clips: Sequence[Clip]) -> tuple[Clip, ...]:
    """Checks the stored rows of every clip, on all cores: what a store takes is finite, and so are they.

    Raises:
        DamagedShardError: Rows are not those that were written.
    """

    def checked(clip: Clip) -> tuple[str, str]:
        return clip.clip_id, "+".join(rows_digest(store, clip.clip_id) for store in stores)

    order = sorted(clips, key=place_of)
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = dict(progress_bar(iterable=pool.map(checked, order), total=len(order), unit=" clips", delay=2))
    return tuple(replace(clip, rows_digest=found[clip.clip_id]) for clip in clips)
