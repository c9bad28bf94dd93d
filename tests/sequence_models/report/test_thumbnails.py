"""Pictures along the timeline: where they are taken, and what the page says where there are none."""

import json

import numpy as np
import pytest
from page_reading import page_of, text_of
from run_factory import one_hot
from video_run import LENGTH, clip, made_run

from sequence_models.report import thumbnails, timeline
from sequence_models.report.run import read_evaluated_run
from sequence_models.report.thumbnails import chosen_steps, shares_of
from sequence_models.report.timeline import timeline_content


def test_half_of_the_pictures_are_spread_evenly_and_half_are_in_the_longest_disagreements():
    truth, predicted = np.zeros(1001, int), np.zeros(1001, int)
    predicted[100:110] = predicted[400:440] = predicted[700:702] = 1
    recording = clip("a", truth, predicted, one_hot(*predicted))
    assert chosen_steps(recording, 4).tolist() == [0, 105, 420, 1000]


def test_unlabelled_timesteps_are_no_disagreement():
    truth, predicted = np.full(11, -1), np.zeros(11, int)
    assert chosen_steps(clip("a", truth, predicted, one_hot(*predicted)), 3).tolist() == [0, 5, 10]


def test_a_recording_of_one_timestep_has_one_picture():
    assert chosen_steps(clip("a", [0], [1], one_hot(1)), 4).tolist() == [0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_run(tmp_path_factory.mktemp("thumbnails"), task="many-to-many")


def test_the_frames_of_the_video_are_in_the_data_with_their_times(run):
    evaluated = read_evaluated_run(run)
    content = timeline_content(evaluated, evaluated.clips)
    (recording,) = json.loads(content["data"])["recordings"]
    times = [picture["seconds"] for picture in recording["pictures"]]
    assert content["pictures"] == len(times) >= LENGTH - 1 and content["without"] == ""
    assert set(np.round(times, 6)) <= set(np.round(0.3 * np.arange(LENGTH), 6)) and 1.8 in np.round(times, 6)
    assert all(picture["src"].startswith("data:image/jpeg;base64,") for picture in recording["pictures"])
    assert " frames of the videos are in the page" in text_of(page_of(run))


def test_pictures_are_shared_by_length_as_long_as_there_are_any(monkeypatch):
    monkeypatch.setattr(thumbnails, "MOST_THUMBNAILS", 10)
    assert shares_of([900, 100, 5]) == [8, 2, 0]
    assert shares_of([4, 3]) == [4, 3]


def test_a_video_that_is_gone_leaves_a_timeline_without_pictures(tmp_path):
    run = made_run(tmp_path, task="many-to-many")
    (tmp_path / "videos" / "a.mp4").unlink()
    text = text_of(page_of(run))
    assert "frames of the videos are in the page" not in text
    assert "No pictures: " in text[text.index("Truth and prediction over time") :]


def test_a_recording_too_large_for_the_page_leaves_words(run, monkeypatch):
    monkeypatch.setattr(timeline, "LABEL_BYTES", 10)
    page = page_of(run)
    assert "<canvas" not in page and "<script" not in page
    assert "1 recording would make the page too large" in text_of(page)
