"""The report of runs with post-processing: what was decided, and the scores before it and at every label frame."""

import numpy as np
import pytest
from page_reading import page_of, text_of
from run_factory import make_run, one_hot, write_metrics, write_predictions

from sequence_models.report.run import read_evaluated_run
from sequence_models.report.scores import (
    score_tables,
    scored_models,
    scored_variants,
    title_of,
    validation_scores,
)


def test_what_was_decided_is_reported_and_not_the_most_probable(tmp_path):
    run = make_run(tmp_path / "r", task="many-to-many", num_clips=1, folds=1, groups=1)
    write_predictions(run, ["a"], [np.array([0, 0, 0])], [one_hot(0, 1, 0, sure=0.8)], decided=[np.array([0, 0, 0])])
    clip = read_evaluated_run(run).clips[0]
    assert clip.predicted.tolist() == [0, 0, 0]
    assert clip.accuracy == 1.0
    assert clip.confidence == pytest.approx((0.8 + 0.1 + 0.8) / 3)


def test_a_file_from_before_post_processing_reports_the_most_probable(tmp_path):
    run = make_run(tmp_path / "r", task="many-to-many", num_clips=1, folds=1, groups=1)
    write_predictions(run, ["a"], [np.array([0, 0, 0])], [one_hot(0, 1, 2)])
    assert read_evaluated_run(run).clips[0].predicted.tolist() == [0, 1, 2]


def made_per_frame(path):
    """A run whose raw labels score above the final ones."""
    run = make_run(path, task="many-to-many", steps=20)
    at = {"frame_accuracy": {"value": 0.75, "protocol": "every label frame"}}
    before = {"frame_accuracy": {"value": 0.875, "protocol": "pooled"}}
    test = {"frame_accuracy": {"value": 0.5, "protocol": "pooled"}, "edit": {"value": 40.0, "protocol": "pooled"}}
    baselines = {"majority": at, "framewise_logreg": before, "framewise_logreg_postprocessed": before}
    validation = {"model": before, "model_postprocessed": at}
    changes = {"test": test, "before_postprocessing": before, "at_label_frames": at, "baselines": baselines}
    write_metrics(run, "many-to-many", validation=validation, per_seed={"frame_accuracy": [0.25, 0.5]}, **changes)
    return run


def test_scores_before_post_processing_and_at_label_frames_stand_below_the_model(tmp_path):
    run = read_evaluated_run(made_per_frame(tmp_path / "r"))
    variants = scored_variants(run)
    assert [variant.title for variant in variants] == ["bilstm before post-processing", "bilstm at every label frame"]
    first, second = score_tables(scored_models(run), variants, validation_scores(run))
    roles = ["own", "variant", "variant", "other", "other", "other", "validation"]
    assert [row["role"] for row in first["rows"]] == roles
    assert [row["score"].value for row in first["rows"]] == [0.5, 0.875, 0.75, 0.875, 0.875, 0.75, 0.75]
    assert first["chance"] == 75.0
    assert [row["role"] for row in second["rows"]] == ["own"]
    assert (second["ticks"], second["rows"][0]["plot"]["value"]) == (["0", "50", "100"], 40.0)


def test_the_page_shows_them_and_never_as_the_best(tmp_path):
    page = page_of(made_per_frame(tmp_path / "r"))
    text = text_of(page)
    assert "bilstm is scored after post-processing, which was chosen on validation." in text
    assert "frame accuracy of the 2 seeds alone before post-processing: 0.250 to 0.500." in text
    assert "bilstm 0.500 bilstm before post-processing 0.875 bilstm at every label frame 0.750" in text
    assert page.count('<td class="number best">') == 2  # the two baselines, not the model before post-processing


def test_of_equal_baselines_the_post_processed_one_is_the_rival(tmp_path):
    run = read_evaluated_run(made_per_frame(tmp_path / "r"))
    titles = [model.title for model in scored_models(run)]
    assert titles[1] == "frame-by-frame logistic regression (framewise_logreg), post-processed"
    assert title_of("majority_postprocessed") == "majority class, post-processed"


def test_titles_hold_the_names_that_the_verdict_and_the_files_have():
    assert title_of("thirds_logreg") == "logistic regression on thirds (thirds_logreg)"
    assert (title_of("td_cnn_lstm"), title_of("frame_accuracy")) == ("td_cnn_lstm", "frame accuracy")
