import csv

import numpy as np
from clip_factory import make_clip

from sequence_models.prediction.bouts import bout_columns, bout_rows, write_bouts
from sequence_models.records import Prediction


def test_bouts_have_count_duration_and_latency():
    labels, pts_seconds = np.array([-1, 0, 0, 1, 0]), np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    assert bout_rows("a.mp4", labels, pts_seconds, ("walk", "rest", "hide"), of="truth") == [
        ["a.mp4", "truth", "walk", 2, "1.500", "0.750", "0.500"],
        ["a.mp4", "truth", "rest", 1, "0.500", "0.500", "1.500"],
        ["a.mp4", "truth", "hide", 0, "0.000", "", ""],
    ]


def test_overlapping_classes_have_bouts_of_their_own():
    labels = np.array([[1, 0], [1, 1], [0, 1]])
    rows = bout_rows("a.mp4", labels, np.arange(3) / 2, ("walk", "sniff"), of="prediction")
    assert [row[3:] for row in rows] == [[1, "1.000", "1.000", "0.000"], [1, "1.000", "1.000", "0.500"]]


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
    assert tuple(header) == bout_columns("seconds")
    assert [row[1:3] for row in rows] == [[of, name] for of in ("truth", "prediction") for name in "abc"]
