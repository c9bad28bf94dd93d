"""Combines stores, labels and settings into a run directory with its folds. Needs no Keras."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from extract.errors import RunError, SplitError, UsageError
from extract.store.provenance import library_versions
from extract.store.reader import open_store
from extract.store.recipe import fingerprint, has_rate
from extract.system.files import write_csv
from extract.text import counted
from sequence_models.catalogue import MODEL_NAMES, RAW_MODEL_NAMES, TWO_STREAM
from sequence_models.clips.blocks import BLOCKS
from sequence_models.clips.loading import ClipSet, in_blocks, load_clips
from sequence_models.clips.scenes import SCENES
from sequence_models.experiments.split_checks import scenes_record
from sequence_models.experiments.summary import scene_lines
from sequence_models.labels.alignment import alignment_rows
from sequence_models.records import Clip, has_groups
from sequence_models.runs.clip_records import changed_clips, clip_record
from sequence_models.runs.run import OFFICIAL, Run, create_run
from sequence_models.settings import MANY_TO_MANY, MANY_TO_ONE, DataSettings, TrainSettings
from sequence_models.splits.folds import VALIDATION_PARTS, Fold, make_folds
from sequence_models.splits.official import official_lists

FEW_TO_CHOOSE_ON = 100  # validation clips; with fewer, chance decides which model is best
log = logging.getLogger(__name__)


def prepare(
    stores: Sequence[str | Path],
    labels: Path | None,
    settings: TrainSettings,
    *,
    run: Path,
    cv: str | None = None,
    split_file: str | Path | None = None,
    seeds: int = 1,
    inner: int | None = 1,
    data: DataSettings | None = None,
    memory: float | None = None,
) -> tuple[Run, ClipSet]:
    """Load clips and labels, make the folds, and create (or continue) the run directory; arguments as for `plan_run`.

    Raises:
        LabelError, SplitError, StoreError, RunError, UsageError: The data, or data and settings, are inconsistent; the
            message says how.
    """
    wanted, clips = plan_run(
        stores,
        labels,
        settings,
        run=run,
        cv=cv,
        split_file=split_file,
        seeds=seeds,
        inner=inner,
        data=data,
        memory=memory,
    )
    created = create_run(wanted)
    if clips.alignment:
        write_csv(created.path / "alignment.csv", alignment_rows(clips.alignment))
    return created, clips


def plan_run(
    stores: Sequence[str | Path],
    labels: Path | None,
    settings: TrainSettings,
    *,
    run: Path,
    cv: str | None = None,
    split_file: str | Path | None = None,
    seeds: int = 1,
    inner: int | None = 1,
    data: DataSettings | None = None,
    memory: float | None = None,
) -> tuple[Run, ClipSet]:
    """The run that `prepare` would create, and its clips; writes nothing.

    Args:
        stores: Feature stores of the same clips, joined per frame; for two_stream optical flow is put last.
        labels: The label file; None: folders are the labels.
        settings: How models are built and trained.
        run: The run directory.
        cv: "leave-one-group-out" or a number of folds; None: one split.
        split_file: A file of `clip_id,split`, or official lists such as "ucf101:DIR:1"; these also determine the groups
            if nothing else does.
        seeds: Number of seeds per fold.
        inner: In how many parts the clips that are not for testing are held out for validation, one in each fit; 1: in
            as many fits as there are seeds; None: 5 if the validation part has few labels, else 1.
        data: How labels and features are joined; None for the defaults.
        memory: What embeddings may take in memory, in 10^9 bytes; None for what is free. More of them stay in the
            stores, and are read when they are needed.

    Raises:
        LabelError, SplitError, StoreError, RunError, UsageError: The data, or data and settings, are inconsistent; the
            message says how.
    """
    for name, value in (("seeds", seeds), ("inner", inner)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value} must be at least 1")
    if settings.model == TWO_STREAM:  # takes the flow last; a wildcard gives stores in the order of their names
        stores = sorted(stores, key=lambda store: open_store(store).recipe.get("input") == "flow")
    lists = official_lists(split_file)
    joined = DataSettings() if data is None else data
    if lists is not None and not joined.group_from:
        joined = replace(joined, group_from=lists.data_set)
    task, multi_label = settings.task, settings.multi_label
    clips = load_clips(
        stores, labels, task=task, multi_label=multi_label, data=joined, memory=memory, settings=settings
    )
    if len(clips.clips) == 1 and settings.task == MANY_TO_MANY and split_file is None:  # a single recording
        joined = replace(joined, blocks=BLOCKS)
        clips = in_blocks(clips, BLOCKS)
    if len(clips.vocabulary) < 2 and not settings.multi_label:
        chosen = "; list more of them in --classes" if joined.classes else ""
        raise SplitError(
            f"there is only one class ({', '.join(clips.vocabulary)}), but training needs at least two{chosen}"
        )
    check_input(settings, clips, stores)
    if settings.task == MANY_TO_ONE and not settings.on_frames and not has_groups(clips.clips):
        scenes = scenes_record(clips.clips, clips.recipes)
        clips = replace(clips, notes=(*clips.notes, *scene_lines(scenes, has_groups=False)))
    units = [replace(clip, group="") for clip in clips.clips] if joined.blocks else clips.clips
    parts = inner if inner and inner > 1 else VALIDATION_PARTS
    folds = make_folds(units, cv=cv, split_file=split_file, seed=0, vocabulary=clips.vocabulary, parts=parts)
    wanted = Run(
        path=run,
        settings=settings,
        vocabulary=clips.vocabulary,
        stores=tuple(str(Path(store).resolve()) for store in stores),
        recipes=clips.recipes,
        fingerprints=tuple(fingerprint(recipe) for recipe in clips.recipes),
        labels=str(labels.resolve()) if labels else "",
        data=joined,
        cv=OFFICIAL if lists is not None and len(lists.numbers) > 1 else cv or "",
        folds=tuple(folds),
        seeds=seeds,
        inner=_inner_fits(inner, folds, settings),
        clips={clip.clip_id: clip_record(clip, clips.vocabulary) for clip in clips.clips},
        embedding_dim=clips.clips[0].embedding_dim,
        versions=library_versions(),
    )
    return wanted, clips


def _inner_fits(inner: int | None, folds: Sequence[Fold], settings: TrainSettings) -> int:
    """How many fits per fold hold out different clips; `inner` as for `prepare`.

    Raises:
        UsageError: More than one is asked for, but the folds have one validation part each, or none.
    """
    turns = max(1 + len(fold.rotation) for fold in folds)
    if inner is None:
        is_quick = settings.task == MANY_TO_ONE and not settings.on_frames
        few = is_quick and min(len(fold.validation) for fold in folds) < FEW_TO_CHOOSE_ON
        return turns if few else 1
    if inner > 1 and turns == 1:
        raise UsageError(
            f"--inner {inner} holds out the training clips in turn, but the split has a fixed validation part, or too "
            "few groups; leave --inner out, or the validation part of the split."
        )
    return min(inner, turns)


def reload_clips(run: Run, *, memory: float | None = None) -> dict[str, Clip]:
    """The clips of a run in their present state.

    Args:
        run: The run.
        memory: As for `plan_run`.

    Returns:
        clip_id -> clip.

    Raises:
        RunError: Features or labels have changed since training; names what differs.
        LabelError, StoreError: As for `load_clips`.
    """
    data = load_clips(
        run.stores,
        Path(run.labels) if run.labels else None,
        task=run.settings.task,
        multi_label=run.settings.multi_label,
        data=run.data,
        memory=memory,
        settings=run.settings,
    )
    fingerprints = tuple(fingerprint(recipe) for recipe in data.recipes)
    if fingerprints != run.fingerprints or data.vocabulary != run.vocabulary:
        raise RunError(
            f"the features or labels of {run.path} have changed since it was trained; train again into another --run"
        )
    clips = {clip.clip_id: clip for clip in data.clips}
    gone = [clip_id for fold in run.folds for clip_id in fold.test if clip_id not in clips]
    if gone:
        raise RunError(
            f"{run.path} tests {counted(gone, 'clip')} no longer in its store (first: {gone[0]}); extract them again"
        )
    differing = changed_clips(run.clips, data.clips, run.vocabulary)
    if differing:
        raise RunError(
            f"{run.path} was trained on other data: {'; '.join(differing)}. Restore the old data, or train again into "
            "another --run"
        )
    return clips


def refuse_changed_clips(run: Run) -> None:
    """Raises if the features or labels of a run have changed; warns if they are not here to be checked.

    Raises:
        As for `reload_clips`.
    """
    gone = next((path for path in (*run.stores, run.labels) if path and not Path(path).exists()), None)
    if gone:
        log.warning("%s is not here: cannot check whether it has changed since training", gone)
    elif run.stores:  # none if the clips came from memory
        reload_clips(run)


def holds_frames(stores: Sequence[str | Path]) -> bool:
    """Whether the stores, judged by the first, hold raw frames rather than embeddings."""
    return len(open_store(stores[0]).row_shape) > 1


class DataSource(NamedTuple):
    """The training data of a model in a comparison: the run, with the model's own stores, and the clips."""

    run: Run
    data: ClipSet


def data_source_of(settings: TrainSettings, sources: Sequence[DataSource]) -> DataSource:
    """The data source of one model.

    Args:
        settings: Of the model.
        sources: From `prepare`, then from `frame_sources`.

    Returns:
        The first if there is no other, or the model takes embeddings; else the frames, for two_stream with flow.
    """
    if len(sources) == 1 or not settings.on_frames:
        return sources[0]
    return sources[-1] if settings.model == TWO_STREAM else sources[1]


def frame_sources(run: Run, data: ClipSet, stores: Sequence[str | Path]) -> list[DataSource]:
    """The same clips, labels and folds on raw frames, for the raw-frame models of a comparison.

    Args:
        run, data: From `prepare`, on embeddings.
        stores: Stores of raw frames of the same clips, joined per frame; optical flow after others is used by
            two_stream only.

    Returns:
        The run with these stores, on the same path, and its clips; if flow follows others, first without and then with
        the flow.

    Raises:
        SplitError: The frame stores lack some clips, or (for per-frame labels) hold different frames of one.
        LabelError, StoreError: As for `prepare`.
    """
    flow_last = open_store(stores[-1]).recipe.get("input") == "flow"
    parts = [stores[:-1], stores] if flow_last and len(stores) > 1 else [stores]
    return [_frame_source(run, data, part) for part in parts]


def _frame_source(run: Run, data: ClipSet, stores: Sequence[str | Path]) -> DataSource:
    names = {clip_id.rpartition("#t=")[0] for clip_id in run.clips} if run.data.blocks else run.clips.keys()
    lacking = sorted(names - set(open_store(stores[0]).clip_ids))
    if lacking:
        raise SplitError(
            f"{', '.join(map(str, stores))} lacks {len(lacking)} of {len(run.clips)} clips (first: {lacking[0]}); "
            "extract the same videos with --backbone pixels."
        )
    labels = Path(run.labels) if run.labels else None
    joined = replace(run.data, classes=run.vocabulary, keep=tuple(clip.clip_id for clip in data.clips))
    if joined.group_from == SCENES:  # they show in embeddings only
        joined = replace(joined, group_from=None)
    task, multi_label = run.settings.task, run.settings.multi_label
    frames = load_clips(stores, labels, task=task, multi_label=multi_label, data=joined)
    groups = {clip.clip_id: clip.group for clip in data.clips}
    frames = replace(frames, clips=tuple(replace(clip, group=groups[clip.clip_id]) for clip in frames.clips))
    if run.settings.task == MANY_TO_MANY:
        _refuse_other_frames(data, frames, stores)
    on_frames = replace(
        run,
        stores=tuple(str(Path(store).resolve()) for store in stores),
        recipes=frames.recipes,
        fingerprints=tuple(fingerprint(recipe) for recipe in frames.recipes),
        embedding_dim=frames.clips[0].embedding_dim,
        clips={clip.clip_id: clip_record(clip, frames.vocabulary) for clip in frames.clips},
    )
    return DataSource(on_frames, frames)


def _refuse_other_frames(data: ClipSet, frames: ClipSet, stores: Sequence[str | Path]) -> None:
    for clip, other in zip(data.clips, frames.clips, strict=True):
        if not np.array_equal(clip.frame_indices, other.frame_indices):
            raise SplitError(
                f"{', '.join(map(str, stores))} holds other frames of {clip.clip_id} ({len(other)}) than the "
                f"embeddings ({len(clip)}); to compare frame by frame, extract both with the same --fps, --every or "
                "--num-frames."
            )


def check_input(settings: TrainSettings, data: ClipSet, stores: Sequence[str | Path]) -> None:
    """Check that raw-frame models get raw frames, the others embeddings, and that augmentation suits optical flow.

    Args:
        settings: Of one model.
        data: From `load_clips`.
        stores: Where the data come from, for the message.

    Raises:
        UsageError: Settings and data do not fit.
    """
    if settings.window and not all(map(has_rate, data.recipes)):
        raise UsageError(
            f"--window {settings.window:g} is in seconds, but the features of {stores[0]} have no rate, only "
            "timestep numbers; import them again with --fps, or leave --window out."
        )
    row_shape = data.clips[0].embeddings.shape[1:]
    inputs = [recipe.get("input") for recipe in data.recipes]
    turned = [name for name in ("flip", "rotation", "brightness", "contrast") if getattr(settings, name)]
    if turned and "flow" in inputs:
        raise UsageError(
            f"{turned[0]} would change the motion that optical flow encodes; leave --{turned[0]} out, or train on RGB "
            "frames only (--shift and --zoom may stay)."
        )
    if settings.model == TWO_STREAM and None not in inputs and inputs[-1] != "flow":
        raise UsageError(
            f"model two_stream takes RGB frames and optical flow, but the stores hold {', '.join(map(str, inputs))}; "
            "give one that was extracted with --input flow too."
        )
    if settings.on_frames == (len(row_shape) == 3):
        return
    where = ", ".join(map(str, stores))
    if settings.on_frames:
        raise UsageError(
            f"model {settings.model} takes raw frames, but {where} holds embeddings of width {row_shape[0]}; "
            f"choose one of {', '.join(MODEL_NAMES)}, or extract frames with --backbone pixels."
        )
    raise UsageError(
        f"model {settings.model} takes embeddings, but {where} holds raw frames of {' x '.join(map(str, row_shape))}; "
        f"choose one of {', '.join(RAW_MODEL_NAMES)}, or extract embeddings with another --backbone."
    )
