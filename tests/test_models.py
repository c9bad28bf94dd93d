from dataclasses import asdict

import keras
import numpy as np
import pytest
from clip_factory import make_clip

from extract.errors import UsageError
from sequence_models.batches import pad_clips
from sequence_models.layers import Readout, Standardise
from sequence_models.models import MODELS, build_model
from sequence_models.settings import MODEL_NAMES, TrainSettings

MASK = np.array([[True, True, True, False], [True, False, False, False]])
SEQUENCE = np.array([[[1, 5], [3, 1], [2, 9], [8, 8]], [[7, 4], [9, 9], [9, 9], [9, 9]]], np.float32)


def test_every_name_has_a_builder():
    assert tuple(MODELS) == MODEL_NAMES


@pytest.mark.parametrize(
    ("kind", "bidirectional", "expected"),
    [
        ("last", False, [[2, 9], [7, 4]]),
        ("last", True, [[2, 5], [7, 4]]),
        ("mean", False, [[2, 5], [7, 4]]),
        ("max", False, [[3, 9], [7, 4]]),
    ],
)
def test_readout_sees_real_steps_only(kind, bidirectional, expected):
    read = Readout(kind, bidirectional=bidirectional)(SEQUENCE, mask=MASK)
    assert keras.ops.convert_to_numpy(read).tolist() == expected


def test_max_readout_of_negative_steps_is_negative():
    read = Readout("max")(-SEQUENCE, mask=MASK)
    assert keras.ops.convert_to_numpy(read).tolist() == [[-1, -1], [-7, -4]]


def test_standardise_leaves_padding_at_zero_even_where_it_is_nan():
    layer = Standardise()
    layer.build((None, None, 2))
    layer.set_statistics(np.array([1.0, 5.0]), np.array([2.0, 0.0]))
    standard = layer(np.where(MASK[..., None], SEQUENCE, np.nan), mask=MASK)
    assert keras.ops.convert_to_numpy(standard).tolist() == [
        [[0, 0], [1, -4], [0.5, 4], [0, 0]],
        [[3, -1], [0, 0], [0, 0], [0, 0]],
    ]


def test_the_standardisation_is_a_weight_that_is_not_trained():
    model = build_model(TrainSettings(hidden=4, projection=4), embedding_dim=5, num_classes=3)
    assert [weight.path for weight in model.non_trainable_weights] == ["standardise/mean", "standardise/scale"]


@pytest.mark.parametrize(("task", "shape"), [("many-to-one", (2, 3)), ("many-to-many", (2, 8, 3))])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_outputs_are_logits_of_the_task(name, task, shape):
    model = build_model(TrainSettings(model=name, task=task, hidden=4, projection=4), embedding_dim=5, num_classes=3)
    batch = pad_clips([make_clip(3, 0), make_clip(8, 1)], rows=2, steps=8)
    logits = keras.ops.convert_to_numpy(model([batch.embeddings, batch.mask]))
    assert logits.shape == shape
    assert not np.allclose(logits.sum(axis=-1), 1)


def test_the_seed_alone_decides_the_weights():
    settings = TrainSettings(hidden=4, projection=4)

    def weights(seed):
        return build_model(settings, embedding_dim=5, num_classes=3, seed=seed).get_weights()

    assert all(np.array_equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(weights(1), weights(2), strict=True))


def test_both_directions_start_from_different_weights():
    model = build_model(TrainSettings(hidden=4, projection=4), embedding_dim=5, num_classes=3)
    bidirectional = next(layer for layer in model.layers if isinstance(layer, keras.layers.Bidirectional))
    forward, backward = bidirectional.forward_layer.get_weights(), bidirectional.backward_layer.get_weights()
    assert not np.allclose(forward[0], backward[0])
    assert not np.allclose(forward[1], backward[1])


def test_projection_zero_means_none():
    narrow = build_model(TrainSettings(projection=4, hidden=4), embedding_dim=5, num_classes=3)
    direct = build_model(TrainSettings(projection=0, hidden=4), embedding_dim=5, num_classes=3)
    assert narrow.count_params() - direct.count_params() == (5 + 1) * 4 - 2 * 4 * 4 * (5 - 4)


def test_settings_survive_json():
    assert TrainSettings(**asdict(TrainSettings(hidden=5))) == TrainSettings(hidden=5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "lstn"}, f"model 'lstn' is unknown; choose one of {', '.join(MODEL_NAMES)}."),
        ({"readout": "sum"}, "readout 'sum' is unknown; choose one of last, mean, max"),
        ({"task": "one"}, "task 'one' is unknown; choose one of many-to-one, many-to-many."),
        ({"optimizer": "lion"}, "optimizer 'lion' is unknown; choose one of adam, adamw, sgd, adadelta."),
        ({"hidden": 0}, "hidden must be at least 1, got 0; choose another --hidden."),
        (
            {"channel_dropout": 1.0},
            "channel_dropout must be between 0 and 0.95, got 1.0; choose another --channel-drop",
        ),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(UsageError) as caught:
        TrainSettings(**wrong)
    assert str(caught.value).startswith(message)
