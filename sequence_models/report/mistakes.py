"""The surest mistakes of a run, with pictures: what people look at first.

A mistake is a wrong clip, or in a per-frame run a stretch of timesteps with one true and one other predicted label.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extract.decode.frames import frames_of
from extract.errors import ClipseqError, StoreError
from extract.store.reader import Store, open_store
from sequence_models.report.plots import usual_step
from sequence_models.report.run import EvaluatedRun, ReportedClip
from sequence_models.settings import MANY_TO_MANY

MOST_STRIPS = 12
MOST_PER_CLIP = 3
FRAMES = 5
PICTURE_SIZE = (320, 200)  # pixels at most: 60 such pictures stay far below 4 MB


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
    kept: list[Mistake] = []
    for mistake in found:
        if sum(other.clip is mistake.clip for other in kept) < MOST_PER_CLIP:
            kept.append(mistake)
    return kept[:MOST_STRIPS]


def strips_content(run: EvaluatedRun) -> dict[str, Any]:
    """Prepares the film strips of the surest mistakes.

    Args:
        run: An evaluated run.

    Returns:
        "rows", one mapping per mistake, with "frames" (each "seconds" and "src") or "why" there are none, and "link",
        the video's address or ""; and "why", the reason if no strip has pictures and all have the same, else "".
    """
    stores = _open_stores(run)
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


def _open_stores(run: EvaluatedRun) -> list[Store]:
    """Those stores of a run that are here, those with frames first."""
    stores = []
    for path in run.run.stores:
        try:
            stores.append(open_store(path))
        except ClipseqError:
            continue  # each strip says so
    return sorted(stores, key=lambda store: len(store.row_shape) != 3)


def _strip(run: EvaluatedRun, mistake: Mistake, stores: Sequence[Store]) -> dict[str, Any]:
    clip = mistake.clip
    strip: dict[str, Any] = {
        "clip_id": clip.clip_id,
        "group": clip.group,
        "truth": mistake.truth,
        "predicted": mistake.predicted,
        "probability": mistake.probability,
        "span": _span(run, mistake),
        "frames": [],
        "link": "",
        "why": "",
    }
    try:
        store, name = _store_with(run, clip.clip_id, stores)
        if store.recipe.get("source") != "imported":
            strip["link"] = _link(store.source(name).path, strip["span"])
        strip["frames"] = _pictures(store, name, mistake, is_per_frame=run.run.settings.task == MANY_TO_MANY)
    except ClipseqError as error:
        strip["why"] = str(error)
    return strip


def _link(where: str, span: tuple[float, float] | None) -> str:
    """The `href` of a video, at the span of a mistake; "" if no browser finds it."""
    path, part = Path(where), "#t={:.3f},{:.3f}".format(*span) if span else ""
    if where.startswith(("https://", "http://")) and not where.endswith("?"):  # else its query is missing
        return where + part
    if not (path.is_absolute() and path.exists()):
        return ""
    return path.as_uri() + (part if path.is_file() else "")


def _span(run: EvaluatedRun, mistake: Mistake) -> tuple[float, float] | None:
    """First and last time of a stretch; None for a whole clip."""
    if run.run.settings.task != MANY_TO_MANY:
        return None
    times = mistake.clip.pts_seconds
    return float(times[mistake.start]), float(times[mistake.stop - 1]) + usual_step(times)


def _store_with(run: EvaluatedRun, clip_id: str, stores: Sequence[Store]) -> tuple[Store, str]:
    """The store with a clip, and its name there: blocks are parts of a stored clip.

    Raises:
        StoreError: No store has it.
    """
    names = (clip_id, clip_id.rpartition("#t=")[0]) if run.run.data.blocks else (clip_id,)
    for store in stores:
        for name in names:
            if name in store:
                return store, name
    missing = next((path for path in run.run.stores if not Path(path).exists()), None)
    raise StoreError(
        f"the feature store {missing} is not here" if missing else "the feature store no longer has this clip"
    )


def _pictures(store: Store, name: str, mistake: Mistake, *, is_per_frame: bool) -> list[dict[str, Any]]:
    """Up to five frames spread over a mistake.

    Raises:
        ClipseqError: Why there are none.
    """
    stored = store.read_lazily(name)
    rows = np.arange(len(stored))
    if is_per_frame:
        times = mistake.clip.pts_seconds[mistake.start : mistake.stop]
        rows = np.unique(np.clip(np.searchsorted(stored.pts_seconds, times - 1e-6), 0, len(stored) - 1))
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, FRAMES).round().astype(int))]
    if len(store.row_shape) == 3:
        pictures, seconds = np.asarray(stored.embeddings[chosen]), stored.pts_seconds[chosen]
    elif store.recipe.get("source") == "imported":
        raise StoreError("the features were imported, so clipseq does not know the video")
    else:
        found = frames_of(stored, chosen.tolist(), source=store.source(name))
        pictures, seconds = found.frames, found.pts_seconds
    return [{"seconds": float(at), "src": small_jpeg(frame)} for frame, at in zip(pictures, seconds, strict=True)]


def small_jpeg(picture: np.ndarray) -> str:
    """A small copy of uint8 (H, W, C) as a `data:` address."""
    from PIL import Image

    colours = picture if picture.shape[2] == 3 else np.repeat(picture[..., :1], 3, axis=2)
    image = Image.fromarray(np.ascontiguousarray(colours))
    image.thumbnail(PICTURE_SIZE)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
