"""All label formats by name: ours, and those that installed packages add."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from extract.errors import UsageError
from extract.text import did_you_mean
from sequence_models.labels.formats import (
    activitynet,
    annot,
    audacity,
    boris,
    deepethogram,
    elan,
    frame_csv,
    intervals,
    label_studio,
    mstcn,
    via,
)
from sequence_models.labels.formats.contract import LabelFormat

GROUP = "clipseq.label_formats"
_OURS = (intervals, frame_csv, boris, deepethogram, mstcn, elan, audacity, label_studio, via, annot, activitynet)
OWN_FORMATS = MappingProxyType({module.FORMAT.name: module.FORMAT for module in _OURS})
WRITTEN = tuple(name for name, each in OWN_FORMATS.items() if each.write)
log = logging.getLogger(__name__)


@cache
def all_formats() -> dict[str, LabelFormat]:
    """Ours first, then the plug-ins; one that cannot be loaded is named in a warning and left out."""
    found = dict(OWN_FORMATS)
    for entry in entry_points(group=GROUP):
        try:
            added = entry.load()
        except Exception as error:  # whatever the code of a stranger raises must not stop other formats
            log.warning("the label format %s (%s) cannot be loaded and is left out: %s", entry.name, entry.value, error)
            continue
        if not isinstance(added, LabelFormat) or added.name in found:
            reason = "there is one of this name" if isinstance(added, LabelFormat) else "it is no LabelFormat"
            log.warning("the label format %s (%s) is left out: %s", entry.name, entry.value, reason)
            continue
        found[added.name] = added
    return found


def format_named(name: str, *, flag: str) -> LabelFormat:
    """One format.

    Args:
        name: As a user gave it.
        flag: Where, for the message.

    Raises:
        UsageError: There is none; lists the known ones.
    """
    known = all_formats()
    if name not in known:
        meant = did_you_mean(name, known)
        raise UsageError(
            f"{flag} {name!r} is unknown: {f'{meant} There are' if meant else 'there are'} {', '.join(known)}."
        )
    return known[name]
