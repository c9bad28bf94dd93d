import numpy as np
import pytest

from sequence_models.scoring.multilabel import (
    average_precision,
    best_threshold,
    mean_average_precision,
    multilabel_metrics,
)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_average_precision_is_that_of_scikit_learn_ties_included(levels):
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(levels)
    truth, scores = rng.random(200) < 0.2, rng.integers(0, levels, 200) / levels
    assert average_precision(truth, scores) == pytest.approx(average_precision_score(truth, scores))


def test_a_class_that_never_occurs_does_not_count():
    truth = np.array([[True, False], [False, False]])
    assert mean_average_precision(truth, np.array([[0.9, 0.9], [0.1, 0.9]])) == 1.0
    assert mean_average_precision(np.zeros((2, 2), bool), np.ones((2, 2))) == 0.0


def test_the_threshold_with_the_best_f1_lies_between_two_scores():
    truth = np.array([True, True, False, True, False, False])
    assert best_threshold(truth, np.array([0.9, 0.8, 0.5, 0.3, 0.2, 0.1])) == pytest.approx(0.25)
    assert best_threshold(np.array([True, False, False]), np.array([0.6, 0.6, 0.2])) == pytest.approx(0.4)
    assert best_threshold(np.zeros(3, bool), np.array([0.9, 0.8, 0.7])) == 0.5


def test_every_class_is_scored_by_itself_and_unlabelled_timesteps_are_left_out():
    truths = [np.array([[1, 0], [1, 1], [-1, -1]]), np.array([[0, 0], [1, 0]])]
    probabilities = [np.array([[0.9, 0.1], [0.8, 0.7], [0.0, 1.0]]), np.array([[0.2, 0.3], [0.1, 0.9]])]
    decided = [rows >= 0.5 for rows in probabilities]
    scores = multilabel_metrics(truths, probabilities, decided, ("walk", "sniff"), ["", ""])
    assert scores["coverage"]["value"] == pytest.approx(4 / 5)
    assert scores["per_class_ap"]["walk"]["value"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert scores["per_class_ap"]["sniff"]["value"] == pytest.approx(1 / 2)
    assert scores["per_class_f1"]["walk"]["value"] == pytest.approx(2 * 2 / (3 + 2))
    assert scores["macro_f1"]["value"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    low, high = scores["mean_average_precision"]["ci95"]
    assert 0 <= low <= scores["mean_average_precision"]["value"] <= high <= 1


def test_one_group_gives_no_interval():
    scores = multilabel_metrics([np.eye(2)], [np.eye(2)], [np.eye(2)], "ab", ["g"])
    assert scores["mean_average_precision"]["ci95"] == [0.0, 1.0]
    assert "one group, so no interval" in scores["mean_average_precision"]["protocol"]


def test_nothing_labelled_is_an_error():
    with pytest.raises(ValueError, match="no clip has a label, so there is nothing to score"):
        multilabel_metrics([np.full((2, 2), -1)], [np.ones((2, 2))], [np.ones((2, 2))], "ab", [""])
