"""The report of runs whose classes may overlap."""

import re

import numpy as np
import pytest
from page_reading import Tags, page_of, pixels, text_of
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
    assert f"class AP F1 frames hug 0.81 0.72 4 kick {NOTHING} {NOTHING} 7 never {NOTHING} {NOTHING} 0" in text
    assert "macro-F1 pooled 0.500 [0.250, 0.750] 0.375" in text
    assert "12 11 labelled" in text


def test_multi_label_clips_are_right_by_their_yes_and_no(tmp_path):
    run = read_evaluated_run(make_multilabel_run(tmp_path / "r"))
    first, second = run.clips
    assert (first.accuracy, second.accuracy) == (1.0, 12 / 15)
    assert second.labelled.tolist() == [True] * 5 + [False]
    assert second.confidence == pytest.approx(0.6)  # sure of its noes
    assert first.confidence == pytest.approx((8 * 0.4 + 10 * 0.6) / 18)


def test_multi_label_ribbons_have_two_strips_per_class_that_occurs(tmp_path):
    page = page_of(make_multilabel_run(tmp_path / "r"))
    ribbons = page.split('id="ribbons"')[1].split("</section>")[0]
    assert re.findall(r'class="class">(\w+)<', ribbons) == ["kick", "hug", "kick"]  # the worst clip first
    truth, predicted = (pixels(address) for address in re.findall(r'src="([^"]+)"', ribbons)[:2])
    orange, white, grey = [230, 159, 0, 255], [255, 255, 255, 255], [212, 212, 216, 255]
    assert [truth[int(step / 6 * len(truth))].tolist() for step in (1.5, 3.5, 5.5)] == [orange, white, grey]
    assert (predicted == white).all()


def test_many_classes_in_one_clip_are_cut_and_counted(tmp_path):
    run = make_multilabel_run(tmp_path / "r", vocabulary=[f"class {k}" for k in range(12)])
    there = np.ones((4, 12), int)
    write_predictions(run, ["a.mp4"], [there], [there * 0.9], decided=[there])
    page = page_of(run)
    assert page.count('alt="truth"') == 10
    assert "and 2 more classes" in text_of(page)


def test_a_clip_without_any_class_says_so(tmp_path):
    run = make_multilabel_run(tmp_path / "r")
    none = np.zeros((4, 3), int)
    write_predictions(run, ["a.mp4"], [none], [none + 0.1], decided=[none])
    assert "no class in the labels, none predicted" in text_of(page_of(run))


def test_multi_label_predictions_of_another_shape_are_refused(tmp_path):
    run = make_multilabel_run(tmp_path / "r")
    write_predictions(run, ["a"], [np.array([0, 1])], [one_hot(0, 1)], decided=[np.array([0, 1])])
    with pytest.raises(
        RunError, match=r"predictions\.npz does not match a run with 3 classes \(2 steps, .*truth \(2,\).*\): run `cli"
    ):
        write_report(run)
