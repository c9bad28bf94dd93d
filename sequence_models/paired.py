"""Is one model better than another on the same clips? Intervals and p-values from differences per group.

Groups are what can be new tomorrow, so they, and not clips or timesteps, change their sign. A percentile bootstrap over
groups would be narrower than it says, with 40 of them still: `benchmarks/verdict.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

ALL_PATTERNS = 16  # up to so many groups every sign pattern is tried
DRAWS = 20_000
MISS = 0.05


def paired_difference(differences: np.ndarray, weights: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """The difference of two scores that are shares over the same units, with its interval and p-value over groups.

    Args:
        differences: float (G,), in each group the sum over its units of one score minus the other.
        weights: float (G,), units per group, above 0.
        seed: Draws sign patterns where there are more than 16 groups.

    Returns:
        "difference", pooled over the units; "ci95", [low, high]; "level", what the interval really covers: with G
        groups no finite interval covers more than 1 - 2 ** (1 - G); "p", two-sided; "groups"; "groups_better";
        "protocol".
    """
    differences, weights = np.asarray(differences, np.float64), np.asarray(weights, np.float64)
    low, high, level = sign_flip_interval(differences, weights, seed=seed)
    return {
        "difference": float(differences.sum() / weights.sum()),
        "ci95": [low, high],
        "level": level,
        "p": sign_flip_test(differences, seed=seed),
        "groups": len(differences),
        "groups_better": int((differences > 0).sum()),
        "protocol": f"difference of pooled shares; two-sided sign-flip test over {len(differences)} groups, and the "
        f"{100 * level:.3g} % interval of what it does not reject",
    }


def sign_flip_test(differences: np.ndarray, *, seed: int = 0) -> float:
    """Two-sided p-value of a mean difference, by flipping the sign of whole groups.

    Args:
        differences: float (G,), the difference of two scores in each group.
        seed: Draws the flips where there are more than 16 groups; below that all of them are tried.

    Returns:
        The share of sign patterns whose mean is at least as far from zero (Fisher 1935).
    """
    signs = 1 - 2 * _subsets(len(differences), seed)
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12))


def sign_flip_interval(differences: np.ndarray, weights: np.ndarray, *, seed: int = 0) -> tuple[float, float, float]:
    """The values of the true difference that the sign-flip test does not reject.

    They lie between the k-th smallest and the k-th largest of the pooled differences of all non-empty subsets of the
    groups, which miss the true one 2 k times in 2 ** G (Hartigan, Using subsample values as typical values, JASA 1969).

    Args:
        differences, weights, seed: As `paired_difference`.

    Returns:
        Low, high, and how often such an interval holds the true difference: 0.95, or the nearest there is.
    """
    subsets = _subsets(len(differences), seed)[1:]
    means = subsets @ differences / (subsets @ weights)
    patterns = len(subsets) + 1
    k = max(1, int(MISS / 2 * patterns))
    means.partition((k - 1, len(means) - k))
    return float(means[k - 1]), float(means[-k]), 1 - 2 * k / patterns


@lru_cache(maxsize=4)
def _subsets(groups: int, seed: int) -> np.ndarray:
    """Subsets of the groups as rows, float64 (n, G) of 0 and 1: all of them, or many at random; first the empty one."""
    if groups <= ALL_PATTERNS:
        return (np.arange(2**groups)[:, None] >> np.arange(groups) & 1).astype(np.float64)
    drawn = np.random.default_rng(seed).random((DRAWS, groups)) < 0.5
    drawn[~drawn.any(axis=1), 0] = True
    drawn[0] = False
    return drawn.astype(np.float64)
