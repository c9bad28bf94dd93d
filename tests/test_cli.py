"""Bad input ends in one clear sentence and exit code 1 or 2, never a traceback; the quick verbs stay quick."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from model_files import onnx_file
from places import ROOT
from store_examples import make_store
from video_files import moving_frames, write_video

import pipeline
from extract.errors import UsageError
from extract.store.recipe import fingerprint
from sequence_models.experiments.summary import data_text, score_table
from sequence_models.runs.outputs import check_outputs
from sequence_models.runs.run import Run, create_run
from sequence_models.settings import DataSettings, TrainSettings
from sequence_models.splits.folds import Fold

FAST = ("--backbone", "tiny", "--every", "1", "--engine", "keras")


@pytest.fixture(scope="module")
def store(tmp_path_factory, request):
    """Features of two classes of three clips each, extracted with the tiny backbone."""
    import cv2
    import numpy as np

    folder = tmp_path_factory.mktemp("cli")
    for name, step in (("dim", 2), ("bright", 20)):
        (folder / "videos" / name).mkdir(parents=True)
        for k in range(3):
            writer = cv2.VideoWriter(
                str(folder / "videos" / name / f"{k}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12, (48, 32)
            )
            for frame in range(8 + k):
                writer.write(np.full((32, 48, 3), min(255, step * frame + k), np.uint8))
            writer.release()
    assert pipeline.main(["extract", str(folder / "videos"), "--output", str(folder / "features"), *FAST]) == 0
    return folder / "features"


def run(capsys, *arguments):
    """Exit code and what was printed, of one command line."""
    try:
        code = pipeline.main([str(a) for a in arguments])
    except SystemExit as stop:  # argparse
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def labels(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def train(store, tmp_path, *more, task="many-to-one"):
    return ("train", store, "--task", task, "--run", tmp_path / "run", "--epochs", "1", *more)


def test_an_empty_folder_says_what_is_looked_for(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run(capsys, "extract", tmp_path / "empty", "--output", tmp_path / "features")
    assert code == 1 and ".mp4" in err and "empty" in err and err.count("\n") == 1


def test_a_folder_that_is_not_there(capsys, tmp_path):
    code, _, err = run(capsys, "extract", tmp_path / "nowhere", "--output", tmp_path / "features")
    assert code == 1 and "nowhere" in err and err.count("\n") == 1


def test_a_text_file_named_mp4_is_a_failure_of_that_clip(capsys, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "notes.mp4").write_text("dear diary")
    code, out, err = run(capsys, "extract", tmp_path / "videos", "--output", tmp_path / "features", *FAST)
    assert code == 1 and out.splitlines()[-1] == "done 0  skipped 0  failed 1"
    assert err.startswith("failed  notes.mp4: ")


def test_labels_of_unknown_clips_name_them(capsys, tmp_path, store):
    path = labels(tmp_path, "clip_id,label\ndim/0.avi,a\ndim/1.avi,a\nbright/0.avi,b\nbright/9.avi,b\n")
    code, _, err = run(capsys, *train(store, tmp_path, "--labels", path))
    assert code == 1 and "bright/9.avi" in err and "--missing skip" in err and err.count("\n") == 1


def test_a_class_with_one_clip_is_named(capsys, tmp_path, store):
    path = labels(tmp_path, "clip_id,label\ndim/0.avi,a\ndim/1.avi,a\ndim/2.avi,a\nbright/0.avi,lonely\n")
    code, _, err = run(capsys, *train(store, tmp_path, "--labels", path))
    assert code == 1 and "lonely" in err and "add clips" in err and err.count("\n") == 1


def test_interval_labels_for_many_to_one_name_the_other_task(capsys, tmp_path, store):
    path = labels(tmp_path, "clip_id,start_seconds,end_seconds,label\ndim/0.avi,0,0.3,a\n")
    code, _, err = run(capsys, *train(store, tmp_path, "--labels", path))
    assert code in (1, 2) and "many-to-many" in err and err.count("\n") == 1


def test_clip_labels_for_many_to_many_name_the_other_task(capsys, tmp_path, store):
    path = labels(tmp_path, "clip_id,label\ndim/0.avi,a\nbright/0.avi,b\n")
    code, _, err = run(capsys, *train(store, tmp_path, "--labels", path, task="many-to-many"))
    assert code in (1, 2) and "many-to-one" in err and err.count("\n") == 1


def test_another_recipe_on_a_store_names_the_difference(capsys, store):
    code, _, err = run(capsys, "extract", store.parent / "videos", "--output", store, *FAST, "--fit", "crop")
    assert code == 1 and "fit" in err and "stretch" in err and "crop" in err and "--output" in err


def test_a_store_that_is_not_there(capsys, tmp_path):
    code, _, err = run(capsys, "info", tmp_path / "nothing")
    assert code == 1 and "is not a feature store" in err


def test_info_of_a_clip_that_is_not_there(capsys, store):
    code, _, err = run(capsys, "info", store, "--clip", "dim/7.avi")
    assert code == 1 and "dim/7.avi" in err


def test_evaluate_without_a_run(capsys, tmp_path):
    code, _, err = run(capsys, "evaluate", tmp_path)
    assert code == 1 and "is not a run directory" in err


@pytest.mark.slow
def test_labels_past_the_features_are_refused_or_reported(capsys, store, tmp_path):
    lines = [f"{name}/{k}.avi,0,{8 + k},{name}" for name in ("dim", "bright") for k in range(3)]
    lines += ["dim/2.avi,10,14,dim"]
    path = labels(tmp_path, "\n".join(["clip_id,start_frame,end_frame,label", *lines]))
    command = (*train(store, tmp_path, "--labels", path, task="many-to-many"), "--hidden", "4")
    code, _, err = run(capsys, *command)
    assert code == 1 and "'dim/2.avi' by 4 frames" in err and "--alignment tolerant" in err and err.count("\n") == 1
    code, out, _ = run(capsys, *command, "--alignment", "tolerant")
    assert code == 0 and "'dim/2.avi' by 4 frames (the features end at 10)" in out
    assert json.loads((tmp_path / "run/run.json").read_text())["data"]["alignment"] == "tolerant"
    rows = list(csv.DictReader((tmp_path / "run/alignment.csv").read_text().splitlines()))
    assert {row["clip_id"]: row["excess"] for row in rows}["dim/2.avi"] == "4"


def test_multi_label_and_background_exclude_each_other(capsys, store, tmp_path):
    path = labels(tmp_path, "clip_id,start_frame,end_frame,label\ndim/0.avi,0,4,x\n")
    command = train(store, tmp_path, "--labels", path, task="many-to-many")
    code, _, err = run(capsys, *command, "--multi-label", "--background", "none")
    assert code == 2 and "--multi-label and --background 'none' exclude each other" in err


@pytest.mark.parametrize(
    "flag", ("--fps", "--every", "--num-frames", "--first-frames", "--batch-size", "--decode-threads", "--image-size")
)
def test_numbers_out_of_range_name_the_flag(capsys, tmp_path, flag):
    code, _, err = run(capsys, "extract", tmp_path, "--output", tmp_path / "f", flag, "0")
    assert code == 2 and (f"{flag} 0" in err or f", got 0; choose another {flag}." in err)


@pytest.mark.parametrize(
    ("flags", "rule"),
    (
        ("", "fps=8"),
        ("--fps 12.5", "fps=12.5"),
        ("--num-frames 5 --skip-frames 2", "skip_frames=2,num_frames=5"),
        ("--first-frames 16", "every=1,first_frames=16"),  # of the clip itself
        ("--every 3 --first-frames 16", "every=3,first_frames=16"),
        ("--fps 8 --first-frames 16 --skip-frames 30", "skip_frames=30,fps=8,first_frames=16"),
    ),
)
def test_flags_become_a_sampling_rule(flags, rule):
    from extract.arguments import sampling_rule

    assert str(sampling_rule(pipeline.make_parser().parse_args(["scan", "videos", *flags.split()]))) == rule


def test_frames_spread_over_a_clip_are_not_its_first_ones(capsys, tmp_path):
    (tmp_path / "a.mp4").touch()
    code, _, err = run(capsys, "scan", tmp_path, "--num-frames", 8, "--first-frames", 4)
    assert code == 2 and "num_frames=8 spreads frames over the clip and first_frames=4 takes them from its start" in err


@pytest.mark.parametrize("part", ("0/2", "3/2", "x", "1"))
def test_a_bad_part_shows_a_good_one(capsys, tmp_path, part):
    code, _, err = run(capsys, "extract", tmp_path, "--output", tmp_path / "f", "--part", part)
    assert code == 2 and "such as 3/8" in err


def test_an_unknown_backbone_lists_what_is_like_it(capsys, store, tmp_path):
    code, _, err = run(capsys, "extract", store.parent / "videos", "--output", tmp_path / "f", "--backbone", "resnet5")
    assert code == 1 and "resnet50" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "hint"),
    (
        ("--frps 3", "; did you mean --fps?\n"),
        ("--frps=3", "; did you mean --fps?\n"),
        ("--xyzzy", "\n"),
    ),
)
@pytest.mark.parametrize("given", [("videos", "--output", "f"), ()])
def test_an_unknown_flag_is_named_before_one_that_is_missing(capsys, flag, hint, given):
    code, _, err = run(capsys, "extract", *given, *flag.split())
    assert code == 2 and err.startswith(f"clipseq extract: unrecognized arguments: {flag[:6]}")
    assert hint in err and err.endswith("see clipseq extract --help\n") and err.count("\n") == 2


@pytest.mark.parametrize("verb", ["extract", "train"])
def test_help_on_backbones_is_a_table_and_demands_nothing_else(capsys, verb):
    code, out, err = run(capsys, verb, "--backbone", "help")
    lines = out.splitlines()
    assert (code, err) == (0, "") and lines[0].split() == ["name", "image", "embedding", "weights"]
    assert any(line.startswith("efficientnet_lite0 ") and "224 px" in line and "1,280" in line for line in lines)


def test_a_store_is_not_taken_for_a_run(capsys, store, tmp_path):
    for verb in (("evaluate",), ("predict", store, "--output", tmp_path / "p.csv")):
        code, _, err = run(capsys, verb[0], store, *verb[1:])
        assert code == 1 and f"{store} is a feature store, not a run directory; give the --run of" in err


def test_a_comparison_that_never_began_to_train_is_not_sent_to_evaluate(capsys, store, tmp_path):
    path = labels(
        tmp_path, "clip_id,label\n" + "".join(f"{n}/{k}.avi,{n}\n" for n in ("dim", "bright") for k in range(3))
    )
    given = train(store, tmp_path, "--labels", path)
    code, _, err = run(capsys, "compare", *given[1:], "--models", "td_cnn_lstm")
    assert code in (1, 2) and "td_cnn_lstm takes raw frames" in err
    for verb, said in (("report", "run the same clipseq compare first"), ("evaluate", "once it is trained")):
        code, _, err = run(capsys, verb, given[given.index("--run") + 1])
        assert code == 1 and said in err


def test_the_run_comes_before_the_store(capsys, store, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").touch()
    code, _, err = run(capsys, "predict", store, tmp_path / "run", "--output", tmp_path / "p.csv")
    assert code == 2 and f"the run must come first: clipseq predict {tmp_path / 'run'} {store} --output" in err


def test_a_store_is_not_taken_for_videos(capsys, store, tmp_path):
    for verb in (("extract", store, "--output", tmp_path / "f"), ("scan", store)):
        code, _, err = run(capsys, *verb)
        assert code == 2 and f"{store} is a feature store, not videos; give the videos" in err


@pytest.mark.parametrize("flag", ["--fps", "--every"])
def test_a_word_for_a_number_is_answered_without_pythons_types(capsys, flag):
    code, _, err = run(capsys, "extract", "v", "--output", "f", flag, "abc")
    assert code == 2 and re.search(rf"argument {flag}: 'abc' is not a (whole )?number\n", err)


@pytest.mark.parametrize(
    "verb", [("extract", "{videos}", "--output"), ("pack", "{store}"), ("import-features", "{features}", "--output")]
)
def test_an_address_as_output_makes_no_folder_of_its_name(capsys, store, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", np.zeros((3, 2), np.float32))
    places = {"videos": store.parent / "videos", "store": store, "features": tmp_path}
    more = FAST if verb[0] == "extract" else ()
    code, _, err = run(capsys, *(word.format(**places) for word in verb), "s3://bucket/x.h5", *more)
    assert code == 1 and "s3://bucket" in err and ": s3:// is not supported, only local folders are" in err
    assert not list(tmp_path.glob("s3*"))


def test_names_parted_by_spaces_are_answered_with_commas(capsys):
    code, _, err = run(
        capsys, "compare", "s", "--labels", "x", "--task", "many-to-one", "--models", "lstm", "meanpool", "--run", "r"
    )
    assert code == 2 and "unexpected argument 'meanpool'; separate several values of one flag by commas" in err


def test_an_unknown_verb_gets_the_nearest_one(capsys):
    code, _, err = run(capsys, "extrct")
    assert code == 2 and "'extrct' is unknown: did you mean extract? There are demo, scan, " in err


def test_no_verb_at_all_gets_the_help(capsys):
    code, _, err = run(capsys)
    assert code == 2 and "start here:" in err


def test_ctrl_c_while_python_starts_prints_no_traceback(tmp_path):
    (tmp_path / "signal.py").write_text("raise KeyboardInterrupt")  # is imported where it would come
    code = "import sys; sys.path[:0] = sys.argv[1:]; import pipeline"
    done = subprocess.run([sys.executable, "-c", code, tmp_path, ROOT], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize(("number", "code"), ((signal.SIGTERM, 143), (signal.SIGINT, 130)))
def test_a_signal_that_code_swallows_still_ends_in_its_exit_code(monkeypatch, capsys, request, number, code):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def swallowing(arguments):
        with suppress(BaseException):
            os.kill(os.getpid(), number)
            time.sleep(5)
        return 0

    monkeypatch.setattr("extract.cli.run_info", swallowing)
    assert run(capsys, "info", "x")[0] == code


def test_names_with_control_characters_reach_no_terminal(tmp_path, capsys):
    code, _, err = run(capsys, "info", f"{tmp_path}/\x1b[31mred\x07\u202e")
    assert code == 1 and "\\x1b[31mred\\x07\\u202e" in err and "\x1b" not in err


def test_names_that_are_no_text_are_printed_in_any_locale(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, ROOT / "pipeline.py", "info", os.fsencode(tmp_path) + b"/caf\xe9"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "/caf\\udce9 is not a feature store" in done.stderr


def test_a_finished_extraction_imports_no_tensorflow(store):
    code = (
        "import sys, pipeline\n"
        "code = pipeline.main(sys.argv[1:])\n"
        "print([m for m in ('tensorflow', 'keras', 'sklearn', 'matplotlib') if m in sys.modules], code)"
    )
    arguments = ["extract", str(store.parent / "videos"), "--output", str(store), *FAST]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["done 0  skipped 6  failed 0", "[] 0"]


def test_both_opencv_packages_at_once_are_a_warning_where_pictures_still_decode(capsys, store, monkeypatch, caplog):
    monkeypatch.setattr(pipeline, "_is_installed", lambda name: True)
    assert run(capsys, "info", store)[0] == 0
    assert [m for m in caplog.messages if "pip uninstall -y opencv-python opencv-python-headless" in m]


@pytest.mark.parametrize("broken", [AttributeError("no imdecode"), None])
def test_both_opencv_packages_at_once_are_refused_where_pictures_do_not_decode(capsys, store, monkeypatch, broken):
    def imdecode(*arguments):
        if broken:
            raise broken
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(pipeline, "_is_installed", lambda name: True)
    monkeypatch.setattr(cv2, "imdecode", imdecode)
    code, _, err = run(capsys, "info", store)
    assert code == 2 and "does not work" in err and "pip uninstall -y opencv-python opencv-python-headless" in err


@pytest.mark.parametrize(("number", "code"), ((signal.SIGTERM, 143), (signal.SIGINT, 130)))
def test_a_signal_seals_what_is_gathered(tmp_path, make_video, monkeypatch, capsys, request, number, code):
    import extract.jobs.batch
    from extract.store.reader import open_store

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    for k in range(3):
        make_video(tmp_path / "videos" / f"{k}.avi", frames=20, step=5)
    show = extract.jobs.batch._FrameBar.show

    def show_and_signal(bar, progress):
        show(bar, progress)
        if progress.frames == 32:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(extract.jobs.batch._FrameBar, "show", show_and_signal)
    command = ["extract", tmp_path / "videos", "--output", tmp_path / "features", *FAST, "--decode-threads", "1"]
    assert run(capsys, *command, "--batch-size", "8")[0] == code
    store = open_store(tmp_path / "features")
    assert store.clip_ids == ["0.avi"] and store.unfinished() == {"1.avi": 12}
    monkeypatch.setattr(extract.jobs.batch._FrameBar, "show", show)
    code, out, _ = run(capsys, *command)
    assert code == 0 and out.splitlines()[-1] == "done 2  skipped 1  failed 0"


def test_train_says_how_to_give_groups_and_counts_one_clip_as_one():
    fold = Fold("split", ("a",), (), ("b", "c"))
    clips, settings = {k: {"group": ""} for k in "abc"}, TrainSettings()
    run = SimpleNamespace(clips=clips, vocabulary=("x", "y"), folds=(fold,), cv="", settings=settings, inner=1)
    recordings = data_text(SimpleNamespace(**vars(run) | {"settings": TrainSettings("many-to-many")}), [], [])
    assert "every clip counts as its own group; if" in recordings and "near-duplicates" not in recordings
    assert data_text(run, [], ["d"]).splitlines() == [
        "3 clips, 2 classes (x, y), no groups: every clip counts as its own group, near-duplicates can leak; if clips "
        "belong together, give --group-from REGEX or a group column",
        "1 clip has no label and is left out: d",
        "one split: 1 clip for training, 0 for validation, 2 for testing",
    ]
    run.clips["a"]["group"] = "g"
    assert "2 classes (x, y), 1 group\n" in data_text(run, [], [])


def test_predicting_a_store_of_another_recipe_names_the_settings_that_differ(store, tmp_path, capsys):
    other = {**json.loads((store / "recipe.json").read_text())["recipe"], "sampling": "every=3"}
    run = Run(
        path=tmp_path / "run", settings=TrainSettings(), vocabulary=("x", "y"), stores=(str(store),), labels="",
        recipes=(other,), fingerprints=(fingerprint(other),), data=DataSettings(), cv="",
        folds=(Fold("split", (), (), ()),), seeds=1, clips={}, embedding_dim=8,
    )  # fmt: skip
    create_run(run)
    assert pipeline.main(["predict", str(run.path), str(store), "--output", str(tmp_path / "p.csv")]) == 1
    assert "trained on (sampling=every=1, the run has every=3); extract again with the" in capsys.readouterr().err


def test_the_help_of_train_names_choices_and_units_and_no_python(capsys):
    with pytest.raises(SystemExit):
        pipeline.main(["train", "--help-all"])
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "--model NAME on embeddings: lstm, bilstm, gru, bigru, lstm_parts",
        "--optimizer {adam,adamw,sgd,adadelta} the optimizer (adam)",
        "--window SECONDS length of sliding windows",
        "--dropout F fraction",
        "--epochs N maximum",
        "0 = none (0.15)",
        "half a window (0) ",
    ):
        assert part in text
    assert not [part for part in ("(False)", " X ", "_NAMES", "OPTIMIZERS") if part in text]


def test_the_console_shows_percent_with_one_digit_and_no_interval_of_two_groups():
    edit = {"value": 20.0, "ci95": [0.383, 94.207]}
    accuracy = {"value": 0.5, "ci95": [0.0, 0.991]}
    assert score_table("test", {"lstm": {"frame_accuracy": accuracy, "edit": edit}}).splitlines() == [
        "test  frame_accuracy        edit",
        "lstm  0.500 [0.000, 0.991]  20.0 [0.4, 94.2]",
    ]
    few = {"lstm": {"frame_accuracy": {**accuracy, "groups": 2}, "edit": {**edit, "groups": 2}}}
    assert score_table("test", few).splitlines() == [
        "test (2 groups: no interval)  frame_accuracy  edit",
        "lstm                          0.500           20.0",
    ]


@pytest.mark.parametrize("verb", ["train", "extract"])
def test_help_shows_at_most_15_flags_and_help_all_the_rest(verb, capsys):
    said = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as stop:
            pipeline.main([verb, flag])
        assert stop.value.code == 0
        said[flag] = capsys.readouterr().out
    shown, every = (set(re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)) for text in said.values())
    assert len(shown - {"--help-all"}) <= 15 and shown < every
    flags = {each for action in parser_of(verb)._actions for each in action.option_strings if each.startswith("--")}
    assert every == flags - {"--help"}
    assert (
        f"{len(every - shown)} more flags have defaults that fit most data: clipseq {verb} --help-all" in said["--help"]
    )


def parser_of(verb):
    return pipeline.make_parser()._subparsers._group_actions[0].choices[verb]


def test_extract_says_every_clip_in_json_to_those_who_watch(tmp_path, capsys):
    for name in ("a", "b"):
        write_video(tmp_path / "v" / f"{name}.mp4", moving_frames(6))
    (tmp_path / "v" / "c.mp4").write_bytes(b"no video")
    told = ["--output", str(tmp_path / "f"), "--backbone", "tiny", "--log-format", "json"]
    assert pipeline.main(["extract", str(tmp_path / "v"), *told]) == 1
    said = capsys.readouterr()
    events = [json.loads(line) for line in said.out.splitlines()]
    assert {event["clip_id"]: event["status"] for event in events if event["event"] == "clip"} == {
        "a.mp4": "done",
        "b.mp4": "done",
        "c.mp4": "failed",
    }
    assert (events[-1]["event"], events[-1]["done"], events[-1]["failed"], said.err) == ("end", 2, 1, "")
    assert pipeline.main(["verify", str(tmp_path / "f"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_sound"] is True
    assert pipeline.main(["why", str(tmp_path / "f"), "c.mp4", "--json"]) == 0
    assert "c.mp4" in json.loads(capsys.readouterr().out)["why"]


def test_json_is_all_that_a_program_reads_on_standard_output(tmp_path, capsys):
    make_store(tmp_path / "f", {f"clip{k}": 4 + k % 3 for k in range(12)})
    labels = "\n".join(f"clip{k},{'ab'[k % 2]},g{k // 2}" for k in range(12))
    (tmp_path / "labels.csv").write_text(f"clip_id,label,group\n{labels}\n")
    run, data = str(tmp_path / "run"), ["--labels", str(tmp_path / "labels.csv"), "--task", "many-to-one"]
    steps = {
        "train": ["train", str(tmp_path / "f"), *data, "--model", "meanpool", "--updates", "3", "--run", run],
        "evaluate": ["evaluate", run],
        "predict": ["predict", run, str(tmp_path / "f"), "--output", str(tmp_path / "p.csv")],
    }
    said = {}
    for verb, command in steps.items():
        assert pipeline.main([*command, "--json"]) == 0
        printed = capsys.readouterr()
        said[verb] = json.loads(printed.out)
        assert "wrote" in printed.err or "next:" in printed.err
    assert "majority" in said["train"]["validation"] and "accuracy" in said["evaluate"]["test"]
    assert len(said["predict"]["clips"]) == 12


def test_predictions_replace_nothing_but_predictions(tmp_path, capsys):
    """`predict --output labels.csv` silently replaced a label file."""
    for header, is_replaced in (("clip_id,label,group", False), ("clip_id,label,p_a,p_b", True)):
        path = tmp_path / "mine.csv"
        path.write_text(f"{header}\nclip0,a,1,0\n")
        asked = {"to": None, "beside": False, "every_frame": False, "annotated": None}
        if is_replaced:
            check_outputs(SimpleNamespace(), path, **asked)
        else:
            with pytest.raises(UsageError, match=r"mine.csv exists and holds no predictions: choose another name"):
                check_outputs(SimpleNamespace(), path, **asked)


def test_a_store_cannot_be_the_folder_of_the_videos(tmp_path, capsys):
    write_video(tmp_path / "v" / "a.mp4", moving_frames(6))
    videos = str(tmp_path / "v")
    assert pipeline.main(["extract", videos, "--output", videos, "--backbone", "tiny"]) == 2
    assert "is the folder of the videos; give the store a folder of its own" in capsys.readouterr().err


def test_a_model_file_is_named_the_way_it_is_meant(tmp_path, capsys):
    path = onnx_file(tmp_path / "m.onnx")
    write_video(tmp_path / "v" / "a.mp4", moving_frames(3))
    told = ["--output", str(tmp_path / "f"), "--backbone", str(path)]
    assert pipeline.main(["extract", str(tmp_path / "v"), *told]) == 1
    assert f"names a file: write --backbone file:{path}" in capsys.readouterr().err
    assert pipeline.main(["inspect-backbone", f"file:{path}"]) == 1
    assert "gives vector float32" in capsys.readouterr().out
