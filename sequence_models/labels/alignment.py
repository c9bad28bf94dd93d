"""Measures and reports how each clip's labels line up with its features: overruns, overlaps, gaps.

Strict alignment refuses labels that lie outside the features; tolerant alignment reports them. Nothing is cut silently.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extract.errors import LabelError
from extract.text import counted
from sequence_models.labels.intervals import CLOCK_TOLERANCE_SECONDS, UNLABELLED, IntervalPiece, Timeline
from sequence_models.labels.table import LabelRow
from sequence_models.settings import STRICT

MAX_NAMED = 10
SAME_RATIO = 0.01
OTHER_RATIO = 0.02
AS_WELL = 2.0
ROUNDED_FRAMES = 1.5  # how far the end of a clip's labels may be off if they were counted at another rate
WHOLE_RATIOS = (2.0, 0.5, 3.0, 1 / 3, 4.0, 0.25)  # more likely than others that fit equally well
SAME_SHIFT = 0.1
MOST_CLIPS = 0.8
OTHER_LENGTH = 0.1


@dataclass(frozen=True)
class ClipAlignment:
    """How the labels of one clip line up with its features; positions and amounts are on the label axis.

    Args:
        clip_id: The clip.
        unit: "s" or "frames".
        rate: Units per second of the features; 1 for seconds, 0 if unknown.
        features_start, features_end: What the timesteps cover; the end is infinite if unknown.
        label_start, label_end: From the first interval to the last.
        labelled: Inside the features, with a class (or several, for multi-label).
        unlabelled: Inside the features, without any interval.
        overlapping: Inside the features, claimed by different classes.
        excluded: Inside the features, with labels of unused classes only.
        timesteps, unlabelled_steps, overlapping_steps: Numbers of timesteps; unlabelled ones are not trained or scored.
        tolerance: How far labels may extend outside the features and still count as inside.
        step: From one timestep to the next; labels outside by no more than this are not an error of the whole file.
    """

    clip_id: str
    unit: str
    rate: float
    features_start: float
    features_end: float
    label_start: float
    label_end: float
    labelled: float
    unlabelled: float
    overlapping: float
    excluded: float
    timesteps: int
    unlabelled_steps: int
    overlapping_steps: int
    tolerance: float = CLOCK_TOLERANCE_SECONDS
    step: float = 0.0

    @property
    def excess(self) -> float:
        """How far the labels run past the end of the features; 0 if they do not."""
        return _above(self.label_end - self.features_end, self.tolerance)

    @property
    def before(self) -> float:
        """How far before the features the labels begin; 0 if they do not."""
        return _above(self.features_start - self.label_start, self.tolerance)

    @property
    def is_outside(self) -> bool:
        """Whether labels extend outside the features by more than a timestep."""
        return max(self.excess, self.before) > self.step

    @property
    def share(self) -> float:
        """The labelled share of the features, 0 to 1."""
        extent = self.labelled + self.unlabelled + self.overlapping + self.excluded
        return self.labelled / extent if extent else 0.0


def measure_alignment(
    clip_id: str,
    rows: Sequence[LabelRow],
    pieces: Sequence[IntervalPiece],
    timeline: Timeline,
    labels: np.ndarray,
    *,
    classes: Collection[str],
) -> ClipAlignment:
    """Measures one clip.

    Args:
        clip_id: The clip.
        rows: Its intervals.
        pieces: Pieces of the same intervals.
        timeline: Its timesteps on the label axis.
        labels: (T,), or (T, K) for multi-label, where an overlap is not a conflict and counts as labelled.
        classes: The classes in use.

    Returns:
        The record.
    """
    many = labels.ndim == 2
    label_end = max(row.end for row in rows)
    end = timeline.end if math.isfinite(timeline.end) else label_end
    amounts = dict.fromkeys(("labelled", "overlapping", "excluded"), 0.0)
    overlapping_steps = 0
    for piece in pieces:
        used = len(piece.labels.intersection(classes))
        kind = "excluded" if not used else "labelled" if used == 1 or many else "overlapping"
        amounts[kind] += max(0.0, min(piece.end, end) - max(piece.start, timeline.start))
        if kind == "overlapping":
            overlapping_steps += int(np.diff(np.searchsorted(timeline.positions, (piece.start, piece.end)))[0])
    return ClipAlignment(
        clip_id,
        timeline.unit,
        timeline.rate,
        timeline.start,
        timeline.end,
        min(row.start for row in rows),
        label_end,
        unlabelled=_above(end - timeline.start - sum(amounts.values()), CLOCK_TOLERANCE_SECONDS),
        timesteps=len(labels),
        unlabelled_steps=int(np.sum(np.all(np.atleast_2d(labels.T) == UNLABELLED, axis=0))),
        overlapping_steps=overlapping_steps,
        tolerance=timeline.end_tolerance,
        step=float(np.median(np.diff(timeline.positions))) if len(labels) > 1 else 0.0,
        **amounts,
    )


def check_alignment(alignments: Sequence[ClipAlignment], *, where: str, mode: str) -> list[str]:
    """Refuses or reports what does not fit.

    Args:
        alignments: One per clip.
        where: The label file, for messages.
        mode: STRICT or TOLERANT.

    Returns:
        Sentences for the user.

    Raises:
        LabelError: In strict mode, if labels lie outside the features or were counted at another rate.
    """
    found = mismatches(alignments)
    if found and mode == STRICT:
        raise LabelError(
            f"{where}: {'; '.join(found)}; labels must lie inside the features, so correct "
            f"{'--labels-fps' if alignments[0].unit == 'frames' else 'the label times'} or the videos, leave clips out "
            "with --clips, or keep what fits with --alignment tolerant."
        )
    return [f"{where}: {text}" for text in found] + remarks(alignments)


def mismatches(alignments: Sequence[ClipAlignment]) -> list[str]:
    """Problems: labels outside the features, and the likely cause; at most one sentence each.

    Args:
        alignments: One per clip.

    Returns:
        Sentences that name the worst clips with numbers; none if everything fits.
    """
    found = _outside(alignments) if any(clip.is_outside for clip in alignments) else []
    return found + diagnosis(alignments)


def _outside(alignments: Sequence[ClipAlignment]) -> list[str]:
    """Which labels lie outside the features and how far, worst first; at most two sentences."""
    found = []
    past = [clip for clip in alignments if clip.excess]
    if past:
        worst = sorted(past, key=lambda clip: -clip.excess)
        named = [f"by {_amount(clip.excess, clip.unit)} (the features end at {clip.features_end:g})" for clip in worst]
        found.append(f"labels run past the end of the features in {counted(past, 'clip')}: {_named(worst, named)}")
    early = [clip for clip in alignments if clip.before]
    if early:
        worst = sorted(early, key=lambda clip: -clip.before)
        named = [
            f"by {_amount(clip.before, clip.unit)} (the features start at {clip.features_start:g})" for clip in worst
        ]
        found.append(f"labels begin before the features in {counted(early, 'clip')}: {_named(worst, named)}")
    return found


def diagnosis(alignments: Sequence[ClipAlignment]) -> list[str]:
    """A single cause that explains the label ends in most clips: a shift, or another frame rate.

    Args:
        alignments: One per clip; a single clip is not enough.

    Returns:
        One sentence or none.
    """
    known = [clip for clip in alignments if clip.features_start < clip.features_end < math.inf]
    if len(known) < 2:
        return []
    starts = np.array([clip.label_start - clip.features_start for clip in known])
    shifts = np.array([clip.label_end - clip.features_end for clip in known])
    is_outside = any(clip.is_outside for clip in known)
    shift = _common(shifts, SAME_SHIFT)
    if (
        any(clip.excess or clip.before for clip in known)
        and shift
        and _common(np.append(shifts, starts), SAME_SHIFT) is not None
    ):
        return [_shift_sentence(known, shift, "begin and end")]
    ratio = _common_ratio(known)
    is_early = not is_outside and _margins_agree(known)
    if ratio and abs(ratio - 1) > OTHER_RATIO and (is_outside or _lengths_differ(known)) and not is_early:
        return [_rate_sentence(known, ratio)]
    return [_shift_sentence(known, shift, "end")] if is_outside and shift else []


def remarks(alignments: Sequence[ClipAlignment]) -> list[str]:
    """What a user should know, although it may be intended: overlaps, classes left out, gaps.

    Args:
        alignments: One per clip.

    Returns:
        At most one sentence each.
    """
    is_outside = any(clip.is_outside for clip in alignments)
    found = [] if is_outside else _outside(alignments) + _perhaps_another_rate(alignments)
    both = sorted((clip for clip in alignments if clip.overlapping), key=lambda clip: -clip.overlapping)
    if both:
        named = _named(both, [f"for {_amount(clip.overlapping, clip.unit)}" for clip in both])
        steps = sum(clip.overlapping_steps for clip in both)
        lost = f"{counted(steps, 'timestep')} therefore without a label"
        found.append(f"labels of different classes overlap in {counted(both, 'clip')}: {named}; {lost}")
    others = sorted((clip for clip in alignments if clip.excluded), key=lambda clip: -clip.excluded)
    if others:
        named = _named(others, [f"for {_amount(clip.excluded, clip.unit)}" for clip in others])
        found.append(f"classes not in --classes are left out in {counted(others, 'clip')}: {named}")
    open_steps, steps = sum(clip.unlabelled_steps for clip in alignments), sum(clip.timesteps for clip in alignments)
    if open_steps:
        share = f"{open_steps} of {counted(steps, 'timestep')} ({100 * open_steps / steps:.1f} %)"
        found.append(
            f"without a label, so not trained on or scored: {share}; if nothing happens there, --background NAME makes "
            "it a class"
        )
    return found


def alignment_rows(alignments: Sequence[ClipAlignment]) -> list[list[Any]]:
    """The alignments as a table for a CSV file: a header, then one row per clip."""
    names = ("features_start", "features_end", "label_start", "label_end", "excess", "before")
    amounts = ("labelled", "unlabelled", "overlapping", "excluded")
    counts = ("timesteps", "unlabelled_steps", "overlapping_steps")
    rows: list[list[Any]] = [["clip_id", "unit", *names, *amounts, "share", *counts]]
    for clip in alignments:
        numbers = [f"{getattr(clip, name):.10g}" for name in (*names, *amounts)]
        rows.append([clip.clip_id, clip.unit, *numbers, f"{clip.share:.4f}", *(getattr(clip, name) for name in counts)])
    return rows


def _above(difference: float, tolerance: float) -> float:
    return difference if difference > tolerance else 0.0


def _amount(number: float, unit: str) -> str:
    """A length on the label axis: "2.5 s", "1 frame", "3 frames"."""
    return f"{number:g} {'frame' if unit == 'frames' and number == 1 else unit}"


def _named(worst: Sequence[ClipAlignment], texts: Sequence[str]) -> str:
    shown = [f"{clip.clip_id!r} {text}" for clip, text in zip(worst, texts, strict=True)][:MAX_NAMED]
    more = f" and {len(worst) - MAX_NAMED} more" if len(worst) > MAX_NAMED else ""
    return ", ".join(shown) + more


def _common(values: np.ndarray, spread: float) -> float | None:
    """The median, if most values are close to it; None otherwise."""
    middle = float(np.median(values))
    return middle if np.mean(np.abs(values - middle) <= spread * abs(middle)) >= MOST_CLIPS else None


def _common_ratio(known: Sequence[ClipAlignment]) -> float | None:
    """Label end divided by feature end, if most clips agree up to rounding and the two ends differ."""
    labels, features = (np.array([getattr(clip, name) for clip in known]) for name in ("label_end", "features_end"))
    slack = ROUNDED_FRAMES if known[0].unit == "frames" else max(clip.tolerance for clip in known)

    def fits(ratio: float) -> np.ndarray:
        return np.abs(labels - ratio * features) <= SAME_RATIO * ratio * features + slack * max(1.0, ratio)

    inside = fits(float(np.median(labels / features)))
    if inside.mean() < MOST_CLIPS or fits(1.0).mean() >= MOST_CLIPS:
        return None
    whole = next((ratio for ratio in WHOLE_RATIOS if fits(ratio).mean() >= inside.mean()), None)
    if whole is not None:
        return whole
    return float(labels[inside].sum() / features[inside].sum())


def _perhaps_another_rate(alignments: Sequence[ClipAlignment]) -> list[str]:
    """For clips of equal length: labels end early by a ratio of frame rates, which may be chance."""
    known = [clip for clip in alignments if clip.features_start < clip.features_end < math.inf]
    ratio = _common_ratio(known) if len(known) > 1 else None
    if ratio not in WHOLE_RATIOS or ratio >= 1 or _lengths_differ(known):
        return []
    return [f"{_rate_sentence(known, ratio)}; if the rest of each clip was not annotated, this is fine"]


def _margins_agree(known: Sequence[ClipAlignment]) -> bool:
    """Whether labels end as well by a common margin before the features as by a common ratio: then nothing is wrong."""
    labels, features = (np.array([getattr(clip, name) for clip in known]) for name in ("label_end", "features_end"))
    by_ratio = np.std(labels - features * np.median(labels / features))
    return bool(np.std(features - labels) <= AS_WELL * by_ratio)


def _lengths_differ(known: Sequence[ClipAlignment]) -> bool:
    """Whether clips have so many lengths that a common ratio cannot be chance."""
    ends = np.array([clip.features_end for clip in known])
    return len(ends) > 2 and float(np.ptp(ends)) > OTHER_LENGTH * float(ends.max())


def _rate_sentence(known: Sequence[ClipAlignment], ratio: float) -> str:
    said = f"the labels end at {ratio:.3g} times the end of the features in most of {counted(known, 'clip')}"
    rate = float(np.median([clip.rate for clip in known]))
    if known[0].unit == "s":
        return f"{said}: check the frame rate the features were made or imported with (--fps)"
    if not rate:
        return f"{said}: import the features with their rate (--fps) and give the labels' rate with --labels-fps"
    fitting = f"{ratio * rate:.3g}"
    return f"{said}: they look like {fitting} frames/s, not {rate:.4g}, so --labels-fps {fitting} would fit"


def _shift_sentence(known: Sequence[ClipAlignment], shift: float, what: str) -> str:
    side = "after" if shift > 0 else "before"
    if known[0].unit == "frames" and what == "begin and end" and abs(shift - 1) <= SAME_SHIFT:
        return (
            f"the labels begin and end one frame after the features in most of {counted(known, 'clip')}, as if the "
            "first frame were 1: give --labels-from 1"
        )
    return (
        f"the labels {what} about {abs(shift):.4g} {known[0].unit} {side} the features in most of "
        f"{counted(known, 'clip')}, which looks like a shift of the whole label file"
    )
