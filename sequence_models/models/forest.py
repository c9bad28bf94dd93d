"""Extremely randomised trees as plain arrays, so that a file from elsewhere runs no code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TREES = 100
SMALLEST_LEAF = 20
LEAF = -1
ROWS = 2048  # at a time


@dataclass(frozen=True)
class Forest:
    """Trees whose nodes stand one after another.

    Args:
        roots: int32 (trees,), the first node of each.
        feature: int32 (N,), what a node looks at; LEAF in leaves.
        threshold: float32 (N,); a value up to it goes left.
        left, right: int32 (N,), the next node.
        shares: float32 (N, K), the classes of the training examples in a node.
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    shares: np.ndarray

    @property
    def size(self) -> int:
        """How many numbers it consists of."""
        return int(self.threshold.size + self.shares.size)

    def predict(self, examples: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, K) of examples (n, F), the mean over trees."""
        parts = [self._predict(examples[start : start + ROWS]) for start in range(0, len(examples), ROWS)]
        return np.concatenate(parts)

    def _predict(self, examples: np.ndarray) -> np.ndarray:
        nodes = np.tile(self.roots, (len(examples), 1))  # (n, trees)
        while (inside := (feature := self.feature[nodes]) != LEAF).any():
            values = np.take_along_axis(examples, np.maximum(feature, 0), axis=1)
            further = np.where(values <= self.threshold[nodes], self.left[nodes], self.right[nodes])
            nodes = np.where(inside, further, nodes)
        return self.shares[nodes].mean(axis=1)


def fit_forest(examples: np.ndarray, labels: np.ndarray, num_classes: int, *, seed: int) -> Forest:
    """Extremely randomised trees (Geurts et al., Machine Learning 2006), grown by scikit-learn.

    Args:
        examples: float32 (n, F).
        labels: int64 (n,); multi-label (n, K) of 0 and 1.
        num_classes: K.
        seed: The same seed gives the same trees.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(
        TREES, min_samples_leaf=min(SMALLEST_LEAF, max(1, len(examples) // 50)), max_features="sqrt",
        random_state=seed,
    ).fit(examples, labels)  # fmt: skip
    trees = [each.tree_ for each in model.estimators_]
    starts = np.cumsum([0, *(tree.node_count for tree in trees)]).astype(np.int32)
    counts = np.concatenate([tree.value for tree in trees])  # (N, outputs, classes)
    counts /= counts.sum(axis=2, keepdims=True)
    shares = np.zeros((starts[-1], num_classes), np.float32)
    if labels.ndim == 1:
        shares[:, model.classes_] = counts[:, 0]
    else:
        for k, classes in enumerate(model.classes_):
            shares[:, k] = counts[:, k, : len(classes)] @ classes
    feature = np.concatenate([tree.feature for tree in trees])
    next_nodes = (
        np.concatenate([getattr(tree, side) + start for tree, start in zip(trees, starts, strict=False)])
        for side in ("children_left", "children_right")
    )
    left, right = (np.where(feature < 0, LEAF, each).astype(np.int32) for each in next_nodes)
    thresholds = np.concatenate([tree.threshold for tree in trees])
    feature = np.where(feature < 0, LEAF, feature).astype(np.int32)
    return Forest(starts[:-1], feature, _rounded_down(thresholds), left, right, shares)


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """float32 thresholds on the same side of every float32 value as the float64 ones."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)
