"""JSON from files that anyone may have edited: parsed strictly and checked against our records' type hints."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union

Record = TypeVar("Record")
_PLAIN = (str, int, bool)
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def parse_json(content: str | bytes) -> Any:
    """Like `json.loads`, without NaN and Infinity, which are not JSON.

    Raises:
        ValueError: It is invalid in any way, including absurd nesting and numbers.
    """
    try:
        return json.loads(content, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large a number")
    return value


def typed(value: Any, kind: Any, name: str) -> Any:
    """A JSON value converted to its type hint: lists to tuples, objects to dataclasses, recursively.

    Args:
        value: From `parse_json`.
        kind: str, int, float, bool, None, Any, a dataclass, and unions, tuples and dicts of them.
        name: What an error calls the value.

    Raises:
        ValueError: It has another type; names the value and what it should be.
    """
    if kind is Any or (kind in _PLAIN and type(value) is kind):
        return value
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return typed_record(kind, value, name)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        return _any_of(value, inner, name)
    if origin is tuple:
        return _sequence(value, inner, name)
    if dict in (kind, origin):
        if not isinstance(value, dict):
            raise ValueError(f"{name} is {_shown(value)}, not an object")
        return {key: typed(each, inner[1], f"{name}.{key}") for key, each in value.items()} if inner else value
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if type(value) is not kind or kind is float:
        raise ValueError(f"{name} is {_shown(value)}, not {_NAMES[kind]}")
    return value


def typed_record(kind: type[Record], fields: Any, name: str, **given: Any) -> Record:
    """A dataclass from the object that `dataclasses.asdict` made; an entry with a default may be missing.

    Args:
        kind: The dataclass.
        fields: From `parse_json`.
        name: What an error calls it.
        given: Fields not in the file.

    Raises:
        ValueError: An entry is missing, unknown, or of another type.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"{name} is {_shown(fields)}, not an object")
    hints = {field: hint for field, hint in _hints(kind).items() if field not in given}  # type: ignore[arg-type]
    if unknown := [key for key in fields if key not in hints]:
        raise ValueError(f"{name} has an unknown entry {unknown[0]!r}")
    required = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]  # type: ignore[arg-type]
    if missing := [field for field in required if field in hints and field not in fields]:
        raise ValueError(f"{name} has no {missing[0]!r}")
    return kind(**{key: typed(each, hints[key], f"{name}.{key}") for key, each in fields.items()}, **given)


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    every = typing.get_type_hints(kind)
    return {field.name: every[field.name] for field in dataclasses.fields(kind)}


def _any_of(value: Any, kinds: tuple, name: str) -> Any:
    problems = []
    for kind in kinds:
        try:
            return typed(value, kind, name)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(problems[0])


def _sequence(value: Any, inner: tuple, name: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {_shown(value)}, not a list")
    kinds = [inner[0]] * len(value) if inner[1:] == (Ellipsis,) else inner
    if len(kinds) != len(value):
        raise ValueError(f"{name} has {len(value)} entries, not {len(kinds)}")
    return tuple(typed(each, kind, f"{name}[{at}]") for at, (each, kind) in enumerate(zip(value, kinds, strict=True)))


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
