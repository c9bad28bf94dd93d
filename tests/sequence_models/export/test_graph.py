"""The graph that is exported: plain Keras only, and what predict says, for clips alone and padded with rubbish."""

from __future__ import annotations

import numpy as np
import pytest

from sequence_models.export import check
from sequence_models.export.check import make_trial
from sequence_models.export.graph import prediction_graph
from sequence_models.models.build import DERIVING, build_model
from sequence_models.settings import TrainSettings

SMALL = {"hidden": 4, "projection": 3, "tcn_stages": 2, "tcn_layers": 2, "units": 4, "filters": "3,4", "dense": "5"}
EVERYTHING = {"derived": "position,delta,windows"}
CASES = [
    ("many-to-one", "bilstm", {"readout": "last"}),
    ("many-to-one", "gru_parts", {"stride": 3}),
    ("many-to-one", "probe", EVERYTHING),
    ("many-to-many", "mstcn", {**EVERYTHING, "stride": 2, "multi_label": True}),
    ("many-to-many", "lstm", {"derived": "position,windows", "causal": True}),
    ("many-to-one", "td_cnn_lstm", {}),
]


def made(task, name, more, *, seeds=2):
    """Models of other weights, statistics and reductions, as if they were fitted."""
    settings, models = TrainSettings(task, name, **{**SMALL, **more}), []
    for seed in range(seeds):
        model = build_model(settings, embedding_dim=(8, 8, 3) if settings.on_frames else 5, num_classes=3)
        rng = np.random.default_rng(seed)
        for variable in model.trainable_variables:
            variable.assign(rng.normal(0, 0.5, variable.shape))
        if not settings.on_frames:
            layer = model.get_layer("standardise")
            layer.set_statistics(rng.normal(size=layer.mean.shape), rng.uniform(0.5, 2, layer.mean.shape))
        if "windows" in settings.derived_names:
            layer = model.get_layer(DERIVING)
            layer.center.assign(rng.normal(size=layer.center.shape))
            layer.axes.assign(rng.normal(size=layer.axes.shape))
        models.append(model)
    return models


def difference(graph, trial):
    return trial.largest_difference([np.asarray(graph(batch)) for batch in trial.batches])


@pytest.mark.parametrize(("task", "name", "more"), CASES)
def test_the_graph_says_what_predict_says_however_clips_are_padded(task, name, more, monkeypatch):
    monkeypatch.setattr(check, "CLIP_LENGTHS", (1, 2, 9))
    models = made(task, name, more)
    trial = make_trial(models)
    nearest = 1e-4 if "windows" in more.get("derived", "") else 1e-5  # a deviation near 0 is a root of rounding
    assert difference(prediction_graph(models), trial) < nearest
    spread = max(np.ptp(each, axis=0).max() if each.ndim > 1 else np.ptp(each) for each in trial.expected)
    assert spread > 0.01  # the models do say something


def test_a_graph_with_other_weights_differs_in_the_trial():
    models = made("many-to-one", "bilstm", {})
    trial = make_trial(models)
    assert difference(prediction_graph(models[:1]), trial) > check.TOLERANCE


def test_no_layer_of_ours_is_left_in_the_graph():
    def kinds(model):
        for layer in model.layers:
            yield type(layer).__module__
            yield from kinds(layer) if hasattr(layer, "layers") else ()

    graph = prediction_graph(made("many-to-many", "mstcn", EVERYTHING))
    assert {kind.partition(".")[0] for kind in kinds(graph)} == {"keras"}
    assert "clipseq>" not in graph.to_json()


def test_numbers_that_are_not_finite_or_too_few_are_never_near():
    trial = make_trial(made("many-to-one", "meanpool", {}, seeds=1))
    answers = [trial.expected[n][None] for n in range(3)] + [np.stack(trial.expected)]
    assert trial.largest_difference(answers) == 0
    assert trial.largest_difference([*answers[:3], np.full_like(answers[3], np.nan)]) == float("inf")
    assert trial.largest_difference([*answers[:3], answers[3][:, :2]]) == float("inf")
