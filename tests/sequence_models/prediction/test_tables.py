import csv
import json
import sys

import numpy as np
import pytest
from clip_factory import make_clip

from extract.errors import UsageError
from extract.records import VideoTruth
from sequence_models.prediction.tables import (
    at_every_frame,
    check_ending,
    is_prediction_file,
    prediction_table,
    write_predictions,
)
from sequence_models.records import Clip, Prediction

NAMES = ("rest", "=groom,\n<b>")
HOW = {"vocabulary": NAMES, "task": "many-to-many", "has_seconds": True}


def clip_at(frames, clip_id="a.mp4", *, rate=10.0):
    frames = np.array(frames)
    return Clip(clip_id, np.zeros((len(frames), 2), np.float16), frames / rate, frames, np.zeros(len(frames), np.int64))


def said(*classes):
    probabilities = np.where(np.eye(2)[list(classes)] > 0, 2 / 3, 1 / 3).astype(np.float32)
    return Prediction("a.mp4", probabilities)


def tables():
    clip = clip_at([0, 3])
    return [prediction_table(clip, said(0, 1), **HOW)]


def test_csv_is_rounded_and_safe_in_a_spreadsheet(tmp_path):
    assert write_predictions(tmp_path / "p.csv", tables()) == 2
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["clip_id", "frame", "pts_seconds", "label", "raw_label", "p_rest", "p_=groom,\n<b>"],
        ["a.mp4", "0", "0.000", "rest", "rest", "0.6667", "0.3333"],
        ["a.mp4", "3", "0.300", "'=groom,\n<b>", "'=groom,\n<b>", "0.3333", "0.6667"],
    ]


def test_json_lines_and_parquet_keep_every_bit(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for ending in ("jsonl", "parquet"):
        assert write_predictions(tmp_path / f"p.{ending}", tables()) == 2
        assert is_prediction_file(tmp_path / f"p.{ending}")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert lines == [dict(zip(lines[0], line.values(), strict=True)) for line in lines]
    assert np.float32(lines[0]["p_rest"]) == np.float32(2 / 3) and lines[1]["label"] == NAMES[1]
    table = parquet.read_table(tmp_path / "p.parquet")
    assert [str(field.type) for field in table.schema] == ["string", "int64", "double", *["string"] * 2, *["float"] * 2]
    assert table["p_rest"].to_pylist()[0] == np.float32(2 / 3)


def test_whole_clips_have_a_row_each_and_truth_if_it_is_known(tmp_path):
    clip = make_clip(4, 1)
    one = Prediction(clip.clip_id, np.array([0.9, 0.1], np.float32))
    table = prediction_table(clip, one, vocabulary=NAMES, task="many-to-one", has_seconds=True, with_truth=True)
    assert {name: column.tolist() for name, column in table.items() if name[:2] != "p_"} == {
        "clip_id": [clip.clip_id],
        "truth": [NAMES[1]],
        "label": ["rest"],
    }


def test_unlabelled_truth_is_empty_and_several_classes_are_joined():
    clip = make_clip(3)
    probabilities = np.array([[0.9, 0.8], [0.1, 0.2], [0.1, 0.9]], np.float32)
    both = Prediction(clip.clip_id, probabilities, multi_label=True)
    table = prediction_table(clip, both, **{**HOW, "vocabulary": ("a", "b")})
    assert table["label"].tolist() == ["a|b", "", "b"]
    each = Prediction(clip.clip_id, np.eye(3, dtype=np.float32))
    single = prediction_table(clip, each, **{**HOW, "vocabulary": ("a", "b", "c"), "with_truth": True})
    assert single["truth"][0] == ""  # the first label of this clip is -1


def test_every_frame_gets_the_answer_of_the_last_timestep_at_or_before_it():
    clip = clip_at([2, 5])
    truth = VideoTruth("d", "c", 8, 8, decoded_frames=9, average_rate=10.0)
    spread = at_every_frame(prediction_table(clip, said(0, 1), **HOW), clip, truth)
    assert list(spread) == list(prediction_table(clip, said(0, 1), **HOW))
    assert spread["frame"].tolist() == list(range(9))
    assert spread["label"].tolist() == ["rest"] * 5 + [NAMES[1]] * 4
    np.testing.assert_allclose(spread["pts_seconds"], np.arange(9) / 10)


def test_a_varying_rate_leaves_times_open_that_nobody_knows(tmp_path):
    clip = clip_at([0, 2])
    truth = VideoTruth("d", "c", 8, 8, decoded_frames=4, average_rate=10.0, variable_rate=True)
    spread = at_every_frame(prediction_table(clip, said(0, 1), **HOW), clip, truth)
    write_predictions(tmp_path / "p.csv", [spread])
    with (tmp_path / "p.csv").open(newline="") as file:
        assert [row["pts_seconds"] for row in csv.DictReader(file)] == ["0.000", "", "0.200", ""]
    write_predictions(tmp_path / "p.jsonl", [spread])
    lines = (tmp_path / "p.jsonl").read_text().splitlines()
    assert [json.loads(line)["pts_seconds"] for line in lines] == [0, None, 0.2, None]


def test_a_span_has_its_own_frames_and_features_without_a_video_end_a_step_after_the_last():
    span = clip_at([30, 33], "a.mp4#t=3,3.6")
    assert at_every_frame(prediction_table(span, said(0, 1), **HOW), span, None)["frame"].tolist() == [*range(30, 36)]
    rows = clip_at([0, 1])
    assert at_every_frame(prediction_table(rows, said(0, 1), **HOW), rows, None)["frame"].tolist() == [0, 1]


def test_memory_does_not_grow_with_the_number_of_clips(tmp_path, monkeypatch):
    monkeypatch.setattr("sequence_models.prediction.tables.ROWS_AT_ONCE", 3)
    parquet = pytest.importorskip("pyarrow.parquet")
    assert write_predictions(tmp_path / "p.parquet", tables() * 5) == 10
    assert parquet.ParquetFile(tmp_path / "p.parquet").num_row_groups == 3  # of 4, 4 and 2 rows


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path):
    pytest.importorskip("pyarrow")
    clip = clip_at([0], "a\udcff.mp4")
    for ending in ("csv", "jsonl", "parquet"):
        write_predictions(tmp_path / f"p.{ending}", [prediction_table(clip, said(0), **HOW)])
        assert is_prediction_file(tmp_path / f"p.{ending}")


def test_other_endings_and_missing_packages_are_said_before_anything_is_predicted(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"--output p.txt must end in .csv, .jsonl, .parquet: the ending says"):
        check_ending(tmp_path.relative_to(tmp_path) / "p.txt")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="Parquet needs pyarrow: pip install"):
        check_ending(tmp_path / "p.parquet")


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.parquet"])
@pytest.mark.parametrize("content", [b"", b"clip_id,label\n", b'{"clip_id": 1}\n', b"[1]\n", b"PAR1", b"\xff" * 9])
def test_other_files_are_no_predictions(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert not is_prediction_file(tmp_path / name)
