import numpy as np

from sequence_models.paired import sign_flip_test


def test_sign_flip_test_tries_every_pattern_of_few_groups():
    assert sign_flip_test(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])) == 2 / 256
    assert sign_flip_test(np.array([0.5, -0.5])) == 1.0


def test_sign_flip_test_of_many_groups_is_repeatable_and_calibrated():
    rng = np.random.default_rng(1)
    assert sign_flip_test(np.full(40, 0.1)) == sign_flip_test(np.full(40, 0.1)) < 1e-3
    below = [sign_flip_test(rng.normal(size=8)) < 0.05 for _ in range(1000)]
    assert 0.03 < np.mean(below) < 0.07
