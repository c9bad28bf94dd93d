"""A job file: TOML whose sections are verbs and whose keys are their flags without the leading dashes."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.arguments import add_extract, add_import, extract_settings
from extract.command_line import named_actions, named_arguments
from extract.errors import InputError, UsageError
from extract.system.files import read_text, reason_of
from extract.text import did_you_mean
from sequence_models.arguments import add_compare, add_predict, add_train

SOURCES, EXPERIMENTS = ("extract", "import-features"), ("train", "compare")
ADDERS = {
    "extract": add_extract,
    "import-features": add_import,
    "train": add_train,
    "compare": add_compare,
    "predict": add_predict,
}
ALWAYS = {"predict": ("output",)}  # what a job must know, to tell whether it is stale
RUN = "run"  # the key for what is the first word of clipseq predict


@dataclass(frozen=True)
class Step:
    """One section of a job file.

    Args:
        verb: Its name.
        arguments: As the command line would give them to the verb.
    """

    verb: str
    arguments: argparse.Namespace


@dataclass(frozen=True)
class Job:
    """A job file.

    Args:
        path: The file; relative paths in it are relative to its folder.
        sources: What fills stores, in the order of the file.
        experiment: What trains; None: only stores are filled.
        predictions: What is predicted afterwards.
    """

    path: Path
    sources: tuple[Step, ...]
    experiment: Step | None
    predictions: tuple[Step, ...]


def read_job(path: Path) -> Job:
    """Read a job file.

    Raises:
        UsageError: It cannot be read, or a section, key or value is wrong; names the line and the most similar key.
    """
    try:
        text = read_text(path)
        content = tomllib.loads(text)
    except (OSError, ValueError) as error:  # of which wrong TOML and encodings are kinds
        kind = InputError if isinstance(error, OSError) else UsageError  # a typo in it is like one in a command
        raise kind(f"{path} cannot be read as TOML ({reason_of(error)})") from None
    read = _Reader(path, text)
    for section in content:
        if section not in ADDERS:
            meant = did_you_mean(section, ADDERS)
            raise read.error(section, None, f"[{section}] is unknown; {meant or 'there are ' + ', '.join(ADDERS)}")
    sources = tuple(step for verb in SOURCES for step in read.steps(verb, content.get(verb, []), {}))
    if all(verb in content for verb in EXPERIMENTS):
        raise read.error("compare", None, "a job has one of [train] and [compare]; use a file for each")
    stores = [store for step in sources for store in _stores_of(step)]
    experiments = [
        step for verb in EXPERIMENTS for step in read.steps(verb, content.get(verb, []), {"stores": stores or None})
    ]
    if len(experiments) > 1:
        raise read.error("train", None, "a job trains one run; use a file for each")
    trained = experiments[0].arguments.run_directory if experiments and experiments[0].verb == "train" else None
    predictions = read.steps("predict", content.get("predict", []), {RUN: trained})
    if not (sources or experiments or predictions):
        raise UsageError(f"{path} has nothing to do; give it a section such as [extract] or [train]")
    return Job(path, sources, experiments[0] if experiments else None, tuple(predictions))


def _stores_of(step: Step) -> list[str]:
    if step.verb != "extract":
        return [str(step.arguments.output)]
    return [str(each.output) for each in extract_settings(step.arguments).stores()]


class _Reader:
    """Turns sections into steps, and knows the line of each key."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._lines = path, text.splitlines()

    def steps(self, verb: str, section: Any, defaults: Mapping[str, Any]) -> list[Step]:
        """The steps of one section, which may be repeated as [[section]]."""
        tables = section if isinstance(section, list) else [section]
        if not all(isinstance(table, dict) for table in tables):
            raise self.error(verb, verb, f"{verb} is not a section; write [{verb}] above its keys")
        return [Step(verb, self._arguments(verb, number, table, defaults)) for number, table in enumerate(tables)]

    def _arguments(
        self, verb: str, number: int, table: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> argparse.Namespace:
        parser = ADDERS[verb](argparse.ArgumentParser().add_subparsers())
        known = {name.replace("_", "-"): name for name in named_actions(parser)}
        if verb == "predict":
            known[RUN] = known.pop("run-directory")
        given = {known[key]: value for key, value in defaults.items() if value is not None}
        for key, value in table.items():
            if key not in known:
                meant = did_you_mean(key, known)
                said = f"{key} is unknown in [{verb}]; {meant or 'known are ' + ', '.join(known)}"
                raise self.error(verb, key, said, number)
            try:
                named_arguments(parser, {known[key]: value})
            except UsageError as error:
                raise self.error(verb, key, str(error).replace(known[key], key, 1), number) from None
            given[known[key]] = value
        actions = named_actions(parser)
        needed = [
            key
            for key, name in known.items()
            if (actions[name].required or key in ALWAYS.get(verb, ())) and name not in given
        ]
        if needed:
            raise self.error(verb, None, f"[{verb}] needs {needed[0]}", number)
        return named_arguments(parser, given)

    def error(self, section: str, key: str | None, said: str, number: int = 0) -> UsageError:
        """The error, with the line of the key or else of the section."""
        line = self._line_of(section, key, number)
        return UsageError(f"{self._path}{f', line {line}' if line else ''}: {said}")

    def _line_of(self, section: str, key: str | None, number: int) -> int | None:
        """The line of a key in the section that is called so for the (number + 1)th time; None if it is not found."""
        header = re.compile(rf"\s*\[\[?\s*[\"']?{re.escape(section)}[\"']?\s*\]")
        wanted = header if key is None else re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        starts = [at for at, line in enumerate(self._lines) if header.match(line)]
        first = starts[number] if number < len(starts) else 0
        return next((at + 1 for at, line in enumerate(self._lines) if at >= first and wanted.match(line)), None)
