"""The README is true: its commands exist, its verbs have help, its map is the tree."""

from __future__ import annotations

import ast
import re

import pytest
from places import ROOT

import pipeline

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


def test_every_room_is_in_the_map_with_its_own_words():
    block = README[README.index("## Where is what") :]
    for stage in ("extract", "sequence_models"):
        for path in (ROOT / stage).glob("*/__init__.py"):
            words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).rstrip(".")
            assert re.search(rf"^  {path.parent.name}/ +{re.escape(words)}$", block, re.MULTILINE), path.parent


def test_the_map_names_nothing_that_is_gone():
    stage = ""
    for line in README[README.index("## Where is what") :].splitlines():
        names = re.findall(r"^([a-z_]+/|[a-z_]+\.py)|(?<=[ ,])([a-z_]+/|[a-z_]+\.py)(?=[ ,])", line)
        for top, inner in names:
            stage = top or stage
            assert (ROOT / top if top else ROOT / stage / inner).exists(), line
