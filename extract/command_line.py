"""An argument parser whose errors are one sentence that names the next step."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from extract.text import did_you_mean


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
    """Collects the values of a repeated flag in a tuple."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Called by argparse with each value."""
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), values))


class Parser(argparse.ArgumentParser):
    """Like its parent, but reports unknown flags before missing ones, and leaves the usage to --help."""

    _given: Sequence[str] = ()

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
