"""For every raw-frame model and task: padding changes nothing, the statistics of batch normalisation included."""

import keras
import numpy as np
import pytest
from frame_clips import SHAPE, frame_clip, frame_clips

from sequence_models.catalogue import RAW_MODEL_NAMES, TRAITS
from sequence_models.clips.batches import pad_clips
from sequence_models.models.build import Architecture, build_model
from sequence_models.models.compiled import CompiledModel
from sequence_models.prediction.predict import forward
from sequence_models.records import PaddedBatch
from sequence_models.settings import TrainSettings
from sequence_models.training.step import Trainer

LENGTHS = (3, 6, 1, 4)
SIZES = {
    "units": 4,
    "hidden": 4,
    "projection": 4,
    "dense": "6,5",
    "backbone": "tiny",
    "head": "gru",
    "stream": "td_cnn_lstm",
    "optimizer": "sgd",
    "learning_rate": 0.05,
}
FILTERS = {"td_convnet_gru": "3,4,5,4"}
CASES = [
    *(("many-to-one", name) for name in RAW_MODEL_NAMES),
    *(("many-to-many", name) for name in RAW_MODEL_NAMES if TRAITS[name].framewise),
]
STEPS = 10
NOT_WITH_JAX = pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX refuses statistics of real frames")


def twin_of(task, name, *, size=SHAPE[0], **changes):
    settings = TrainSettings(task, name, filters=FILTERS.get(name, "3,4"), **{**SIZES, **changes})
    shape = (size, size, 6 if name == "two_stream" else 3)
    return CompiledModel(Architecture(settings, shape, num_classes=3))


@pytest.fixture(params=CASES, ids="-".join, scope="module")
def twin(request):
    return twin_of(*request.param)


def clips_of(twin, lengths=LENGTHS):
    return frame_clips(lengths, twin.settings.task, shape=twin.embedding_dim)


def with_garbage(batch):
    """Padding that is not zero."""
    noise = np.random.default_rng(1).integers(0, 256, batch.embeddings.shape, dtype=np.uint8)
    frames = np.where(batch.mask[:, :, None, None, None], batch.embeddings, noise)
    return PaddedBatch(frames, batch.mask, batch.labels, batch.sample_weight)


@pytest.mark.slow
def test_ten_training_steps_are_the_same_with_0_and_with_24_padded_steps(twin):
    """With dropout on. 6 is the longest clip, and no padding at all is seen by it."""
    start = build_model(twin.settings, embedding_dim=twin.embedding_dim, num_classes=3)
    trainer = Trainer(twin)

    def train(steps):
        twin.load(start)
        trainer.reset()
        batch = with_garbage(pad_clips(clips_of(twin), rows=len(LENGTHS), steps=steps))
        losses = [trainer.update(batch) for _ in range(STEPS)]
        whole = [prediction.probabilities for prediction in forward(twin, clips_of(twin))]
        return losses, [variable.numpy() for variable in twin.model.variables], whole

    (losses, weights, said), (padded_losses, padded_weights, padded_said) = train(6), train(30)
    np.testing.assert_allclose(losses, padded_losses, atol=1e-4)
    for plain, padded in zip((*weights, *said), (*padded_weights, *padded_said), strict=True):
        np.testing.assert_allclose(plain, padded, atol=1e-4)
    assert not np.allclose(losses[0], losses[-1], atol=1e-4)


def test_a_clip_alone_gives_what_it_gives_in_a_batch(twin):
    clips = clips_of(twin, (*LENGTHS, 9))
    for clip, prediction in zip(clips, forward(twin, clips), strict=True):
        (alone,) = forward(twin, [clip])
        np.testing.assert_allclose(alone.probabilities, prediction.probabilities, atol=1e-5)


@NOT_WITH_JAX
def test_the_statistics_of_batch_normalisation_are_those_of_the_real_frames():
    """Momentum 0.9: one step moves the moving mean a tenth of the way to the mean of the batch."""
    twin = twin_of("many-to-one", "td_convnet_gru")
    clips = clips_of(twin)
    cnn = next(layer.cnn for layer in twin.model.layers if hasattr(layer, "cnn"))
    norms = [layer for layer in cnn.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = next(layer for layer in norms if layer.trainable)  # not the one that scales frames
    inside = keras.Model(cnn.input, before.input)(np.concatenate([c.embeddings for c in clips]).astype(np.float32))
    expected = keras.ops.convert_to_numpy(inside).mean(axis=(0, 1, 2))
    Trainer(twin).update(with_garbage(pad_clips(clips, rows=4, steps=30)))
    np.testing.assert_allclose(before.moving_mean.numpy(), 0.1 * expected, rtol=1e-3, atol=1e-5)


def test_eager_code_gives_what_the_compiled_function_gives():
    twin, eager = (twin_of("many-to-many", "td_cnn_lstm") for _ in range(2))
    eager.stages.run_eagerly = True
    clip = frame_clip(5)
    (compiled,), (plain,) = (forward(each, [clip]) for each in (twin, eager))
    np.testing.assert_allclose(plain.probabilities, compiled.probabilities, atol=1e-6)


@NOT_WITH_JAX
def test_a_backbone_that_updates_its_statistics_never_sees_padding():
    """MobileNet has batch normalisation in every block; a frozen one would hide what padding does."""
    twin = twin_of(
        *("many-to-one", "td_backbone_rnn"),
        **{"backbone": "mobilenet", "backbone_weights": "random", "trainable_layers": "all", "update_batchnorm": True},
        size=32,
    )
    trainer = Trainer(twin)
    trainer.model.run_eagerly = True  # the same numbers without tracing 28 layers
    start = build_model(twin.settings, embedding_dim=twin.embedding_dim, num_classes=3)

    def statistics(steps):
        twin.load(start)
        trainer.reset()
        for _ in range(2):
            trainer.update(with_garbage(pad_clips(clips_of(twin, (2, 1)), rows=2, steps=steps)))
        return [variable.numpy() for variable in twin.model.variables if "moving" in variable.path]

    before = [variable.numpy() for variable in start.variables if "moving" in variable.path]
    for fresh, plain, padded in zip(before, statistics(2), statistics(26), strict=True):
        assert not np.allclose(fresh, plain)
        np.testing.assert_allclose(plain, padded, rtol=1e-3, atol=1e-4)
