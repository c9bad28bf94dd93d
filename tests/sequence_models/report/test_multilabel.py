"""The report of runs whose classes may overlap."""

import json

import numpy as np
import pytest
from page_reading import Tags, page_of, text_of
from run_factory import make_multilabel_run, one_hot, write_predictions

from extract.errors import RunError
from sequence_models.report.page import NOTHING, write_report
from sequence_models.report.run import read_evaluated_run


def test_a_multi_label_page_has_no_confusion_and_the_scores_of_each_class(tmp_path):
    page = page_of(make_multilabel_run(tmp_path / "r"))
    text = text_of(page)
    assert not Tags(page).open
    assert 'class="confusion"' not in page
    assert "bilstm: mean average precision 0.50 [0.25, 0.75] on 2 test clips" in text
    assert f"class F1 AP frames hug 0.72 0.81 4 kick {NOTHING} {NOTHING} 7 never {NOTHING} {NOTHING} 0" in text
    assert "bilstm 0.500 [0.250, 0.750] bilstm before post-processing 0.375" in text
    assert "12 11 labelled" in text


def test_multi_label_clips_are_right_by_their_yes_and_no(tmp_path):
    run = read_evaluated_run(make_multilabel_run(tmp_path / "r"))
    first, second = run.clips
    assert (first.accuracy, second.accuracy) == (1.0, 12 / 15)
    assert second.labelled.tolist() == [True] * 5 + [False]
    assert second.confidence == pytest.approx(0.6)  # sure of its noes
    assert first.confidence == pytest.approx((8 * 0.4 + 10 * 0.6) / 18)


def timeline(run):
    page = page_of(run)
    return page, json.loads(page.partition('id="timeline-data">')[2].partition("</script>")[0])


def test_a_multi_label_timeline_has_a_lane_per_class_that_occurs(tmp_path):
    _, data = timeline(make_multilabel_run(tmp_path / "r"))
    worst, right = data["recordings"]
    assert [lane["name"] for lane in worst["lanes"]] == ["kick"]
    assert [lane["name"] for lane in right["lanes"]] == ["hug", "kick"]
    assert worst["lanes"][0]["truth"] == {"starts": [0, 3, 5], "labels": [1, -2, -1]}  # there, not there, unlabelled
    assert worst["lanes"][0]["predicted"] == {"starts": [0], "labels": [-2]}


def test_many_classes_in_one_clip_are_cut_and_counted(tmp_path):
    run = make_multilabel_run(tmp_path / "r", vocabulary=[f"class {k}" for k in range(12)])
    there = np.ones((4, 12), int)
    write_predictions(run, ["a.mp4"], [there], [there * 0.9], decided=[there])
    _, data = timeline(run)
    assert len(data["recordings"][0]["lanes"]) == 10
    assert data["recordings"][0]["hidden_lanes"] == 2


def test_a_class_that_is_missed_is_a_mistake_in_words(tmp_path):
    page = page_of(make_multilabel_run(tmp_path / "r"))
    assert "labelled no kick , probability 0.60; in truth kick" in text_of(page)


def test_multi_label_predictions_of_another_shape_are_refused(tmp_path):
    run = make_multilabel_run(tmp_path / "r")
    write_predictions(run, ["a"], [np.array([0, 1])], [one_hot(0, 1)], decided=[np.array([0, 1])])
    with pytest.raises(
        RunError, match=r"predictions\.npz does not match a run with 3 classes \(2 steps, .*truth \(2,\).*\): run `cli"
    ):
        write_report(run)
