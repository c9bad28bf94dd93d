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
        recipes: Whether clips of a store with this recipe can be wrong.
        clips: Whether a clip of such a store and an earlier version is wrong, given its truth record.
    """

    version: int
    what: str
    recipes: Callable[[Mapping[str, object]], bool]
    clips: Callable[[VideoTruth], bool]

    def concerns(self, version: int, recipe: Mapping[str, object]) -> bool:
        """Whether clips of this version in a store of this recipe can be wrong."""
        return version < self.version and self.recipes(recipe)


def _spreads_frames(recipe: Mapping[str, object]) -> bool:
    return "num_frames=" in str(recipe.get("sampling"))


def _has_pauses(truth: VideoTruth) -> bool:
    return truth.variable_rate


# Shards without a version are version 1.
CHANGES = (Change(2, "frames spread over the clip were crowded or lost at a pause", _spreads_frames, _has_pauses),)
VERSION = max(change.version for change in CHANGES)


def may_be_outdated(version: int, recipe: Mapping[str, object]) -> bool:
    """Whether any clip of this version in a store of this recipe can be wrong; if not, its record need not be read."""
    return any(change.concerns(version, recipe) for change in CHANGES)


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
    found = (change for change in CHANGES if change.concerns(version, recipe) and change.clips(truth))
    return "; ".join(change.what for change in found)
