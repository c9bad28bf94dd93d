"""Recognises tables that are not comma-separated, for the error message."""

from __future__ import annotations

import re

_DECIMAL_COMMA = re.compile(r"(?:^|[;\t])\d+,\d+(?=[;\t]|$)", re.MULTILINE)


def separator_hint(text: str) -> str:
    """Why a table is not comma-separated; "" if it is, or if its first line is not a table."""
    first = text.lstrip("\ufeff").partition("\n")[0].strip()
    if first.lower().startswith("sep="):
        return f"begins with {first!r}, which is for spreadsheets; remove the line, and separate the cells by commas"
    if first.startswith("#"):
        return "begins with a comment (#); remove it, the first line must be the header"
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in first and "," not in first:
            decimal = ", with points in decimal numbers" if _DECIMAL_COMMA.search(text[:10_000]) else ""
            return f"separates its cells by {name}; save it with commas{decimal}"
    return ""
