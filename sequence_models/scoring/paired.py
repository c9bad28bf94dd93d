"""Is one model better than another on the same clips? Intervals and p-values from per-group differences.

New data comes as new groups, so the signs of groups, not of clips or timesteps, are flipped. A percentile bootstrap
over groups would be too narrow, even with 40 of them: `benchmarks/verdict.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from extract.text import counted

ALL_PATTERNS = 16  # up to this many groups, every sign pattern is tried
DRAWS = 20_000
SURE, LIKELY = 0.01, 0.05  # p-values below which a difference counts as certain, or as probable
FEW_GROUPS, BLOCK = 100, 500  # for more groups, subsets are drawn in blocks to fit in memory
MISS = 0.05


def paired_difference(
    differences: np.ndarray, weights: np.ndarray, *, seed: int = 0, unit: str = "group"
) -> dict[str, Any]:
    """The difference of two scores that are shares over the same units, with its interval and p-value over groups.

    Args:
        differences: float (G,), for each group the sum over its units of one score minus the other.
        weights: float (G,), units per group, above 0.
        seed: For drawing sign patterns if there are more than 16 groups.
        unit: What a group is called, "clip" if every clip is one.

    Returns:
        "difference", pooled over the units; "ci95", [low, high]; "level", the actual coverage of the interval: with G
        groups no finite interval covers more than 1 - 2 ** (1 - G); "p", two-sided; "groups"; "unit"; "groups_better";
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
        "unit": unit,
        "groups_better": int((differences > 0).sum()),
        "protocol": f"difference of pooled shares; two-sided sign-flip test over {counted(differences, unit)}, and "
        f"the {100 * level:.3g} % interval of what it does not reject",
    }


def sign_flip_test(differences: np.ndarray, *, seed: int = 0) -> float:
    """Two-sided p-value of a mean difference, by flipping the signs of whole groups.

    Args:
        differences: float (G,), the difference of two scores in each group.
        seed: For drawing flips if there are more than 16 groups; otherwise all of them are tried.

    Returns:
        The share of sign patterns whose mean is at least as far from zero (Fisher 1935).
    """
    total = differences.sum()
    flipped = total - 2 * _subset_sums(differences[:, None], seed)[:, 0]
    return float(np.mean(np.abs(flipped) >= abs(total) - 1e-12))


def sign_flip_interval(differences: np.ndarray, weights: np.ndarray, *, seed: int = 0) -> tuple[float, float, float]:
    """The values of the true difference that the sign-flip test does not reject.

    They lie between the k-th smallest and the k-th largest pooled difference over all non-empty subsets of the groups,
    which miss the true one 2 k times in 2 ** G (Hartigan, Using subsample values as typical values, JASA 1969).

    Args:
        differences, weights, seed: As in `paired_difference`.

    Returns:
        Low, high, and how often such an interval contains the true difference: 0.95, or the nearest possible.
    """
    sums = _subset_sums(np.stack([differences, weights], axis=1), seed)[1:]
    means = sums[:, 0] / sums[:, 1]
    patterns = len(means) + 1
    k = max(1, int(MISS / 2 * patterns))
    means.partition((k - 1, len(means) - k))
    return float(means[k - 1]), float(means[-k]), 1 - 2 * k / patterns


def _subset_sums(columns: np.ndarray, seed: int) -> np.ndarray:
    """Sums (n, C) of columns (G, C) over subsets of the groups: all, or many random ones; the empty one first."""
    groups = len(columns)
    if groups <= FEW_GROUPS:
        return _subsets(groups, seed) @ columns
    rng = np.random.default_rng(seed)
    sums = np.concatenate([_draw_subsets(rng, BLOCK, groups) @ columns for _ in range(DRAWS // BLOCK)])
    sums[0] = 0
    return sums


@lru_cache(maxsize=4)
def _subsets(groups: int, seed: int) -> np.ndarray:
    """Subsets as rows, float64 (n, G) of 0 and 1; the first one is empty."""
    if groups <= ALL_PATTERNS:
        return (np.arange(2**groups)[:, None] >> np.arange(groups) & 1).astype(np.float64)
    drawn = _draw_subsets(np.random.default_rng(seed), DRAWS, groups)
    drawn[0] = 0
    return drawn


def _draw_subsets(rng: np.random.Generator, draws: int, groups: int) -> np.ndarray:
    drawn = rng.random((draws, groups)) < 0.5
    drawn[~drawn.any(axis=1), 0] = True
    return drawn.astype(np.float64)
