"""Probabilities mean what they say after a temperature; two classes are told apart where it was asked."""

from __future__ import annotations

import numpy as np
import pytest
from clip_factory import make_clip, make_clips
from scipy.special import softmax
from sklearn import metrics as sklearn

from extract.errors import UsageError
from sequence_models.prediction.calibrate import calibrated, choose_threshold, fit_temperature
from sequence_models.prediction.postprocess import Decision, choose_decision
from sequence_models.records import Prediction
from sequence_models.scoring.calibration import calibration_error, roc_auc
from sequence_models.settings import TrainSettings


def too_sure(count, factor, seed=0, classes=3):
    """Clips and predictions whose log probabilities are `factor` times what they should be."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, classes))
    truth = [rng.choice(classes, p=softmax(row)) for row in logits]
    said = [Prediction(f"{k}", softmax(factor * row).astype(np.float32)) for k, row in enumerate(logits)]
    return [make_clip(2, label) for label in truth], said


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_and_mends_the_calibration(factor):
    clips, said = too_sure(4000, factor)
    temperature = fit_temperature(clips, said)
    assert temperature == pytest.approx(factor, rel=0.1)
    truth = np.array([int(clip.labels) for clip in clips])
    before, after = (np.stack([p.probabilities for p in each]) for each in (said, calibrated(said, temperature)))
    assert calibration_error(truth, after) < min(0.03, 0.01 + calibration_error(truth, before))
    assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))


def test_a_handful_of_clips_that_are_all_right_do_not_make_a_model_certain():
    clips, said = too_sure(4, 1.0)
    right = [Prediction(p.clip_id, np.roll([0.6, 0.2, 0.2], int(c.labels))) for c, p in zip(clips, said, strict=True)]
    assert 0.4 < fit_temperature(clips, right) < 1


def test_multi_label_is_scaled_class_by_class():
    (prediction,) = calibrated([Prediction("a", np.array([[0.9, 0.2]], np.float32), multi_label=True)], 2.0)
    assert prediction.probabilities.tolist() == [[pytest.approx(0.75), pytest.approx(1 / 3, abs=1e-3)]]


def two_classes(count=200, seed=1):
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.2
    scores = np.clip(0.3 * truth + rng.normal(0.25, 0.15, count), 0.01, 0.99)
    said = [Prediction(str(k), np.array([1 - s, s], np.float32)) for k, s in enumerate(scores)]
    return [make_clip(2, int(label)) for label in truth], said, truth, scores.astype(np.float32)


def test_the_threshold_of_the_best_f1():
    clips, said, truth, scores = two_classes()
    precision, recall, _ = sklearn.precision_recall_curve(truth, scores)
    best = np.max(2 * precision * recall / (precision + recall + 1e-12))
    assert sklearn.f1_score(truth, scores >= choose_threshold(clips, said, "f1")) == pytest.approx(best)


def test_the_lowest_threshold_of_a_precision():
    clips, said, truth, scores = two_classes()
    threshold = choose_threshold(clips, said, "precision=0.8")
    assert sklearn.precision_score(truth, scores >= threshold) >= 0.8
    lower = np.sort(scores[scores < threshold])
    assert all(sklearn.precision_score(truth, scores >= value) < 0.8 for value in lower)


def test_a_precision_that_is_never_reached_finds_nothing():
    clips = [make_clip(2, 0) for _ in range(5)]
    said = [Prediction(str(k), np.array([0.4, 0.6], np.float32)) for k in range(5)]
    assert choose_threshold(clips, said, "precision=0.9") == 1.0


def test_a_threshold_decides_clips_and_timesteps():
    decision = Decision(threshold=0.3)
    rows = np.array([[0.65, 0.35], [0.8, 0.2]], np.float32)
    assert decision.apply([Prediction("a", rows)])[0].labels.tolist() == [1, 0]
    assert [int(each.labels) for each in decision.apply([Prediction("a", row) for row in rows])] == [1, 0]


def test_more_classes_have_no_threshold():
    clips, said = too_sure(5, 1.0)
    with pytest.raises(UsageError, match="--threshold f1 needs exactly two classes"):
        choose_decision(clips, said, training=clips, causal=False, threshold="f1")


@pytest.mark.parametrize("wrong", ["F1", "precision", "precision=2", "recall=0.5"])
def test_an_unknown_rule_is_refused_at_once(wrong):
    with pytest.raises(UsageError, match="is unknown; give f1 or precision=P"):
        TrainSettings(threshold=wrong)


def test_clips_without_validation_stay_as_they_are():
    clips = make_clips((3, 4), "many-to-one")
    assert choose_decision([], [], training=clips, causal=False) == Decision()


@pytest.mark.parametrize("seed", range(3))
def test_the_area_under_the_roc_curve_is_that_of_scikit_learn_ties_included(seed):
    rng = np.random.default_rng(seed)
    truth, scores = rng.random(80) < 0.4, rng.integers(0, 9, 80) / 9
    assert roc_auc(truth, scores) == pytest.approx(sklearn.roc_auc_score(truth, scores))
