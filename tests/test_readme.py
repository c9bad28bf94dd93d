"""README and docs are true: commands parse, flags, tests and links exist, verbs have help, the map is the tree."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from places import ROOT

import pipeline
from extract import __version__
from extract.arguments import extract_settings
from sequence_models.experiments.grid import grid_points, parse_grid
from sequence_models.experiments.pool import THREAD_VARIABLES
from sequence_models.settings import TrainSettings

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
README, MAP = TEXTS["README.md"], TEXTS["docs/architecture.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LONGEST_README = 150
PARSER = pipeline.make_parser()
VERBS = PARSER._subparsers._group_actions[0].choices


def commands():
    """(page, command) of every command line in a bash block."""
    for page, text in TEXTS.items():
        for language, block in FENCE.findall(text):
            lines = block.replace("\\\n", " ").splitlines() if language == "bash" else ()
            yield from ((page, line) for line in lines if re.match(r"(\w+=\S+ )*clipseq ", line))


def in_line(text):
    """Everything between single backticks, outside blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def anchors(text):
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_verb_is_named():
    assert not [verb for verb in VERBS if not any(f"clipseq {verb}" in text for text in TEXTS.values())]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_for_all_its_arguments(verb):
    parser = VERBS[verb]
    assert parser.description
    assert not [action.dest for action in parser._actions if not action.help]


@pytest.mark.parametrize(("page", "command"), [*commands()])
def test_every_command_parses_and_its_settings_go_together(page, command):
    words = shlex.split(command, comments=True)
    arguments = PARSER.parse_args(words[words.index("clipseq") + 1 :])
    given = {each.name: getattr(arguments, each.name, each.default) for each in fields(TrainSettings)}
    assert arguments.run
    if arguments.verb == "extract":
        extract_settings(arguments)
    if arguments.verb == "train":
        TrainSettings(**given)
    if arguments.verb == "compare" and arguments.models:
        assert grid_points(arguments.models.split(","), given, parse_grid(arguments.grid))


@pytest.mark.parametrize("page", TEXTS)
def test_every_flag_and_verb_in_a_sentence_exists(page):
    known = {flag for parser in VERBS.values() for flag in parser._option_string_actions}
    of_others = {"--durations"}  # pytest
    for code in in_line(TEXTS[page]):
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code)) <= known | of_others, code
        assert set(re.findall(r"^clipseq ([a-z-]+)(?=\s|$)", code)) <= {*VERBS, "-v"}, code


@pytest.mark.parametrize("page", TEXTS)
def test_every_test_and_benchmark_that_is_named_exists(page):
    for path, name in re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)(?:::(\w+))?`", TEXTS[page]):
        assert (ROOT / path).is_file(), path
        assert not name or f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", TEXTS[page])):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{page} links to {link}"


def test_every_page_is_linked_from_the_readme_and_says_first_what_it_is_for():
    for page, text in TEXTS.items():
        if page.startswith("docs/"):
            assert f"]({page})" in README, page
            assert re.match(r"# [^\n]+\n\n(?!```)[^#|<\n-][^|]*?\.", text), page


def test_the_two_commands_are_one_line_each():
    assert len(re.findall(r"^python3 -m venv .*clipseq demo$", README, re.MULTILINE)) == 1
    assert len(re.findall(r"^python3 -m venv .*pytest$", README, re.MULTILINE)) == 1


def test_the_citation_is_of_this_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_readme_stays_short():
    assert len(README.splitlines()) <= LONGEST_README


def test_every_environment_variable_is_explained():
    sources = [*ROOT.glob("extract/**/*.py"), *ROOT.glob("sequence_models/**/*.py"), ROOT / "pipeline.py"]
    read = {
        name
        for source in sources
        for name in re.findall(r"""environ(?:\.get\(|\.setdefault\(|\[)["'](\w+)""", source.read_text(encoding="utf-8"))
    }
    _, _, section = TEXTS["docs/commands.md"].partition("## Environment variables\n")
    assert "KERAS_BACKEND" in read
    assert not [name for name in (*read, *THREAD_VARIABLES) if f"`{name}`" not in section]


def test_every_room_is_in_the_map_with_its_own_words():
    for stage in ("extract", "sequence_models"):
        for path in (ROOT / stage).glob("*/__init__.py"):
            words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).rstrip(".")
            assert re.search(rf"^  {path.parent.name}/ +{re.escape(words)}$", MAP, re.MULTILINE), path.parent


def named_in_the_map() -> set[Path]:
    stage, found = "", set()
    for line in FENCE.findall(MAP)[0][1].splitlines():
        names = re.findall(r"^([a-z_]+/|[a-z_]+\.py)|(?<=[ ,])([a-z_]+/|[a-z_]+\.py)(?=[ ,])", line)
        for top, inner in names:
            stage = top or stage
            found.add(ROOT / top if top else ROOT / stage / inner)
    return found


def test_the_map_names_nothing_that_is_gone():
    assert not [path for path in named_in_the_map() if not path.exists()]


def test_every_file_beside_the_rooms_is_in_the_map():
    beside = {path for stage in ("extract", "sequence_models") for path in (ROOT / stage).glob("[!_]*.py")}
    assert beside <= named_in_the_map()
