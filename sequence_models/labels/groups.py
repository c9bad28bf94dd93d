"""Reads a clip's group from its clip_id: a folder level, or a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from extract.errors import LabelError, UsageError
from extract.text import counted
from sequence_models.labels.clip_names import quoted

NAMED_PATTERNS = {
    # v_ApplyEyeMakeup_g01_c02.avi: clips with the same g are cut from one video
    "ucf101": r"v_[^/]+_g(\d+)_c\d+",
    # clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi: the part before the class is the source video
    "hmdb51": r"(?:(?P<folder>[^/]+)/)?(?P<group>[^/]+?)(?:_(?P=folder))?_[fhlu]_(?:cm|nm)_np\d",
}


def groups_of(clip_ids: Sequence[str], group_from: str | None) -> dict[str, str]:
    """The group of each clip.

    Args:
        clip_ids: The clips.
        group_from: A regular expression with one capture group, searched in the clip_id; "ucf101" or "hmdb51";
            a whole number for a folder level, 1 being the first folder; None for no groups.

    Returns:
        clip_id -> group, "" if there are no groups.

    Raises:
        UsageError: The expression is invalid or has no capture group.
        LabelError: The rule finds no group for some clips; names the first ones.
    """
    if group_from is None:
        return dict.fromkeys(clip_ids, "")
    rule = _folder_rule(int(group_from)) if group_from.isdecimal() else _pattern_rule(group_from)
    groups = {clip_id: rule(clip_id) for clip_id in clip_ids}
    without = [clip_id for clip_id, group in groups.items() if not group]
    if without:
        raise LabelError(
            f"--group-from '{group_from}' finds no group in {len(without)} of {counted(groups, 'clip id')} "
            f"({quoted(without)}); change it or give a group column."
        )
    return groups


def _folder_rule(level: int) -> Callable[[str], str]:
    if level < 1:
        raise UsageError("--group-from 0 is not a folder level; 1 is the first folder of the clip_id.")

    def folder(clip_id: str) -> str:
        folders = clip_id.split("/")[:-1]
        return folders[level - 1] if level <= len(folders) else ""

    return folder


def _pattern_rule(group_from: str) -> Callable[[str], str]:
    try:
        pattern = re.compile(NAMED_PATTERNS.get(group_from, group_from))
    except re.error as error:
        raise UsageError(f"--group-from '{group_from}' is not a regular expression ({error}).") from error
    if pattern.groups != 1 and "group" not in pattern.groupindex:
        raise UsageError(
            f"--group-from '{group_from}' has {pattern.groups or 'no'} capture groups; it must have one, as in "
            "'v_.*_g(\\d+)'."
        )
    which: int | str = "group" if "group" in pattern.groupindex else 1

    def captured(clip_id: str) -> str:
        found = pattern.search(clip_id)
        return (found[which] or "") if found else ""

    return captured
