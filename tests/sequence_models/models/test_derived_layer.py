"""Derived channels: the layer in a model that is used alone, and what training and prediction compute, are the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from clip_factory import make_clips
from scipy.special import softmax

from sequence_models.clips.derived import derived_width, position_channels, with_derived
from sequence_models.clips.motion import MOST_CHANNELS, fit_reduction, step_sizes, window_statistics
from sequence_models.models.build import DERIVING, build_model
from sequence_models.models.compiled import compiled
from sequence_models.models.derived_layer import DerivedChannels
from sequence_models.prediction.predict import predict_loaded
from sequence_models.settings import TrainSettings
from sequence_models.training.fit import fit_model

ALL = TrainSettings("many-to-many", "lstm", derived="delta,windows", hidden=4, projection=3, updates=3)
LENGTHS = (1, 2, 40, 300)


def recordings(width=5):
    found = []
    for number, clip in enumerate(make_clips(LENGTHS, "many-to-many")):
        embeddings = 3 + np.random.default_rng(number).normal(size=(len(clip), width)).astype(np.float32).cumsum(axis=0)
        found.append(replace(clip, embeddings=embeddings))
    return found


def padded(clips, width):
    steps = max(map(len, clips)) + 7
    inputs, mask = np.full((len(clips), steps, width), np.nan, np.float32), np.zeros((len(clips), steps), bool)
    for row, clip in enumerate(clips):
        inputs[row, : len(clip)], mask[row, : len(clip)] = clip.embeddings, True
    return inputs, mask


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("width", [5, MOST_CHANNELS + 6])
def test_the_layer_computes_what_training_saw_whatever_the_padding(causal, width):
    clips, settings = recordings(width), replace(ALL, causal=causal)
    reduction = fit_reduction(np.concatenate([clip.embeddings for clip in clips]))
    layer = DerivedChannels(width, delta=True, windows=True, causal=causal)
    layer.build((None, None, width))
    layer.set_reduction(reduction)
    inputs, mask = padded(clips, width)
    said = np.asarray(layer(inputs, mask=mask))
    assert said.shape[-1] == width + derived_width(settings, width)
    for row, wider in zip(said, with_derived(clips, settings, reduction), strict=True):
        np.testing.assert_allclose(row[: len(wider)], wider.embeddings, rtol=1e-3, atol=2e-3)
        assert not row[len(wider) :, width:].any()


@pytest.mark.parametrize("derived", ["delta", "windows", "position,delta,windows"])
def test_a_trained_model_alone_says_what_predict_says(tmp_path, derived):
    clips, settings = recordings(), replace(ALL, derived=derived)
    where = {"checkpoint": tmp_path / "a.weights.h5", "log": tmp_path / "a.csv"}
    fitted = fit_model(clips, [], settings, num_classes=3, seed=0, quiet=True, **where)
    expected = predict_loaded(compiled(fitted.architecture), clips)
    given = clips
    if "position" in derived:
        places = [position_channels(clip.pts_seconds, causal=False) for clip in clips]
        given = [
            replace(c, embeddings=np.concatenate([c.embeddings, p], 1)) for c, p in zip(clips, places, strict=True)
        ]
    inputs, mask = padded(given, given[0].embeddings.shape[1])
    said = softmax(np.asarray(fitted.model([inputs, mask], training=False)), axis=-1)
    for row, each in zip(said, expected, strict=True):
        np.testing.assert_allclose(row[: len(each.probabilities)], each.probabilities, atol=1e-3)


@pytest.mark.parametrize("names", ["delta", "windows", "position,delta,windows"])
def test_what_is_causal_does_not_see_what_follows(names):
    (clip,) = recordings()[-1:]
    settings, reduction = replace(ALL, derived=names, causal=True), fit_reduction(clip.embeddings)
    part = replace(
        clip, embeddings=clip.embeddings[:90], pts_seconds=clip.pts_seconds[:90],
        frame_indices=clip.frame_indices[:90], labels=clip.labels[:90],
    )  # fmt: skip
    (whole,), (early,) = (with_derived([each], settings, reduction) for each in (clip, part))
    np.testing.assert_allclose(whole.embeddings[:90], early.embeddings, atol=1e-6)


def test_steps_and_windows_by_hand():
    values = np.array([[1.0], [4.0], [2.0]], np.float32)
    assert step_sizes(values).tolist() == [[0], [3], [2]]
    centred, trailing = (window_statistics(values, causal=causal) for causal in (False, True))
    assert centred[:, 0] == pytest.approx([7 / 3] * 3) and trailing[:, 0] == pytest.approx([1, 2.5, 7 / 3])
    assert trailing[:, 1] == pytest.approx([0, 1.5, 5 / 3])  # of the steps
    assert trailing[:, 2] == pytest.approx([0, 1.5, np.std([1, 4, 2])])


def test_a_reduction_of_wide_embeddings_keeps_what_varies_most():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(500, 3))
    rows = hidden @ rng.normal(size=(3, 100)) + rng.normal(0, 0.01, (500, 100)) + 5
    reduced = fit_reduction(rows)(rows)
    assert reduced.shape == (500, MOST_CHANNELS) and np.abs(reduced.mean(axis=0)).max() < 1e-4
    kept = np.linalg.lstsq(reduced[:, :3], hidden - hidden.mean(axis=0), rcond=None)[1]
    assert kept == pytest.approx([0, 0, 0], abs=5)  # of 500


def test_another_fit_forgets_the_reduction_of_the_last_one(tmp_path):
    clips = recordings()
    where = {"checkpoint": tmp_path / "a.weights.h5", "log": tmp_path / "a.csv"}
    first, other = (
        fit_model(some, [], ALL, num_classes=3, seed=0, quiet=True, **where) for some in (clips[2:3], clips[3:])
    )
    centers = [np.asarray(each.model.get_layer(DERIVING).center) for each in (first, other)]
    assert not np.allclose(*centers)
    np.testing.assert_allclose(centers[0], clips[2].embeddings.mean(axis=0), rtol=1e-5)


def test_models_without_derived_channels_have_no_such_layer():
    model = build_model(replace(ALL, derived="position"), embedding_dim=5, num_classes=3)
    assert DERIVING not in [layer.name for layer in model.layers]


def test_a_handful_of_wide_rows_gives_axes_that_do_not_blow_up():
    rows = np.random.default_rng(0).normal(size=(20, 100))
    reduction = fit_reduction(rows)
    assert reduction.axes.shape == (100, MOST_CHANNELS)
    new = reduction(np.random.default_rng(1).normal(size=(50, 100)))
    assert np.abs(new).max() < 100 and not new[:, 20:].any()
