"""Self-describing settings: one field of a record gives a default, a help text, limits and a flag."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import Field, field, fields
from typing import Any

from extract.errors import UsageError

METAVARS = {int: "N", float: "F", str: "NAME"}


def option(
    default: Any,
    about: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    high: float | None = None,
    kind: type | None = None,
    metavar: str | None = None,
) -> Any:
    """A dataclass field that `add_options` turns into a flag and `check_options` checks.

    Args:
        default: Its default. For a flag without a value: False, or "none" as the first of two `choices`.
        about: Its command-line help, without a full stop; it may say what the default None means.
        choices: All allowed values.
        low: The minimum, inclusive; with `high` None there is no maximum.
        high: The maximum, inclusive.
        kind: The type of its values, if the default is None.
        metavar: Placeholder for the value in the help, if not the type's own.
    """
    told = {"help": about, "choices": choices, "low": low, "high": high, "kind": kind or type(default)}
    return field(default=default, metadata={**told, "metavar": metavar})


def check_options(record: Any) -> None:
    """Reject a record with a field that is not among its choices or outside its limits; None is always allowed.

    Raises:
        UsageError: Names the field, the value, the rule and the flag.
    """
    for each in _options(type(record)):
        value, told = getattr(record, each.name), each.metadata
        if value is None:
            continue
        if told["choices"] and value not in told["choices"]:
            known = ", ".join(map(str, told["choices"]))
            raise UsageError(f"{each.name} {value!r} is unknown; choose one of {known}.")
        low, high = told["low"], told["high"]
        if low is not None and not low <= value <= (float("inf") if high is None else high):
            limit = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
            raise UsageError(f"{each.name} must be {limit}, got {value}; choose another {flag_of(each.name)}.")


def add_options(
    group: argparse._ActionsContainer,
    record: type,
    names: Iterable[str],
    *,
    actions: Mapping[str, type[argparse.Action]] | None = None,
) -> None:
    """Add a flag for each named field of a record, with the field's help, type, choices and default.

    Args:
        group: The parser, or one of its groups.
        record: A dataclass whose fields come from `option`.
        names: The fields, in help order.
        actions: Field -> argparse action, for fields that are stored differently.
    """
    known, actions = {each.name: each for each in _options(record)}, actions or {}
    for name in names:
        default, told = known[name].default, known[name].metadata
        flag, about = flag_of(name), told["help"].replace("%", "%%")
        if default is False:
            group.add_argument(flag, action="store_true", help=about)
            continue
        if told["choices"][:1] == ("none",):
            group.add_argument(flag, action="store_const", const=told["choices"][1], default="none", help=about)
            continue
        if default not in (None, "", ()):
            about += f" ({default:g})" if isinstance(default, float) else f" ({default})"
        how = {"action": actions[name]} if name in actions else {"type": told["kind"]}
        metavar = told["metavar"] or (None if told["choices"] else METAVARS.get(told["kind"]))
        group.add_argument(flag, choices=told["choices"] or None, default=default, metavar=metavar, help=about, **how)


def flag_of(name: str) -> str:
    """The flag of a field: batch_size -> --batch-size."""
    return f"--{name.replace('_', '-')}"


def _options(record: type) -> list[Field[Any]]:
    return [each for each in fields(record) if "help" in each.metadata]
