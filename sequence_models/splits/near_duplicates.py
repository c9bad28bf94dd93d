"""Finds test clips that are near-copies of training clips: re-encoded, cropped, cut or mirrored.

Embeddings of one data set share most directions (the scene, the camera), so frames are whitened first: what remains
tells frames apart. Two clips are as similar as their frames at the best shift in time:

    frames of one    x x x x x x x
    of the other         y y y y y y y      mean cosine of the overlapping pairs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sequence_models.records import Clip
from sequence_models.splits.folds import Fold

CANDIDATES = 16  # training clips with the nearest means; only these are aligned
MOST_COMPONENTS = 256
FRAMES_PER_COMPONENT = 8
MOST_FRAMES = 20_000  # used for whitening
MOST_STEPS = 512  # per clip in alignment
SHORTEST_OVERLAP = 0.5  # of the shorter clip
OUTLIER = 30.0  # robust standard deviations above merely similar clips; see benchmarks/split_doctor.py
LOWEST_LIMIT, HIGHEST_LIMIT = 0.1, 0.9  # of the similarity; narrow features spread so much that 30 exceeds 1
_ROWS = 1024
_TINY = 1e-12


@dataclass(frozen=True)
class Pair:
    """A clip and its near-duplicate.

    Args:
        clip_id: The clip of the test part.
        other_id: The clip seen in training.
        similarity: Mean cosine of their whitened frames at the best shift, up to 1.
    """

    clip_id: str
    other_id: str
    similarity: float


def find_near_duplicates(train: Sequence[Clip], test: Sequence[Clip]) -> list[Pair]:
    """Finds pairs of clips across two parts that are far more similar than merely similar clips.

    Every test clip is aligned with the few training clips with the nearest means. The less similar half of these shows
    how similar ordinary clips of this data set are; pairs far above that are reported.

    Args:
        train, test: Clips with embeddings (T, D); a clip never duplicates itself, so both may be the same list.

    Returns:
        The pairs, most similar first.
    """
    if not train or not test:
        return []
    mean, axes = _whitening([*train, *test])
    theirs, ours = ([_whitened(clip, mean, axes) for clip in part] for part in (train, test))
    aligned = []  # per test clip: (similarity, training clip), most similar first
    for clip, frames, nearest in zip(test, ours, _nearest(theirs, ours), strict=True):
        others = [index for index in nearest if train[index].clip_id != clip.clip_id][:CANDIDATES]
        found = [(alignment(frames, theirs[index]), train[index].clip_id) for index in others]
        aligned.append(sorted(found, reverse=True))
    limit = _limit([similarity for found in aligned for similarity, _ in found[len(found) // 2 :]])
    pairs = [
        Pair(clip.clip_id, other_id, similarity)
        for clip, found in zip(test, aligned, strict=True)
        for similarity, other_id in found
        if similarity > limit
    ]
    return sorted(pairs, key=lambda pair: -pair.similarity)


def pairs_across(folds: Sequence[Fold], clips: Sequence[Clip]) -> dict[str, list[Pair]]:
    """Finds the near-duplicates that each fold separates.

    Args:
        folds: Which clips each fold uses for training, validation and testing.
        clips: The clips of all folds.

    Returns:
        Fold name -> its pairs of a test clip and a training or validation clip, most similar first.
    """
    pairs = find_near_duplicates(clips, clips)
    across = {}
    for fold in folds:
        test, seen = set(fold.test), {*fold.train, *fold.validation}
        across[fold.name] = [pair for pair in pairs if pair.clip_id in test and pair.other_id in seen]
    return across


def alignment(one: np.ndarray, other: np.ndarray) -> float:
    """How similar two clips are at the best shift in time.

    Args:
        one: (N, D) unit vectors.
        other: (M, D) unit vectors.

    Returns:
        The greatest mean cosine along a diagonal of the (N, M) matrix that covers at least half of the shorter clip.
    """
    stride = -(-max(len(one), len(other)) // MOST_STEPS)
    cosines = one[::stride].astype(np.float32) @ other[::stride].astype(np.float32).T
    rows, columns = cosines.shape
    # Rows in reverse order, each shifted one place further than the last: diagonals become columns.
    slanted = np.zeros((rows, rows + columns), np.float32)
    slanted[:, :columns] = cosines[::-1]
    sums = slanted.reshape(-1)[: rows * (rows + columns - 1)].reshape(rows, -1).sum(axis=0)
    shift = np.arange(rows + columns - 1) - (rows - 1)
    overlap = np.minimum(np.minimum(rows, columns), np.minimum(columns - shift, rows + shift))
    enough = overlap >= SHORTEST_OVERLAP * min(rows, columns)
    return float((sums[enough] / overlap[enough]).max())


def _whitening(clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and axes (D, R) that give frames unit variance in the directions where they differ most."""
    chosen = clips[:: -(-len(clips) // MOST_FRAMES)]
    each = MOST_FRAMES // len(chosen)
    frames = np.concatenate([clip.embeddings[:: -(-len(clip) // each)] for clip in chosen]).astype(np.float64)
    mean = frames.mean(axis=0)
    variances, directions = np.linalg.eigh((frames - mean).T @ (frames - mean) / len(frames))
    most = int(np.clip(len(frames) // FRAMES_PER_COMPONENT, 1, MOST_COMPONENTS))
    kept = np.flatnonzero(variances >= 1e-6 * variances[-1])[-most:]
    axes = directions[:, kept] / np.sqrt(np.maximum(variances[kept], _TINY))
    return mean.astype(np.float32), axes.astype(np.float32)


def _whitened(clip: Clip, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Unit vectors float16 (T, R); kept for all clips at once."""
    return _unit((clip.embeddings.astype(np.float32) - mean) @ axes).astype(np.float16)


def _nearest(train: Sequence[np.ndarray], test: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each test clip, the training clips with the nearest means, and one more, as it may be among them."""
    theirs, ours = (
        _unit(np.stack([frames.mean(axis=0, dtype=np.float32) for frames in part])) for part in (train, test)
    )
    count = min(CANDIDATES + 1, len(train))
    nearest: list[np.ndarray] = []
    for start in range(0, len(test), _ROWS):
        cosines = ours[start : start + _ROWS] @ theirs.T
        inside = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(cosines, inside, axis=1), axis=1)
        nearest += list(np.take_along_axis(inside, order, axis=1))
    return nearest


def _limit(similarities: Sequence[float]) -> float:
    """The similarity above which a pair is no longer merely similar."""
    if not similarities:
        return HIGHEST_LIMIT
    median = np.median(similarities)
    deviation = 1.4826 * np.median(np.abs(np.array(similarities) - median))
    return float(np.clip(median + OUTLIER * deviation, LOWEST_LIMIT, HIGHEST_LIMIT))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)
