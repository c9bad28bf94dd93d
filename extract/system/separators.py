"""Which separator a table has: commas, or what spreadsheets of some countries and exports write instead."""

from __future__ import annotations

import re

_DECIMAL_COMMA = re.compile(r"(?:^|[;\t])(\d+,\d+)(?=[;\t\r]|$)", re.MULTILINE)


def separator_of(text: str) -> str:
    """What separates the cells of the first line: a comma, or if it has none a semicolon or tab."""
    first = text.lstrip("\ufeff").partition("\n")[0]
    if "," in first:
        return ","
    return next((separator for separator in ";\t" if separator in first), ",")


def separator_hint(text: str, separator: str = ",") -> str:
    """Why a table cannot be read with this separator; "" if it can, or if its first line is not a table."""
    first = text.lstrip("\ufeff").partition("\n")[0].strip()
    if first.lower().startswith("sep="):
        return f"begins with {first!r}, which is for spreadsheets; remove the line"
    if first.startswith("#"):
        return "begins with a comment (#); remove it, the first line must be the header"
    if separator != "," and (found := _DECIMAL_COMMA.search(text[:10_000])):
        return f"has decimal commas, such as {found[1]}; write decimal numbers with a point"
    return ""
