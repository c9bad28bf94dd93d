"""The scores are those of scikit-learn and SciPy, on random labels of every shape."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn

from sequence_models.scoring.confidence import t_quantile
from sequence_models.scoring.metrics import clip_metrics, frame_metrics
from sequence_models.scoring.multilabel import best_threshold
from sequence_models.scoring.paired import sign_flip_test

SHAPES = [(5, 2, 0), (40, 3, 1), (200, 7, 2), (30, 12, 3)]  # clips, classes, seed; of 12 classes some never occur


@pytest.mark.parametrize(("clips", "classes", "seed"), SHAPES)
def test_scores_of_clips(clips, classes, seed):
    rng = np.random.default_rng(seed)
    truth, probabilities = rng.integers(0, classes, clips), rng.dirichlet(np.ones(classes), clips)
    predicted = probabilities.argmax(axis=1)
    scores = clip_metrics(truth, probabilities, [f"c{k}" for k in range(classes)], [""] * clips)
    assert scores["accuracy"]["value"] == pytest.approx(sklearn.accuracy_score(truth, predicted))
    occurring = np.union1d(truth, predicted)
    expected = sklearn.f1_score(truth, predicted, labels=occurring, average="macro", zero_division=0)
    assert scores["macro_f1"]["value"] == pytest.approx(expected)
    assert scores["kappa"]["value"] == pytest.approx(sklearn.cohen_kappa_score(truth, predicted))
    assert scores["confusion"] == sklearn.confusion_matrix(truth, predicted, labels=range(classes)).tolist()
    for k in (k for k in (3, 5) if classes > k):
        expected = sklearn.top_k_accuracy_score(truth, probabilities, k=k, labels=range(classes))
        assert scores[f"top{k}_accuracy"]["value"] == pytest.approx(expected)


@pytest.mark.parametrize(("clips", "classes", "seed"), SHAPES)
def test_scores_of_timesteps(clips, classes, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 30, clips)
    truths, predictions = ([rng.integers(low, classes, length) for length in lengths] for low in (-1, 0))
    scores = frame_metrics(truths, predictions, [f"c{k}" for k in range(classes)], [""] * clips)
    truth, predicted = np.concatenate(truths), np.concatenate(predictions)
    truth, predicted = truth[truth >= 0], predicted[truth >= 0]
    assert scores["frame_accuracy"]["value"] == pytest.approx(sklearn.accuracy_score(truth, predicted))
    assert scores["macro_f1"]["value"] == pytest.approx(sklearn.f1_score(truth, predicted, average="macro"))
    assert scores["kappa"]["value"] == pytest.approx(sklearn.cohen_kappa_score(truth, predicted))


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_with_the_best_f1(seed):
    rng = np.random.default_rng(seed)
    truth, scores = rng.random(60) < 0.3, rng.integers(0, 20, 60) / 20  # with ties
    precision, recall, _ = sklearn.precision_recall_curve(truth, scores)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert sklearn.f1_score(truth, scores >= best_threshold(truth, scores)) == pytest.approx(best)


@pytest.mark.parametrize(("groups", "seed"), [(2, 0), (5, 1), (11, 2)])
def test_the_p_value_of_flipped_signs(groups, seed):
    differences = np.random.default_rng(seed).normal(0.3, 1, groups)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_test(differences) == pytest.approx(expected.pvalue)


def test_the_quantile_of_students_t():
    assert t_quantile(4) == pytest.approx(stats.t.ppf(0.975, 4))
