"""Joins a feature store and its labels into clips ready to batch; labels are matched to embeddings by time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import ClipError, LabelError, StoreError
from extract.records import ClipEmbeddings
from extract.store.checked_rows import rows_digest
from extract.store.lazy_rows import join_channels
from extract.store.reader import Store, open_store
from extract.store.recipe import has_rate
from extract.system.cores import usable_cores
from extract.text import counted
from sequence_models.clips.blocks import blocks_note, cut_into_blocks
from sequence_models.labels.alignment import ClipAlignment, check_alignment, measure_alignment
from sequence_models.labels.clip_names import ClipNames, quoted
from sequence_models.labels.intervals import (
    UNLABELLED,
    Timeline,
    empty_labels,
    label_positions,
    original_frames,
    pieces_of,
    refuse_overlaps,
    timeline_of,
)
from sequence_models.labels.numbering import check_frame_count, counts_from_one, inclusive_ends
from sequence_models.labels.reading import read_label_source, understood
from sequence_models.labels.table import BY_SECONDS, LabelTable
from sequence_models.labels.targets import (
    Target,
    check_task,
    look_alikes,
    targets_from_folders,
    targets_from_table,
    vocabulary_of,
)
from sequence_models.records import Clip
from sequence_models.settings import MANY_TO_ONE, STRICT, DataSettings

PTS_TOLERANCE_SECONDS = 1e-3
LARGEST_FEATURE = 1e18  # the square of a larger one overflows float32


@dataclass(frozen=True)
class ClipSet:
    """Labelled clips and what a user should know about them.

    Args:
        clips: Clips with a label, sorted by clip_id.
        vocabulary: Class names in the order of their indices.
        unlabelled: clip_ids with features but without a label.
        notes: Warnings for the user, one sentence each.
        recipes: The recipe of each store.
        alignment: How each clip's intervals line up with its features; empty for labels of whole clips.
    """

    clips: tuple[Clip, ...]
    vocabulary: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    recipes: tuple[dict, ...] = ()
    alignment: tuple[ClipAlignment, ...] = ()


@dataclass(frozen=True)
class _Joining:
    """How intervals become timestep labels."""

    table: LabelTable
    vocabulary: tuple[str, ...]
    data: DataSettings
    multi_label: bool
    has_rate: bool


def load_clips(
    stores: Sequence[str | Path],
    labels: Path | None,
    *,
    task: str,
    multi_label: bool = False,
    data: DataSettings | None = None,
) -> ClipSet:
    """Joins stores and labels.

    Args:
        stores: Feature stores; embeddings of several stores are joined side by side, timestep by timestep.
        labels: A label file or folder in any of the formats of labels/formats/; None takes the first folder of the
            clip_id as the class of the clip.
        task: "many-to-one" or "many-to-many".
        multi_label: Whether intervals may overlap, many-to-many only: every class of a timestep is 0 or 1.
        data: How to join them; None for the defaults.

    Returns:
        The clips with embeddings (T, D), or raw frames that stay in their stores, and labels (), (T,) or, for
        multi_label, (T, K).

    Raises:
        LabelError: Labels and clips do not match.
        UsageError: The options do not suit the task or the labels.
        StoreError: A store cannot be read, or holds no embeddings.
        ClipError: A clip holds a number that cannot be a feature.
    """
    data = DataSettings() if data is None else data
    table = None if labels is None else read_label_source(Path(labels), data)
    check_task(table, task=task, data=data, multi_label=multi_label)
    opened = [open_store(path) for path in stores]
    rated = all(has_rate(store.recipe) for store in opened)
    if table is not None and not rated and (table.kind == BY_SECONDS or data.labels_fps is not None):
        raise LabelError(
            f"{table.path} {'is in seconds' if table.kind == BY_SECONDS else 'has --labels-fps'}, but the features of "
            f"{stores[0]} have no rate, only timestep numbers; import them again with --fps."
        )
    everything, failed, notes = _common_clips(opened, missing=data.missing)
    if table is not None and table.tool:
        notes.insert(0, f"{table.path}: {understood(table)}")
    clip_ids = _kept(everything, data.keep)
    if table is None:
        are_listed = all(store.are_listed() for store in opened)
        targets = targets_from_folders(clip_ids, group_from=data.group_from, are_listed=are_listed)
        more = [f"{counted(failed, 'clip')} failed at extraction, left out: {quoted(sorted(failed))}"] if failed else []
    else:
        targets, more = targets_from_table(
            table, clip_ids, known=everything, failed=failed, missing=data.missing, group_from=data.group_from
        )
    notes += more
    _refuse_none(targets, stores=stores, labels=labels)
    nothing = table.background if table is not None and multi_label else ""
    vocabulary = vocabulary_of(targets.values(), classes=data.classes, background=data.background, nothing=nothing)
    notes += look_alikes(vocabulary)
    if table is None or task == MANY_TO_ONE:
        clips, more = _whole_clips(opened, targets, vocabulary)
        measured: list[ClipAlignment] = []
    else:
        joining = _Joining(table, vocabulary, data, multi_label, rated)
        clips, measured, more = _framewise_clips(opened, targets, joining)
    _refuse_none(clips, stores=stores, labels=labels)
    clips = _with_digests(opened, clips)
    unlabelled = tuple(clip_id for clip_id in clip_ids if clip_id not in targets)
    recipes = tuple(store.recipe for store in opened)
    found = ClipSet(clips, vocabulary, unlabelled, tuple(notes + more), recipes, tuple(measured))
    return in_blocks(found, data.blocks) if data.blocks else found


def in_blocks(data: ClipSet, count: int) -> ClipSet:
    """The clips of a set cut into blocks in time (see blocks.py), with a note that says so."""
    blocks = cut_into_blocks(data.clips, count)
    return replace(data, clips=blocks, notes=(*data.notes, blocks_note(blocks)))


def load_unlabelled(
    stores: Sequence[str | Path], *, task: str = MANY_TO_ONE, num_classes: int | None = None
) -> list[Clip]:
    """Reads every clip of the stores without labels, to predict them.

    Args:
        stores: As in `load_clips`.
        task: Determines the shape of the labels, all -1: () for many-to-one, (T,) for many-to-many.
        num_classes: K of a multi-label model, for labels (T, K); else None.

    Returns:
        The clips, sorted by clip_id.

    Raises:
        LabelError: The stores hold different clips or timestamps.
        StoreError: A store cannot be read, or holds no embeddings.
    """
    opened = [open_store(path) for path in stores]
    clip_ids, _, _ = _common_clips(opened, missing="error")
    clips = [
        _clip(joined, _no_labels(len(joined), task, num_classes))
        for joined in (_read_joined(opened, clip_id) for clip_id in clip_ids)
    ]
    return list(_with_digests(opened, clips))


def _no_labels(steps: int, task: str, num_classes: int | None) -> np.ndarray:
    if num_classes is not None:
        return np.full((steps, num_classes), UNLABELLED, np.int8)
    return np.full(() if task == MANY_TO_ONE else steps, UNLABELLED, np.int64)


def _common_clips(stores: Sequence[Store], *, missing: str) -> tuple[list[str], set[str], list[str]]:
    """The clips in all stores, those that failed in one, and notes.

    If a video changed and then failed, its old embeddings are still in the store; they are stale and count as failed.
    """
    if not stores:
        raise StoreError("no feature store was given; name a folder that clipseq extract wrote.")
    for store in stores:
        if not store.clip_ids:
            raise StoreError(
                f"{store.path} holds no clips; extract some with clipseq extract VIDEOS --output {store.path}."
            )
    failed = {clip_id for store in stores for clip_id in store.failures()}
    common = set.intersection(*(set(store.clip_ids) for store in stores)) - failed
    notes = []
    for store in stores:
        lacking = sorted({key for other in stores for key in other.clip_ids} - set(store.clip_ids) - failed)
        if lacking and missing == "error":
            raise LabelError(
                f"{store.path} lacks {counted(lacking, 'clip')} of the other stores: {quoted(lacking)}; "
                "extract them there too, or leave them out with --missing skip."
            )
        if lacking:
            notes.append(
                f"{store.path} lacks {counted(lacking, 'clip')} of the other stores, left out: {quoted(lacking)}"
            )
    return sorted(common), failed, notes


def _kept(clip_ids: list[str], keep: Sequence[str] | None) -> list[str]:
    if keep is None:
        return clip_ids
    names = ClipNames(clip_ids)
    found = {name: names.find(name, where="--clips") for name in keep}
    unknown = [name for name, clip_id in found.items() if clip_id is None]
    if unknown:
        raise LabelError(
            f"--clips names {counted(unknown, 'clip')} without features: {quoted(unknown)}; extract or remove them."
        )
    return sorted({clip_id for clip_id in found.values() if clip_id is not None})


def _read_joined(stores: Sequence[Store], clip_id: str) -> ClipEmbeddings:
    """One clip with the embeddings of all stores side by side, (T, D1 + D2 + ...) or (T, H, W, C1 + C2 + ...)."""
    raw = len(stores[0].row_shape) > 1
    parts = [store.read_lazily(clip_id) if raw else store.read(clip_id) for store in stores]
    for store, part in zip(stores, parts, strict=True):
        if store.row_shape[:-1] != stores[0].row_shape[:-1]:
            raise StoreError(
                f"{store.path} holds {_held(store)} and {stores[0].path} {_held(stores[0])}, which cannot be joined; "
                "give stores of embeddings, or stores of raw frames of one size."
            )
        _refuse_other_times(parts[0], part, paths=(stores[0].path, store.path))
    if len(parts) == 1:
        return parts[0]
    rows: list[Any] = [part.embeddings for part in parts]
    joined: Any = join_channels(rows) if raw else np.concatenate(rows, axis=1)
    return replace(parts[0], embeddings=joined)


def _held(store: Store) -> str:
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


def _whole_clips(
    stores: Sequence[Store], targets: Mapping[str, Target], vocabulary: tuple[str, ...]
) -> tuple[tuple[Clip, ...], list[str]]:
    index = {name: number for number, name in enumerate(vocabulary)}
    used = [key for key in sorted(targets) if targets[key].rows[0].label in index]
    clips = tuple(
        _clip(_read_joined(stores, key), np.array(index[targets[key].rows[0].label], np.int64), targets[key])
        for key in used
    )
    others = sorted(set(targets) - set(used))
    return clips, [f"{counted(others, 'clip')} of other classes left out: {quoted(others)}"] if others else []


def _framewise_clips(
    stores: Sequence[Store], targets: Mapping[str, Target], how: _Joining
) -> tuple[tuple[Clip, ...], list[ClipAlignment], list[str]]:
    """The clips that have a label, how all labels line up with them, and notes."""
    joined = [_join(_read_joined(stores, key), targets[key], how) for key in sorted(targets)]
    clips, measured = [clip for clip, _, _ in joined], [alignment for _, alignment, _ in joined]
    numbering = [*_check_numbering(how), *(note for _, _, note in joined if note)]
    notes = numbering + check_alignment(measured, where=str(how.table.path), mode=how.data.alignment)
    background = how.data.background
    if background and not any(np.any(clip.labels == how.vocabulary.index(background)) for clip in clips):
        raise LabelError(f"--background {background!r} is not a label, and no timestep is unlabelled; name a class.")
    return tuple(clip for clip in clips if np.any(clip.labels != UNLABELLED)), measured, notes


def _check_numbering(how: _Joining) -> list[str]:
    """Notes on how the label file seems to count frames; in strict mode, refuses counting that leaves gaps."""
    table = how.table
    if table.tool is not None:  # its format says how it counts
        return []
    if found := inclusive_ends(table):
        if how.data.alignment == STRICT:
            raise LabelError(f"{table.path}: {found}, or --alignment tolerant if one frame between them has no label.")
        return [f"{table.path}: {found}"]
    return [f"{table.path}: {found}"] if (found := counts_from_one(table)) else []


def _join(joined: ClipEmbeddings, target: Target, how: _Joining) -> tuple[Clip, ClipAlignment, str]:
    """One clip with the labels of its timesteps and original frames, how they line up, and a note or ""."""
    index = {name: number for number, name in enumerate(how.vocabulary)}
    timeline = _timeline(joined, how)
    note = check_frame_count(how.table, target.rows[0], timeline, is_strict=how.data.alignment == STRICT)
    if how.data.alignment == STRICT and not how.multi_label:
        used = [row for row in target.rows if row.label in index]
        refuse_overlaps(used, clip_id=joined.clip_id, where=str(how.table.path), unit=timeline.unit)
    pieces = pieces_of(target.rows)
    gap = index[how.data.background] if how.data.background else UNLABELLED

    def labels_at(positions: np.ndarray) -> np.ndarray:
        empty = empty_labels(timeline, positions, gap=gap, num_classes=len(index) if how.multi_label else None)
        if how.multi_label and how.table.background:  # the file says where nothing is, so gaps are unlabelled
            empty[:] = UNLABELLED
        return label_positions(pieces, positions, index, empty=empty)

    labels = labels_at(timeline.positions)
    said = {*index, how.table.background} if how.multi_label else index
    measured = measure_alignment(joined.clip_id, target.rows, pieces, timeline, labels, classes=said)
    frames = original_frames(joined, timeline, label_end=measured.label_end)
    frame_labels = labels_at(frames.positions)
    small = frame_labels if how.multi_label else frame_labels.astype(np.int32)
    return replace(_clip(joined, labels, target), label_steps=frames.steps, frame_labels=small), measured, note


def _timeline(joined: ClipEmbeddings, how: _Joining) -> Timeline:
    tool = how.table.tool
    return timeline_of(
        joined,
        kind=how.table.kind,
        labels_fps=how.data.labels_fps,
        has_rate=how.has_rate,
        is_rounded=tool is not None and tool.times_are_rounded,
    )


def _refuse_none(found: Collection[object], *, stores: Sequence[str | Path], labels: Path | None) -> None:
    if not found:
        where = ", ".join(str(path) for path in stores)
        raise LabelError(f"no clip of {where} has a label in {labels or 'its folder name'}; check the clip ids.")


def _refuse_no_features(clip: ClipEmbeddings) -> None:
    """Refuses unusable numbers, such as -3.4e38, which other tools write for missing values."""
    if clip.embeddings.dtype in (np.uint8, np.float16):  # neither can hold so large a number
        return
    is_fine = np.abs(clip.embeddings) <= LARGEST_FEATURE  # False for NaN too
    if not is_fine.all():
        step, column = (int(place) for place in np.argwhere(~is_fine)[0])
        raise ClipError(
            f"{clip.clip_id} holds {clip.embeddings[step, column]:g} in column {column} of timestep {step}, which "
            "cannot be a feature; if it marks a missing value, write NaN instead and import again with --nan"
        )


def _clip(joined: ClipEmbeddings, labels: np.ndarray, target: Target | None = None) -> Clip:
    _refuse_no_features(joined)
    return Clip(
        joined.clip_id,
        joined.embeddings,
        joined.pts_seconds,
        joined.frame_indices,
        labels,
        group=target.group if target else "",
        split=target.split if target else "",
    )


def _with_digests(stores: Sequence[Store], clips: Iterable[Clip]) -> tuple[Clip, ...]:
    """Checks the stored rows of every clip, on all cores."""

    def checked(clip: Clip) -> Clip:
        return replace(clip, rows_digest="+".join(rows_digest(store, clip.clip_id) for store in stores))

    with ThreadPoolExecutor(usable_cores()) as pool:
        return tuple(pool.map(checked, clips))
