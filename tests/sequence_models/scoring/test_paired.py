from itertools import combinations

import numpy as np
import pytest

from sequence_models.scoring.paired import paired_difference, sign_flip_interval, sign_flip_test


def test_sign_flip_test_tries_every_pattern_of_few_groups():
    assert sign_flip_test(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])) == 2 / 256
    assert sign_flip_test(np.array([0.5, -0.5])) == 1.0


def test_sign_flip_test_of_many_groups_is_repeatable_and_calibrated():
    rng = np.random.default_rng(1)
    assert sign_flip_test(np.full(40, 0.1)) == sign_flip_test(np.full(40, 0.1)) < 1e-3
    below = [sign_flip_test(rng.normal(size=8)) < 0.05 for _ in range(1000)]
    assert 0.03 < np.mean(below) < 0.07


def test_the_difference_is_pooled_over_units():
    lead = paired_difference(np.array([1, 3, -1]), np.array([10, 20, 10]))
    assert lead["difference"] == 3 / 40
    assert (lead["groups"], lead["groups_better"]) == (3, 2)


def test_the_interval_of_five_groups_spans_their_subset_means_and_says_that_it_covers_less():
    differences, weights = np.array([1.0, 2, 3, 4, 6]), np.array([10.0, 10, 20, 10, 10])
    low, high, level = sign_flip_interval(differences, weights)
    means = [
        differences[list(s)].sum() / weights[list(s)].sum() for n in range(1, 6) for s in combinations(range(5), n)
    ]
    assert (low, high, level) == (pytest.approx(min(means)), pytest.approx(max(means)), 1 - 2 / 32)
    assert "93.8 % interval" in paired_difference(differences, weights)["protocol"]


@pytest.mark.parametrize("groups", [9, 20, 40, 300])
def test_the_interval_holds_what_the_test_does_not_reject(groups):
    rng = np.random.default_rng(groups)
    weights = rng.integers(5, 20, groups).astype(float)
    differences = rng.normal(0.3, 1, groups)
    low, high, level = sign_flip_interval(differences, weights)
    assert level == pytest.approx(0.95, abs=0.005)
    width = high - low
    for value, inside in ((low - 0.02 * width, False), (low + 0.02 * width, True), (high + 0.02 * width, False)):
        assert (sign_flip_test(differences - value * weights) > 0.05) is inside


def test_one_group_gives_a_point_that_covers_nothing():
    lead = paired_difference(np.array([2]), np.array([4]))
    assert lead["ci95"] == [0.5, 0.5] and lead["level"] == 0.0 and lead["p"] == 1.0
