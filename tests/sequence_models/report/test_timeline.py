"""The data of the timeline: exact runs, times as they are, and a page that stays small."""

import base64
import json
import re

import numpy as np
from page_reading import page_of, text_of
from run_factory import make_run, one_hot, write_predictions

from sequence_models.report import timeline
from sequence_models.report.page import write_report
from sequence_models.report.run import ReportedClip, read_evaluated_run
from sequence_models.report.timeline import exact_runs, safe_json, timeline_content


def per_frame(path, truths, said, **times):
    run = make_run(path, task="many-to-many", num_clips=1, folds=1, groups=1)
    write_predictions(run, [f"{n}.mp4" for n in range(len(truths))], truths, said, **times)
    return run


def data_of(run):
    evaluated = read_evaluated_run(run)
    content = timeline_content(evaluated, evaluated.clips)
    return content, json.loads(content["data"])


def unpacked(runs, length):
    return np.repeat(runs["labels"], np.diff([*runs["starts"], length]))


def test_runs_give_back_every_label():
    labels = np.random.default_rng(0).integers(-1, 3, 500)
    runs = exact_runs(labels, np.array([], int))
    assert unpacked(runs, 500).tolist() == labels.tolist()
    assert (np.diff(runs["labels"]) != 0).all()


def test_a_run_ends_at_a_gap_without_frames():
    assert exact_runs(np.array([1, 1, 1, 1]), np.array([2])) == {"starts": [0, 2], "labels": [1, 1]}


def test_truth_prediction_and_unlabelled_reach_the_page(tmp_path):
    _, data = data_of(per_frame(tmp_path / "r", [np.array([0, 0, -1, 2])], [one_hot(0, 1, 1, 2)]))
    (recording,) = data["recordings"]
    (lane,) = recording["lanes"]
    assert lane["truth"] == {"starts": [0, 2, 3], "labels": [0, -1, 2]}
    assert lane["predicted"] == {"starts": [0, 1, 3], "labels": [0, 1, 2]}
    assert recording["times"] == {"start": 0.0, "step": 0.125, "count": 4}
    assert data["classes"] == ["hug", "kick", "push"] and data["unit"] == "s"


def test_irregular_times_are_kept_to_the_millisecond(tmp_path):
    run = make_run(tmp_path / "r", task="many-to-many", num_clips=1, folds=1, groups=1)
    evaluated = read_evaluated_run(run)
    times = np.array([0.0, 0.133, 0.2, 7.0])
    clip = ReportedClip("a", "", "", np.zeros(4, int), np.zeros(4, int), one_hot(0, 0, 0, 0), times)
    (recording,) = json.loads(timeline_content(evaluated, [clip])["data"])["recordings"]
    milliseconds = np.frombuffer(base64.b64decode(recording["times"]["milliseconds"]), "<i4")
    assert milliseconds.tolist() == [0, 133, 200, 7000]
    assert recording["lanes"][0]["truth"]["starts"] == [0, 3]  # a hole of almost seven seconds


def test_probabilities_above_the_budget_are_thinned_and_the_page_says_so(tmp_path, monkeypatch):
    labels = np.zeros(900, int)
    run = per_frame(tmp_path / "r", [labels], [one_hot(*labels)])
    content, data = data_of(run)
    assert content["every"] == data["every"] == 1
    assert len(base64.b64decode(data["recordings"][0]["probabilities"])) == 900 * 3
    monkeypatch.setattr(timeline, "PROBABILITY_BYTES", 1000)
    content, data = data_of(run)
    assert content["every"] == data["every"] == 4
    assert len(base64.b64decode(data["recordings"][0]["probabilities"])) == 225 * 3
    assert "Probabilities are shown for one timestep in 4, to keep the page small" in text_of(page_of(run))


def test_recordings_above_the_budget_are_counted(tmp_path, monkeypatch):
    run = make_run(tmp_path / "r", task="many-to-many", num_clips=30, steps=40)
    monkeypatch.setattr(timeline, "LABEL_BYTES", 2000)
    page = page_of(run)
    shown, hidden = re.search(
        r"(\d+) recordings?, the worst first.* (\d+) better ones would make", text_of(page)
    ).groups()
    assert int(shown) + int(hidden) == 30 and int(shown) > 1


def test_a_report_of_many_long_recordings_stays_below_ten_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    truths = [rng.integers(0, 3, 20_000) for _ in range(40)]  # a new label at almost every timestep
    run = per_frame(tmp_path / "r", truths, [np.eye(3, dtype=np.float32)[rng.integers(0, 3, 20_000)] for _ in truths])
    report = write_report(run)
    assert 2_000_000 < report.stat().st_size < 10_000_000
    assert "better ones would make the page too large" in text_of(report.read_text(encoding="utf-8"))


def test_no_text_can_end_the_script_element():
    text = safe_json({"a": "</script><!-- & \u2028 \udcff"})
    assert not set(text) & set("<>&\u2028\udcff")
    assert json.loads(text) == {"a": "</script><!-- & \u2028 \udcff"}
