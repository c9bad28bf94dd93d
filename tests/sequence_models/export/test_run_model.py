"""The script beside an export decides as predict does, wherever it decides at all."""

from __future__ import annotations

import numpy as np
import pytest

from sequence_models.export.run_model import decide, read_clip
from sequence_models.prediction.postprocess import Decision
from sequence_models.records import Prediction

PRICES = ((0.0, 1.5, 2.0), (1.0, 0.0, 3.0), (2.0, 0.5, 0.0))
FRAMEWISE = [
    Decision(),
    Decision(temperature=2.5),
    Decision(median=5, temperature=0.5),
    Decision(median=61),
    Decision(log_prior=(-3.0, -0.2, -2.0)),
    Decision(prices=PRICES, log_prior=(-3.0, -0.2, -2.0), temperature=1.7),
    Decision(prices=((0.0, 2.0, 2.0), (2.0, 0.0, 2.0), (2.0, 2.0, 0.0))),
]


def probabilities(*shape, seed=0):
    logits = np.random.default_rng(seed).normal(0, 2, shape)
    return (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)


def assert_same(decision, given, *, multi_label=False):
    [want] = decision.apply([Prediction("a", given, multi_label)])
    said, labels, left_out = decide(given, {**decision.to_record(), "multi_label": multi_label})
    np.testing.assert_allclose(said, want.probabilities, atol=1e-6)
    np.testing.assert_array_equal(labels, want.labels)
    assert not left_out


@pytest.mark.parametrize("decision", FRAMEWISE, ids=str)
@pytest.mark.parametrize("steps", [1, 40])
def test_labels_per_timestep(decision, steps):
    assert_same(decision, probabilities(steps, 3))


@pytest.mark.parametrize("decision", [Decision(), Decision(temperature=2.0), Decision(threshold=0.2)])
def test_labels_per_clip(decision):
    assert_same(decision, probabilities(2))


def test_the_second_of_two_classes_per_timestep():
    assert_same(Decision(threshold=0.7, median=3), probabilities(30, 2))


def test_overlapping_labels():
    given = np.random.default_rng(1).uniform(size=(30, 3)).astype(np.float32)
    assert_same(Decision(thresholds=(0.2, 0.5, 0.9), median=3, temperature=2.0), given, multi_label=True)


def test_what_the_script_does_not_do_is_said():
    given = probabilities(30, 3)
    how = {**Decision(prices=PRICES, lag=4, minimum_steps=(0, 5, 0)).to_record(), "multi_label": False}
    assert decide(given, how)[2] == [
        "shortest bouts of (0, 5, 0) timesteps",
        "prices of changes with a lag of 4 timesteps",
    ]


def test_a_wrong_path_is_a_sentence(tmp_path):
    facts = {"inputs": {"embeddings": {"shape": [None, None, 4]}, "lengths": {}}}
    with pytest.raises(SystemExit, match=r"none\.npy cannot be read as a NumPy file .* give a \.npy or \.npz file"):
        read_clip(tmp_path / "none.npy", facts)
    (tmp_path / "text.npy").write_text("a,b")
    with pytest.raises(SystemExit, match=r"text\.npy cannot be read as a NumPy file"):
        read_clip(tmp_path / "text.npy", facts)
