from dataclasses import asdict

import keras
import numpy as np
import pytest
from clip_factory import make_clip

from extract.errors import UsageError
from sequence_models.catalogue import MODEL_NAMES, TRAITS, models_with
from sequence_models.clips.batches import pad_clips
from sequence_models.models.build import build_model, output_stages
from sequence_models.models.layers import (
    AttentionReadout,
    PlacedAttention,
    Readout,
    RealFrames,
    SegmentMean,
    SmoothnessLoss,
    Standardise,
)
from sequence_models.models.on_embeddings import MODELS
from sequence_models.settings import TrainSettings

MASK = np.array([[True, True, True, False], [True, False, False, False]])
SEQUENCE = np.array([[[1, 5], [3, 1], [2, 9], [8, 8]], [[7, 4], [9, 9], [9, 9], [9, 9]]], np.float32)


def test_every_name_has_a_builder():
    assert tuple(MODELS) == MODEL_NAMES


@pytest.mark.parametrize(
    ("kind", "backward", "expected"),
    [
        ("last", 0, [[2, 9], [7, 4]]),
        ("last", 1, [[2, 5], [7, 4]]),
        ("mean", 0, [[2, 5], [7, 4]]),
        ("max", 0, [[3, 9], [7, 4]]),
    ],
)
def test_readout_sees_real_steps_only(kind, backward, expected):
    read = Readout(kind, backward=backward)(SEQUENCE, mask=MASK)
    assert keras.ops.convert_to_numpy(read).tolist() == expected


def test_max_readout_of_negative_steps_is_negative():
    read = Readout("max")(-SEQUENCE, mask=MASK)
    assert keras.ops.convert_to_numpy(read).tolist() == [[-1, -1], [-7, -4]]


@pytest.mark.parametrize("training", [False, True])
def test_a_cnn_sees_every_real_frame_once_and_padding_stays_zero(training):
    """More frames than go through it at once."""
    cnn = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Rescaling(2)])
    frames = np.random.default_rng(0).integers(1, 256, (2, 110, 2, 2, 1), dtype=np.uint8)
    mask = np.arange(110) < np.array([[100], [50]])
    features = keras.ops.convert_to_numpy(RealFrames(cnn)(frames, mask=mask, training=training))
    np.testing.assert_array_equal(features, np.where(mask[..., None], 2.0 * frames.reshape(2, 110, 4), 0))


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


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [[2, 5], [7, 4]]),
        (3, [[1, 5], [3, 1], [2, 9], [7, 4], [7, 4], [7, 4]]),
        (2, [[2, 3], [2.5, 5], [7, 4], [7, 4]]),  # the middle of three steps is in both halves
    ],
)
def test_segments_are_means_of_equal_parts_of_the_real_steps(steps, expected):
    segments = keras.ops.convert_to_numpy(SegmentMean(steps)(SEQUENCE, mask=MASK))
    assert segments.reshape(-1, 2).tolist() == expected


def test_attention_weighs_real_steps_only():
    layer = AttentionReadout(4, seeds=(1, 2))
    read = keras.ops.convert_to_numpy(layer(SEQUENCE, mask=MASK))
    garbage = keras.ops.convert_to_numpy(layer(np.where(MASK[..., None], SEQUENCE, 99), mask=MASK))
    np.testing.assert_allclose(read, garbage)
    np.testing.assert_allclose(read[1], [7, 4])
    assert (read[0] > [1, 1]).all()
    assert (read[0] < [3, 9]).all()


def test_smoothness_is_the_truncated_change_of_log_probabilities_over_real_pairs():
    layer = SmoothnessLoss(0.5)
    logits = np.log(np.array([[[0.5, 0.5], [0.25, 0.75], [1e-9, 1.0], [0.9, 0.1]]], np.float32))
    layer(logits, mask=np.array([[True, True, True, False]]))
    first = np.log(0.5) ** 2 + np.log(1.5) ** 2
    second = 16 + np.log(0.75) ** 2
    assert float(layer.losses[0]) == pytest.approx(0.5 * (first + second) / 4, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "task", "shape"),
    [
        *((name, "many-to-one", (2, 3)) for name in MODEL_NAMES),
        *((name, "many-to-many", (2, 8, 3)) for name in MODEL_NAMES if TRAITS[name].framewise),
    ],
)
def test_outputs_are_logits_of_the_task(name, task, shape):
    settings = TrainSettings(task, name, hidden=4, projection=4, tcn_layers=2)
    model = build_model(settings, embedding_dim=5, num_classes=3)
    batch = pad_clips([make_clip(3, 0), make_clip(8, 1)], rows=2, steps=8)
    logits = keras.ops.convert_to_numpy(model([batch.embeddings, batch.mask]))
    assert logits.shape == shape
    assert not np.allclose(logits.sum(axis=-1), 1)


def test_every_stage_of_mstcn_is_an_output_of_training_and_the_last_that_of_the_model():
    settings = TrainSettings("many-to-many", "mstcn", hidden=4, tcn_layers=2, tcn_stages=3)
    model = build_model(settings, embedding_dim=5, num_classes=3)
    stages = output_stages(model)
    assert len(stages) == 3
    assert stages[-1] is model.output


def with_other_end(clip, start):
    """The clip, and the clip with all timesteps from `start` on changed: (2, T, D)."""
    changed = np.where(np.arange(len(clip))[:, None] < start, clip.embeddings, 7)
    return np.stack([clip.embeddings, changed]).astype(np.float32)


@pytest.mark.parametrize("name", models_with(causal=True, on_frames=False))
def test_causal_outputs_do_not_change_when_later_steps_do(name):
    settings = TrainSettings("many-to-many", name, causal=True, hidden=4, tcn_layers=3, tcn_stages=2)
    model = build_model(settings, embedding_dim=5, num_classes=3)
    for start in range(1, 9):
        pair = model([with_other_end(make_clip(9), start), np.ones((2, 9), bool)])
        kept, changed = keras.ops.convert_to_numpy(pair)
        np.testing.assert_allclose(kept[:start], changed[:start], atol=1e-6)
        assert not np.allclose(kept[start:], changed[start:], atol=1e-3)


def test_mstcn_sees_later_steps_unless_causal():
    settings = TrainSettings("many-to-many", "mstcn", hidden=4, tcn_layers=4, tcn_stages=2)
    model = build_model(settings, embedding_dim=5, num_classes=3)
    pair = model([with_other_end(make_clip(9), 8), np.ones((2, 9), bool)])
    kept, changed = keras.ops.convert_to_numpy(pair)
    assert not np.allclose(kept[0], changed[0], atol=1e-4)


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
    narrow = build_model(TrainSettings(model="meanpool", projection=4), embedding_dim=5, num_classes=3)
    direct = build_model(TrainSettings(model="meanpool", projection=0), embedding_dim=5, num_classes=3)
    assert [weight.shape for weight in narrow.trainable_weights] == [(5, 4), (4,), (4, 3), (3,)]
    assert [weight.shape for weight in direct.trainable_weights] == [(5, 3), (3,)]


def test_settings_survive_json():
    assert TrainSettings(**asdict(TrainSettings(hidden=5))) == TrainSettings(hidden=5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "lstn"}, f"model 'lstn' is unknown; choose one of {', '.join(MODEL_NAMES)}, td_cnn_lstm, "),
        ({"readout": "sum"}, "readout 'sum' is unknown; choose one of attention, mean, max, last."),
        ({"task": "one"}, "task 'one' is unknown; choose one of many-to-one, many-to-many."),
        ({"optimizer": "lion"}, "optimizer 'lion' is unknown; choose one of adam, adamw, sgd, adadelta."),
        ({"crop": -0.1}, "crop must be between 0 and 0.95, got -0.1; choose another --crop."),
        (
            {"model": "pyramid", "task": "many-to-many"},
            "model pyramid gives one label per clip and cannot do many-to-many; "
            "choose one of lstm, bilstm, gru, bigru, mstcn.",
        ),
        (
            {"model": "lstm_parts", "task": "many-to-many"},
            "model lstm_parts gives one label per clip and cannot do many-to-many; "
            "choose one of lstm, bilstm, gru, bigru, mstcn.",
        ),
        ({"parts": 0}, "parts must be at least 1, got 0; choose another --parts."),
        (
            {"causal": True, "task": "many-to-many"},
            "model bilstm cannot be causal for many-to-many; choose one of lstm, gru, mstcn for many-to-many.",
        ),
        (
            {"causal": True, "model": "lstm"},
            "model lstm cannot be causal for many-to-one; choose one of lstm, gru, mstcn for many-to-many.",
        ),
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


def test_placed_attention_can_look_at_the_end_alone_whatever_the_length():
    layer = PlacedAttention(4, 2, seeds=(0, 1, 2))
    layer.build((None, None, 3))
    places = np.zeros((9, 4), np.float32)
    places[-1] = 1  # the last place wins, whatever is shown there
    layer.content.set_weights([np.zeros((3, 4)), np.zeros(4)])
    layer.place.set_weights([places])
    layer.score.set_weights([np.full((4, 2), 200, np.float32)])
    sequence = np.random.default_rng(0).normal(size=(3, 40, 3)).astype(np.float32)
    lengths = np.array([40, 11, 1])
    read = np.asarray(layer(sequence, mask=np.arange(40) < lengths[:, None]))
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(read[row], np.tile(sequence[row, length - 1], 2), atol=1e-2)
