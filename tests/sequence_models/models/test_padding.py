"""The property that everything rests on: for every registered model, task and read-out, padding changes nothing."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from clip_factory import make_clip, make_clips

from sequence_models.catalogue import MODEL_NAMES, TRAITS, models_with
from sequence_models.clips.batches import pad_clips
from sequence_models.models.build import Architecture, build_model, output_stages
from sequence_models.models.compiled import CompiledModel
from sequence_models.prediction.predict import forward, predict
from sequence_models.records import PaddedBatch
from sequence_models.settings import READOUTS, TrainSettings
from sequence_models.training.step import Trainer

LENGTHS = (3, 5, 1, 4)
SIZES = {"hidden": 4, "projection": 4, "tcn_layers": 2, "tcn_stages": 2, "optimizer": "sgd", "learning_rate": 0.1}
WITH_READOUT = [name for name in MODEL_NAMES if TRAITS[name].framewise]
CASES = [
    *(TrainSettings("many-to-one", name, readout, **SIZES) for name in WITH_READOUT for readout in READOUTS),
    *(TrainSettings("many-to-one", name, "mean", **SIZES) for name in models_with(on_frames=False, framewise=False)),
    *(TrainSettings("many-to-many", name, **SIZES) for name in WITH_READOUT),
    *(TrainSettings("many-to-many", name, causal=True, **SIZES) for name in models_with(causal=True, on_frames=False)),
    TrainSettings("many-to-one", "bilstm_parts", parts=3, **SIZES),
    TrainSettings("many-to-one", "bilstm", "mean", layers=2, label_smoothing=0.1, **SIZES),
    *(TrainSettings("many-to-many", name, multi_label=True, **SIZES) for name in WITH_READOUT),
    TrainSettings("many-to-many", "bilstm", multi_label=True, stride=2, **SIZES),
    TrainSettings("many-to-many", "mstcn", window=0.4, hop=0.2, **SIZES),
    TrainSettings("many-to-one", "lstm", "mean", window=0.4, stride=2, **SIZES),
]


def name_of(settings):
    parts = [settings.task, settings.model, settings.readout, f"parts{settings.parts}", f"window{settings.window:g}"]
    flags = [name for name in ("causal", "multi_label") if getattr(settings, name)]
    return "-".join([*parts, f"stride{settings.stride}", *flags])


@pytest.fixture(params=CASES, ids=name_of)
def twin(request):
    twin = CompiledModel(Architecture(request.param, embedding_dim=5, num_classes=3))
    twin.stages.run_eagerly = True  # the same numbers without tracing every case
    return twin


def clips_of(twin, lengths):
    clips = make_clips(lengths, twin.settings.task)
    if not twin.settings.multi_label:
        return clips
    rows = np.concatenate([np.eye(3, dtype=np.int8), np.full((1, 3), -1, np.int8)])  # the last one: unlabelled
    return [replace(clip, labels=np.maximum(rows[clip.labels], rows[clip.labels - 1])) for clip in clips]


def batch_of(twin, *, steps, rows=4):
    return pad_clips(clips_of(twin, LENGTHS), rows=rows, steps=steps)


def with_garbage(batch):
    """Padding that is not zero, not even finite."""
    embeddings = np.where(batch.mask[..., None], batch.embeddings, np.nan)
    return PaddedBatch(embeddings, batch.mask, batch.labels, batch.sample_weight)


def score(twin, batch):
    targets = batch.labels if twin.settings.multi_label else np.eye(3, dtype=np.float32)[batch.labels]
    metric = keras.metrics.BinaryAccuracy if twin.settings.multi_label else keras.metrics.CategoricalAccuracy
    whole = keras.Model(twin.model.inputs, output_stages(twin.model))
    stages = len(whole.outputs)
    whole.compile(
        loss=Trainer(twin).model.loss,
        weighted_metrics=[metric() for _ in range(stages)],
        run_eagerly=True,
    )
    several = stages > 1
    return whole.test_on_batch(
        [batch.embeddings, batch.mask],
        [targets] * stages if several else targets,
        [batch.sample_weight] * stages if several else batch.sample_weight,
    )


def test_padding_does_not_change_loss_and_weighted_metric(twin):
    plain = score(twin, batch_of(twin, steps=6))
    np.testing.assert_allclose(plain, score(twin, batch_of(twin, steps=9)), atol=1e-5)
    np.testing.assert_allclose(plain, score(twin, batch_of(twin, steps=6, rows=7)), atol=1e-5)
    np.testing.assert_allclose(plain, score(twin, with_garbage(batch_of(twin, steps=7))), atol=1e-5)


def test_padding_does_not_change_trained_weights_and_statistics(twin):
    """With dropout on: its noise has no time axis, so it is the same too."""
    start = build_model(twin.settings, embedding_dim=5, num_classes=3)

    trainer = Trainer(twin)
    trainer.model.run_eagerly = True

    def train(steps):
        twin.load(start)
        trainer.reset()
        losses = [trainer.update(twin.standardised(with_garbage(batch_of(twin, steps=steps)))) for _ in range(3)]
        return losses, [variable.numpy() for variable in twin.model.variables]

    (losses, weights), (padded_losses, padded_weights) = train(6), train(9)
    np.testing.assert_allclose(losses, padded_losses, atol=1e-5)
    for plain, padded in zip(weights, padded_weights, strict=True):
        np.testing.assert_allclose(plain, padded, atol=1e-5)
    assert not np.allclose(losses[0], losses[2])


def test_a_clip_alone_gives_what_it_gives_in_a_batch(twin):
    clips = clips_of(twin, (*LENGTHS, 9))
    together = forward(twin, clips)
    for clip, prediction in zip(clips, together, strict=True):
        (alone,) = forward(twin, [clip])
        np.testing.assert_allclose(alone.probabilities, prediction.probabilities, atol=1e-5)


def test_a_compiled_function_gives_what_eager_code_gives():
    settings = TrainSettings(task="many-to-many", model="bilstm", **SIZES)
    compiled_twin, eager_twin = (CompiledModel(Architecture(settings, 5, 3)) for _ in range(2))
    trainers = [Trainer(each) for each in (compiled_twin, eager_twin)]
    eager_twin.stages.run_eagerly = True
    for steps in (6, 9):
        losses = [each.update(batch_of(each.twin, steps=steps)) for each in trainers]
        np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)
    (plain,), (eager,) = (forward(each, [make_clip(6)]) for each in (compiled_twin, eager_twin))
    np.testing.assert_allclose(plain.probabilities, eager.probabilities, atol=1e-5)
    assert predict(compiled_twin.model, [make_clip(6)])[0].probabilities.shape == (6, 3)
