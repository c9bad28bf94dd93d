"""One rule for all verbs: what a command names is missing or wrong, 1; its own words are wrong, 2."""

import shlex

import pytest
from store_examples import make_store

import pipeline
from extract.errors import InputError

VERBS = pipeline.make_parser()._subparsers._group_actions[0].choices
WRONG_PATHS = [
    "run nowhere.toml",
    "run --from nowhere job.toml",
    "scan nowhere",
    "show nowhere --output sheet.png",
    "extract nowhere --output out",
    "extract nowhere.csv --output out",
    "extract 'nowhere/*.mp4' --output out",
    "extract empty --output out",
    "extract videos --output out --weights nowhere.h5",
    "extract videos --output out --backbone file:nowhere.onnx",
    "inspect-backbone nowhere.onnx",
    "check-backbone nowhere.onnx",
    "info nowhere",
    "why nowhere a",
    "verify nowhere",
    "pack nowhere out.h5",
    "merge nowhere --output out",
    "import-features nowhere --output out",
    "import-features empty --output out",
    "export-features nowhere out",
    "convert-labels nowhere.csv out.csv --to intervals",
    "show-labels nowhere.csv",
    "draw-labels nowhere.csv videos/a.avi --output out.mp4",
    "train nowhere --task many-to-one --run out",
    "train store --labels nowhere.csv --task many-to-one --run out",
    "train store --clips nowhere.txt --task many-to-one --run out",
    "compare nowhere --task many-to-one --run out",
    "evaluate nowhere",
    "predict nowhere store --output out.csv",
    "report nowhere",
    "export nowhere out --format keras",
    "score nowhere nowhere",
    "watch nowhere 0",
]


@pytest.fixture
def folder(tmp_path, monkeypatch, make_video):
    monkeypatch.chdir(tmp_path)
    make_store(tmp_path / "store")
    make_video(tmp_path / "videos/a.avi")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_every_verb_is_here():
    assert {command.split()[0] for command in WRONG_PATHS} == set(VERBS) - {"demo"}


@pytest.mark.parametrize("command", WRONG_PATHS)
def test_a_path_that_is_not_there_is_1(folder, capsys, command):
    assert pipeline.main(shlex.split(command)) == 1
    said = capsys.readouterr().err
    verb, where = command.split()[0], "empty" if "empty" in command else "nowhere"
    assert said.startswith(f"clipseq {verb}: ") and where in said and "Traceback" not in said
    assert not [path for path in folder.iterdir() if path.name.startswith("out")]  # nothing is left behind


@pytest.mark.parametrize("verb", VERBS)
def test_words_that_are_no_command_are_2(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        pipeline.main([verb, "--no-such-flag"])
    assert stop.value.code == 2 and f"see clipseq {verb} --help" in capsys.readouterr().err


def test_settings_that_exclude_each_other_are_2(folder, capsys):
    assert pipeline.main(["train", "store", "--task", "many-to-one", "--run", "out", "--hop", "2"]) == 2
    assert "--hop needs --window" in capsys.readouterr().err


def test_an_input_error_is_a_usage_error_for_those_who_catch_them():
    assert InputError("x").exit_code == 1 and InputError.__mro__[1].exit_code == 2
