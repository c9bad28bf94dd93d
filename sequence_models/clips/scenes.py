"""Finds clips of one place: those whose mean embeddings lie close together, whatever happens in them.

The mean over time keeps what stays in the picture. Distances are angles between means less the mean of all clips;
average linkage joins the closest, and the number of places is the one with the best mean silhouette, which also says
how clearly places are apart (Kaufman and Rousseeuw, Finding Groups in Data, 1990: below 0.25 there is no structure,
below 0.5 it is weak). Clips of one class that look alike are not told from clips of one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from extract.errors import SplitError
from sequence_models.records import Clip

SCENES = "scenes"  # as a rule for groups
FEWEST_CLIPS, MOST_CLIPS = 6, 2_000  # the time grows with the cube of the number, memory with its square
LEAST_SILHOUETTE, CLEAR_SILHOUETTE = 0.25, 0.5
CANDIDATES = 40  # numbers of places that are tried


@dataclass(frozen=True)
class Scenes:
    """The places of clips.

    Args:
        places: clip_id -> place, "scene1" and so on.
        silhouette: How clearly they are apart, 0.25 to 1.
    """

    places: Mapping[str, str]
    silhouette: float

    def with_several_classes(self, clips: Sequence[Clip]) -> int:
        """How many places hold clips of several classes, by the labels () of the clips."""
        classes: dict[str, set[int]] = {}
        for clip in clips:
            classes.setdefault(self.places[clip.clip_id], set()).add(int(clip.labels))
        return sum(len(labels) > 1 for labels in classes.values())


def find_scenes(clips: Sequence[Clip], recipes: Sequence[Mapping[str, object]]) -> Scenes | None:
    """Finds the places of clips.

    Args:
        clips: With embeddings (T, D).
        recipes: Of the stores that were joined; of several inputs only the plain pictures show a place.

    Returns:
        The places; None if none stand out, or there are fewer than 6 clips or more than 2,000.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist, squareform
    from sklearn.metrics import silhouette_score

    if not FEWEST_CLIPS <= len(clips) <= MOST_CLIPS:
        return None
    columns = _picture_columns(recipes, clips[0].embeddings.shape[1])
    means = np.stack([clip.embeddings[:].mean(axis=0, dtype=np.float64)[columns] for clip in clips])  # (N, D)
    means -= means.mean(axis=0)
    means = means[:, means.any(axis=0)]
    if not means.any(axis=1).all():  # a clip like the mean of all has no direction
        return None
    distances = np.clip(pdist(means, "cosine"), 0, 2)
    tree, square = linkage(distances, "average"), squareform(distances)
    best, labels = LEAST_SILHOUETTE, None
    for count in np.unique(np.geomspace(2, len(clips) - 1, CANDIDATES).round().astype(int)):
        found = fcluster(tree, count, "maxclust")
        if 1 < len(set(found)) < len(clips):
            score = float(silhouette_score(square, found, metric="precomputed"))
            if score > best:
                best, labels = score, found
    if labels is None:
        return None
    return Scenes({clip.clip_id: f"scene{label}" for clip, label in zip(clips, labels, strict=True)}, best)


def grouped_by_scene(clips: Sequence[Clip], recipes: Sequence[Mapping[str, object]]) -> tuple[Clip, ...]:
    """The clips, each with its place as its group if it has none.

    Raises:
        SplitError: No places stand out.
    """
    scenes = find_scenes(clips, recipes)
    if scenes is None:
        fits = FEWEST_CLIPS <= len(clips) <= MOST_CLIPS
        few = "" if fits else f"; it takes {FEWEST_CLIPS} to {MOST_CLIPS:,} clips"
        raise SplitError(
            f"--group-from {SCENES} finds no places that stand out in the mean embeddings of {len(clips)} clips{few}; "
            "give a group column or another --group-from"
        )
    return tuple(replace(clip, group=clip.group or scenes.places[clip.clip_id]) for clip in clips)


def _picture_columns(recipes: Sequence[Mapping[str, object]], width: int) -> np.ndarray:
    """int64 (n,), the columns of joined embeddings that are of plain pictures; all of them if none are, or unknown."""
    widths = [int(str(recipe.get("embedding_dim") or 0)) for recipe in recipes]
    if sum(widths) == width:
        inputs = np.repeat([str(recipe.get("input")) for recipe in recipes], widths)
        if (inputs == "rgb").any():
            return np.flatnonzero(inputs == "rgb")
    return np.arange(width)
