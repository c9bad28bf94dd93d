"""Confidence intervals of scores over groups, valid even for few groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from extract.text import counted

FEWEST_GROUPS = 3  # for an interval to be shown


def ratio_score(
    numerators: np.ndarray, denominators: np.ndarray, *, protocol: str, units: int, scale: float = 1.0
) -> dict[str, Any]:
    """A mean of ratios with its interval over groups.

    Args:
        numerators, denominators: (G, C), parts of C ratios per group; ratios whose denominators are all 0 are left out.
        protocol: What was computed, without the interval.
        units: How many clips (or videos) there are, for the width if all groups are entirely right or wrong.
        scale: 100 for a score in percent.

    Returns:
        {"value", "protocol", "ci95": [low, high]}; the interval is [0, scale] if there is only one group.
    """
    defined = denominators.sum(axis=0) > 0
    parts, wholes = numerators[:, defined].astype(np.float64), denominators[:, defined].astype(np.float64)
    ratios = parts.sum(axis=0) / wholes.sum(axis=0)
    value, num_groups = float(ratios.mean()), len(parts)
    low, high = share_interval(value, _jackknife_variance(parts, wholes, ratios), num_groups, units)
    basis = f"95 % interval over {num_groups} groups" if num_groups > 1 else "one group, so no interval"
    ends = [scale * low, scale * high]
    return {"value": scale * value, "protocol": f"{protocol}; {basis}", "ci95": ends, "groups": num_groups}


def shown_interval(score: Mapping[str, Any]) -> tuple[float, float] | None:
    """The interval of a score to show to people: none for fewer than three groups, none of zero width.

    Args:
        score: {"ci95": [low, high] or nothing, "groups": number of groups, if known}.
    """
    low, high = score.get("ci95") or (None, None)
    if low is None or high is None or low == high or no_interval(score):
        return None
    return float(low), float(high)


def no_interval(score: Mapping[str, Any]) -> str:
    """Says that a score is over too few groups for an interval; "" if it is not."""
    is_enough = score.get("groups", FEWEST_GROUPS) >= FEWEST_GROUPS
    return "" if is_enough else f"{counted_groups(score)}: no interval"


def share_interval(value: float, variance: float, num_groups: int, units: int) -> tuple[float, float]:
    """Wilson's interval for a share, with the number of trials that would give this variance."""
    if num_groups < 2:
        return 0.0, 1.0
    trials = value * (1 - value) / variance if variance > 0 and 0 < value < 1 else float(units)
    t_squared = t_quantile(num_groups - 1) ** 2
    centre = (value + t_squared / (2 * trials)) / (1 + t_squared / trials)
    half = np.sqrt(t_squared * (value * (1 - value) / trials + t_squared / (4 * trials**2))) / (1 + t_squared / trials)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def _jackknife_variance(parts: np.ndarray, wholes: np.ndarray, ratios: np.ndarray) -> float:
    """Variance of the mean ratio, leaving out one group at a time; a group with all of a ratio changes nothing."""
    rest = wholes.sum(axis=0) - wholes  # (G, C)
    change = np.divide(parts - ratios * wholes, rest, out=np.zeros_like(parts), where=rest > 0).mean(axis=1)
    return float((len(parts) - 1) / len(parts) * np.sum(change**2))


def t_quantile(degrees: int) -> float:
    """97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def counted_groups(score: Mapping[str, Any]) -> str:
    """How many groups a score or a difference is over, or clips if none has a group: "16 groups"."""
    return counted(score["groups"], score.get("unit", "group"))
