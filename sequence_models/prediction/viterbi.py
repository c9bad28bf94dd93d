"""The most probable sequence of labels when every change of label has a price (Viterbi 1967).

scores  (T, K)   score of each class at each timestep, such as log probabilities
prices  (K, K)   cost of going from class i to class j between successive timesteps; 0 or more

Many prices are tried at once, and all clips are decoded together: a step costs little more for many than for one.
"""

from __future__ import annotations

from collections import deque
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


class OnlineDecoder:
    """`decode` with one price matrix and a lag, one timestep at a time.

    Args:
        prices: float (K, K).
        lag: Number of later timesteps that a label waits for.
    """

    def __init__(self, prices: np.ndarray, lag: int) -> None:
        self._prices, self._equal = prices[None], _are_equal(prices[None])
        self._best: np.ndarray | None = None
        self._back: deque[np.ndarray] = deque(maxlen=lag)  # of the latest timesteps, each (K,)
        self._waiting, self._lag = 0, lag

    def push(self, scores: np.ndarray) -> int | None:
        """Take the scores (K,) of the next timestep; the label of the one `lag` before it, None while there is none."""
        if self._best is None:
            self._best = scores[None, None]
        else:
            best, came = _advanced(self._best, self._best.argmax(axis=2), self._prices, equal=self._equal)
            self._best = best + scores
            self._back.append(came[0, 0])
        self._waiting += 1
        if self._waiting <= self._lag:
            return None
        self._waiting -= 1
        return self._traced(self._best)[0]

    def finish(self) -> list[int]:
        """The labels of the timesteps that still wait: there is no later one."""
        if self._best is None:
            return []
        path, waiting = self._traced(self._best), self._waiting
        self._best, self._waiting = None, 0
        self._back.clear()
        return path[len(path) - waiting :]

    def _traced(self, best: np.ndarray) -> list[int]:
        """The best path so far, as far back as it is known."""
        path = [int(best[0, 0].argmax())]
        for came in reversed(self._back):
            path.append(int(came[path[-1]]))
        return path[::-1]


def _decode_together(scores: Sequence[np.ndarray], prices: np.ndarray, lag: int | None) -> list[np.ndarray]:
    """As `decode`, for clips padded to one length: past its end, a clip's best path stays where it is."""
    clips, steps, (ways, classes, _) = len(scores), max(map(len, scores)), prices.shape
    lengths = np.array([len(each) for each in scores])
    padded = np.zeros((steps, clips, 1, classes))
    for row, each in enumerate(scores):
        padded[: len(each), row, 0] = each
    equal = _are_equal(prices)
    back = np.empty((steps, clips, ways, classes), np.int16)
    ends = np.empty((steps, clips, ways), np.int16)  # where the best path up to each timestep ends
    best = np.broadcast_to(padded[0], (clips, ways, classes)).copy()
    stay = np.arange(classes)
    ends[0], back[0] = best.argmax(axis=2), stay
    for step in range(1, steps):
        best, came = _advanced(best, ends[step - 1], prices, equal=equal)
        best = best + padded[step]
        back[step], ends[step] = came, best.argmax(axis=2)
        over = lengths <= step
        if over.any():
            back[step, over], ends[step, over] = stay, ends[step - 1, over]
            best[over] = 0  # never used again
    labels = _traced(back, ends) if lag is None else _traced_online(back, ends, lengths, lag)
    return [labels[:length, row].T.astype(np.int64) for row, length in enumerate(lengths)]


def _are_equal(prices: np.ndarray) -> bool:
    """Whether each matrix has one price for all changes."""
    classes = prices.shape[1]
    return classes == 1 or np.allclose(prices, prices[:, :1, 1:2] * (1 - np.eye(classes)))


def _advanced(best: np.ndarray, ends: np.ndarray, prices: np.ndarray, *, equal: bool) -> tuple[np.ndarray, np.ndarray]:
    """One timestep on, before its scores are added: the best paths to each class, and where they came from.

    Args:
        best: (clips, P, K), scores of the best paths that end in each class.
        ends: (clips, P), the best of them.
        prices: (P, K, K).
        equal: Whether all changes cost the same.
    """
    classes = prices.shape[1]
    if equal:  # from the best class overall, or from itself
        leader = ends.astype(np.int64)[..., None]
        moved = np.take_along_axis(best, leader, axis=2) - prices[:, :1, 1 if classes > 1 else 0][None]
        return np.maximum(best, moved), np.where(best >= moved, np.arange(classes), leader)
    paths = best[..., None] - prices  # (clips, P, from, to)
    came = paths.argmax(axis=2)
    return np.take_along_axis(paths, came[:, :, None], axis=2)[:, :, 0], came


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
