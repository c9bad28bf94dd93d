from dataclasses import replace

import keras
import numpy as np
import pytest
from frame_clips import frame_clips, moving_clips

from extract.backbones.registry import load_backbone
from extract.errors import BackboneError, ClipError
from sequence_models.clips.batches import pad_clips
from sequence_models.models.build import Architecture, build_model
from sequence_models.models.compiled import CompiledModel
from sequence_models.models.layers import RealFrames
from sequence_models.prediction.predict import predict
from sequence_models.records import Clip
from sequence_models.settings import TrainSettings
from sequence_models.training.fine_tuning import start_training
from sequence_models.training.fit import fit_model
from sequence_models.training.statistics import embedding_statistics
from sequence_models.training.step import Trainer

SHAPE = (16, 16, 3)
HEAD = {"hidden": 4, "projection": 4, "readout": "last", "learning_rate": 1e-2, "batch_size": 8}


def settings(**changes):
    return TrainSettings("many-to-one", "td_backbone_rnn", **{"backbone": "tiny", "head": "gru", **HEAD, **changes})


def build(*, shape=SHAPE, seed=0, **changes):
    return build_model(settings(**changes), embedding_dim=shape, num_classes=3, seed=seed)


def cnn_of(model):
    (layer,) = (layer for layer in model.layers if isinstance(layer, RealFrames))
    return layer.cnn


def embedded(clips):
    """The clips as the cache would hold them: float16."""
    model = load_backbone("tiny", image_size=16).build()
    rows = [keras.ops.convert_to_numpy(model(c.embeddings)).astype(np.float16) for c in clips]
    return [replace(c, embeddings=each) for c, each in zip(clips, rows, strict=True)]


def striped_clips(count, *, seed=0):
    """Noise with faint stripes that lie (0) or stand (1): the tiny backbone as it is hardly tells them apart."""
    rng = np.random.default_rng(seed)
    stripes = 12 * (np.arange(16) % 4 < 2)[:, None] * np.ones(16)
    clips = []
    for row in range(count):
        faint = stripes if row % 2 == 0 else stripes.T
        frames = np.clip(rng.normal(120, 30, (4, 16, 16, 3)) + faint[..., None], 0, 255).astype(np.uint8)
        clips.append(Clip(f"{row}", frames, np.arange(4) / 8, np.arange(4), np.array(row % 2)))
    return clips


def trained_head(clips, folder):
    """A head trained on the cache."""
    how = TrainSettings("many-to-one", "gru", epochs=4, **HEAD)
    return fit_model(
        *(embedded(clips), [], how),
        **{"num_classes": 2, "seed": 0, "quiet": True},
        checkpoint=folder / "m.weights.h5",
        log=folder / "log.csv",
    ).model


def fit(head, tmp_path, **changes):
    return fit_model(
        *(striped_clips(32), [], settings(epochs=8, dropout=0, channel_dropout=0, **changes)),
        **{"num_classes": 2, "seed": 0, "quiet": True},
        checkpoint=tmp_path / "m.weights.h5",
        log=tmp_path / "log.csv",
        head=head,
    )


def test_a_frozen_backbone_under_the_cached_head_says_what_the_cached_head_says(tmp_path):
    how, clips = settings(trainable_layers="0"), moving_clips(12, seed=1)
    head = trained_head(moving_clips(32), tmp_path)
    model = build_model(how, embedding_dim=SHAPE, num_classes=2, seed=5)
    start_training(model, how, clips, head=head)
    for ours, theirs in zip(predict(model, clips), predict(head, embedded(clips)), strict=True):
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-3)


def test_fine_tuning_takes_the_training_loss_below_that_of_the_frozen_backbone(tmp_path):
    head = trained_head(striped_clips(32), tmp_path)
    frozen, tuned = (fit(head, tmp_path, trainable_layers=layers) for layers in ("0", "9"))
    assert frozen.history[0]["loss"] == pytest.approx(tuned.history[0]["loss"], rel=0.2)  # both go on from the head
    assert tuned.history[-1]["loss"] < 0.9 * frozen.history[-1]["loss"]
    weights = load_backbone("tiny", image_size=16).build().get_weights()
    for now, before in zip(cnn_of(frozen.model).get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, before)
    assert not np.allclose(cnn_of(tuned.model).get_weights()[0], weights[0])


def test_without_a_head_the_embeddings_are_standardised_by_the_training_frames():
    clips, model = moving_clips(4), build()
    start_training(model, settings(), clips)
    mean, deviation = embedding_statistics(embedded(clips))
    layer = model.get_layer("standardise")
    np.testing.assert_allclose(layer.mean.numpy(), mean, atol=1e-3)
    np.testing.assert_allclose(1 / layer.scale.numpy()[deviation > 0.01], deviation[deviation > 0.01], rtol=1e-2)


@pytest.mark.parametrize(("backbone", "last"), [("efficientnet_lite0", "embedding"), ("mobilenet", "global_average")])
def test_the_last_layers_are_trained_and_no_others(backbone, last):
    cnn = cnn_of(build(backbone=backbone, shape=(32, 32, 3), trainable_layers="9"))
    inner = next((layer for layer in cnn.layers if isinstance(layer, keras.Model)), cnn)
    assert inner.layers[-1].name.startswith(last)
    assert [layer.trainable for layer in inner.layers] == [False] * (len(inner.layers) - 9) + [True] * 9
    trained = {id(weight) for weight in cnn.trainable_weights}
    assert trained == {id(weight) for layer in inner.layers[-9:] for weight in layer.trainable_weights}
    assert trained


@pytest.mark.parametrize(("layers", "trained"), [("0", 0), ("all", 2), ("99", 2)])
def test_none_or_all_layers_may_be_trained(layers, trained):
    assert len(cnn_of(build(trainable_layers=layers)).trainable_weights) == trained


@pytest.mark.parametrize("update", [False, True])
def test_statistics_of_batch_normalisation_stay_unless_asked(update):
    how = settings(backbone="mobilenet", trainable_layers="9", update_batchnorm=update, optimizer="sgd")
    twin = CompiledModel(Architecture(how, (32, 32, 3), num_classes=3))
    trainer = Trainer(twin)
    trainer.model.run_eagerly = True
    variables = {v.path: v for v in cnn_of(twin.model).variables}
    before = {path: variable.numpy() for path, variable in variables.items()}
    trainer.update(pad_clips(frame_clips((2, 3), "many-to-one", shape=(32, 32, 3)), rows=2, steps=4))
    changed = {path for path, variable in variables.items() if not np.array_equal(variable.numpy(), before[path])}
    moved = {path for path in changed if "moving" in path}
    last = ("conv_pw_12_bn", "conv_dw_13_bn", "conv_pw_13_bn")  # among the last nine layers
    assert {path.split("/")[-2] for path in moved} == (set(last) if update else set())
    assert {weight.path.split("/")[-2] for weight in cnn_of(twin.model).trainable_weights} >= set(last)


def test_random_weights_follow_the_seed():
    first, again, other = (
        cnn_of(build(backbone="efficientnet_lite0", backbone_weights="random", shape=(32, 32, 3), seed=seed))
        for seed in (1, 1, 2)
    )
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


def test_pretrained_weights_are_those_of_the_extraction():
    how = settings(backbone="efficientnet_lite0")
    model = build_model(how, embedding_dim=(32, 32, 3), num_classes=3)
    start_training(model, how, frame_clips((2,), "many-to-one", shape=(32, 32, 3)))
    real = load_backbone("efficientnet_lite0", image_size=32).build()
    for ours, theirs in zip(cnn_of(model).get_weights(), real.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_both_streams_of_a_backbone_get_their_weights_and_statistics():
    how = TrainSettings("many-to-one", "two_stream", stream="td_backbone_rnn", backbone="tiny", head="gru", **HEAD)
    model, clips = build_model(how, embedding_dim=(16, 16, 6), num_classes=2), moving_clips(4, motion="both")
    start_training(model, how, clips)
    means = [model.get_layer(name).get_layer("standardise").mean.numpy() for name in ("rgb", "flow")]
    assert all(np.abs(mean).sum() > 0 for mean in means)
    assert not np.allclose(*means)


@pytest.mark.parametrize("shape", [(16, 12, 3), (16, 16, 6), (16, 16, 1)])
def test_a_backbone_takes_square_pictures_of_three_channels(shape):
    message = (
        r"backbone tiny takes square frames \(batch, timesteps, height, width, 3\), got "
        f"{' x '.join(map(str, shape))}; give one store of RGB frames"
    )
    with pytest.raises(ClipError, match=message):
        build(shape=shape)


def test_a_backbone_or_weights_file_that_is_not_there_is_named():
    with pytest.raises(BackboneError, match="there is no backbone 'resnet5': did you mean resnet50"):
        build(backbone="resnet5")
    how = settings(backbone_weights="gone.h5")
    message = "gone.h5: no such weights file; set --backbone-weights to another path, pretrained or random."
    with pytest.raises(BackboneError, match=message):
        start_training(build(backbone_weights="gone.h5"), how, moving_clips(2))
