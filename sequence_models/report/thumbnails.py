"""Small pictures along the timeline of a per-frame run, most of them where truth and prediction disagree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from extract.errors import ClipseqError
from extract.system.terminal import progress_bar
from sequence_models.report.pictures import open_stores, pictures_of, rows_at, store_with
from sequence_models.report.run import EvaluatedRun, ReportedClip

MOST_THUMBNAILS = 240  # of all recordings; each takes a seek in a video
FEWEST = 4  # of a recording, as long as there are any left
THUMBNAIL_SIZE = (160, 100)  # pixels at most
THUMBNAIL_BYTES = 2_000_000  # of all recordings, as text
QUALITY = 65


def thumbnails(run: EvaluatedRun, clips: Sequence[ReportedClip]) -> tuple[list[list[dict[str, Any]]], str]:
    """Reads pictures along some recordings.

    Args:
        run: An evaluated per-frame run.
        clips: Its recordings, the most interesting first: late ones get none if there are very many.

    Returns:
        For each recording its pictures, "seconds" and "src", in order of time; and why some have none, or "".
    """
    stores, size, why = open_stores(run), 0, ""
    found: list[list[dict[str, Any]]] = []
    shares = shares_of([len(clip.truth) for clip in clips])
    bar = progress_bar(iterable=clips, desc="pictures", unit="recording", delay=3, leave=False)
    for clip, share in zip(bar, shares, strict=True):
        pictures: list[dict[str, Any]] = []
        if share and size < THUMBNAIL_BYTES:
            try:
                store, name = store_with(run, clip.clip_id, stores)
                rows = rows_at(store, name, clip.pts_seconds[chosen_steps(clip, share)])
                pictures = pictures_of(store, name, rows, size=THUMBNAIL_SIZE, quality=QUALITY)
            except ClipseqError as error:
                why = why or str(error)
        size += sum(len(picture["src"]) for picture in pictures)
        found.append(pictures)
    if not why and not all(found):
        why = f"the page has room for {MOST_THUMBNAILS}, and the worst recordings come first"
    return found, why


def chosen_steps(clip: ReportedClip, number: int) -> np.ndarray:
    """Timesteps worth a picture: half of them evenly spread, half in the middle of the longest disagreements.

    Args:
        clip: A recording.
        number: How many at most.

    Returns:
        int, increasing.
    """
    differs = clip.truth != clip.predicted
    wrong = (differs if differs.ndim == 1 else differs.any(axis=1)) & clip.labelled
    edges = np.flatnonzero(np.diff(np.concatenate([[0], wrong.astype(np.int8), [0]])))
    starts, stops = edges[::2], edges[1::2]
    longest = np.argsort(starts - stops, kind="stable")[: number // 2]
    rest = np.linspace(0, len(wrong) - 1, number - len(longest)).round().astype(int)
    return np.unique(np.concatenate([rest, (starts + stops)[longest] // 2]))


def shares_of(lengths: Sequence[int]) -> list[int]:
    """How many pictures each recording gets.

    Args:
        lengths: Timesteps of the recordings, the most interesting first.
    """
    left, steps, shares = MOST_THUMBNAILS, sum(lengths), []
    for length in lengths:
        shares.append(min(left, length, max(FEWEST, MOST_THUMBNAILS * length // max(1, steps))))
        left -= shares[-1]
    return shares
