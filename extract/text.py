"""How numbers, times and spans are shown on screen; files and --json keep the plain values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from shlex import quote


def first_few(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are: "a, b, c and 4 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def counted(things: Collection[object] | int, noun: str, plural: str = "") -> str:
    """A number and its noun.

    Args:
        things: What to count, or how many there are.
        noun: The singular, such as "clip".
        plural: The plural, if it is not `noun` plus "s" (or "es" after an s).

    Returns:
        Such as "1 clip", "1,200 clips" or "2 classes".
    """
    number = len(things) if isinstance(things, Collection) else int(things)
    plural = plural or (f"{noun}es" if noun.endswith("s") else f"{noun}s")
    return f"{number:,} {noun if number == 1 else plural}"


def did_you_mean(given: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """The known names most similar to an unknown one.

    Args:
        given: The unknown name.
        known: All valid names.
        most: Maximum number of names.
        cutoff: Minimum similarity, 0 to 1, as in difflib.

    Returns:
        Such as "did you mean resnet50 or resnet152?"; "" if none is similar.
    """
    from difflib import get_close_matches

    near = get_close_matches(given, list(known), n=most, cutoff=cutoff)
    return f"did you mean {' or '.join(near)}?" if near else ""


def span_text(span: Sequence[float]) -> str:
    """A half-open span of seconds as "4.83-5.87 s"."""
    return f"{span[0]:.2f}-{span[1]:.2f} s"


def when_text(time_ns: int) -> str:
    """Nanoseconds since 1970 as ISO text in UTC, to the second."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="seconds")


def lost_frames_text(lost: Sequence[tuple[str, Sequence[Sequence[float]]]], *, store: str = "") -> str:
    """A sentence that names clips with lost frames.

    Args:
        lost: (clip_id, its lost spans) for one or more clips.
        store: Where to find more; "" leaves that out.

    Returns:
        Such as "2 clips have lost frames, the first is a.mp4 at 4.83-5.87 s; see `clipseq info STORE --clip a.mp4`".
    """
    clip_id, spans = lost[0]
    first = f"{clip_id} at {span_text(spans[0])}" + (f" and {len(spans) - 1} more" if len(spans) > 1 else "")
    if len(lost) == 1:
        said = f"1 clip has lost frames: {first}"
    else:
        said = f"{len(lost):,} clips have lost frames, the first is {first}"
    return f"{said}; see `clipseq info {quote(store)} --clip {quote(clip_id)}`" if store else said


def readable(record: Mapping[str, object], *, indent: str = "") -> str:
    """What `clipseq info` prints.

    Args:
        record: Names and plain values, as in --json; a mapping becomes an indented block.
        indent: Before every line.

    Returns:
        One line per name, or per entry of a list of sentences; values aligned in one column.
    """
    shown = {("modified" if key == "mtime_ns" else str(key)): _value_text(key, value) for key, value in record.items()}
    width = max(map(len, shown), default=0)
    lines = []
    for key, value, (name, text) in zip(record, record.values(), shown.items(), strict=True):
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}", readable(value, indent=indent + "  ")]
        else:
            lines.append(f"{indent}{name:<{width}}  " + text.replace("\n", f"\n{indent}{'':<{width}}  "))
    return "\n".join(lines)


def _value_text(key: str, value: object) -> str:
    if key == "damaged" and not value:
        return "not checked; clipseq verify reads everything"
    if value in (None, "", (), [], {}):
        return "none"
    if key == "mtime_ns":
        return when_text(value)  # type: ignore[arg-type]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return _list_text(key, value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _list_text(key: str, values: Sequence) -> str:
    if key == "lost_spans":
        return ", ".join(map(span_text, values))
    if key == "versions":
        return "\n".join(", ".join(f"{name} {version}" for name, version in (v or {}).items()) for v in values)
    if key == "row_shape":
        return " x ".join(map(str, values))
    return ("\n" if key in ("warnings", "notes") else ", ").join(map(str, values))


def remark_lines(remarks: Iterable[tuple[str, str]]) -> list[str]:
    """Remarks on clips; those that differ only in numbers are merged.

    Args:
        remarks: clip_ids, each with a sentence.

    Returns:
        Such as "2 clips (a, b): another video stream of 9 frames, not read".
    """
    alike: dict[str, list[tuple[str, str]]] = {}
    for clip_id, remark in remarks:
        alike.setdefault(re.sub(r"[\d,]+", "0", remark), []).append((clip_id, remark))
    lines = []
    for pairs in alike.values():
        clip_ids, remark = [clip_id for clip_id, _ in pairs], pairs[0][1]
        where = "" if len({sentence for _, sentence in pairs}) == 1 else f" (the first: {clip_ids[0]})"
        lines.append(f"{counted(pairs, 'clip')} ({first_few(clip_ids)}): {remark}{where}")
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with columns as wide as needed; later rows may be shorter than the first."""
    widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def duration_text(seconds: float) -> str:
    """A time to wait: seconds below two minutes, hours from two hours on."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
