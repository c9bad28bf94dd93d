"""Is one model better than another on the same clips? Intervals and p-values from differences per group.

Groups are what can be new tomorrow, so they, and not clips or timesteps, are flipped and drawn again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

FEW_GROUPS = 30  # below, a bootstrap over groups is too narrow (FACTS 31a)
ALL_PATTERNS = 16  # up to so many groups every sign pattern is tried
DRAWS = 20_000
MISS = 0.05


def paired_difference(differences: np.ndarray, weights: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """The difference of two scores that are shares over the same units, with its interval and p-value over groups.

    Args:
        differences: float (G,), in each group the sum over its units of one score minus the other.
        weights: float (G,), units per group, above 0.
        seed: Draws sign patterns where there are more than 16 groups, and groups from 30 on.

    Returns:
        "difference", pooled over the units; "ci95", [low, high]; "level", what the interval really covers: with G
        groups no finite interval covers more than 1 - 2 ** (1 - G); "p", two-sided; "groups"; "groups_better";
        "protocol".
    """
    differences, weights = np.asarray(differences, np.float64), np.asarray(weights, np.float64)
    groups = len(differences)
    few = groups < FEW_GROUPS
    low, high, level = (_typical_values if few else _bootstrap)(differences, weights, seed)
    how = "inverted sign-flip test" if few else "bootstrap"
    return {
        "difference": float(differences.sum() / weights.sum()),
        "ci95": [low, high],
        "level": level,
        "p": sign_flip_test(differences, seed=seed),
        "groups": groups,
        "groups_better": int((differences > 0).sum()),
        "protocol": f"difference of pooled shares; {100 * level:.3g} % interval by {how} over {groups} groups; "
        "two-sided sign-flip test over groups",
    }


def sign_flip_test(differences: np.ndarray, *, seed: int = 0) -> float:
    """Two-sided p-value of a mean difference, by flipping the sign of whole groups.

    Args:
        differences: float (G,), the difference of two scores in each group.
        seed: Draws the flips where there are more than 16 groups; below that all of them are tried.

    Returns:
        The share of sign patterns whose mean is at least as far from zero (Fisher 1935).
    """
    signs = 1 - 2 * _subsets(len(differences), seed).astype(np.int64)
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12))


def _typical_values(differences: np.ndarray, weights: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Low, high and level: the values that the sign-flip test does not reject.

    They lie between the k-th smallest and the k-th largest of the means of all non-empty subsets of the groups, which
    miss the true value 2 k times in 2 ** G (Hartigan, Using subsample values as typical values, JASA 1969).
    """
    subsets = _subsets(len(differences), seed)
    subsets = subsets[subsets.any(axis=1)].astype(np.float64)
    means = np.sort(subsets @ differences / (subsets @ weights))
    patterns = len(means) + 1
    k = max(1, int(MISS / 2 * patterns))
    return float(means[k - 1]), float(means[-k]), 1 - 2 * k / patterns


def _bootstrap(differences: np.ndarray, weights: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Low, high and level: percentiles over groups drawn with replacement."""
    groups = len(differences)
    drawn = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=DRAWS)  # (draws, G)
    low, high = np.quantile(drawn @ differences / (drawn @ weights), (MISS / 2, 1 - MISS / 2))
    return float(low), float(high), 1 - MISS


def _subsets(groups: int, seed: int) -> np.ndarray:
    """Subsets of the groups as rows, bool (n, G), the empty one first: all of them, or many drawn at random."""
    if groups <= ALL_PATTERNS:
        return (np.arange(2**groups)[:, None] >> np.arange(groups) & 1).astype(bool)
    drawn = np.random.default_rng(seed).random((DRAWS, groups)) < 0.5
    drawn[0] = False
    return drawn
