"""The property that everything rests on: for every registered model, task and read-out, padding changes nothing."""

import keras
import numpy as np
import pytest
from clip_factory import make_clip, make_clips

from sequence_models.architectures import Architecture, build_model
from sequence_models.batches import PaddedBatch, pad_clips
from sequence_models.compiled import CompiledModel
from sequence_models.predict import forward, predict
from sequence_models.settings import CAUSAL_MODELS, MODEL_NAMES, POOLING_MODELS, READOUTS, TrainSettings

LENGTHS = (3, 5, 1, 4)
SIZES = {"hidden": 4, "projection": 4, "tcn_layers": 2, "tcn_stages": 2, "optimizer": "sgd", "learning_rate": 0.1}
WITH_READOUT = [name for name in MODEL_NAMES if name not in POOLING_MODELS]
CASES = [
    *(TrainSettings("many-to-one", name, readout, **SIZES) for name in WITH_READOUT for readout in READOUTS),
    *(TrainSettings("many-to-one", name, "mean", **SIZES) for name in POOLING_MODELS),
    *(TrainSettings("many-to-many", name, **SIZES) for name in WITH_READOUT),
    *(TrainSettings("many-to-many", name, causal=True, **SIZES) for name in CAUSAL_MODELS),
    TrainSettings("many-to-one", "bilstm", "last", steps=4, **SIZES),
    TrainSettings("many-to-one", "bilstm", "mean", layers=2, label_smoothing=0.1, **SIZES),
]


def name_of(settings):
    return f"{settings.task}-{settings.model}-{settings.readout}{'-causal' * settings.causal}-{settings.steps}"


@pytest.fixture(params=CASES, ids=name_of)
def twin(request):
    twin = CompiledModel(Architecture(request.param, embedding_dim=5, num_classes=3))
    twin.model.run_eagerly = twin.trainer.run_eagerly = True  # the same numbers without tracing every case
    return twin


def batch_of(twin, *, steps, rows=4):
    return pad_clips(make_clips(LENGTHS, twin.settings.task), rows=rows, steps=steps)


def with_garbage(batch):
    """Padding that is not zero, not even finite."""
    embeddings = np.where(batch.mask[..., None], batch.embeddings, np.nan)
    return PaddedBatch(embeddings, batch.mask, batch.labels, batch.sample_weight)


def score(twin, batch):
    targets = np.eye(3, dtype=np.float32)[batch.labels]
    stages = len(twin.trainer.outputs)
    twin.trainer.compile(
        loss=twin.trainer.loss,
        weighted_metrics=[keras.metrics.CategoricalAccuracy() for _ in range(stages)],
        run_eagerly=True,
    )
    return twin.trainer.test_on_batch(
        [batch.embeddings, batch.mask], [targets] * stages, [batch.sample_weight] * stages
    )


def test_padding_does_not_change_loss_and_weighted_metric(twin):
    plain = score(twin, batch_of(twin, steps=6))
    np.testing.assert_allclose(plain, score(twin, batch_of(twin, steps=9)), atol=1e-5)
    np.testing.assert_allclose(plain, score(twin, batch_of(twin, steps=6, rows=7)), atol=1e-5)
    np.testing.assert_allclose(plain, score(twin, with_garbage(batch_of(twin, steps=7))), atol=1e-5)


def test_padding_does_not_change_trained_weights_and_statistics(twin):
    """With dropout on: its noise has no time axis, so it is the same too."""
    start = build_model(twin.settings, embedding_dim=5, num_classes=3)

    def train(steps):
        twin.load(start)
        losses = [twin.train(with_garbage(batch_of(twin, steps=steps))) for _ in range(3)]
        return losses, [variable.numpy() for variable in twin.model.variables]

    (losses, weights), (padded_losses, padded_weights) = train(6), train(9)
    np.testing.assert_allclose(losses, padded_losses, atol=1e-5)
    for plain, padded in zip(weights, padded_weights, strict=True):
        np.testing.assert_allclose(plain, padded, atol=1e-5)
    assert not np.allclose(losses[0], losses[2])


def test_a_clip_alone_gives_what_it_gives_in_a_batch(twin):
    clips = make_clips((*LENGTHS, 9), twin.settings.task)
    together = forward(twin, clips)
    for clip, prediction in zip(clips, together, strict=True):
        (alone,) = forward(twin, [clip])
        np.testing.assert_allclose(alone.probabilities, prediction.probabilities, atol=1e-5)


def test_a_compiled_function_gives_what_eager_code_gives():
    settings = TrainSettings(task="many-to-many", model="bilstm", **SIZES)
    compiled_twin, eager_twin = (CompiledModel(Architecture(settings, 5, 3)) for _ in range(2))
    eager_twin.model.run_eagerly = eager_twin.trainer.run_eagerly = True
    for steps in (6, 9):
        losses = [each.train(batch_of(each, steps=steps)) for each in (compiled_twin, eager_twin)]
        np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)
    (plain,), (eager,) = (forward(each, [make_clip(6)]) for each in (compiled_twin, eager_twin))
    np.testing.assert_allclose(plain.probabilities, eager.probabilities, atol=1e-5)
    assert predict(compiled_twin.model, [make_clip(6)])[0].probabilities.shape == (6, 3)
