"""The README is true: its commands exist, its verbs have help, its map is the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pipeline

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(
    r"^(clipseq [^\n#]+)", "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL)), re.MULTILINE
)


def verbs():
    return pipeline.make_parser()._subparsers._group_actions[0].choices


def test_every_verb_is_in_the_readme():
    assert not [verb for verb in verbs() if f"`clipseq {verb}" not in README]


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_help_for_all_its_arguments(verb):
    parser = verbs()[verb]
    assert parser.description
    assert not [action.dest for action in parser._actions if not action.help]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_readme_parses(command):
    for part in command.split("&&"):
        assert pipeline.make_parser().parse_args(part.split()[1:]).run


def test_the_two_commands_are_one_line_each():
    assert len(re.findall(r"^python3 -m venv .*clipseq demo$", README, re.MULTILINE)) == 1
    assert len(re.findall(r"^python3 -m venv .*pytest$", README, re.MULTILINE)) == 1


def test_every_module_is_in_the_map():
    for folder in ("extract", "sequence_models"):
        missing = [p.name for p in sorted((ROOT / folder).glob("[a-z]*.py")) if not _in_map(p.name)]
        assert not missing, f"{folder}: {missing}"


def test_the_map_names_no_file_that_is_gone():
    block = README[README.index("## Where is what") :]
    for name in re.findall(r"^  ([a-z_]+\.py)", block, re.MULTILINE):
        assert (ROOT / "extract" / name).exists() or (ROOT / "sequence_models" / name).exists(), name


def _in_map(name):
    return re.search(rf"^  {re.escape(name)}\b", README, re.MULTILINE) is not None
