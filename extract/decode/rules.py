"""The version of the rules by which videos are decoded and sampled, and which stored clips each change concerns.

It is no part of the recipe: a correction shall not make another store of every store, but only those clips again that
the earlier rules stored wrongly. What changes the numbers of every clip belongs in the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from extract.records import VideoTruth


@dataclass(frozen=True)
class Change:
    """One correction of the rules.

    Args:
        version: Of the rules from which on it holds.
        what: What was wrong before, in the past tense.
        concerns: Whether a clip of an earlier version is wrong, by the store's recipe and the clip's truth record.
    """

    version: int
    what: str
    concerns: Callable[[Mapping[str, object], VideoTruth], bool]


def _is_spread_over_pauses(recipe: Mapping[str, object], truth: VideoTruth) -> bool:
    return "num_frames=" in str(recipe.get("sampling")) and truth.variable_rate


# Version 1 is that of shards without a version.
CHANGES = (Change(2, "frames spread over the clip were crowded or lost at a pause", _is_spread_over_pauses),)
VERSION = max(change.version for change in CHANGES)


def outdated(version: int, recipe: Mapping[str, object], truth: VideoTruth | None) -> str:
    """What is wrong with a stored clip, by the rules as they are now.

    Args:
        version: Of the rules by which it was decoded.
        recipe: Of its store.
        truth: Its record; None for imported features, which nobody decoded.

    Returns:
        The corrections that concern it, fit to stand behind a colon; "" where it is right.
    """
    if truth is None:
        return ""
    return "; ".join(change.what for change in CHANGES if version < change.version and change.concerns(recipe, truth))
