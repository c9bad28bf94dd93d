"""An argument parser whose errors are one sentence that names the next step."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NoReturn

from extract.errors import UsageError
from extract.text import did_you_mean

KINDS = {int: "a whole number", float: "a number", str: "text", Path: "a path"}


class BackboneName(argparse.Action):
    """Stores the name of a backbone; `help` prints the table of all backbones at once."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Called by argparse with each value."""
        if values == "help":
            from extract.backbones.registry import backbone_table

            sys.stdout.write(f"{backbone_table()}\n")
            parser.exit()
        setattr(namespace, self.dest, values)


class Appended(argparse.Action):
    """Collects the values of a repeated flag in a tuple, instead of its default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Called by argparse with each value."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, (*(() if before is self.default else before), values))


def add_json(parser: argparse.ArgumentParser, about: str) -> None:
    """The flag --json: one JSON document on standard output, and what a person reads on standard error."""
    parser.add_argument("--json", action="store_true", help=f"print {about} as JSON; the rest goes to standard error")


class HelpAll(argparse.Action):
    """`--help-all`: the help with every flag."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Called by argparse."""
        parser.first_flags = ()  # type: ignore[attr-defined]
        parser.print_help()
        parser.exit()


def shorten_help(parser: argparse.ArgumentParser, *flags: str) -> None:
    """Show only these flags, and those that are required, in --help; adds --help-all, which shows all."""
    parser.first_flags = ("--help", "--help-all", *flags)  # type: ignore[attr-defined]
    parser.add_argument(
        "--help-all", action=HelpAll, nargs=0, dest="help", default=argparse.SUPPRESS, help="show every flag and exit"
    )


class Parser(argparse.ArgumentParser):
    """Like its parent, but reports unknown flags before missing ones, and leaves the usage to --help."""

    _given: Sequence[str] = ()
    first_flags: tuple[str, ...] = ()  # what --help shows; none: everything

    def format_help(self) -> str:
        """The help with the first flags only, if there are any."""
        if not self.first_flags:
            return super().format_help()
        shown = set(self.first_flags)
        hidden = [each for each in self._actions if each.option_strings and not shown & {*each.option_strings}]
        hidden = [each for each in hidden if not each.required]
        told = [each.help for each in hidden]
        for each in hidden:
            each.help = argparse.SUPPRESS
        try:
            text = super().format_help()
        finally:
            for each, text_of in zip(hidden, told, strict=True):
                each.help = text_of
        return f"{text}\n{len(hidden)} more flags have defaults that fit most data: {self.prog} --help-all\n"

    def parse_known_args(self, args=None, namespace=None) -> tuple[argparse.Namespace, list[str]]:  # type: ignore[override]
        self._given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to get help to standard error; exit code 2."""
        unknown = self._unknown_flags(self._given)
        if unknown and message.startswith("the following arguments are required"):
            message = self.unknown_text(unknown)
        self.exit(2, f"{self.prog}: {message}\nsee {self.prog} --help\n")

    def unknown_text(self, unknown: Sequence[str]) -> str:
        """A message about unknown arguments, with the flag most similar to the first."""
        if not unknown[0].startswith("-"):
            return f"unexpected argument {unknown[0]!r}; separate several values of one flag by commas, without spaces"
        meant = did_you_mean(unknown[0].partition("=")[0], self._flags())
        return f"unrecognized arguments: {' '.join(unknown)}" + (f"; {meant}" if meant else "")

    def _unknown_flags(self, given: Iterable[str]) -> list[str]:
        names = [text.partition("=")[0] for text in given if text.startswith("--") and text != "--"]
        return [name for name in names if not any(flag.startswith(name) for flag in self._flags())]

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Like its parent, without Python type names in the message."""
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            if action.type not in (int, float):
                raise
            kind = "a whole number" if action.type is int else "a number"
            raise argparse.ArgumentError(action, f"{arg_string!r} is not {kind}") from None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            meant = did_you_mean(str(value), known)
            which = f"{meant} There are" if meant else "there are"
            raise argparse.ArgumentError(action, f"{str(value)!r} is unknown: {which} {', '.join(known)}")


def named_arguments(parser: argparse.ArgumentParser, given: Mapping[str, Any]) -> argparse.Namespace:
    """What a verb's parser gives for values that have names instead of flags, with the defaults of the rest.

    Args:
        parser: Of the verb.
        given: Name -> value; names are those of the flags without dashes, such as batch_size. Comma-separated text may
            be a list. None is the default.

    Returns:
        As from `parse_args`.

    Raises:
        UsageError: A name is unknown, or a value has the wrong type or is not among the choices; names the most
            similar name, or the rule.
    """
    known = named_actions(parser)
    arguments = {action.dest: action.default for action in known.values()}
    for name, value in given.items():
        if name not in known:
            meant = did_you_mean(name, known)
            raise UsageError(f"{name} is unknown; {meant or 'known are ' + ', '.join(known)}")
        if value is not None:
            arguments[known[name].dest] = _checked(name, value, known[name])
    return argparse.Namespace(**arguments)


def named_actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The arguments of a verb by name: of a flag without dashes, or of a positional argument."""
    actions = [action for action in parser._actions if action.dest != "help"]
    return {_name_of(action): action for action in actions}


def _name_of(action: argparse.Action) -> str:
    flag = action.option_strings[-1] if action.option_strings else action.dest
    return flag.lstrip("-").replace("-", "_")


def _checked(name: str, value: Any, action: argparse.Action) -> Any:
    """A value as the action would store it."""
    if action.nargs in ("+", "*") or isinstance(action, (argparse._AppendAction, Appended)):
        several = value if isinstance(value, (list, tuple)) else [value]
        values = [_single(name, each, action) for each in several]
        return tuple(values) if isinstance(action, Appended) else values
    if isinstance(value, (list, tuple)) and action.type in (None, str):  # such as classes
        return ",".join(str(_single(name, each, action)) for each in value)
    return _single(name, value, action)


def _single(name: str, value: Any, action: argparse.Action) -> Any:
    kind: Any = action.type or str
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{name} is {value!r}, which is not True or False")
        return action.const if value else action.default
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if kind in (str, Path) and isinstance(value, (str, Path)):
        value = kind(value)
    elif kind is str and is_number:  # such as cv
        value = str(value)
    elif kind is int and is_number and isinstance(value, Integral):
        value = int(value)
    elif kind is float and is_number:
        value = float(value)
    else:
        raise UsageError(f"{name} is {value!r}, which is not {KINDS[kind]}")
    if action.choices is not None and value not in action.choices:
        known = [str(choice) for choice in action.choices]
        raise UsageError(f"{name} {value!r} is unknown; {did_you_mean(str(value), known)} There are {', '.join(known)}")
    return value
