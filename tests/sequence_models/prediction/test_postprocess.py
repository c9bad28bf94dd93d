import numpy as np
import pytest
from clip_factory import make_clip

from sequence_models.prediction.postprocess import (
    Decision,
    bout_lengths,
    choose_decision,
    drop_short_bouts,
    median_filter,
    typical_decision,
)
from sequence_models.records import Prediction

ONE = np.eye(3, dtype=np.float32)


def sure_of(labels):
    return Prediction("a.mp4", 0.8 * ONE[labels] + 0.05)


def labelled(labels):
    clip = make_clip(len(labels))
    clip.labels[:] = labels
    return clip


def test_no_decision_is_the_most_probable_class():
    assert Decision().apply(sure_of([0, 1, 1, 2])).labels.tolist() == [0, 1, 1, 2]


def test_a_median_filter_takes_a_single_timestep_away_and_leaves_the_probabilities():
    prediction = sure_of([0, 0, 1, 0, 0, 2, 2, 2])
    decided = Decision(median=3).apply(prediction)
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
    decided = Decision(thresholds=(0.5, 0.25), minimum_steps=(2, 3)).apply(prediction)
    assert decided.labels.tolist() == [[False, True], [False, True], [False, True], [False, False]]


def test_flicker_is_filtered_where_that_is_right_on_validation():
    truth = np.repeat([0, 1, 2, 0], 40)
    flicker = truth.copy()
    flicker[::7] = (flicker[::7] + 1) % 3
    decision = choose_decision([labelled(truth)], [sure_of(flicker)], training=[labelled(truth)], causal=False)
    assert decision.median > 1
    assert np.mean(flicker == truth) < 0.86 and np.mean(decision.apply(sure_of(flicker)).labels == truth) > 0.96


def test_nothing_is_filtered_where_the_truth_is_that_fine():
    truth = np.tile([0, 1, 2], 30)
    decision = choose_decision([labelled(truth)], [sure_of(truth)], training=[labelled(truth)], causal=False)
    assert decision == Decision()


def test_a_causal_model_is_not_filtered_since_a_filter_looks_ahead():
    truth = np.repeat([0, 1], 50)
    flicker = truth.copy()
    flicker[::7] = 2
    assert choose_decision([labelled(truth)], [sure_of(flicker)], training=[labelled(truth)], causal=True) == Decision()


def test_without_validation_clips_nothing_is_chosen():
    assert choose_decision([], [], training=[labelled([0, 1])], causal=False) == Decision()


def test_bouts_are_measured_per_class_and_unlabelled_ones_are_not():
    lengths = bout_lengths([np.array([0, 0, 1, -1, 0]), np.array([1, 1, 1])], num_classes=3)
    assert [each.tolist() for each in lengths] == [[2, 1], [1, 3], []]
    lengths = bout_lengths([np.array([[1, 0], [1, 1], [0, 1]])], num_classes=2)
    assert [each.tolist() for each in lengths] == [[2], [2]]


def test_models_of_all_clips_take_the_median_of_what_the_folds_chose():
    chosen = [Decision(3, (2, 4)), Decision(9, (4, 4)), Decision(1, ())]
    assert typical_decision(chosen) == Decision(3, (2, 4))
    assert typical_decision([]) == Decision()


def test_a_decision_survives_its_record():
    decision = Decision(5, (1, 2), (0.25, 0.5))
    assert Decision.from_record(decision.to_record()) == decision
