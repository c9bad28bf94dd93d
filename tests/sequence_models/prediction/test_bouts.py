import csv

import numpy as np
from clip_factory import make_clip

from sequence_models.prediction.bouts import bout_columns, bout_rows, class_bouts, write_bouts
from sequence_models.records import Prediction


def test_bouts_have_count_duration_and_latency():
    labels, pts_seconds = np.array([-1, 0, 0, 1, 0]), np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    assert bout_rows("a.mp4", labels, pts_seconds, ("walk", "rest", "hide"), of="truth") == [
        ["a.mp4", "truth", "walk", 2, "1.500", "0.750", "0.750", "0.500", "0.500", 0, 1, 0],
        ["a.mp4", "truth", "rest", 1, "0.500", "0.500", "0.500", "1.500", "", 1, 0, 0],
        ["a.mp4", "truth", "hide", 0, "0.000", "", "", "", "", 0, 0, 0],
    ]


def test_overlapping_classes_have_bouts_of_their_own():
    labels = np.array([[1, 0], [1, 1], [0, 1]])
    rows = bout_rows("a.mp4", labels, np.arange(3) / 2, ("walk", "sniff"), of="prediction")
    assert [row[3:5] for row in rows] == [[1, "1.000"], [1, "1.000"]]
    assert [row[7] for row in rows] == ["0.000", "0.500"]


def test_nothing_follows_across_unlabelled_time_but_the_interval_counts_it():
    (first, second) = class_bouts([(np.array([0, -1, 0, 1, 0, 0]), np.arange(6.0))], 2)
    assert first.followed_by.tolist() == [0, 1] and second.followed_by.tolist() == [1, 0]
    assert first.gaps.tolist() == [1, 1] and first.lengths.tolist() == [1, 1, 2]


def test_of_overlapping_classes_the_next_to_begin_follows():
    labels = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [1, 0]])  # walk sniffs, then walks again after a pause
    walk, sniff = class_bouts([(labels, np.arange(5.0))], 2)
    assert walk.followed_by.tolist() == [1, 0] and sniff.followed_by.tolist() == [1, 0]


def test_several_clips_are_pooled_and_latency_is_over_clips_with_the_class():
    clips = [(np.array([1, 0, 0]), np.arange(3.0)), (np.array([1, 1, 1]), np.arange(3.0)), (np.array([0]), np.zeros(1))]
    zero, one = class_bouts(clips, 2)
    assert (zero.latencies.tolist(), one.latencies.tolist()) == ([1, 0], [0, 0])
    assert one.values[:4] == (4.0, 2.0, 2.0, 0.0) and np.isnan(one.values[4])


def test_a_file_of_bouts_has_truth_and_prediction_beside_each_other(tmp_path):
    clip = make_clip(6)
    write_bouts(
        tmp_path / "b.csv",
        [clip],
        [Prediction(clip.clip_id, np.eye(3)[clip.labels])],
        "abc",
        with_truth=True,
        unit="seconds",
    )
    with (tmp_path / "b.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == bout_columns("seconds", "abc")
    assert [row[1:3] for row in rows] == [[of, name] for of in ("truth", "prediction") for name in "abc"]
