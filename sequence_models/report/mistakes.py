"""The surest mistakes of a run, with pictures: what people look at first.

A mistake is a wrong clip, or in a per-frame run a stretch of timesteps with one true and one other predicted label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from extract.errors import ClipseqError
from extract.store.reader import Store
from sequence_models.report.pictures import link_to, open_stores, store_with, strip_of
from sequence_models.report.plots import usual_step
from sequence_models.report.run import EvaluatedRun, ReportedClip
from sequence_models.settings import MANY_TO_MANY

MOST_STRIPS = 12
MOST_PER_CLIP = 3
T = TypeVar("T")


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Args:
        clip: The clip it is in.
        truth, predicted: In words.
        probability: Of the prediction, mean over the timesteps.
        start, stop: Its timesteps of the clip, half-open; the whole clip in a many-to-one run.
    """

    clip: ReportedClip
    truth: str
    predicted: str
    probability: float
    start: int
    stop: int


def surest_mistakes(clips: Sequence[ReportedClip], vocabulary: Sequence[str]) -> list[Mistake]:
    """Collects what is wrong in some clips.

    Args:
        clips: The test clips.
        vocabulary: K class names.

    Returns:
        At most 12, at most 3 of one clip; the surest first, longer ones before shorter ones: ordered by the sum of the
        probabilities over the timesteps.
    """
    found = [mistake for clip in clips for mistake in _mistakes(clip, vocabulary)]
    found.sort(key=lambda each: (-each.probability * (each.stop - each.start), each.clip.clip_id, each.start))
    return spread_over_clips(found, [id(mistake.clip) for mistake in found], most=MOST_STRIPS)


def spread_over_clips(found: Sequence[T], clips: Sequence[int], *, most: int) -> list[T]:
    """The first few of some things, at most 3 of one clip.

    Args:
        found: In order of importance.
        clips: Which clip each is of.
        most: How many in all.
    """
    kept: list[T] = []
    seen: Counter[int] = Counter()
    for each, clip in zip(found, clips, strict=True):
        if seen[clip] < MOST_PER_CLIP:
            kept.append(each)
            seen[clip] += 1
        if len(kept) == most:
            break
    return kept


def strips_content(run: EvaluatedRun) -> dict[str, Any]:
    """Prepares the film strips of the surest mistakes.

    Args:
        run: An evaluated run.

    Returns:
        "rows", one mapping per mistake, with "frames" (each "seconds" and "src") or "why" there are none, and "link",
        the video's address or ""; and "why", the reason if no strip has pictures and all have the same, else "".
    """
    stores = open_stores(run)
    mistakes = surest_mistakes(run.clips, run.run.vocabulary)
    rows = [_strip(run, mistake, stores) for mistake in mistakes]
    reasons = {row["why"] for row in rows}
    common = reasons.pop() if len(rows) > 1 and len(reasons) == 1 else ""
    return {"rows": rows, "why": common, "wrong": _wrong_clips(run)}


def _wrong_clips(run: EvaluatedRun) -> int:
    return sum(clip.accuracy is not None and clip.accuracy < 1 for clip in run.clips)


def _mistakes(clip: ReportedClip, vocabulary: Sequence[str]) -> list[Mistake]:
    """The surest few of a clip; in a multi-label run, of each class."""
    if clip.truth.ndim == 1:
        said = np.take_along_axis(clip.probabilities, clip.predicted[:, None], axis=1)[:, 0]
        return _worst_stretches(clip, clip.truth, clip.predicted, said, words=vocabulary)
    found: list[Mistake] = []
    for k, name in enumerate(vocabulary):
        predicted, share = clip.predicted[:, k], clip.probabilities[:, k]
        said = np.where(predicted > 0, share, 1 - share)
        found += _worst_stretches(clip, clip.truth[:, k], predicted, said, words=(f"no {name}", name))
    return found


def _worst_stretches(
    clip: ReportedClip, truth: np.ndarray, predicted: np.ndarray, said: np.ndarray, *, words: Sequence[str]
) -> list[Mistake]:
    """Of runs of one true and one other predicted label, those with the greatest sum of probabilities.

    Args:
        clip: The clip.
        truth, predicted: int (T,), numbers of words; a truth of -1 is unlabelled and never wrong.
        said: float (T,), the probability of what was predicted.
        words: What the labels mean.
    """
    edges = np.flatnonzero((np.diff(truth) != 0) | (np.diff(predicted) != 0)) + 1
    starts, stops = np.append(0, edges), np.append(edges, len(truth))
    sums = np.add.reduceat(said.astype(np.float64), starts)
    wrong = np.flatnonzero((truth[starts] >= 0) & (truth[starts] != predicted[starts]))
    worst = wrong[np.argsort(-sums[wrong], kind="stable")][:MOST_PER_CLIP]
    return [
        Mistake(
            clip=clip,
            truth=words[truth[starts[each]]],
            predicted=words[predicted[starts[each]]],
            probability=float(sums[each] / (stops[each] - starts[each])),
            start=int(starts[each]),
            stop=int(stops[each]),
        )
        for each in worst
    ]


def _strip(run: EvaluatedRun, mistake: Mistake, stores: Sequence[Store]) -> dict[str, Any]:
    strip: dict[str, Any] = {"clip_id": mistake.clip.clip_id, "group": mistake.clip.group, "truth": mistake.truth}
    strip |= {"predicted": mistake.predicted, "probability": mistake.probability}
    return strip | stretch_strip(run, mistake.clip, mistake.start, mistake.stop, stores)


def stretch_strip(
    run: EvaluatedRun, clip: ReportedClip, start: int, stop: int, stores: Sequence[Store]
) -> dict[str, Any]:
    """The film strip of some timesteps of a test clip.

    Args:
        run: An evaluated run.
        clip: One of its clips.
        start, stop: Timesteps, half-open; of no matter where clips have one label each.
        stores: From `open_stores`.

    Returns:
        "span", first and last time, None for a whole clip; "frames", each "seconds" and "src", or "why" there are none;
        and "link", the address of the video, "" if it is not here.
    """
    span = _span(run, clip, start, stop)
    try:
        store, name = store_with(run, clip.clip_id, stores)
        link = link_to(store, name, span)
    except ClipseqError as error:
        return {"span": span, "link": "", "frames": [], "why": str(error)}
    return {"span": span, "link": link, **strip_of(store, name, clip.pts_seconds[start:stop] if span else None)}


def _span(run: EvaluatedRun, clip: ReportedClip, start: int, stop: int) -> tuple[float, float] | None:
    """First and last time of a stretch; None for a whole clip."""
    if run.run.settings.task != MANY_TO_MANY:
        return None
    return float(clip.pts_seconds[start]), float(clip.pts_seconds[stop - 1]) + usual_step(clip.pts_seconds)
