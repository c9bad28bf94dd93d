"""The most probable sequence of labels when every change of label has a price (Viterbi 1967).

scores  (T, K)   score of each class at each timestep, such as log probabilities
prices  (K, K)   cost of going from class i to class j between successive timesteps; 0 or more

Many prices are tried at once, and all clips are decoded together: a step costs little more for many than for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_CELLS = 50_000_000  # back pointers in memory: clips x timesteps x prices x classes


def decode(scores: Sequence[np.ndarray], prices: np.ndarray, *, lag: int | None = None) -> list[np.ndarray]:
    """Label every timestep of every clip.

    Args:
        scores: Per clip, float (T, K).
        prices: float (P, K, K), P alternative price matrices.
        lag: Number of later timesteps that a label may wait for; 0 = none, as in a live stream; None = the whole clip.

    Returns:
        Per clip, int64 (P, T); the label at t is that of the best path up to timestep t + lag, or up to the end.
    """
    order = np.argsort([len(each) for each in scores], kind="stable")
    said: list[np.ndarray] = [np.empty(0)] * len(scores)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * scores[order[stop]].size * len(prices) <= MOST_CELLS:
            stop += 1
        together = [scores[row] for row in order[start:stop]]
        for row, labels in zip(order[start:stop], _decode_together(together, prices, lag), strict=True):
            said[row] = labels
        start = stop
    return said


def equal_prices(penalties: Sequence[float], num_classes: int) -> np.ndarray:
    """One price for every change of label, float (P, K, K)."""
    return np.array(penalties, np.float64)[:, None, None] * (1 - np.eye(num_classes))


def prices_of(labels: Sequence[np.ndarray], num_classes: int) -> np.ndarray:
    """Negative log probabilities of staying in a class and changing, estimated from training labels.

    Args:
        labels: Per clip, int (T,); -1 separates bouts.
        num_classes: K.

    Returns:
        float (K, K): staying follows from the mean bout length of a class, changes from its observed transitions, with
        each possible change counted once more than seen.
    """
    stays, moves = np.zeros(num_classes), np.ones((num_classes, num_classes))
    np.fill_diagonal(moves, 0)
    for each in labels:
        before, after = each[:-1], each[1:]
        both = (before >= 0) & (after >= 0)
        np.add.at(stays, before[both & (before == after)], 1)
        changed = both & (before != after)
        np.add.at(moves, (before[changed], after[changed]), 1)
    leaves = moves.sum(axis=1)
    staying = (stays + 1) / (stays + 2 + leaves - (num_classes - 1))  # by what was seen, one more of each kind
    with np.errstate(divide="ignore"):
        prices = -np.log(moves / np.maximum(leaves, 1)[:, None] * (1 - staying)[:, None])
    np.fill_diagonal(prices, -np.log(staying))
    return prices


def _decode_together(scores: Sequence[np.ndarray], prices: np.ndarray, lag: int | None) -> list[np.ndarray]:
    """As `decode`, for clips padded to one length: past its end, a clip's best path stays where it is."""
    clips, steps, (ways, classes, _) = len(scores), max(map(len, scores)), prices.shape
    lengths = np.array([len(each) for each in scores])
    padded = np.zeros((steps, clips, 1, classes))
    for row, each in enumerate(scores):
        padded[: len(each), row, 0] = each
    equal = np.allclose(prices, prices[:, :1, 1:2] * (1 - np.eye(classes))) if classes > 1 else True
    back = np.empty((steps, clips, ways, classes), np.int16)
    ends = np.empty((steps, clips, ways), np.int16)  # where the best path up to each timestep ends
    best = np.broadcast_to(padded[0], (clips, ways, classes)).copy()
    ends[0], back[0] = best.argmax(axis=2), np.arange(classes)
    stay = np.arange(classes)
    for step in range(1, steps):
        if equal:  # from the best class overall, or from itself
            leader = ends[step - 1].astype(np.int64)[..., None]
            moved = np.take_along_axis(best, leader, axis=2) - prices[:, :1, 1 if classes > 1 else 0][None]
            came = np.where(best >= moved, stay, leader)
            best = np.maximum(best, moved) + padded[step]
        else:
            paths = best[..., None] - prices  # (clips, P, from, to)
            came = paths.argmax(axis=2)
            best = np.take_along_axis(paths, came[:, :, None], axis=2)[:, :, 0] + padded[step]
        back[step], ends[step] = came, best.argmax(axis=2)
        over = lengths <= step
        if over.any():
            back[step, over], ends[step, over] = stay, ends[step - 1, over]
            best[over] = 0  # never used again
    labels = _traced(back, ends) if lag is None else _traced_online(back, ends, lengths, lag)
    return [labels[:length, row].T.astype(np.int64) for row, length in enumerate(lengths)]


def _traced(back: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(T, clips, P): the best path overall, traced from its end."""
    labels = np.empty(ends.shape, np.int16)
    labels[-1] = ends[-1]
    for step in range(len(ends) - 1, 0, -1):
        labels[step - 1] = np.take_along_axis(back[step], labels[step][..., None].astype(np.int64), axis=2)[..., 0]
    return labels


def _traced_online(back: np.ndarray, ends: np.ndarray, lengths: np.ndarray, lag: int) -> np.ndarray:
    """(T, clips, P): at each timestep, the path that is best `lag` timesteps later."""
    last = (lengths - 1)[None]
    steps = np.arange(len(ends))[:, None]
    rows = np.arange(ends.shape[1])[None]
    at = np.minimum(steps + lag, np.maximum(last, steps))  # (T, clips)
    labels = ends[at, rows].astype(np.int64)  # (T, clips, P)
    for _ in range(lag):
        earlier = np.take_along_axis(back[at, rows], labels[..., None], axis=3)[..., 0]
        labels = np.where((at > steps)[..., None], earlier, labels)
        at = np.where(at > steps, at - 1, at)
    return labels
