import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from frame_clips import frame_clip, frame_clips, moving_clips

from extract.errors import ClipError, LabelError, UsageError
from extract.store.lazy_rows import LazyRows
from sequence_models.catalogue import RAW_MODEL_NAMES, models_with
from sequence_models.clips.augmentation import FrameAugmentation
from sequence_models.clips.batches import check_clips, make_batches, pad_clips
from sequence_models.clips.windows import training_pieces
from sequence_models.models.build import Architecture, build_model
from sequence_models.models.compiled import CompiledModel
from sequence_models.models.layers import RealFrames, SegmentMean
from sequence_models.models.on_frames import RAW_MODELS
from sequence_models.prediction.predict import predict
from sequence_models.records import PaddedBatch
from sequence_models.settings import TrainSettings
from sequence_models.training.fine_tuning import start_training
from sequence_models.training.fit import fit_model
from sequence_models.training.step import Trainer

LEARNING = {"epochs": 12, "batch_size": 8, "learning_rate": 1e-2, "dropout": 0.0}
TWO_STREAM = {"filters": "4,4", "units": 4}
NOT_WITH_JAX = pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX refuses statistics of real frames")


def test_every_name_has_a_builder():
    assert set(RAW_MODELS) == set(RAW_MODEL_NAMES)


def accuracy(name, tmp_path, *, motion="rgb", counts=(64, 24, 64), steps=6, change=list, **sizes):
    """Of clips that go left or right, on unseen ones; `counts` are for training, validation and test."""
    settings = TrainSettings("many-to-one", name, **{**LEARNING, **sizes})
    train, validation, test = (
        change(moving_clips(count, seed=k, motion=motion, steps=steps)) for k, count in enumerate(counts)
    )
    fit = fit_model(
        *(train, validation, settings),
        **{"num_classes": 2, "seed": 0, "quiet": True},
        checkpoint=tmp_path / "m.weights.h5",
        log=tmp_path / "log.csv",
    )
    return np.mean([int(p.labels) == int(c.labels) for p, c in zip(predict(fit.model, test), test, strict=True)])


def faint(clips):
    """Pictures like differences: nearly all of one grey."""
    return [replace(clip, embeddings=(10 + clip.embeddings // 40).astype(np.uint8)) for clip in clips]


@pytest.mark.slow
@pytest.mark.parametrize(("scaling", "learns"), [("training", True), ("range", False)])
def test_what_is_faint_is_learnt_once_frames_are_scaled_by_their_own_spread(tmp_path, scaling, learns):
    """On differences of real video the loss stayed that of a guess, through any number of updates."""
    found = accuracy("td_cnn_lstm", tmp_path, change=faint, frame_scaling=scaling, epochs=8)
    assert (found > 0.9) == learns


def test_frames_are_scaled_with_the_statistics_of_the_training_frames():
    settings = TrainSettings(model="two_stream", **TWO_STREAM)
    model = build_model(settings, embedding_dim=(8, 8, 6), num_classes=3)
    clips = frame_clips((3, 5), "many-to-one", shape=(8, 8, 6))
    start_training(model, settings, clips)
    frames = np.concatenate([clip.embeddings for clip in clips]) / 127.5 - 1
    for name, channels in (("rgb", slice(0, 3)), ("flow", slice(3, 6))):
        cnn = next(layer.cnn for layer in model.get_layer(name).layers if isinstance(layer, RealFrames))
        scaling = cnn.get_layer("frame_scaling")
        mean, variance = (keras.ops.convert_to_numpy(each) for each in (scaling.moving_mean, scaling.moving_variance))
        np.testing.assert_allclose(mean, frames[..., channels].mean(axis=(0, 1, 2)), atol=1e-5)
        np.testing.assert_allclose(variance, frames[..., channels].var(axis=(0, 1, 2)), rtol=1e-4)
        assert not scaling.trainable_weights


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "learning_rate", "sizes"),
    [
        ("td_cnn_lstm", 1e-2, {}),
        ("td_cnn_flatten_lstm", 3e-3, {}),
        ("conv3d", 1e-2, {}),
        pytest.param("td_convnet_gru", 2e-3, {"filters": "16,32", "dense": "64"}, marks=NOT_WITH_JAX),
    ],
)
def test_a_model_that_sees_order_tells_left_from_right(name, learning_rate, sizes, tmp_path):
    assert accuracy(name, tmp_path, learning_rate=learning_rate, epochs=12, **sizes) >= 0.95


@pytest.mark.parametrize("name", ["td_cnn_avgpool", "td_cnn_maxpool"])
def test_a_model_without_time_is_at_chance_on_frames(name, tmp_path):
    assert 0.35 <= accuracy(name, tmp_path) <= 0.65


def test_optical_flow_shows_the_motion_to_a_model_without_time(tmp_path):
    assert accuracy("td_cnn_avgpool", tmp_path, motion="flow") > 0.9


def test_two_streams_without_time_learn_from_the_flow_among_them(tmp_path):
    assert accuracy("two_stream", tmp_path, motion="both", stream="td_cnn_avgpool", filters="8,8") > 0.9


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("td_cnn_lstm", [(3, 3, 3, 16), (3, 3, 16, 32), (32, 256), (64, 256), (64, 2)]),
        ("td_cnn_flatten_lstm", [(3, 3, 3, 32), (3, 3, 32, 64), (4 * 4 * 64, 512), (128, 512), (128, 2)]),
        ("conv3d", [(3, 3, 3, 3, 32), (3, 3, 3, 32, 64), (64, 2)]),
        ("td_cnn_avgpool", [(3, 3, 3, 16), (3, 3, 16, 32), (32, 2)]),
        (
            "td_convnet_gru",
            [
                *((3, 3, 3, 64), (3, 3, 64, 64), (3, 3, 64, 128), (3, 3, 128, 128)),
                *((3, 3, 128, 256), (3, 3, 256, 256), (3, 3, 256, 512), (3, 3, 512, 512)),
                *((512, 192), (64, 192), (64, 1024), (1024, 512), (512, 128), (128, 64), (64, 2)),
            ],
        ),
    ],
)
def test_default_sizes_are_those_that_are_listed(name, expected):
    model = build_model(TrainSettings("many-to-one", name), embedding_dim=(16, 16, 3), num_classes=2)
    matrices = [weight.shape for weight in model.trainable_weights if len(weight.shape) > 1]
    assert [shape for shape in matrices if shape != (2, 192)] == expected  # the GRU has two biases
    norms = [
        layer.momentum
        for raw in model.layers
        for layer in getattr(getattr(raw, "cnn", None), "layers", ())
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    assert norms == ([0.9] * 4 if name == "td_convnet_gru" else [])


@pytest.mark.parametrize("name", models_with(on_frames=True, causal=True))
def test_causal_outputs_do_not_change_when_later_frames_do(name):
    how = TrainSettings("many-to-many", name, causal=True, filters="2,3", units=3, dense="4")
    model = build_model(how, embedding_dim=(8, 8, 3), num_classes=3)
    frames = frame_clip(6).embeddings
    other = np.where(np.arange(6)[:, None, None, None] < 4, frames, 255 - frames)
    first, changed = keras.ops.convert_to_numpy(model([np.stack([frames, other]), np.ones((2, 6), bool)]))
    np.testing.assert_allclose(first[:4], changed[:4], atol=1e-6)
    assert not np.allclose(first[4:], changed[4:], atol=1e-6)


@pytest.mark.parametrize("name", RAW_MODEL_NAMES)
def test_no_two_variables_share_a_path(name):
    """PyTorch would never set the gradient of one of them to zero."""
    shape = (8, 8, 6 if name == "two_stream" else 3)
    settings = TrainSettings("many-to-one", name, backbone="tiny")
    paths = [variable.path for variable in build_model(settings, embedding_dim=shape, num_classes=3).variables]
    assert len(set(paths)) == len(paths)


def test_the_two_streams_say_the_mean_of_what_each_says():
    settings = TrainSettings("many-to-one", "two_stream", **TWO_STREAM)
    model = build_model(settings, embedding_dim=(8, 8, 6), num_classes=3)
    frames, mask = frame_clip(5, shape=(8, 8, 6)).embeddings[None], np.ones((1, 5), bool)
    rgb = model.get_layer("rgb")([frames[..., :3], mask])
    flow = model.get_layer("flow")([frames[..., 3:], mask])
    said, mean = (keras.ops.convert_to_numpy(logits) for logits in (model([frames, mask]), (rgb + flow) / 2))
    np.testing.assert_allclose(said, mean, atol=1e-6)


DTPP = {"stream": "td_backbone_rnn", "head": "pyramid", "backbone": "tiny", "backbone_weights": "random"}


@pytest.mark.slow
def test_two_streams_of_backbones_with_a_pyramid_are_end_to_end_video_level_representation_learning(tmp_path):
    """arXiv 1711.04161: backbones on RGB and flow, temporal pyramid pooling, all of it trained together."""
    settings = TrainSettings("many-to-one", "two_stream", **DTPP, trainable_layers="all")
    model = build_model(settings, embedding_dim=(8, 8, 6), num_classes=3)
    streams = [model.get_layer(name) for name in ("rgb", "flow")]
    for stream in streams:
        frames = next(layer for layer in stream.layers if isinstance(layer, RealFrames))
        assert frames.cnn.trainable_weights  # to the first layer
        parts = [layer.steps for layer in stream.layers if isinstance(layer, SegmentMean)]
        assert parts == [1, 2, 3]
    learning = {"trainable_layers": "all", "epochs": 8}
    assert accuracy("two_stream", tmp_path, motion="both", counts=(32, 16, 32), **DTPP, **learning) > 0.9


@pytest.mark.parametrize(
    ("name", "own"),
    [("td_cnn_lstm", "avg"), ("td_convnet_gru", "max"), ("td_cnn_avgpool", "avg"), ("td_backbone_rnn", "avg")],
)
def test_a_frame_is_pooled_as_asked_whatever_the_models_own_way_is(name, own):
    sizes = {"backbone": "tiny", "backbone_weights": "random"} if name == "td_backbone_rnn" else {"filters": "4"}
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)

    def vectors(pool):
        model = build_model(TrainSettings(model=name, pool=pool, **sizes), embedding_dim=(8, 8, 3), num_classes=2)
        cnn = next(layer for layer in model.layers if isinstance(layer, RealFrames)).cnn
        return keras.ops.convert_to_numpy(cnn(pictures))

    mean, highest = vectors("avg"), vectors("max")
    np.testing.assert_array_equal(vectors(None), {"avg": mean, "max": highest}[own])
    if name != "td_backbone_rnn":  # the average of tiny is one of 4 cells
        assert (highest >= mean).all() and (highest > mean).any()
    assert highest.shape[-1] == 4 and not np.array_equal(highest[:, :4], mean[:, :4])


def test_flattening_warns_of_its_size_once(caplog):
    settings = TrainSettings("many-to-one", "td_cnn_flatten_lstm")
    model = build_model(settings, embedding_dim=(24, 24, 3), num_classes=2)
    for _ in range(2):
        start_training(model, settings, frame_clips((3,), "many-to-one", shape=(24, 24, 3)))
    (record,) = caplog.records
    assert record.getMessage() == (
        "td_cnn_flatten_lstm: flattening gives 2,304 features per frame, and the LSTM on them 1,245,696 weights; "
        "use smaller frames or td_cnn_lstm for fewer."
    )


def test_conv3d_flattens_clips_of_a_fixed_number_of_frames_whatever_the_padding():
    how = TrainSettings("many-to-one", "conv3d", filters="3,4", fixed_frames=5)
    twin = CompiledModel(Architecture(how, (8, 10, 3), num_classes=3))
    assert [weight.shape for weight in twin.model.weights][-2] == (2 * 2 * 3 * 4, 3)
    clips = frame_clips((5, 5), "many-to-one", shape=(8, 10, 3))
    plain, padded = (twin.logits(pad_clips(clips, rows=2, steps=steps)) for steps in (5, 12))
    np.testing.assert_allclose(plain, padded, atol=1e-5)
    message = (
        "1-4.mp4 has a piece of 4 timesteps, but conv3d with fixed_frames 5 takes exactly that many; "
        "extract with --num-frames 5, or leave --fixed-frames out."
    )
    short = frame_clip(4, 0, seed=1, shape=(8, 10, 3))
    with pytest.raises(ClipError, match=re.escape(message)):
        predict(twin.model, [*clips, short])
    with pytest.raises(ClipError, match=re.escape(message)):
        training_pieces([*clips, short], how, np.random.default_rng(0))


def twin(task="many-to-one"):
    settings = TrainSettings(task, "td_cnn_lstm", filters="2,2", units=2)
    return CompiledModel(Architecture(settings, (8, 10, 3), num_classes=3))


@pytest.mark.parametrize(
    ("frames", "targets", "error", "message"),
    [
        (
            (4, 5, 3, 8, 10),
            (4,),
            ClipError,
            "the model takes (batch, timesteps, height, width, channels) = (4, 5, 8, 10, 3), got (4, 5, 3, 8, 10); "
            "transpose the axes.",
        ),
        (
            (4, 5, 8, 10, 3),
            (4, 5),
            LabelError,
            "with (batch, timesteps, height, width, channels) = (4, 5, 8, 10, 3) the model takes targets (4,), "
            "got (4, 5); give labels for the model's task.",
        ),
    ],
)
def test_a_batch_with_axes_in_another_order_is_refused(frames, targets, error, message):
    mask, labels = np.ones((4, 5), bool), np.zeros(targets, np.int32)
    batch = PaddedBatch(np.zeros(frames, np.uint8), mask, labels, labels.astype(np.float32))
    with pytest.raises(error) as caught:
        Trainer(twin()).update(batch)
    assert str(caught.value) == message


def test_targets_per_clip_are_refused_by_a_model_per_frame():
    batch = pad_clips(frame_clips((5, 3), "many-to-one", shape=(8, 10, 3)), rows=2, steps=5)
    with pytest.raises(LabelError, match=re.escape("the model takes targets (2, 5), got (2,); give labels")):
        Trainer(twin("many-to-many")).update(batch)


@pytest.mark.parametrize("shape", [(3, 16, 16), (16, 16, 7)])
def test_clips_with_channels_elsewhere_are_refused(shape):
    clip = frame_clip(4, 0, shape=shape)
    message = (
        f"0-4.mp4 has frames of uint8 (4, {', '.join(map(str, shape))}); a raw-frame model takes uint8 (batch, "
        "timesteps, height, width, channels), so for each clip (timesteps, H, W, 1 to 6); transpose the axes"
    )
    with pytest.raises(ClipError, match=re.escape(message)):
        check_clips([clip], num_classes=3)
    with pytest.raises(ClipError, match=r"takes frames \(batch, timesteps, height, width, channels\) with at most 6"):
        build_model(TrainSettings(model="conv3d"), embedding_dim=shape, num_classes=3)


def test_clips_of_other_sizes_are_refused():
    clips = [frame_clip(4, 0, shape=(8, 8, 3)), frame_clip(4, 0, seed=1, shape=(8, 9, 3))]
    message = "1-4.mp4 has frames of uint8 (4, 8, 9, 3); .* so for each clip (timesteps, 8, 8, 3); transpose the axes"
    with pytest.raises(ClipError, match=message.replace("(", r"\(").replace(")", r"\)")):
        check_clips(clips, num_classes=3)


def test_two_streams_need_two_stores():
    settings = TrainSettings("many-to-one", "two_stream")
    with pytest.raises(ClipError, match="got frames with 3 channels; give clipseq train two stores of the same clips"):
        build_model(settings, embedding_dim=(8, 8, 3), num_classes=3)


def lazily(clip, read):
    """The clip with frames that are read when asked for; notes every reading."""
    frames = clip.embeddings

    def reader(rows):
        read.append((clip.clip_id, len(rows)))
        return frames[rows]

    object.__setattr__(clip, "embeddings", LazyRows(reader, np.arange(len(frames)), frames.shape[1:], frames.dtype))
    return clip


@pytest.mark.parametrize("varied", [None, FrameAugmentation(flip=True)])
def test_only_the_frames_of_one_batch_are_read_at_a_time(varied):
    read = []
    clips = [lazily(clip, read) for clip in frame_clips((3, 4, 5, 6), "many-to-one")]
    check_clips(clips, num_classes=3)
    batches = make_batches(clips, batch_size=2, seed=0, frame_augmentation=varied)
    assert read == []
    first = next(batches)
    assert (len(read), first.embeddings.dtype, first.embeddings.shape[0]) == (2, np.uint8, 2)
    assert [len(batch.mask) for batch in batches] == [2]
    assert sorted(length for _, length in read) == [3, 4, 5, 6]


def test_the_last_batch_of_frames_has_no_rows_of_zeros():
    clips = frame_clips((3, 4, 5), "many-to-one")
    assert [len(batch.mask) for batch in make_batches(clips, batch_size=2)] == [2, 1]


def test_training_varies_the_pictures_by_epoch_and_seed():
    clips = frame_clips((3, 3), "many-to-one")

    def pictures(seed):
        (batch,) = make_batches(clips, batch_size=2, seed=seed, frame_augmentation=FrameAugmentation(brightness=0.5))
        return batch.embeddings.astype(int).sum()

    assert pictures((0, 1)) == pictures((0, 1)) != pictures((0, 2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"filters": "16,x"}, "filters must be positive whole numbers separated by commas, such as 16,32, got '16,x'"),
        ({"trainable_layers": "-1"}, "trainable_layers must be a whole number of last layers, or all, got '-1'"),
        ({"flip": True}, "flip is for td_cnn_lstm, td_cnn_flatten_lstm, td_convnet_gru, "),
        (
            {"start_from": "runs/a", "model": "conv3d"},
            "start_from is for td_backbone_rnn, but model is conv3d;",
        ),
        (
            {"model": "conv3d", "task": "many-to-many"},
            "model conv3d gives one label per clip and cannot do many-to-many; choose one of td_cnn_lstm, "
            "td_cnn_flatten_lstm, td_convnet_gru, td_backbone_rnn, two_stream.",
        ),
        (
            {"model": "td_backbone_rnn", "head": "meanpool", "task": "many-to-many"},
            "model meanpool gives one label per clip and cannot do many-to-many; choose one of lstm, bilstm, gru,",
        ),
        (
            {"model": "two_stream", "stream": "conv3d", "task": "many-to-many", "causal": True},
            "model conv3d gives one label per clip",
        ),
        (
            {"fixed_frames": 8},
            "fixed_frames is for conv3d, but model is bilstm; choose one of them, or leave",
        ),
        (
            {"fixed_frames": 8, "model": "conv3d", "crop": 0.1},
            "fixed_frames 8 cannot be combined with crop, speed",
        ),
        ({"pool": "max"}, "pool is for td_cnn_lstm, td_convnet_gru, td_cnn_avgpool, td_cnn_maxpool, td_backbone_rnn,"),
        (
            {"pool": "max", "model": "two_stream", "stream": "conv3d"},
            "pool is for td_cnn_lstm, td_convnet_gru, td_cnn_avgpool, td_cnn_maxpool, td_backbone_rnn, two_stream, "
            "but model is conv3d",
        ),
        ({"stream": "two_stream"}, "stream 'two_stream' is unknown; choose one of td_cnn_lstm, "),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(UsageError) as caught:
        TrainSettings(**wrong)
    assert str(caught.value).startswith(message)
