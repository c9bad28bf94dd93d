"""What is known about each clip besides its features: its label rows, group and split; and the vocabulary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from unicodedata import category, normalize

from extract.errors import LabelError, UsageError
from extract.text import counted, first_few
from sequence_models.labels.clip_names import ClipNames, quoted
from sequence_models.labels.groups import groups_of
from sequence_models.labels.table import BY_FRAMES, PER_CLIP, LabelRow, LabelTable, ToolFacts
from sequence_models.settings import MANY_TO_MANY, MANY_TO_ONE, TASKS, DataSettings


@dataclass(frozen=True)
class Target:
    """The labels of one clip.

    Args:
        clip_id: Its name in the store.
        rows: One row for a label of the whole clip, else its intervals.
        group, split: "" if there is none.
    """

    clip_id: str
    rows: tuple[LabelRow, ...]
    group: str = ""
    split: str = ""


def check_task(
    table: LabelTable | None,
    *,
    task: str,
    data: DataSettings,
    multi_label: bool = False,
) -> None:
    """Raises if the labels do not suit the task, or an option does not suit the labels.

    Raises:
        LabelError: Intervals for many-to-one, per-clip labels for many-to-many, or no labels for many-to-many.
        UsageError: An unknown task; frames counted in another way without frame intervals; labels_fps
            without them; a background or several labels at once for many-to-one, or both together.
    """
    if task not in TASKS:
        raise UsageError(f"--task is {task!r}; it must be {MANY_TO_ONE} or {MANY_TO_MANY}.")
    if table is None and task == MANY_TO_MANY:
        raise LabelError(f"--task {MANY_TO_MANY} needs labelled intervals; give them with --labels FILE.")
    if table is not None and (table.kind == PER_CLIP) != (task == MANY_TO_ONE):
        found, fitting, columns = (
            ("one label per clip", MANY_TO_ONE, "clip_id,start_seconds,end_seconds,label")
            if table.kind == PER_CLIP
            else ("labelled intervals", MANY_TO_MANY, "clip_id,label")
        )
        raise LabelError(
            f"{table.path} holds {found}, for --task {fitting}, not {task}; "
            f"use that task or a label file with {columns}."
        )
    if data.blocks and task == MANY_TO_ONE:
        raise UsageError(f"--blocks {data.blocks} cuts recordings with labels per frame; clips have one label each.")
    if data.renumbers and (table is None or table.kind != BY_FRAMES):
        raise UsageError("--labels-from and --labels-end define start_frame,end_frame, but there are none.")
    if data.labels_fps is not None and (table is None or table.kind != BY_FRAMES):
        raise UsageError("--labels-fps is the rate of start_frame,end_frame labels, but there are none.")
    if data.background is not None and task == MANY_TO_ONE:
        raise UsageError(f"--background names the class of unlabelled timesteps and needs --task {MANY_TO_MANY}.")
    if multi_label and task == MANY_TO_ONE:
        raise UsageError(f"--multi-label gives a timestep several classes at once and needs --task {MANY_TO_MANY}.")
    if multi_label and data.background is not None:
        raise UsageError(
            f"--multi-label and --background {data.background!r} exclude each other: a timestep outside all intervals "
            "already has none of the classes; leave --background out."
        )


def targets_from_table(
    table: LabelTable,
    clip_ids: Sequence[str],
    *,
    known: Collection[str],
    failed: Collection[str],
    missing: str,
    group_from: str | None,
) -> tuple[dict[str, Target], list[str]]:
    """Finds the clip of every row.

    Args:
        table: The label file.
        clip_ids: The clips to label.
        known: Other clips with features, whose labels are ignored.
        failed: Clips that could not be extracted.
        missing: "error" or "skip", for labels of clips in none of these.
        group_from: As in `groups_of`; the file's group column takes precedence.

    Returns:
        clip_id -> Target, for clips with a label; and notes for the user.

    Raises:
        LabelError: Labels of unknown clips; a name that matches several clips; two names for one clip.
    """
    found, unknown, loose = _match(table, ClipNames([*clip_ids, *known, *failed]))
    matched = {target.rows[0].clip_id for target in found.values()}
    views = table.tool.views if table.tool else ()
    unknown = [name for name in unknown if not any(name in view and view & matched for view in views)]
    if unknown and missing == "error":
        raise LabelError(
            f"{table.path} labels {counted(unknown, 'clip')} without features: {quoted(unknown)}; "
            "extract them, or leave their labels out with --missing skip."
        )
    wanted = set(clip_ids)
    labelled = {key: target for key, target in found.items() if key in wanted and target.rows[0].label}
    notes = _notes(table, unknown, [key for key in found if key in failed]) + loose
    if alike := [sorted(view & matched) for view in views if len(view & matched) > 1]:
        notes.append(f"{quoted(alike[0])} show one scene and have the same labels: put such videos in one group")
    if group_from is not None and labelled and all(target.group for target in labelled.values()):
        notes.append(f"--group-from is not used: {table.path} has a group for every clip")
    return _with_groups(labelled, group_from), notes


def targets_from_folders(
    clip_ids: Sequence[str], *, group_from: str | None, are_listed: bool = False
) -> dict[str, Target]:
    """Takes a folder of each clip_id as its class: the first, or for clips named by a list, the last.

    A folder of videos has one sub-folder per class, whatever is below that; a list can be in any place.

    Args:
        clip_ids: Clips with features; those in no folder stay unlabelled.
        are_listed: Whether a list named the clips.
        group_from: As in `groups_of`.

    Returns:
        clip_id -> Target.

    Raises:
        LabelError: No clip is in a folder.
    """
    classes = {key: key.split("/")[-2 if are_listed else 0] for key in clip_ids if "/" in key}
    rows = {key: LabelRow(key, name, 0) for key, name in classes.items()}
    if not rows:
        raise LabelError(
            f"no clip is in a folder that could be its class ({quoted(list(clip_ids))}); "
            "give the labels with --labels FILE."
        )
    return _with_groups({key: Target(key, (row,)) for key, row in rows.items()}, group_from)


def vocabulary_of(
    targets: Iterable[Target], *, classes: Sequence[str] | None, background: str | None, nothing: str = ""
) -> tuple[str, ...]:
    """The classes in the order of their indices.

    Args:
        targets: All clips with a label.
        classes: The classes to use, in this order; None for all, sorted by name.
        background: The class of unlabelled timesteps; added if it is not a label.
        nothing: A label that says that none of the classes is there, so not one of them.

    Returns:
        Class names.

    Raises:
        LabelError: A class is named twice or has no label; the background is not among the classes.
    """
    labels = {row.label for target in targets for row in target.rows} - {nothing}
    known = sorted(labels | {background} if background else labels)
    if classes is None:
        return tuple(known)
    if len(set(classes)) < len(classes):
        raise LabelError(f"--classes {','.join(classes)} names a class twice; name each once.")
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise LabelError(f"--classes names {quoted(unknown)}, which no label uses; there are {', '.join(known)}.")
    if background and background not in classes:
        raise LabelError(f"--background {background!r} is not among --classes {','.join(classes)}; add it there.")
    return tuple(classes)


def look_alikes(vocabulary: Sequence[str]) -> list[str]:
    """A sentence for each group of classes whose names look alike: case, accents, spaces, invisible characters.

    Args:
        vocabulary: Class names.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in vocabulary:
        seen = "".join(letter for letter in normalize("NFKC", name) if category(letter) not in ("Cf", "Cc"))
        alike[" ".join(seen.casefold().split())].append(name)
    return [
        f"the classes {' and '.join(map(_told_apart, names))} look alike and are trained as {len(names)} classes; "
        "if they are the same, use one spelling"
        for names in alike.values()
        if len(names) > 1
    ]


def _told_apart(name: str) -> str:
    """A name in quotes, with code points for characters that look alike on screen."""
    return repr(name) if name.isascii() else f"{name!r} ({name!a})"


def _match(table: LabelTable, names: ClipNames) -> tuple[dict[str, Target], list[str], list[str]]:
    """The clip of every row, the names that match none, and a note on those that match only without their folders."""
    found: dict[str, Target] = {}
    unknown: list[str] = []
    loose: list[str] = []
    for name, rows in table.rows_by_clip().items():
        where = table.where(rows[0])
        clip_id = names.find(name, where=where)
        if clip_id is None and table.tool:
            clip_id = _of_tool(table.tool, name, names, where)
            loose += [f"{name!r} is {clip_id!r}"] if clip_id and "/" in name else []
        if clip_id is None:
            unknown.append(name)
        elif clip_id in found:
            raise LabelError(
                f"{where}: {name!r} and {found[clip_id].rows[0].clip_id!r} both mean clip {clip_id!r}; keep one."
            )
        else:
            found[clip_id] = Target(clip_id, tuple(rows), rows[0].group, rows[0].split)
    several = f"{counted(loose, 'video')} by the name of the file, in another folder: {first_few(loose)}"
    return found, unknown, [f"{table.path} names {several}"] if loose else []


def _of_tool(tool: ToolFacts, name: str, names: ClipNames, where: str) -> str | None:
    """The clip that a tool means, whose folders are those of another computer."""
    bare = name.rpartition("/")[2]
    found = names.find(bare, where=where)
    return names.find(f"{tool.name_prefix}{bare}", where=where) if not found and tool.name_prefix else found


def _with_groups(targets: dict[str, Target], group_from: str | None) -> dict[str, Target]:
    groups = groups_of([key for key, target in targets.items() if not target.group], group_from)
    return {key: Target(key, target.rows, target.group or groups[key], target.split) for key, target in targets.items()}


def _notes(table: LabelTable, unknown: Sequence[str], failed: Sequence[str]) -> list[str]:
    notes = []
    if failed:
        notes.append(f"{counted(failed, 'labelled clip')} failed at extraction, left out: {quoted(failed)}")
    if unknown:
        notes.append(f"{table.path} labels {counted(unknown, 'clip')} without features, left out: {quoted(unknown)}")
    if table.ignored:
        notes.append(f"{table.path} has columns that are not used: {', '.join(table.ignored)}")
    return notes
