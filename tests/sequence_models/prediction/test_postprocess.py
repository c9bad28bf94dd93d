import json

import numpy as np
import pytest
from clip_factory import make_clip

from sequence_models.prediction.filters import bout_lengths, drop_short_bouts, median_filter
from sequence_models.prediction.postprocess import Decision, choose_decision, typical_decision
from sequence_models.records import Prediction

ONE = np.eye(3, dtype=np.float32)


def sure_of(labels):
    return Prediction("a.mp4", 0.8 * ONE[labels] + 0.05)


def decided_by(decision, prediction):
    return decision.apply([prediction])[0]


def labelled(labels):
    clip = make_clip(len(labels))
    clip.labels[:] = labels
    return clip


def test_no_decision_is_the_most_probable_class():
    assert decided_by(Decision(), sure_of([0, 1, 1, 2])).labels.tolist() == [0, 1, 1, 2]


def test_a_median_filter_takes_a_single_timestep_away_and_leaves_the_probabilities():
    prediction = sure_of([0, 0, 1, 0, 0, 2, 2, 2])
    decided = decided_by(Decision(median=3), prediction)
    assert decided.labels.tolist() == [0, 0, 0, 0, 0, 2, 2, 2]
    assert decided.probabilities is prediction.probabilities


def test_the_ends_are_mirrored_for_the_median_filter():
    assert median_filter(np.array([[1.0], [0.0], [0.0], [0.0]]), 5)[:, 0].tolist() == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("labels", "minimum", "expected"),
    [
        ([0, 0, 1, 0, 0], (0, 2, 0), [0, 0, 0, 0, 0]),
        ([0, 0, 1, 1, 0], (0, 2, 0), [0, 0, 1, 1, 0]),
        ([1, 0, 0, 0, 0], (0, 3, 0), [0, 0, 0, 0, 0]),
        ([1, 1], (0, 9, 0), [1, 1]),  # no neighbour
        ([0, 1, 2, 2, 2], (0, 2, 0), [0, 2, 2, 2, 2]),  # the more probable neighbour
    ],
)
def test_short_bouts_go_to_a_neighbour(labels, minimum, expected):
    probabilities = np.tile([0.1, 0.4, 0.5], (len(labels), 1))
    assert drop_short_bouts(np.array(labels), probabilities, minimum).tolist() == expected


def test_the_shortest_bout_goes_first_so_that_two_halves_of_one_bout_join():
    labels = np.array([0, 0, 0, 0, 1, 1, 0, 1, 1, 2, 2, 2, 2])
    assert drop_short_bouts(labels, ONE[labels], (2, 4, 0)).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2]


def test_thresholds_and_shortest_bouts_decide_each_class_by_itself():
    probabilities = np.array([[0.9, 0.3], [0.2, 0.3], [0.2, 0.3], [0.2, 0.1]], np.float32)
    prediction = Prediction("a.mp4", probabilities, multi_label=True)
    assert prediction.labels.tolist() == [[True, False], [False, False], [False, False], [False, False]]
    decided = decided_by(Decision(thresholds=(0.5, 0.25), minimum_steps=(2, 3)), prediction)
    assert decided.labels.tolist() == [[False, True], [False, True], [False, True], [False, False]]


def flickering(truth, every=7):
    labels = truth.copy()
    labels[::every] = (labels[::every] + 1) % 3
    return labels


def test_flicker_is_mended_where_that_is_right_on_validation():
    truth = np.repeat([0, 1, 2, 0], 40)
    flicker = flickering(truth)
    decision = choose_decision([labelled(truth)], [sure_of(flicker)], training=[labelled(truth)], causal=False)
    assert decision.kind == "one price"
    assert np.mean(flicker == truth) < 0.86 and np.mean(decided_by(decision, sure_of(flicker)).labels == truth) > 0.96


def test_nothing_is_changed_where_the_truth_is_that_fine():
    truth = np.tile([0, 1, 2], 30)
    decision = choose_decision([labelled(truth)], [sure_of(truth)], training=[labelled(truth)], causal=False)
    assert decision.kind == "none" and not decision.log_prior


def test_classes_are_weighed_against_their_share_where_that_finds_the_rare_ones():
    truth = np.repeat([0, 1, 0, 2, 0], [60, 6, 60, 6, 60])
    shares = np.bincount(truth) / len(truth)
    prediction = Prediction("a", (0.4 * ONE[truth] + 0.6 * shares).astype(np.float32))
    assert set(prediction.labels) == {0}
    decision = choose_decision([labelled(truth)], [prediction], training=[labelled(truth)], causal=False)
    assert any(decision.log_prior) and set(decided_by(decision, prediction).labels) == {0, 1, 2}


def test_changes_that_never_happened_in_training_are_dear():
    rng = np.random.default_rng(0)
    training = [labelled(np.repeat([0, 1, 2] * 4, 10)) for _ in range(5)]  # always 0 1 2 0 1 2
    noisy = [
        Prediction("a", rng.dirichlet(np.ones(3), 120).astype(np.float32) * 0.8 + 0.2 * ONE[c.labels]) for c in training
    ]
    decision = choose_decision(training, noisy, training=training, causal=False)
    said = [set(zip(p.labels[:-1].tolist(), p.labels[1:].tolist(), strict=True)) for p in decision.apply(noisy)]
    assert decision.kind == "prices of the training labels"
    assert not set.union(*said) & {(1, 0), (2, 1), (0, 2)}


@pytest.mark.parametrize("lag", [0, 4])
def test_a_causal_decision_waits_for_its_lag_and_no_longer(lag):
    truth = np.repeat([0, 1, 2, 1], 40)
    flicker = sure_of(flickering(truth, every=5))
    decision = choose_decision([labelled(truth)], [flicker], training=[labelled(truth)], causal=True, lag=lag)
    assert decision.kind in ("one price", "prices of the training labels") and decision.lag == lag
    whole = decided_by(decision, flicker).labels
    for end in range(lag + 1, len(truth), 13):
        seen = decided_by(decision, Prediction("a", flicker.probabilities[:end])).labels
        assert np.array_equal(seen[: end - lag], whole[: end - lag])


def test_a_decision_is_the_same_in_company(tmp_path):
    rng = np.random.default_rng(1)
    several = [Prediction(str(steps), rng.dirichlet(np.ones(3), steps).astype(np.float32)) for steps in (5, 40, 17)]
    prices = ((0.0, 2.0, 3.0), (1.0, 0.0, 2.0), (2.0, 2.0, 0.0))
    for decision in (Decision(), Decision(median=3), Decision(prices=prices), Decision(prices=prices, lag=2)):
        for alone, together in zip(several, decision.apply(several), strict=True):
            assert np.array_equal(decided_by(decision, alone).labels, together.labels)


def test_a_background_is_no_segment_for_the_choice():
    truth = np.repeat([0, 1, 0, 2], 10)
    training = [labelled(truth)]
    first = choose_decision([labelled(truth)], [sure_of(truth)], training=training, causal=False, background=0)
    assert first.kind == "none"


def test_without_validation_clips_nothing_is_chosen():
    assert choose_decision([], [], training=[labelled([0, 1])], causal=False) == Decision()


def test_bouts_are_measured_per_class_and_unlabelled_ones_are_not():
    lengths = bout_lengths([np.array([0, 0, 1, -1, 0]), np.array([1, 1, 1])], num_classes=3)
    assert [each.tolist() for each in lengths] == [[2, 1], [1, 3], []]
    lengths = bout_lengths([np.array([[1, 0], [1, 1], [0, 1]])], num_classes=2)
    assert [each.tolist() for each in lengths] == [[2], [2]]


def test_models_of_all_clips_decide_as_most_folds_do_with_the_medians_of_their_numbers():
    chosen = [Decision(3, (2, 4)), Decision(9, (4, 4)), Decision(5, ())]
    assert typical_decision(chosen) == Decision(5, (2, 4))
    prices = [Decision(prices=((0.0, price), (price, 0.0))) for price in (1.0, 5.0, 3.0)]
    assert typical_decision([*prices, chosen[0]]) == prices[2]
    assert typical_decision([]) == Decision()


def test_a_decision_survives_its_record():
    for decision in (
        Decision(5, (1, 2), (0.25, 0.5)),
        Decision(prices=((0.0, 1.5), (2.0, 0.0)), lag=3, log_prior=(0.1, -1.0)),
    ):
        assert Decision.from_record(json.loads(json.dumps(decision.to_record()))) == decision


def test_widths_are_told_in_seconds_where_there_is_a_rate():
    assert Decision(51, (3, 4)).describe(0.04) == "median of 51 timesteps (2 s), shortest bouts"
    assert Decision(51).describe() == "median of 51 timesteps"
    late = Decision(prices=((0.0, 5.0), (5.0, 0.0)), lag=8)
    assert late.describe(0.125) == "Viterbi, 5 a change, 8 timesteps (1 s) late"
