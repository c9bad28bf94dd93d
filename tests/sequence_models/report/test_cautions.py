"""What to distrust: the warnings a run deserves, and none that it does not."""

import numpy as np
import pytest
from page_reading import page_of, text_of
from run_factory import make_run, one_hot, write_facts, write_metrics, write_predictions

from sequence_models.report.cautions import calibration_bins, cautions
from sequence_models.report.run import read_evaluated_run
from sequence_models.runs.files import write_record
from sequence_models.runs.run import read_run
from sequence_models.scoring.calibration import calibration_error
from sequence_models.settings import DataSettings
from sequence_models.splits.folds import Fold


def found(run):
    return {each.topic: each for each in cautions(read_evaluated_run(run))}


def score(value):
    return {"value": value, "protocol": "", "ci95": None}


def test_warnings_come_first_and_are_marked(tmp_path):
    run = make_run(tmp_path / "r")
    write_metrics(run, test={"accuracy": score(0.8), "calibration_error": score(0.3)})
    topics = [(each.topic, each.is_warning) for each in cautions(read_evaluated_run(run))]
    assert topics == [("Few groups", True), ("Calibration", True), ("Test split", False)]
    assert page_of(run).count('<li class="warning">') == 2


@pytest.mark.parametrize(("groups", "p"), [(2, "0.5"), (4, "0.12"), (5, "0.062")])
def test_so_few_groups_that_nothing_can_be_significant_are_a_warning(tmp_path, groups, p):
    few = found(make_run(tmp_path / "r", groups=groups))["Few groups"]
    assert few.text == (
        f"Only {groups} test groups: even if the model were ahead in every one, p could not fall below {p}."
    )


def test_six_groups_are_enough_for_a_verdict(tmp_path):
    assert "Few groups" not in found(make_run(tmp_path / "r", groups=6))


def test_clips_without_any_group_that_were_not_compared_are_a_warning(tmp_path):
    run = make_run(tmp_path / "r", groups=1)
    (run / "run.json").unlink()
    ids = tuple(f"hug/clip{k}.avi" for k in range(12))
    write_facts(run, vocabulary="abc", folds=(Fold("split", (), (), ids),), group_of=dict.fromkeys(ids, ""))
    told = found(run)["Near-duplicates"]
    assert told.is_warning and told.text.startswith("Not looked for, and no clip has a group")


def test_blocks_of_one_recording_are_a_warning(tmp_path):
    run = make_run(tmp_path / "r", task="many-to-many", groups=1)
    (run / "run.json").unlink()
    ids = ("a.mp4#t=0.000,9.000", "a.mp4#t=10.000,19.000")
    folds = (Fold("split", ids[:1], (), ids[1:]),)
    facts = {"task": "many-to-many", "vocabulary": "abc", "folds": folds, "group_of": dict.fromkeys(ids, "a.mp4")}
    write_facts(run, data=DataSettings(blocks=2), **facts)
    write_predictions(run, ids[1:], [np.array([0, 1])], [one_hot(0, 1)])
    told = found(run)["One recording"]
    assert told.is_warning and "not how well a new recording would be" in told.text


@pytest.mark.parametrize(("clock", "is_warning"), [(0.9, True), (0.3, False)])
def test_a_clock_that_is_as_good_as_the_model_is_a_warning(tmp_path, clock, is_warning):
    run = make_run(tmp_path / "r", task="many-to-many", steps=20)
    scores = {name: score(clock) for name in ("frame_accuracy", "macro_f1")}
    write_metrics(run, "many-to-many", baselines={"clock_logreg_postprocessed": scores})
    told = found(run)["The clock"]
    assert told.is_warning is is_warning
    said = "The labels follow the clock of the recordings" if is_warning else "only the time in the recording reaches"
    assert said in told.text


def test_overfitting_as_train_measured_it_is_a_warning(tmp_path):
    run = make_run(tmp_path / "r", folds=1)
    assert "Overfitting" not in found(run)
    for number, start in enumerate([40]):
        path = read_run(run).fit_path("fold0", number)
        write_record(path, {"best_update": 20, "overfits_from": start})
    told = found(run)["Overfitting"]
    assert told.text.startswith("The validation loss rose from about update 40 on in 1 of 1 fit; the best weights")


def test_calibration_bins_give_the_score_of_metrics_json(tmp_path):
    evaluated = read_evaluated_run(make_run(tmp_path / "r", num_clips=200))
    bins = calibration_bins(evaluated)
    total = sum(each["count"] for each in bins)
    error = sum(each["count"] / total * abs(each["given"] - each["right"]) for each in bins)
    truth = np.concatenate([clip.truth for clip in evaluated.clips])
    probabilities = np.concatenate([clip.probabilities for clip in evaluated.clips])
    assert total == 200
    assert error == pytest.approx(calibration_error(truth, probabilities), abs=1e-6)


def test_the_way_in_which_probabilities_are_off_is_told(tmp_path):
    run = make_run(tmp_path / "r")
    write_predictions(run, ["a", "b"], [np.array([0]), np.array([0])], [one_hot(0, sure=0.9), one_hot(1, sure=0.9)])
    write_metrics(run, test={"accuracy": score(0.5), "calibration_error": score(0.4)})
    text = "Probabilities are off by 0.40 on average (calibration error); the model is surer than it is right: mean"
    assert f"{text} probability 0.90, right 0.50." in text_of(page_of(run))
