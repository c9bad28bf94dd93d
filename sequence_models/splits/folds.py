"""Divides clips into training, validation and test parts; clips of one group stay together.

Each seed of a fold holds out different training groups for validation, in turn, unless a split file names them:
together the seeds validate on all of the training part, and their average has learned from all of it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from extract.errors import SplitError, UsageError
from extract.text import counted, did_you_mean
from sequence_models.labels.clip_names import FIRST_NAMES, ClipNames, quoted
from sequence_models.labels.formats.plain_csv import read_split_file
from sequence_models.records import Clip
from sequence_models.splits.balance import (
    TRAIN,
    GroupedClips,
    assign_folds,
    class_counts,
    divide,
    divide_evenly,
    group_clips,
    label_counts,
    lone_classes,
)
from sequence_models.splits.official import ListedClip, official_lists, read_official

LEAVE_ONE_GROUP_OUT = "leave-one-group-out"
VALIDATION, TEST = 1, 2
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.2  # of one split
VALIDATION_PARTS = 5  # of what the test part of a fold leaves over; held out by seeds in turn
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fold:
    """One division of the clips; the parts hold clip_ids in the order of the clips.

    Args:
        name: "split", "split1" (of official lists), "fold1", or the left-out group, made safe for a file name.
        train, validation, test: Disjoint; validation is empty only if the training part is a single group.
        rotation: The validation parts of seeds 1, 2, ..., each taken from train; seed 0 has `validation`, and after
            the last one it starts over. Empty: all seeds share `validation`.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    rotation: tuple[tuple[str, ...], ...] = ()

    def of_seed(self, seed: int) -> Fold:
        """The division for one seed, without rotation."""
        turn = seed % (1 + len(self.rotation))
        if not turn:
            return replace(self, rotation=())
        held_out = set(self.rotation[turn - 1])
        train = tuple(clip_id for clip_id in self.known if clip_id not in held_out)
        return Fold(self.name, train, self.rotation[turn - 1], self.test)

    @property
    def known(self) -> tuple[str, ...]:
        """The clips not used for testing: train and validation."""
        return (*self.train, *self.validation)


def make_folds(
    clips: Sequence[Clip],
    *,
    cv: str | None,
    split_file: str | Path | None,
    seed: int,
    vocabulary: Sequence[str] = (),
    parts: int = VALIDATION_PARTS,
) -> list[Fold]:
    """Divides clips into folds.

    Args:
        clips: Labelled clips. If no clip has a group, each is its own.
        cv: "leave-one-group-out", a whole number K for K folds, or None for one fold: by the split file, else by the
            clips' own split, else 60/20/20, stratified.
        split_file: `clip_id,split`, or official lists such as "ucf101:DIR:1" or "hmdb51:DIR:all", or None.
        seed: The same seed gives the same folds.
        vocabulary: Class names for messages; without it, classes are named by index.
        parts: How many validation parts each fold has at most, of equal size, at least 2; not if they are given.

    Returns:
        The folds; every class is in every training part. Test parts overlap only if official lists do.

    Raises:
        UsageError: cv is not a valid rule, or is given together with a split file.
        SplitError: No fair split can be made; names the class or group that prevents it.
        LabelError: A split file or an official list cannot be read.
    """
    if cv is not None and split_file is not None:
        raise UsageError("--cv and --split exclude each other; give one of them.")
    groups = group_clips(clips, vocabulary)
    _refuse_lone_clips(clips, groups.vocabulary)
    how = _Division(groups, np.random.default_rng(seed), parts)
    if cv is None and (split_file is not None or any(clip.split for clip in clips)):
        folds = _given_splits(clips, split_file, how)
    elif len(groups.names) < 2:
        raise SplitError(
            f"all clips are of one group, {groups.names[0]!r}, so nothing unseen is left to test on; add groups."
        )
    elif (groups.has_class.sum(axis=0) == 1).all() and (groups.has_class.sum(axis=1) == 1).all():
        raise SplitError(
            f"each class has a group of its own ({quoted(list(groups.names))}), so none is left to train on when its "
            "group is tested; give groups that hold several classes, such as who or where, or none."
        )
    elif cv is None:
        folds = [_stratified_split(how)]
    else:
        folds = _cross_validation(clips, cv, how)
    order = {clip.clip_id: number for number, clip in enumerate(clips)}
    folds = [_in_order(fold, order) for fold in folds]
    _check_classes(folds, clips, groups.vocabulary)
    return folds


@dataclass(frozen=True)
class _Division:
    """What is divided, the random draws, and how many validation parts there are."""

    groups: GroupedClips
    rng: np.random.Generator
    parts: int


def _refuse_lone_clips(clips: Sequence[Clip], vocabulary: Sequence[str]) -> None:
    """Names all classes with a single clip at once, so that users do not meet them one by one."""
    if len(clips) == 1:
        raise SplitError(
            f"there is only one labelled clip, {clips[0].clip_id!r}, so nothing unseen is left to test on; add clips."
        )
    clips_per_class = np.atleast_1d(sum((label_counts(clip, len(vocabulary)) > 0).astype(int) for clip in clips))
    count_of = dict(zip(vocabulary, clips_per_class.tolist(), strict=True))
    others = [name for name, count in count_of.items() if count > 1]
    lone = [name for name, count in count_of.items() if count < 2]
    if not lone:
        return
    if len(lone) == 1:
        said, which = f"class {lone[0]!r} has {'one clip' if count_of[lone[0]] else 'no clip'}", "it"
    else:
        said, which = f"classes {quoted(lone)} have one clip each or none", "them"
    near = did_you_mean(lone[0], others, cutoff=0.8)
    misspelt = f" If {lone[0]!r} is misspelt ({near}), correct the label." if near else ""
    leave_out = f", or leave {which} out with --classes {','.join(others)}" if len(others) > 1 else ""
    raise SplitError(f"{said}, too few to train on and to test on; add clips{leave_out}.{misspelt}")


def _cross_validation(clips: Sequence[Clip], cv: str, how: _Division) -> list[Fold]:
    groups = how.groups
    if cv == LEAVE_ONE_GROUP_OUT and not any(clip.group for clip in clips):
        raise SplitError(
            f"--cv {LEAVE_ONE_GROUP_OUT} needs groups, but no clip has one; give --group-from or a group column, or "
            "use --cv 5, where every clip is its own group."
        )
    if cv == LEAVE_ONE_GROUP_OUT:
        parts = np.arange(len(groups.names))
        names = _file_names(groups.names)
    elif cv.isdecimal() and int(cv) >= 2:
        parts = assign_folds(groups, int(cv), how.rng)
        names = [f"fold{number + 1}" for number in range(int(cv))]
    else:
        raise UsageError(f"--cv is {cv!r}; it must be {LEAVE_ONE_GROUP_OUT} or a whole number of folds >= 2.")
    _refuse_lone_classes(groups, parts)
    return [_hold_out(name, parts == number, how) for number, name in enumerate(names)]


def _stratified_split(how: _Division) -> Fold:
    groups, rng = how.groups, how.rng
    everything = np.arange(len(groups.names))
    if len(everything) == 2:
        return _fold("split", groups, TEST * divide("split", groups, everything, (1 - TEST_SHARE, TEST_SHARE), rng))
    held_out = VALIDATION_SHARE if how.parts == VALIDATION_PARTS else (1 - TEST_SHARE) / how.parts
    parts = divide("split", groups, everything, (1 - held_out - TEST_SHARE, held_out, TEST_SHARE), rng)
    return _with_rotation(_fold("split", groups, parts), parts, how)


def _file_names(groups: Sequence[str]) -> list[str]:
    """The groups as distinct names that are safe in file names."""
    names: list[str] = []
    for group in groups:
        name = re.sub(r"[^\w.+-]", "_", group)
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


def _refuse_lone_classes(groups: GroupedClips, parts: np.ndarray) -> None:
    """Every class must survive the loss of any one part."""
    for number in lone_classes(groups, parts):
        inside = [name for name, has in zip(groups.names, groups.has_class[:, number], strict=True) if has]
        where = f"group {inside[0]!r} only" if len(inside) == 1 else f"one fold only (groups {quoted(inside)})"
        raise SplitError(
            f"class {groups.vocabulary[number]!r} is in {where}, so nothing is left to train on when it is tested; "
            "add groups or leave the class out with --classes."
        )


def _hold_out(name: str, test: np.ndarray, how: _Division) -> Fold:
    """A fold with the given test groups (G,) and a validation part taken from the rest."""
    groups, kept = how.groups, np.flatnonzero(~test)
    parts = np.full(len(groups.names), TEST)
    parts[kept] = TRAIN
    if len(kept) > 1:
        parts[kept] = divide(name, groups, kept, (1 - 1 / how.parts, 1 / how.parts), how.rng)
    return _with_rotation(_fold(name, groups, parts), parts, how)


def _with_rotation(fold: Fold, parts: np.ndarray, how: _Division) -> Fold:
    """The fold with more validation parts from its training groups; none removes a class from training."""
    groups, training = how.groups, np.flatnonzero(parts == TRAIN)
    num_parts = min(how.parts - 1, len(training))
    if not fold.validation or len(training) < 2:
        return fold
    turns = divide_evenly(groups, training, num_parts, how.rng.spawn(1)[0])
    rotation = []
    for turn in range(num_parts):
        held_out, rest = training[turns == turn], (parts != TEST)
        rest[held_out] = False
        known = groups.has_class[parts != TEST].any(axis=0)
        if len(held_out) and np.array_equal(groups.has_class[rest].any(axis=0), known):
            rotation.append(tuple(clip_id for index in held_out for clip_id in groups.members[index]))
    return replace(fold, rotation=tuple(rotation))


def _fold(name: str, groups: GroupedClips, parts: np.ndarray) -> Fold:
    train, validation, test = (
        tuple(clip_id for index in np.flatnonzero(parts == part) for clip_id in groups.members[index])
        for part in (TRAIN, VALIDATION, TEST)
    )
    return Fold(name, train, validation, test)


def _given_splits(clips: Sequence[Clip], split_file: str | Path | None, how: _Division) -> list[Fold]:
    """The splits given by official lists, a file or the clips themselves."""
    lists = official_lists(split_file)
    if lists is not None:
        listed = read_official(lists, [clip.clip_id for clip in clips])
        where = {name: f"{name} of {lists.folder}" for name in listed}
        named = {name: _find_listed(listed[name], clips, where=where[name]) for name in listed}
        return [_given_split(clips, split_of, how, name=n, where=where[n]) for n, split_of in named.items()]
    if split_file is None:
        own = {clip.clip_id: clip.split for clip in clips}
        return [_given_split(clips, own, how, name="split", where="the split column")]
    rows = read_split_file(Path(split_file))
    file = [ListedClip(row.clip_id, row.split, f"{split_file} line {row.line}") for row in rows]
    split_of = _find_listed(file, clips, where=str(split_file))
    return [_given_split(clips, split_of, how, name="split", where=str(split_file))]


def _given_split(
    clips: Sequence[Clip],
    split_of: Mapping[str, str],
    how: _Division,
    *,
    name: str,
    where: str,
) -> Fold:
    """The given split; without a validation part, one is taken from training."""
    named = [clip.clip_id for clip in clips if split_of.get(clip.clip_id)]
    if len(named) < len(clips):
        left_out = [clip.clip_id for clip in clips if clip.clip_id not in set(named)]
        verbs = "is in no part of %s and is" if len(left_out) == 1 else "are in no part of %s and are"
        _log.warning(f"%s {verbs} left out: %s", counted(left_out, "clip"), where, quoted(left_out))
    parts = {part: [key for key in named if split_of[key] == part] for part in ("train", "validation", "test")}
    for part in ("train", "test"):
        if not parts[part]:
            raise SplitError(f"{where} puts no clip with features and a label into {part}; add some.")
    _warn_of_cut_groups(clips, split_of, where)
    if parts["validation"]:
        return Fold(name, tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"]))
    inside = set(parts["train"])
    training = group_clips([clip for clip in clips if clip.clip_id in inside], how.groups.vocabulary)
    fold = _hold_out(name, np.zeros(len(training.names), bool), replace(how, groups=training))
    return replace(fold, test=tuple(parts["test"]))


def _find_listed(listed: Sequence[ListedClip], clips: Sequence[Clip], *, where: str) -> dict[str, str]:
    """clip_id -> part, for the clips in a list that exist."""
    names = ClipNames(clip.clip_id for clip in clips)
    split_of, unknown = {}, []
    for row in listed:
        clip_id = names.find(row.name, where=row.where)
        if clip_id is None:
            unknown.append(row.name)
        else:
            split_of[clip_id] = row.split
    if not split_of:
        clip_count = counted(clips, "labelled clip")
        raise SplitError(f"{where} names none of the {clip_count} (first: {quoted(unknown)}); check the clip ids.")
    if unknown:
        _log.warning("%s names %s without features or label: %s", where, counted(unknown, "clip"), quoted(unknown))
    return split_of


def _warn_of_cut_groups(clips: Sequence[Clip], split_of: Mapping[str, str], where: str) -> None:
    parts_of: dict[str, set[str]] = {}
    for clip in clips:
        if clip.group and split_of.get(clip.clip_id):
            parts_of.setdefault(clip.group, set()).add(split_of[clip.clip_id])
    cut = [group for group, parts in parts_of.items() if "test" in parts and len(parts) > 1]
    if cut:
        _log.warning(
            "%s puts %s into both the test part and another, which can raise the score: %s",
            where,
            counted(cut, "group"),
            quoted(cut),
        )


def _in_order(fold: Fold, order: Mapping[str, int]) -> Fold:
    def in_order(part: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted(part, key=order.__getitem__))

    rotation = tuple(map(in_order, fold.rotation))
    return Fold(fold.name, in_order(fold.train), in_order(fold.validation), in_order(fold.test), rotation)


def _check_classes(folds: Sequence[Fold], clips: Sequence[Clip], vocabulary: Sequence[str]) -> None:
    """Every class must be in every training part; those missing from a test part are logged in one line."""
    clip_of = {clip.clip_id: clip for clip in clips}
    lacking = []
    for fold in folds:
        untrained = _missing([clip_of[key] for key in fold.train], vocabulary)
        if untrained:
            raise SplitError(
                f"{fold.name}: class {untrained[0]!r} is not in the training part; change the split, add clips, "
                "or leave the class out with --classes."
            )
        untested = _missing([clip_of[key] for key in fold.test], vocabulary)
        if untested:
            lacking.append(f"{fold.name} lacks {quoted(untested)}")
    if lacking:
        more = "; ..." if len(lacking) > FIRST_NAMES else ""
        listed = "; ".join(lacking[:FIRST_NAMES]) + more
        parts = counted(folds, "test part")
        _log.warning("%d of %s lack%s a class: %s", len(lacking), parts, "s" * (len(lacking) == 1), listed)


def _missing(clips: Sequence[Clip], vocabulary: Sequence[str]) -> list[str]:
    counts = class_counts(clips, len(vocabulary))
    return [name for name, count in zip(vocabulary, counts[:-1], strict=True) if not count]
