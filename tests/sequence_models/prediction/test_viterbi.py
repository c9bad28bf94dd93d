"""The best path is the best of all paths, and padding, company and a lag change what they must and nothing else."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from sequence_models.prediction import viterbi
from sequence_models.prediction.viterbi import OnlineDecoder, decode, equal_prices, prices_of


def worth(scores, prices, path):
    steps = scores[np.arange(len(path)), path].sum()
    return steps - sum(prices[a, b] for a, b in pairwise(path))


def random_prices(rng, classes):
    return rng.exponential(1.0, (1, classes, classes))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("equal", [True, False])
def test_no_path_is_worth_more(seed, equal):
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1, (6, 3))
    prices = equal_prices([rng.exponential()], 3) if equal else random_prices(rng, 3)
    (labels,) = decode([scores], prices)
    best = max(worth(scores, prices[0], path) for path in product(range(3), repeat=6))
    assert worth(scores, prices[0], labels[0]) == pytest.approx(best)


@pytest.mark.parametrize("lag", [None, 0, 3])
@pytest.mark.parametrize("equal", [True, False])
def test_a_clip_alone_is_what_it_is_in_company(lag, equal, monkeypatch):
    rng = np.random.default_rng(1)
    clips = [rng.normal(0, 1, (steps, 4)) for steps in (5, 30, 1, 17)]
    prices = equal_prices([0.5, 2.0], 4) if equal else np.concatenate([random_prices(rng, 4) for _ in range(2)])
    together = decode(clips, prices, lag=lag)
    for clip, labels in zip(clips, together, strict=True):
        assert np.array_equal(decode([clip], prices, lag=lag)[0], labels)
    monkeypatch.setattr(viterbi, "MOST_CELLS", 1)
    assert all(np.array_equal(a, b) for a, b in zip(decode(clips, prices, lag=lag), together, strict=True))


@pytest.mark.parametrize("lag", [0, 2, 5])
def test_a_label_waits_for_no_more_than_its_lag(lag):
    rng = np.random.default_rng(2)
    clip = rng.normal(0, 1, (40, 3))
    prices = equal_prices([1.0], 3)
    (whole,) = decode([clip], prices, lag=lag)
    for end in range(lag + 1, 41):
        (seen,) = decode([clip[:end]], prices, lag=lag)
        assert np.array_equal(seen[0, : end - lag], whole[0, : end - lag])


def test_a_lag_of_the_whole_clip_is_no_lag():
    clip = np.random.default_rng(3).normal(0, 1, (25, 3))
    prices = equal_prices([1.0], 3)
    assert np.array_equal(decode([clip], prices, lag=25)[0], decode([clip], prices)[0])


def test_without_a_price_every_timestep_decides_for_itself_and_a_high_price_allows_no_change():
    clip = np.random.default_rng(4).normal(0, 1, (50, 3))
    free, dear = decode([clip], equal_prices([0.0, 1e6], 3))[0]
    assert np.array_equal(free, clip.argmax(axis=1))
    assert set(dear) == {clip.sum(axis=0).argmax()}


def test_one_class_is_one_class():
    assert decode([np.zeros((4, 1))], equal_prices([1.0], 1))[0].tolist() == [[0, 0, 0, 0]]


def test_prices_are_those_of_the_training_labels():
    prices = prices_of([np.array([0, 0, 0, 1, 1, -1, 2, 2]), np.array([0, 1])], 3)
    assert np.exp(-prices).sum(axis=1) == pytest.approx(1)
    staying = np.exp(-np.diag(prices))
    assert staying[0] == pytest.approx(3 / 6)  # stayed twice, left twice, each once more
    assert prices[0, 1] < prices[0, 2]


@pytest.mark.parametrize("lag", [0, 1, 4, 50])
@pytest.mark.parametrize("steps", [1, 3, 30])
@pytest.mark.parametrize("equal", [True, False])
def test_labels_one_by_one_are_those_of_the_whole_with_that_lag(lag, steps, equal):
    rng = np.random.default_rng(lag + steps)
    scores = rng.normal(0, 1, (steps, 4))
    prices = equal_prices([1.0], 4) if equal else random_prices(rng, 4)
    decoder = OnlineDecoder(prices[0], lag)
    said = [label for row in scores if (label := decoder.push(row)) is not None]
    assert len(said) == max(steps - lag, 0)
    np.testing.assert_array_equal(said + decoder.finish(), decode([scores], prices, lag=lag)[0][0])
