"""The version of the rules for decoding and sampling videos, and which stored clips each change affects.

It is not part of the recipe: a correction must not invalidate every store, only redo the clips that earlier rules
stored wrongly. A change to the numbers of every clip belongs in the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from extract.records import VideoTruth


@dataclass(frozen=True)
class Change:
    """One correction of the rules.

    Args:
        version: First version of the rules that has it.
        what: What was wrong before, in the past tense.
        concerns: Whether a clip of an earlier version is wrong, given the store's recipe and the clip's truth record.
    """

    version: int
    what: str
    concerns: Callable[[Mapping[str, object], VideoTruth], bool]


def _is_spread_over_pauses(recipe: Mapping[str, object], truth: VideoTruth) -> bool:
    return "num_frames=" in str(recipe.get("sampling")) and truth.variable_rate


# Shards without a version are version 1.
CHANGES = (Change(2, "frames spread over the clip were crowded or lost at a pause", _is_spread_over_pauses),)
VERSION = max(change.version for change in CHANGES)


def outdated(version: int, recipe: Mapping[str, object], truth: VideoTruth | None) -> str:
    """What is wrong with a stored clip according to the current rules.

    Args:
        version: Version of the rules it was decoded with.
        recipe: Its store's recipe.
        truth: Its record; None for imported features, which were never decoded.

    Returns:
        The corrections that affect it, to be put after a colon; "" if it is right.
    """
    if truth is None:
        return ""
    return "; ".join(change.what for change in CHANGES if version < change.version and change.concerns(recipe, truth))
