"""Reads text, tables and XML of other tools in any usual encoding; errors name the line, nothing is executed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.parsers import expat

from extract.errors import LabelError
from extract.system.files import open_regular, reason_of
from extract.system.typed_json import parse_json

LARGEST_FRAME = 10**9
MAX_BYTES = 64 * 2**20
HEAD_BYTES = 1 << 16
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_WINDOWS_DRIVE = re.compile(r"^/*[A-Za-z]:/+")
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def first_characters(path: Path) -> str:
    """The beginning of a file, to recognise its format; raises OSError."""
    with open_regular(path) as file:
        head = file.read(HEAD_BYTES)
    return head.decode("utf-16" if head.startswith(UTF16) else "utf-8-sig", "replace")


def read_tool_text(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16.

    Raises:
        LabelError: It cannot be read, is not text, or is too large to be a label file.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise LabelError(f"{path} cannot be read ({reason_of(error)}); give an existing file.") from None
    if len(content) > MAX_BYTES:
        raise LabelError(f"{path} is larger than {MAX_BYTES >> 20} MB, too large for a label file; split it by video.")
    try:
        text = content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LabelError(f"{path} line {line} is not UTF-8 text; save or export it as UTF-8.") from None
    if not text.strip():
        raise LabelError(f"{path} is empty; export it again, or leave it out.")
    if "\0" in text:
        raise LabelError(f"{path} line {line_at(text, text.index(chr(0)))} has a zero byte, so it is not text.")
    return text


def line_at(text: str, position: int) -> int:
    """The number of the line of a character, from 1."""
    return text.count("\n", 0, position) + 1


def read_cells(path: Path, text: str, *, separator: str = "") -> Iterator[tuple[int, list[str]]]:
    """The rows of a table separated by commas, semicolons or tabs, blank ones left out.

    Args:
        path: For messages.
        text: Its content.
        separator: "" takes the most frequent one of the first line.

    Yields:
        The line where a row begins, and its cells.

    Raises:
        LabelError: A quote is not closed or stands in the middle of a cell.
    """
    first = text.lstrip().partition("\n")[0]
    separator = separator or max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise LabelError(f"{path} line {line} is not a valid table row ({error}); check its quotes.") from None


def number_of(text: str) -> float | None:
    """A finite decimal number with a point, None if the text is not one."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if abs(value) < 1e300 else None


def seconds_of(text: str, *, where: str, name: str) -> float:
    """A number of seconds; LabelError if it is none, with the place and name given."""
    value = number_of(text)
    if value is None:
        raise LabelError(f"{where}: {name} is {text.strip()!r}; it must be a number of seconds with a decimal point.")
    return value


def frame_of(text: str, *, where: str, name: str, first: int = 0) -> int:
    """A frame number from 0, of a text that counts from `first`; LabelError if it is none."""
    value = number_of(text)
    most = f" and at most {LARGEST_FRAME:,}" if value is not None and value > LARGEST_FRAME else ""
    if value is None or not value.is_integer() or not first <= value <= LARGEST_FRAME:
        raise LabelError(f"{where}: {name} is {text.strip()!r}; it must be a whole number >= {first}{most}.")
    return int(value) - first


def refuse_reversed(start: float, end: float, *, where: str) -> None:
    """LabelError if an interval ends before it begins."""
    if end < start:
        raise LabelError(f"{where}: it ends at {end:g}, before it begins at {start:g}; correct it in the tool.")


def video_name(text: str) -> str:
    """The video that a path or address means.

    Args:
        text: A relative path, or an absolute one or an address, whose first folders are those of another computer.

    Returns:
        With forward slashes, and one in front if the first folders may be strange; "" if there is none.
    """
    name = text.strip()
    scheme, mark, rest = name.partition("://")
    if mark and scheme.isalpha():
        name = "/" + unquote(rest)
    parts = _WINDOWS_DRIVE.sub("/", name.replace("\\", "/")).split("/")
    if ".." in parts:
        parts = ["", *parts[len(parts) - parts[::-1].index("..") :]]
    kept = [part for part in parts if part not in ("", ".")]
    return "/" * (parts[0] == "" and bool(kept)) + "/".join(kept)


def read_tool_json(path: Path) -> Any:
    """The content of a JSON file; LabelError with the line if it is invalid."""
    text = read_tool_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise LabelError(f"{path} is not valid JSON ({error}); export it again.") from None
    except MemoryError:
        raise LabelError(f"{path} does not fit into memory; split it by video.") from None


@dataclass
class XmlElement:
    """One element: `text` is what stands directly in it."""

    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[XmlElement] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[XmlElement]:
        """The direct children of one kind."""
        return (child for child in self.children if child.tag == tag)


def read_xml(path: Path) -> XmlElement:
    """The tree of an XML file; document types and entities of its own are refused, so nothing can blow up.

    Returns:
        A nameless element that holds the root.

    Raises:
        LabelError: It cannot be read or is not well-formed; names the line.
    """
    text = read_tool_text(path)
    top = XmlElement("", {}, 0)
    open_elements, parser = [top], expat.ParserCreate(encoding="utf-8")
    parser.buffer_text = True

    def begin(tag: str, attributes: dict[str, str]) -> None:
        element = XmlElement(tag, attributes, parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def characters(some: str) -> None:
        open_elements[-1].text += some

    def refuse(*declaration: Any) -> None:
        raise LabelError(
            f"{path} line {parser.CurrentLineNumber} declares a document type, which label files never need and which "
            "can be an attack; remove it."
        )

    parser.StartElementHandler, parser.CharacterDataHandler = begin, characters
    parser.EndElementHandler = lambda tag: open_elements.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        raise LabelError(
            f"{path} line {error.lineno} is not well-formed XML ({expat.ErrorString(error.code)})."
        ) from None
    return top
