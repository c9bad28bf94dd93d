"""Predictions timestep by timestep are those of the whole clip: probabilities, labels, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from clip_factory import make_clip

from extract.errors import RunError, UsageError
from sequence_models.clips.derived import DerivedStream, with_derived
from sequence_models.clips.motion import fit_reduction
from sequence_models.models.build import DERIVING, build_model
from sequence_models.prediction.live import LivePredictor, refuse_to_stream
from sequence_models.prediction.postprocess import Decision
from sequence_models.prediction.predict import average, predict
from sequence_models.settings import TrainSettings

CLIP, SHORT = make_clip(300, dim=6), make_clip(30, dim=6)
PRICED = Decision(
    prices=((0, 1.0, 2.0), (1.5, 0, 1.0), (0.5, 2.0, 0)), log_prior=(-1.0, -2.0, -0.5), lag=4, temperature=1.7
)


def streamed(predictor, clip):
    said = [each for row, at in zip(clip.embeddings, clip.pts_seconds, strict=True) for each in predictor.push(row, at)]
    return said + predictor.finish()


def models_of(settings):
    models = [build_model(settings, embedding_dim=6, num_classes=3, seed=seed) for seed in range(2)]
    for seed, model in enumerate(models):
        if "windows" in settings.derived:
            rows = np.random.default_rng(seed).normal(size=(50, 6))
            model.get_layer(DERIVING).set_reduction(fit_reduction(rows))
    return models


def assert_same(settings, decision, clip):
    models = models_of(settings)
    (whole,) = average([predict(model, [clip]) for model in models])
    (whole,) = decision.apply([whole]) if decision else [whole]
    predictor = LivePredictor(models, settings, decision)
    for _ in range(2):
        said = streamed(predictor, clip)
        assert len(said) == len(clip)
        np.testing.assert_allclose([each.probabilities[0] for each in said], whole.probabilities, atol=1e-5)
        np.testing.assert_array_equal(np.concatenate([each.labels for each in said]), whole.labels)
        predictor.restart()


def test_derived_channels_of_all_kinds_and_labels_by_prices_with_a_lag():
    assert_same(
        TrainSettings("many-to-many", "lstm", causal=True, derived="position,delta,windows", lag=4), PRICED, SHORT
    )


def test_early_runs_without_a_decision():
    assert_same(TrainSettings("many-to-many", "gru", causal=True), None, SHORT)


def test_overlapping_classes_with_a_threshold_each():
    settings = TrainSettings("many-to-many", "lstm", causal=True, multi_label=True)
    assert_same(settings, Decision(thresholds=(0.4, 0.5, 0.6)), SHORT)


def test_a_clip_shorter_than_the_lag():
    assert_same(TrainSettings("many-to-many", "lstm", causal=True, lag=4), PRICED, make_clip(2, dim=6))


def test_derived_channels_one_by_one_are_those_of_the_clip():
    settings = TrainSettings("many-to-many", "lstm", causal=True, derived="windows,delta,position")
    reduction = fit_reduction(CLIP.embeddings)
    (whole,) = with_derived([CLIP], settings, reduction)
    stream = DerivedStream(settings, reduction)
    rows = [stream.push(row, at) for row, at in zip(CLIP.embeddings, CLIP.pts_seconds, strict=True)]
    np.testing.assert_allclose(rows, whole.embeddings, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"task": "many-to-one", "model": "lstm"}, "sees a whole clip before it decides"),
        ({"task": "many-to-many", "model": "bilstm"}, "--task many-to-many --causal --model lstm, gru or mstcn"),
        ({"task": "many-to-many", "model": "lstm", "causal": True, "window": 4.0}, "train without --window"),
    ],
)
def test_what_depends_on_later_timesteps_is_refused(given, reason):
    with pytest.raises(UsageError, match=reason):
        refuse_to_stream(TrainSettings(**given), None)


@pytest.mark.parametrize("decision", [Decision(median=3), Decision(minimum_steps=(2, 0)), Decision(prices=((0, 1),))])
def test_decisions_that_look_ahead_are_refused(decision):
    with pytest.raises(RunError, match="which sees later timesteps; train it again"):
        refuse_to_stream(TrainSettings("many-to-many", "lstm", causal=True), decision)
