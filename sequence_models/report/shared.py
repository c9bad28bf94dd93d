"""The same test clips in two runs: which timesteps both have with one label, and who is right there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extract.errors import RunError
from sequence_models.report.run import EvaluatedRun, ReportedClip
from sequence_models.runs.run import Run
from sequence_models.scoring.paired import paired_difference
from sequence_models.settings import MANY_TO_MANY

UNLABELLED, UNKNOWN = -1, -2  # unknown: a class that the first run does not have
MILLISECONDS = 1000


@dataclass(frozen=True)
class Shared:
    """What two runs say about the same labelled timesteps of one test clip.

    Args:
        clip: As in the first run.
        steps: int (n,), timesteps of that clip.
        truth, ours, theirs: int (n,) class numbers of the first run, or (n, K) of 0 and 1.
        turned: int (n,): 1 where only the first run is right, -1 where only the second is, else 0.
        right: int (2,), how many timesteps the first and the second run have right.
    """

    clip: ReportedClip
    steps: np.ndarray
    truth: np.ndarray
    ours: np.ndarray
    theirs: np.ndarray
    turned: np.ndarray
    right: np.ndarray


def shared_clips(ours: EvaluatedRun, theirs: EvaluatedRun) -> tuple[list[Shared], int]:
    """The test clips of both runs, timestep by timestep, where both have the same label.

    Args:
        ours, theirs: Evaluated runs of one task.

    Returns:
        The clips with such a timestep; and the number of timesteps that are labelled in both, but differently.

    Raises:
        RunError: There is none.
    """
    known = _by_name(theirs.clips)
    classes = _class_numbers(ours.run, theirs.run)
    found, other_truth = [], 0
    for key, clip in _by_name(ours.clips).items():
        if key not in known:
            continue
        shared, differing = _shared(ours.run, clip, known[key], classes)
        other_truth += differing
        if len(shared.steps):
            found.append(shared)
    if not found:
        raise RunError(
            f"{ours.run.path} and {theirs.run.path} have no labelled test clip in common, so there is nothing to "
            "compare: train both on the same clips"
        )
    return found, other_truth


def paired_shares(shared: Sequence[Shared]) -> dict[str, Any]:
    """How far the first run is ahead, over groups.

    Args:
        shared: From `shared_clips`.

    Returns:
        The result of `paired_difference`, and the share that is right in "ours" and "theirs".
    """
    sums: dict[str, np.ndarray] = {}
    for each in shared:
        group = each.clip.group or each.clip.clip_id
        sums[group] = sums.get(group, np.zeros(3)) + np.array([*each.right, len(each.steps)])
    counts = np.array(list(sums.values()))
    unit = "group" if any(each.clip.group for each in shared) else "clip"
    total = counts.sum(axis=0)
    shares = {"ours": float(total[0] / total[2]), "theirs": float(total[1] / total[2])}
    return paired_difference(counts[:, 0] - counts[:, 1], counts[:, 2], unit=unit) | shares


def turned_stretches(each: Shared, way: int) -> list[tuple[Shared, np.ndarray, float]]:
    """Neighbouring timesteps that turned right (1) or wrong (-1) with the same labels.

    Args:
        each: A clip.
        way: Which of the two.

    Returns:
        The clip, places in its arrays, and how much they matter: the sum of the first run's probabilities.
    """
    turned = np.flatnonzero(each.turned == way)
    if not len(turned):
        return []
    labels = np.column_stack([each.truth, each.ours, each.theirs])[turned]
    edges = np.flatnonzero((np.diff(turned) > 1) | (np.diff(labels, axis=0) != 0).any(axis=1)) + 1
    return [(each, steps, len(steps) * _probability(each, steps)) for steps in np.split(turned, edges)]


def _probability(each: Shared, steps: np.ndarray) -> float:
    """Mean probability of what the first run says there."""
    if each.ours.ndim == 2:
        return 1.0
    rows = each.clip.probabilities[each.steps[steps]]
    return float(rows[np.arange(len(steps)), each.ours[steps]].mean())


def refuse_incomparable(ours: Run, theirs: Run) -> None:
    """Raises RunError unless two runs have one task, one unit of time and, with several labels, the same classes."""
    pairs = {
        "task": [run.settings.task + (", multi-label" * run.settings.multi_label) for run in (ours, theirs)],
        "unit of time": [run.time_unit for run in (ours, theirs)],
    }
    for what, (one, other) in pairs.items():
        if one != other:
            raise RunError(
                f"{ours.path} and {theirs.path} cannot be compared: their {what} differs ({one} and {other}); give "
                "two runs on the same labels"
            )
    if ours.settings.multi_label and set(ours.vocabulary) != set(theirs.vocabulary):
        raise RunError(
            f"{ours.path} and {theirs.path} cannot be compared: with several labels at once, both need the same classes"
        )


def _by_name(clips: Sequence[ReportedClip]) -> dict[tuple[str, int], ReportedClip]:
    """By clip_id, and by how often it came before: official splits may test a clip in several folds."""
    seen: Counter[str] = Counter()
    found = {}
    for clip in clips:
        found[(clip.clip_id, seen[clip.clip_id])] = clip
        seen[clip.clip_id] += 1
    return found


def _class_numbers(ours: Run, theirs: Run) -> np.ndarray:
    """int (K,): the number in the first run of each class of the second."""
    number = {name: k for k, name in enumerate(ours.vocabulary)}
    return np.array([number.get(name, UNKNOWN) for name in theirs.vocabulary])


def _shared(run: Run, clip: ReportedClip, other: ReportedClip, classes: np.ndarray) -> tuple[Shared, int]:
    steps, other_steps = _same_times(run, clip, other)
    truth, ours = clip.truth[steps], clip.predicted[steps]
    if run.settings.multi_label:
        order = np.argsort(classes)
        other_truth, theirs = (each[other_steps][:, order] for each in (other.truth, other.predicted))
    else:
        other_truth, theirs = (_renumbered(each[other_steps], classes) for each in (other.truth, other.predicted))
    known = clip.labelled[steps] & other.labelled[other_steps]
    same = _all_equal(truth, other_truth)
    kept = known & same
    right = np.stack([_all_equal(truth, said)[kept] for said in (ours, theirs)]).astype(int)
    shared = Shared(clip, steps[kept], truth[kept], ours[kept], theirs[kept], right[0] - right[1], right.sum(axis=1))
    return shared, int((known & ~same).sum())


def _same_times(run: Run, clip: ReportedClip, other: ReportedClip) -> tuple[np.ndarray, np.ndarray]:
    """The timesteps of two versions of a clip that are at the same time, to the millisecond."""
    if run.settings.task != MANY_TO_MANY:
        return np.array([0]), np.array([0])
    times = [np.rint(each.pts_seconds * MILLISECONDS).astype(np.int64) for each in (clip, other)]
    _, steps, other_steps = np.intersect1d(*times, return_indices=True)
    return steps, other_steps


def _renumbered(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.where(labels >= 0, classes[np.maximum(labels, 0)], UNLABELLED)


def _all_equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one == other).all(axis=1) if one.ndim == 2 else one == other
