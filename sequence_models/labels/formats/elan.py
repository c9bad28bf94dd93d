"""ELAN .eaf: tiers of annotations in whole milliseconds. Writes a tier per class and subject."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape, quoteattr

from extract.errors import LabelError
from extract.text import first_few
from sequence_models.labels.formats.contract import LabelFormat, ReadOptions, WriteOptions
from sequence_models.labels.formats.tool_files import XmlElement, read_xml, refuse_reversed, video_name
from sequence_models.labels.table import BY_SECONDS, LabelRow, LabelTable, ToolFacts

_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SCHEMA = (
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd"'
)


@dataclass(frozen=True)
class _Annotation:
    """One annotation of a tier, in milliseconds."""

    tier: str
    participant: str
    annotator: str
    value: str
    start: float
    end: float
    line: int


def recognise(path: Path, head: str) -> bool:
    """Whether it is XML with ELAN's root."""
    return "<ANNOTATION_DOCUMENT" in head


def read(path: Path, options: ReadOptions) -> LabelTable:
    """Reads one file.

    Raises:
        LabelError: Several tiers and neither option; a tier that is not there or empty; times that are none.
    """
    root = next(read_xml(path).all("ANNOTATION_DOCUMENT"), None)
    if root is None:
        raise LabelError(f"{path} has no ANNOTATION_DOCUMENT, so it is not an ELAN file; give the .eaf file.")
    annotations, empty = _annotations(path, root)
    videos = _videos(path, root, options)
    chosen, by_tier = _chosen(path, annotations, empty, options)
    rows = []
    for each in chosen:
        where = f"{path} line {each.line}"
        refuse_reversed(each.start, each.end, where=where)
        label = each.tier.removesuffix(f"@{each.participant}") if by_tier else each.value.strip()
        if not label:
            raise LabelError(
                f"{where}: an annotation of tier {each.tier!r} has no text; write its class, or take the names of the "
                "tiers as classes with --tiers-as-classes."
            )
        for name, origin in videos:
            start, end = ((time + origin) / 1000 for time in (each.start, each.end))
            if start < 0:
                raise LabelError(f"{where}: it starts {-start:g} s before {name!r} does; correct its offset in ELAN.")
            rows.append(LabelRow(name, label, each.line, start=start, end=end, subject=each.participant,
                                 annotator=each.annotator))  # fmt: skip
    views = (frozenset(name for name, _ in videos),) if len(videos) > 1 else ()
    facts = ToolFacts("ELAN", {"tier": len({each.tier for each in chosen})}, views=views)
    return LabelTable(path, BY_SECONDS, tuple(rows), tool=facts)


def write(table: LabelTable, options: WriteOptions) -> dict[str, str]:
    """A file per clip.

    Raises:
        LabelError: An interval shorter than a millisecond, two of one class and subject that overlap, a name that XML
            cannot hold.
    """
    return {clip_id: _document(table, clip_id, rows) for clip_id, rows in table.rows_by_clip().items()}


def _annotations(path: Path, root: XmlElement) -> tuple[list[_Annotation], list[str]]:
    """All annotations with a time of their own or of their parent, and the tiers without any."""
    times = _times(path, root)
    found, empty = [], []
    spans: dict[str, tuple[float, float]] = {}
    children = []
    for tier in root.all("TIER"):
        name = tier.attributes.get("TIER_ID", "")
        participant, annotator = (tier.attributes.get(key, "") for key in ("PARTICIPANT", "ANNOTATOR"))
        inside = [each for annotation in tier.all("ANNOTATION") for each in annotation.children]
        if not inside:
            empty.append(name)
        for each in inside:
            value = "".join(part.text for part in each.all("ANNOTATION_VALUE"))
            value_of = each.attributes.get
            if each.tag == "REF_ANNOTATION":
                children.append((name, participant, annotator, value, each))
                continue
            slots = value_of("TIME_SLOT_REF1", ""), value_of("TIME_SLOT_REF2", "")
            lacking = next((slot for slot in slots if slot not in times), None)
            if lacking is not None:
                raise LabelError(f"{path} line {each.line}: time slot {lacking!r} does not exist; save it in ELAN.")
            start, end = (times[slot] for slot in slots)
            spans[value_of("ANNOTATION_ID", "")] = start, end
            found.append(_Annotation(name, participant, annotator, value, start, end, each.line))
    parents = {
        each.attributes.get("ANNOTATION_ID", ""): each.attributes.get("ANNOTATION_REF", "") for *_, each in children
    }
    for name, participant, annotator, value, each in children:
        above = each.attributes.get("ANNOTATION_REF", "")
        for _ in range(len(parents)):  # a parent may be a child itself; ends even if they go in a circle
            if above in spans:
                break
            above = parents.get(above, "")
        if above not in spans:
            raise LabelError(f"{path} line {each.line}: its parent annotation does not exist; save the file in ELAN.")
        found.append(_Annotation(name, participant, annotator, value, *spans[above], each.line))
    return found, empty


def _times(path: Path, root: XmlElement) -> dict[str, float]:
    """Slot -> milliseconds; slots without a value lie evenly between their neighbours."""
    header = next(root.all("HEADER"), None)
    unit = header.attributes.get("TIME_UNITS", "milliseconds") if header else "milliseconds"
    if unit != "milliseconds":
        raise LabelError(f"{path} counts time in {unit!r}; only milliseconds are read, so save it with a later ELAN.")
    slots = [slot for order in root.all("TIME_ORDER") for slot in order.all("TIME_SLOT")]
    values: list[float | None] = []
    for slot in slots:
        text = slot.attributes.get("TIME_VALUE")
        if text is not None and not (text.isascii() and text.isdecimal() and len(text) < 16):
            raise LabelError(f"{path} line {slot.line}: TIME_VALUE is {text!r}; it must be whole milliseconds.")
        values.append(None if text is None else float(text))
    known = [number for number, value in enumerate(values) if value is not None]
    for before, after in pairwise(known):
        first, last = values[before], values[after]
        for number in range(before + 1, after):
            values[number] = first + (last - first) * (number - before) / (after - before)  # type: ignore[operator]
    return {slot.attributes.get("TIME_SLOT_ID", ""): v for slot, v in zip(slots, values, strict=True) if v is not None}


def _videos(path: Path, root: XmlElement, options: ReadOptions) -> list[tuple[str, float]]:
    """The videos that the file is about, and how many milliseconds their clocks are ahead of the annotations."""
    found: dict[str, float] = {}
    for header in root.all("HEADER"):
        for each in header.all("MEDIA_DESCRIPTOR"):
            relative = unquote(each.attributes.get("RELATIVE_MEDIA_URL", "")).replace("\\", "/")
            name = video_name(relative) or video_name(each.attributes.get("MEDIA_URL", ""))
            if relative.startswith("./"):  # beside this file, wherever that is in the folder given
                name = str(PurePosixPath(options.clip_name).parent / name)
            origin = each.attributes.get("TIME_ORIGIN", "0")
            if not re.fullmatch(r"-?\d{1,15}", origin):
                raise LabelError(f"{path} line {each.line}: TIME_ORIGIN is {origin!r}; it must be whole milliseconds.")
            if name and not each.attributes.get("MIME_TYPE", "").startswith("audio/"):
                found[name] = float(origin)
    return list(found.items()) or [(options.clip_name or path.stem, 0.0)]


def _chosen(
    path: Path, annotations: Sequence[_Annotation], empty: Sequence[str], options: ReadOptions
) -> tuple[Sequence[_Annotation], bool]:
    """The annotations to read, and whether their tiers are the classes."""
    tiers = list(dict.fromkeys(each.tier for each in annotations))
    if options.tier is not None:
        if options.tier not in tiers:
            what = "is empty" if options.tier in empty else "does not exist"
            raise LabelError(f"{path}: tier {options.tier!r} {what}; with annotations there are {first_few(tiers, 9)}.")
        return [each for each in annotations if each.tier == options.tier], options.tiers_as_classes
    if not tiers:
        raise LabelError(f"{path} has no annotations ({len(empty)} empty tiers); annotate it, or leave it out.")
    if options.tiers_as_classes or len(tiers) == 1:
        return annotations, options.tiers_as_classes
    if all(each.value.strip() in ("", each.tier.removesuffix(f"@{each.participant}")) for each in annotations):
        return annotations, True
    raise LabelError(
        f"{path} has {len(tiers)} tiers ({first_few(tiers, 9)}); give --tier NAME if the texts of one are the classes, "
        "or --tiers-as-classes if the names of the tiers are."
    )


def _document(table: LabelTable, clip_id: str, rows: Sequence[LabelRow]) -> str:
    tiers: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in sorted(rows, key=lambda row: (row.start, row.end)):
        for name in (row.label, row.subject, row.annotator, clip_id):
            if _NOT_IN_XML.search(name):
                raise LabelError(f"{table.where(row)}: {name!r} has a character that XML cannot hold; rename it.")
        start, end = (round(1000 * time) for time in (row.start, row.end))
        if start == end:
            raise LabelError(f"{table.where(row)}: it is shorter than a millisecond, ELAN's unit; remove it.")
        inside = tiers.setdefault((row.label, row.subject), [])
        if inside and start < inside[-1][1]:
            raise LabelError(
                f"{table.where(row)}: it overlaps another {row.label!r} of {clip_id!r}, which a tier of "
                "ELAN cannot hold; join the two."
            )
        inside.append((start, end))
    ids = [_tier_id(*key) for key in tiers]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        raise LabelError(
            f"{table.path}: two classes and subjects of {clip_id!r} would both be the tier {twice!r}; rename one."
        )
    times = sorted({time for spans in tiers.values() for span in spans for time in span})
    slots = {time: f"ts{number}" for number, time in enumerate(times, start=1)}
    url, kind = quote(PurePosixPath(clip_id).name), _mime(clip_id)
    return "\n".join([
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<ANNOTATION_DOCUMENT AUTHOR="" DATE="1970-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0" {_SCHEMA}>',
        '    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">',
        f'        <MEDIA_DESCRIPTOR MEDIA_URL="file:///{url}" MIME_TYPE="{kind}" RELATIVE_MEDIA_URL="./{url}"/>',
        "    </HEADER>",
        "    <TIME_ORDER>",
        *(f'        <TIME_SLOT TIME_SLOT_ID="{slot}" TIME_VALUE="{time}"/>' for time, slot in slots.items()),
        "    </TIME_ORDER>",
        *_tier_lines(tiers, slots),
        '    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>',
        "</ANNOTATION_DOCUMENT>",
        "",
    ])  # fmt: skip


def _tier_lines(tiers: dict[tuple[str, str], list[tuple[int, int]]], slots: dict[int, str]) -> Iterable[str]:
    number = 0
    for (label, subject), spans in tiers.items():
        name = _tier_id(label, subject)
        whose = f" PARTICIPANT={quoteattr(subject)}" if subject else ""
        yield f'    <TIER LINGUISTIC_TYPE_REF="default-lt"{whose} TIER_ID={quoteattr(name)}>'
        for start, end in spans:
            number += 1
            refs = f'TIME_SLOT_REF1="{slots[start]}" TIME_SLOT_REF2="{slots[end]}"'
            value = f"<ANNOTATION_VALUE>{escape(label)}</ANNOTATION_VALUE>"
            yield (
                f'        <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" {refs}>{value}'
                "</ALIGNABLE_ANNOTATION></ANNOTATION>"
            )
        yield "    </TIER>"


def _tier_id(label: str, subject: str) -> str:
    return f"{label}@{subject}" if subject else label


def _mime(clip_id: str) -> str:
    kinds = {".mp4": "video/mp4", ".mov": "video/quicktime", ".mpg": "video/mpeg", ".mpeg": "video/mpeg"}
    return kinds.get(PurePosixPath(clip_id).suffix.lower(), "video/*")


FORMAT = LabelFormat(
    "elan", "ELAN", recognise, read, write, holds=frozenset({"subject"}), gaps_are_background=True, ending=".eaf"
)
