import html
import json
import re
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from clip_factory import ordered_clips
from page_reading import text_of

import sequence_models.experiments.tasks as experiment
from extract.errors import RunError
from sequence_models.clips.loading import ClipSet
from sequence_models.experiments.compare import compare, sub_runs
from sequence_models.experiments.evaluate import evaluate
from sequence_models.experiments.grid import grid_points
from sequence_models.experiments.prepare import DataSource
from sequence_models.experiments.tasks import shuffle_steps
from sequence_models.report.page import write_report
from sequence_models.runs.files import write_record
from sequence_models.runs.fitted import load_fitted, predict_clips
from sequence_models.runs.results import read_metrics
from sequence_models.runs.run import Run, create_run, read_run
from sequence_models.settings import DataSettings, TrainSettings
from sequence_models.splits.folds import make_folds

pytestmark = pytest.mark.slow

SETTINGS = {"hidden": 6, "projection": 0, "epochs": 12, "dropout": 0.0, "channel_dropout": 0.0, "learning_rate": 0.02}


def compared(path, *, task="many-to-one", models=("lstm", "meanpool"), grid=None, seeds=1, fitted=None):
    data, settings = ordered_clips(16, task), TrainSettings(task=task, **SETTINGS)
    folds = make_folds(data, cv="2", split_file=None, seed=0)
    wanted = Run(
        path=path, settings=settings, vocabulary=("rise", "fall"), stores=(), recipes=(), fingerprints=(), labels="",
        data=DataSettings(), cv="2", folds=tuple(folds), seeds=seeds, embedding_dim=4,
        clips={clip.clip_id: {"group": clip.group, "timesteps": len(clip)} for clip in data},
    )  # fmt: skip
    run = create_run(wanted)

    def on_fit(name, fold, seed, result):
        if fitted is not None and result is not None:
            fitted.append((name, fold, seed))

    sources = [DataSource(run, ClipSet(tuple(data), run.vocabulary))]
    return compare(sources, sub_runs(sources, grid_points(models, asdict(settings), grid or {})), on_fit=on_fit)


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
    return tmp_path_factory.mktemp("compare") / "run"


@pytest.fixture(scope="module")
def record(run_path):
    return compared(run_path, seeds=2)


def test_order_is_found_by_the_sequence_model_and_lost_when_shuffled(record):
    lstm, meanpool = record["models"]["lstm"], record["models"]["meanpool"]
    assert lstm["accuracy"]["value"] >= 0.9 and meanpool["accuracy"]["value"] <= 0.75
    assert lstm["order_test"]["shuffled"] <= 0.8
    assert meanpool["order_test"]["shuffled"] == meanpool["order_test"]["in_order"]
    assert record["baselines"]["thirds_logreg"]["order_test"]["in_order"] >= 0.9


def test_the_record_has_what_a_table_needs(record, run_path):
    lstm = record["models"]["lstm"]
    assert len(lstm["single_seeds"]) == 2 and lstm["seconds"] > 0
    recurrence, attention, dense = 4 * 6 * (4 + 6 + 1), (4 + 6 + 1) * 6 + 6, (4 + 6) * 2 + 2  # on input and output
    assert lstm["parameters"] == recurrence + attention + dense
    assert record["verdict"]["kind"] == "better" and record["test_opened"] == 1
    assert read_metrics(run_path) == json.loads(json.dumps(record))
    assert np.load(run_path / "predictions.npz")["probabilities"].shape == (16, 2)


def test_a_comparison_has_a_report(record, run_path):
    page = write_report(run_path).read_text(encoding="utf-8")
    assert "Models compared" in page and record["verdict"]["sentence"] in html.unescape(page)
    assert "logistic regression on thirds" in page and "average of all" in page
    assert "lstm: loss" in page and "meanpool: loss" in page and page.count("<svg viewBox") == 3


def test_a_report_leaves_out_columns_and_sentences_about_what_is_not_known(record, run_path, tmp_path):
    shutil.copytree(run_path, tmp_path / "one")
    models = {name: {**row, "seed_deviation": None, "peak_mb": None} for name, row in record["models"].items()}
    write_record(tmp_path / "one" / "metrics.json", {**record, "models": models}, run_id=read_run(run_path).run_id)
    pages = [write_report(path).read_text(encoding="utf-8").lower() for path in (run_path, tmp_path / "one")]
    for known, text in (([True, False], "single seeds"), ([False, False], "to extract, once")):
        assert [text in page for page in pages] == known
    assert not any("peak mb" in pages[1] or "is bold" in page for page in pages)


def test_the_page_of_a_comparison_names_all_models_in_its_settings(record, run_path):
    """It said "model lstm" where nine were compared."""
    page = text_of(write_report(run_path).read_text(encoding="utf-8"))
    settings = page[page.index("Settings") :]
    assert "models lstm, meanpool" in settings and not re.search(r"\bmodel lstm", settings)


def test_another_model_is_added_without_training_the_first_again(record, run_path, tmp_path):
    fitted = []
    shutil.copytree(run_path, tmp_path / "run")
    more = compared(tmp_path / "run", models=("attention",), seeds=2, fitted=fitted)
    assert {name for name, _, _ in fitted} == {"attention"} and len(fitted) == 6  # two folds and all clips, two seeds
    assert list(more["models"]) == ["lstm", "meanpool", "attention"]
    assert more["test_opened"] == 2
    assert more["models"]["lstm"]["accuracy"] == record["models"]["lstm"]["accuracy"]
    assert more["validation"].keys() > record["validation"].keys()


def test_a_comparison_has_no_model_of_its_own(record, run_path):
    for work in (lambda: evaluate(run_path), lambda: predict_clips(read_run(run_path), [])):
        with pytest.raises(RunError, match=r"compares models; (evaluate|predict with) one of them: .*run/lstm, "):
            work()


def test_an_interrupted_comparison_goes_on_where_it_stopped(tmp_path, monkeypatch):
    real, fitted = experiment.fit_model, []

    def interrupted(*arguments, **more):
        if len(fitted) == 4:
            raise KeyboardInterrupt
        fitted.append(more["checkpoint"])
        return real(*arguments, **more)

    monkeypatch.setattr(experiment, "fit_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path / "run")
    monkeypatch.setattr(experiment, "fit_model", real)
    after = []
    record = compared(tmp_path / "run", fitted=after)
    assert len(fitted) + len(after) == 6 and record["test_opened"] == 1


def test_points_of_a_grid_are_chosen_in_each_fold(tmp_path):
    record = compared(tmp_path / "run", models=("lstm",), grid={"learning_rate": [1e-8, 0.02]})
    assert record["models"]["lstm"]["points"] == {"lstm,learning_rate=0.02": 2}
    choices = json.loads((tmp_path / "run" / "lstm,learning_rate=1e-08" / "choices.json").read_text())
    assert set(choices["choices"]["model"]) == {"fold1", "fold2"}
    finals = {path.parts[-3] for path in (tmp_path / "run").glob("*/models/final-seed0.json")}
    assert finals == {"lstm,learning_rate=0.02"}  # models of all clips are for later use, so the best point has them
    with pytest.raises(RunError, match=r"learning_rate=1e-08 was not the best point of its model's --grid on valid"):
        load_fitted(read_run(tmp_path / "run" / "lstm,learning_rate=1e-08"), "final", 0)


def test_seeds_of_another_number_leave_no_choices_behind(tmp_path, monkeypatch):
    compared(tmp_path / "run", seeds=2)
    monkeypatch.setattr("sequence_models.experiments.compare.note_validation", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compared(tmp_path / "run", seeds=1)
    assert not (tmp_path / "run" / "lstm" / "choices.json").exists()


def test_per_frame_the_order_test_is_before_post_processing(tmp_path):
    record = compared(tmp_path / "run", task="many-to-many", models=("lstm",))
    windowed = ["window_logreg", "window_trees"]
    assert list(record["baselines"]) == ["majority", "framewise_logreg", "clock_logreg", *windowed]
    lstm, framewise = record["models"]["lstm"], record["baselines"]["framewise_logreg"]
    assert lstm["order_test"]["shuffled"] < lstm["order_test"]["in_order"]
    assert framewise["order_test"]["shuffled"] == framewise["order_test"]["in_order"]
    assert record["main_score"] == "frame_accuracy" and "reaches frame accuracy" in record["verdict"]["sentence"]


def test_shuffling_moves_embeddings_and_tells_where_they_went():
    clip = ordered_clips(1, "many-to-many")[0]
    shuffled, place = shuffle_steps(clip, 3)
    assert not np.array_equal(shuffled.embeddings, clip.embeddings)
    np.testing.assert_array_equal(shuffled.embeddings[place], clip.embeddings)
    np.testing.assert_array_equal(shuffled.pts_seconds, clip.pts_seconds)


def test_a_model_that_cannot_be_trained_does_not_stay_in_the_comparison(tmp_path, monkeypatch):
    real = experiment.fit_model

    def refusing(train, validation, settings, **more):
        if settings.model == "meanpool":
            raise RunError("meanpool is refused")
        return real(train, validation, settings, **more)

    monkeypatch.setattr(experiment, "fit_model", refusing)
    with pytest.raises(RunError, match="meanpool is refused"):
        compared(tmp_path / "run")
    assert list(compared(tmp_path / "run", models=("lstm",))["models"]) == ["lstm"]
