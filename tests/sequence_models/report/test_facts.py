"""How a run was made: settings that differ, commands that a parser takes, and what was left out."""

import shlex

import pytest
from page_reading import page_of, text_of
from run_factory import make_run, write_facts
from store_examples import make_store

import pipeline
from extract.store.failures import Failure, append_failure
from sequence_models.report.facts import commands, fact_tables, left_out
from sequence_models.report.run import read_evaluated_run
from sequence_models.settings import DataSettings, TrainSettings
from sequence_models.splits.folds import Fold


def changed_run(path, **changes):
    run = make_run(path)
    (run / "run.json").unlink()
    ids = tuple(f"hug/clip{k}.avi" for k in range(12))
    facts = {"vocabulary": "abc", "folds": (Fold("split", (), (), ids),), "group_of": dict.fromkeys(ids, "g")}
    write_facts(run, **(facts | changes))
    return run


def test_settings_that_differ_from_the_defaults_come_first_and_the_rest_is_folded(tmp_path):
    run = changed_run(tmp_path / "r", settings=TrainSettings(model="gru", hidden=96, dropout=0.2))
    tables = fact_tables(read_evaluated_run(run))
    assert tables[0]["title"] == "Settings that differ from the defaults"
    assert tables[0]["rows"] == [("model", "gru"), ("hidden", "96"), ("dropout", "0.2")]
    rest = next(table for table in tables if table["title"] == "Settings at their defaults")
    assert rest["folded"] and ("layers", "1") in rest["rows"] and "hidden" not in dict(rest["rows"])
    assert "<details><summary>Settings at their defaults</summary>" in page_of(run)


RECIPE = {"backbone": "tiny", "sampling": "skip_frames=2,every=3", "image_size": 8, "fit": "pad", "input": "rgb"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"settings": TrainSettings(model="gru", hidden=96, dropout=0.2), "data": DataSettings(missing="skip")},
        {"settings": TrainSettings(task="many-to-many", derived="position"), "data": DataSettings(background="no one")},
        {"recipe": RECIPE, "stores": ("features/a b",), "data": DataSettings(classes=("a", "b"), keep=("x",))},
    ],
)
def test_the_commands_are_ones_that_clipseq_takes(tmp_path, changes):
    run = changed_run(tmp_path / "it's a run", **changes)
    made = commands(read_evaluated_run(run))
    parser = pipeline.make_parser()
    parsed = [parser.parse_args(shlex.split(command)[1:]) for command in made]
    train = next(each for each in parsed if each.verb == "train")
    settings = changes.get("settings", TrainSettings())
    assert (train.task, train.model, train.hidden) == (settings.task, settings.model, settings.hidden)
    assert train.run_directory == run
    assert [command.split()[1] for command in made] == ["extract", "train", "evaluate", "report"]


def test_imported_features_have_no_command_that_extracts_them(tmp_path):
    run = changed_run(tmp_path / "r", recipe={"source": "imported", "fps": 30.0})
    assert [command.split()[1] for command in commands(read_evaluated_run(run))] == ["train", "evaluate", "report"]


def test_clips_that_were_left_out_are_listed_with_the_reason(tmp_path):
    store = make_store(tmp_path / "store", {"hug/clip0.avi": 3, "hug/unlabelled.avi": 4})
    failure = Failure("hug/broken.avi", "UnreadableVideoError", "it is empty", 0, 0, 5)
    append_failure(store / "failures-a.jsonl", failure)
    run = changed_run(tmp_path / "r", stores=(str(store),))
    assert left_out(read_evaluated_run(run))["rows"] == [
        ("hug/broken.avi", "it is empty"),
        ("hug/unlabelled.avi", "it has no label or the split does not name it"),
    ]
    assert "Left out of the data: 2 clips of the feature stores." in text_of(page_of(run))


def test_a_store_that_is_gone_is_not_taken_for_a_complete_one(tmp_path):
    assert "Left out of the data: not known, the feature stores are not here" in text_of(
        page_of(make_run(tmp_path / "r"))
    )
