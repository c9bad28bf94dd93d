"""A record's fields become flags with the same name, default, help and limits."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

import pytest

from extract.errors import UsageError
from extract.jobs.settings import ExtractSettings
from extract.options import add_options, check_options, option
from pipeline import make_parser
from sequence_models.settings import DataSettings, TrainSettings


@dataclass(frozen=True)
class Oven:
    heat: int = option(180, "degrees, 100% of them", low=50, high=250)
    rack: str = option("middle", "where it goes", choices=("top", "middle"))
    fan: bool = option(False, "let the fan run")
    grill: str = option("none", "use the grill (full)", choices=("none", "full"))
    minutes: float | None = option(None, "how long (until it is done)", kind=float, low=0)
    name: str = "of no option"

    def __post_init__(self) -> None:
        check_options(self)


def flags_of(record, *argv):
    parser = argparse.ArgumentParser()
    add_options(parser, record, [each.name for each in fields(record) if each.metadata])
    return parser, vars(parser.parse_args(argv))


def test_without_flags_every_option_has_the_record_s_default():
    _, given = flags_of(Oven)
    assert given == {"heat": 180, "rack": "middle", "fan": False, "grill": "none", "minutes": None}


def test_flags_have_the_types_of_the_fields():
    _, given = flags_of(Oven, "--heat", "200", "--rack", "top", "--fan", "--grill", "--minutes", "3")
    assert given == {"heat": 200, "rack": "top", "fan": True, "grill": "full", "minutes": 3.0}
    assert Oven(**given).heat == 200


def test_help_holds_text_and_default_and_a_percent_sign_is_no_format():
    text = " ".join(flags_of(Oven)[0].format_help().split())
    assert "degrees, 100% of them (180)" in text and "--rack {top,middle}" in text and "--minutes F" in text
    assert "--grill use the grill" in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heat": 300}, "heat must be between 50 and 250, got 300; choose another --heat."),
        ({"heat": float("nan")}, "heat must be between 50 and 250, got nan; choose another --heat."),
        ({"minutes": -1.0}, "minutes must be at least 0, got -1.0; choose another --minutes."),
        ({"rack": "tip"}, "rack 'tip' is unknown; choose one of top, middle."),
    ],
)
def test_a_value_outside_its_limits_is_refused_where_the_record_is_made(wrong, message):
    with pytest.raises(UsageError) as error:
        Oven(**wrong)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("record", "command"),
    [
        (ExtractSettings, ("extract", "videos", "--output", "features")),
        (TrainSettings, ("train", "features", "--task", "many-to-one", "--run", "run")),
        (DataSettings, ("train", "features", "--task", "many-to-one", "--run", "run")),
    ],
)
def test_every_option_of_a_record_is_a_flag_with_its_default(record, command):
    given = vars(make_parser().parse_args(command))
    for each in fields(record):
        if each.metadata:
            assert given[each.name] in (each.default, (each.default,)), each.name  # a repeatable one is a tuple
