"""Some clips of a store, small enough to hold at once: their map, near-duplicates, and channels that say nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extract.errors import DamagedShardError
from extract.store.reader import Store
from extract.system.lettering import SAFE_PALETTE
from extract.system.terminal import progress_bar
from sequence_models.records import Clip
from sequence_models.splits.near_duplicates import Pair, find_near_duplicates

MOST_CLIPS = 2000
MOST_ROWS = 100_000  # of all these clips
FEWEST_ON_MAP = 10
MAP_SIZE = (640, 400)
MARGIN = 14
SPIRAL = 40  # places tried for a dot
MANY_DOTS = 400
OTHERS = "other folders"


@dataclass(frozen=True)
class Sample:
    """Clips of a store of embeddings.

    Args:
        clips: Evenly spread over the sorted clip_ids; unlabelled, with every `stride`-th row.
        stride: 1 if all rows fit.
        unreadable: How many of them are damaged and left out.
    """

    clips: tuple[Clip, ...]
    stride: int
    unreadable: int


def read_sample(store: Store) -> Sample:
    """Reads at most 2,000 clips, and of their rows about 100,000.

    Args:
        store: A store of embeddings, not of frames.
    """
    lengths = store.lengths()
    chosen = store.clip_ids[:: max(1, -(-len(store) // MOST_CLIPS))]
    stride = max(1, -(-sum(lengths[clip_id] for clip_id in chosen) // MOST_ROWS))
    clips, unreadable = [], 0
    bar = progress_bar(iterable=chosen, desc="reading", unit="clip", delay=3, leave=False)
    for clip_id in bar:
        try:
            stored = store.read_lazily(clip_id)
            rows = np.arange(0, len(stored), stride)
            times, places = stored.pts_seconds[rows], stored.frame_indices[rows]
            values = np.asarray(stored.embeddings[rows])
            if len(rows):
                clips.append(Clip(clip_id, values, times, places, np.array(-1)))
        except DamagedShardError:
            unreadable += 1
    return Sample(tuple(clips), stride, unreadable)


def near_duplicates(sample: Sample) -> list[Pair]:
    """Pairs of clips of a sample that are almost the same, the most similar first, each once."""
    seen: set[frozenset[str]] = set()
    pairs = []
    for pair in find_near_duplicates(sample.clips, sample.clips) if len(sample.clips) > 1 else ():
        both = frozenset((pair.clip_id, pair.other_id))
        if both not in seen:
            seen.add(both)
            pairs.append(pair)
    return pairs


def channel_facts(sample: Sample) -> dict[str, Any]:
    """What the channels of a sample say.

    Returns:
        "width", D; "dead", the numbers of those that never change; "spread", float (D,), their standard deviations.
    """
    width = sample.clips[0].embeddings.shape[1]
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    sums, squares, count = np.zeros(width), np.zeros(width), 0
    for clip in sample.clips:
        values = clip.embeddings.astype(np.float64)
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        sums, squares, count = sums + values.sum(axis=0), squares + (values**2).sum(axis=0), count + len(values)
    mean = sums / count
    spread = np.sqrt(np.maximum(0, squares / count - mean**2))
    dead = np.flatnonzero(low >= high).tolist() if count > 1 else []
    return {"width": width, "dead": dead, "spread": spread}


def unmoving(sample: Sample) -> list[str]:
    """The clips of a sample whose rows are all the same, though they have several."""
    return [clip.clip_id for clip in sample.clips if len(clip) > 1 and (clip.embeddings == clip.embeddings[0]).all()]


def map_content(sample: Sample, pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """Places the clips of a sample on a plane: those with similar mean embeddings lie together (t-SNE).

    Args:
        sample: The clips.
        pairs: Their near-duplicates.

    Returns:
        "points" ("x", "y", "name", "colour", "twin"), "lines" between near-duplicates, "legend" of folders, "size",
        "radius"; None for fewer than ten clips, or if they are all alike.
    """
    clips = sample.clips
    if len(clips) < FEWEST_ON_MAP:
        return None
    means = np.stack([clip.embeddings.mean(axis=0, dtype=np.float64) for clip in clips])
    if (means.std(axis=0) <= 1e-9).all():
        return None
    radius = 6.0 if len(clips) < MANY_DOTS else 3.5
    places = _on_page(_plane(means), radius)
    legend, colours = _folders([clip.clip_id for clip in clips])
    twins = {name for pair in pairs for name in (pair.clip_id, pair.other_id)}
    points = [
        {"x": x, "y": y, "name": clip.clip_id, "colour": colour, "twin": clip.clip_id in twins}
        for (x, y), clip, colour in zip(places, clips, colours, strict=True)
    ]
    place_of = {point["name"]: (point["x"], point["y"]) for point in points}
    lines = [(*place_of[pair.clip_id], *place_of[pair.other_id]) for pair in pairs]
    return {"points": points, "lines": lines, "legend": legend, "size": MAP_SIZE, "radius": radius}


def _plane(means: np.ndarray) -> np.ndarray:
    """float (n, 2) by t-SNE on at most 50 principal components; the same for the same clips."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    few = PCA(min(50, *means.shape), random_state=0).fit_transform(means)
    few = few[:, few.std(axis=0) > 0]
    if few.shape[1] < 2:
        return np.pad(few, ((0, 0), (0, 2 - few.shape[1])))
    with threadpool_limits(1):  # its threads wait for each other in each of 1,000 short steps
        return TSNE(2, init="pca", perplexity=min(30, (len(few) - 1) / 3), random_state=0).fit_transform(few)


def _on_page(plane: np.ndarray, radius: float) -> list[tuple[float, float]]:
    """Places on the map; a dot that would hide another one moves aside, on a spiral."""
    low, high = plane.min(axis=0), plane.max(axis=0)
    room = np.array(MAP_SIZE) - 2 * MARGIN
    places = MARGIN + (plane - low) / np.maximum(high - low, 1e-9) * room
    turns = np.arange(SPIRAL)
    aside = 0.6 * radius * np.sqrt(turns)[:, None] * np.column_stack([np.cos(2.4 * turns), np.sin(2.4 * turns)])
    for k in range(1, len(places)):
        if np.abs(places[:k] - places[k]).max(axis=1).min() >= 1.5 * radius:
            continue
        tried = np.clip(places[k] + aside, radius, np.array(MAP_SIZE) - radius)
        nearest = np.linalg.norm(tried[:, None] - places[None, :k], axis=2).min(axis=1)
        places[k] = tried[np.argmax(nearest >= 1.5 * radius)]  # the first that is free, else where it was
    return [(x, y) for x, y in places.round(1).tolist()]


def _folders(clip_ids: Sequence[str]) -> tuple[list[tuple[str, str, int]], list[str]]:
    """The legend (folder, colour, number of clips), the greatest first, and the colour of each clip."""
    folders = [clip_id.rpartition("/")[0] or "no folder" for clip_id in clip_ids]
    counts = Counter(folders)
    named = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    if len(named) > len(SAFE_PALETTE):
        named = named[: len(SAFE_PALETTE) - 1]
    colour_of = dict(zip(named, SAFE_PALETTE, strict=False))
    colours = [colour_of.get(folder, "var(--quiet)") for folder in folders]
    legend = [(name, colour, counts[name]) for name, colour in colour_of.items()]
    rest = len(clip_ids) - sum(number for _, _, number in legend)
    return [*legend, *([(OTHERS, "var(--quiet)", rest)] if rest else [])], colours
