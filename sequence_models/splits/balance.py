"""Divides whole groups of clips into parts with balanced classes: greedily, best of several shuffles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from extract.errors import SplitError
from extract.text import counted
from sequence_models.labels.clip_names import quoted
from sequence_models.records import Clip

TRAIN = 0  # the part that keeps every class
MAX_SHUFFLES = 50
MAX_ASSIGNMENTS = 2_000


@dataclass(frozen=True)
class GroupedClips:
    """Clips by group: `counts` (G, K + 1) holds labels per class and, last, clips; each column sums to 1."""

    names: list[str]
    members: list[list[str]]
    counts: np.ndarray
    vocabulary: Sequence[str]

    @property
    def has_class(self) -> np.ndarray:
        return self.counts[:, :-1] > 0  # (G, K)


def group_clips(clips: Sequence[Clip], vocabulary: Sequence[str]) -> GroupedClips:
    """Collects clips by group; a clip without one is its own group.

    Args:
        clips: Labelled clips.
        vocabulary: Class names; may be empty.

    Raises:
        SplitError: There is no clip.
    """
    members: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        members.setdefault((clip.group, "" if clip.group else clip.clip_id), []).append(clip)
    if not members:
        raise SplitError("there are no labelled clips to split.")
    num_classes = max(len(vocabulary), *(_num_classes(clip) for clip in clips))
    counts = np.array([class_counts(group, num_classes) for group in members.values()], np.float64)
    return GroupedClips(
        [group or clip_id for group, clip_id in members],
        [[clip.clip_id for clip in group] for group in members.values()],
        counts / np.maximum(counts.sum(axis=0), 1),
        vocabulary or [str(number) for number in range(num_classes)],
    )


def class_counts(clips: Sequence[Clip], num_classes: int) -> np.ndarray:
    """How often each class is a label in the clips and, last, the number of clips, (K + 1,)."""
    return np.append(sum(label_counts(clip, num_classes) for clip in clips), len(clips))


def _num_classes(clip: Clip) -> int:
    return clip.labels.shape[1] if clip.labels.ndim == 2 else 1 + int(clip.labels.max(initial=-1))


def label_counts(clip: Clip, num_classes: int) -> np.ndarray:
    """How often each class is a label of a clip, (K,)."""
    if clip.labels.ndim == 2:
        return np.sum(clip.labels > 0, axis=0)
    return np.bincount(clip.labels[clip.labels >= 0], minlength=num_classes)


def assign_folds(groups: GroupedClips, num_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Divides all groups evenly into folds.

    Returns:
        The fold of every group, (G,).

    Raises:
        SplitError: There are fewer groups than folds.
    """
    if num_folds > len(groups.names):
        raise SplitError(
            f"--cv {num_folds} needs as many groups, but there are {len(groups.names)}; use fewer folds or add groups."
        )
    shares = np.full(num_folds, 1 / num_folds)
    tries = [_assign(groups.counts, shares, order, training=None) for order in _orders(groups.counts, rng)]
    return min(tries, key=lambda parts: (len(lone_classes(groups, parts)), _imbalance(groups.counts, shares, parts)))


def lone_classes(groups: GroupedClips, parts: np.ndarray) -> list[int]:
    """The classes found in only one part (G,)."""
    return [number for number, has in enumerate(groups.has_class.T) if len(np.unique(parts[has])) == 1]


def divide(
    name: str, groups: GroupedClips, kept: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Divides some groups into parts with the given shares; part 0, the training part, keeps every class.

    Args:
        name: Name of the fold, for the message.
        groups: All groups.
        kept: The indices of those to divide.
        shares: Share of each part, sum 1.
        rng: Draws the orders to try.

    Returns:
        The part of each kept group.

    Raises:
        SplitError: A part would stay empty unless training lost a class.
    """
    counts, wanted = groups.counts[kept], np.asarray(shares)
    has_class = groups.has_class[kept]
    tries = [_assign(counts, wanted, order, training=has_class) for order in _orders(counts, rng)]
    full = [parts for parts in tries if len(np.unique(parts)) == len(shares)]
    if not full:
        lone = [groups.vocabulary[number] for number in np.flatnonzero(has_class.sum(axis=0) == 1).tolist()]
        raise SplitError(
            f"{name}: nothing can be held out from {counted(len(kept), 'group')} without losing a class from training "
            f"(in one group only: {quoted(lone)}); add groups, or leave classes out with --classes."
        )
    return min(full, key=lambda parts: _imbalance(counts, wanted, parts))


def _orders(counts: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Random orders of the groups, large ones mostly first."""
    size = counts.max(axis=1)
    for _ in range(int(np.clip(MAX_ASSIGNMENTS // len(counts), 3, MAX_SHUFFLES))):
        yield np.argsort(-size * rng.lognormal(sigma=0.5, size=len(size)))


def divide_evenly(groups: GroupedClips, kept: np.ndarray, num_parts: int, rng: np.random.Generator) -> np.ndarray:
    """Divides some groups into equal parts, ignoring classes; returns the part of each; parts may be empty."""
    shares, counts = np.full(num_parts, 1 / num_parts), groups.counts[kept]
    tries = [_assign(counts, shares, order, training=None) for order in _orders(counts, rng)]
    return min(tries, key=lambda parts: _imbalance(counts, shares, parts))


def _assign(counts: np.ndarray, shares: np.ndarray, order: np.ndarray, *, training: np.ndarray | None) -> np.ndarray:
    """Puts each group, in order, where the parts stay closest to their shares.

    With `training`, bool (G, K), a group with the last of a class in part 0 stays there, and empty parts are filled
    from part 0.
    """
    filled = np.zeros((len(shares), counts.shape[1]))
    parts = np.zeros(len(counts), np.int64)
    keepers = None if training is None else training.sum(axis=0)

    def place(group: int, part: int) -> None:
        filled[part] += counts[group]
        parts[group] = part
        if training is not None and keepers is not None and part != TRAIN:
            np.subtract(keepers, training[group], out=keepers)

    def can_leave(group: int) -> bool:
        return training is None or keepers is None or bool(np.all(keepers[training[group]] > 1))

    for group in order:
        growth = ((2 * filled + counts[group]) * counts[group]).sum(axis=1) / shares
        place(group, int(np.argmin(growth)) if can_leave(group) else TRAIN)
    if training is not None:
        for part in set(range(len(shares))) - set(parts.tolist()):
            movable = [group for group in order[::-1] if parts[group] == TRAIN and can_leave(group)]
            if movable and np.sum(parts == TRAIN) > 1:
                place(movable[0], part)
    return parts


def _imbalance(counts: np.ndarray, shares: np.ndarray, parts: np.ndarray) -> float:
    filled = np.stack([counts[parts == part].sum(axis=0) for part in range(len(shares))])
    return float(((filled - shares[:, None]) ** 2 / shares[:, None]).sum())
