"""Every causal model gives timestep by timestep what it gives for the whole clip."""

from __future__ import annotations

import numpy as np
import pytest
from clip_factory import make_clip
from frame_clips import frame_clip
from scipy.special import softmax

from sequence_models.catalogue import models_with
from sequence_models.models.build import build_model
from sequence_models.models.stream import StreamedModel
from sequence_models.prediction.predict import predict
from sequence_models.settings import TrainSettings

SMALL = {"mstcn": {"tcn_layers": 4, "tcn_stages": 2}, "td_convnet_gru": {"filters": "4,4"}}
ON_EMBEDDINGS = [
    *({"model": name} for name in models_with(causal=True, on_frames=False)),
    {"model": "lstm", "layers": 2, "projection": 0},
]
ON_FRAMES = [
    *({"model": name} for name in models_with(causal=True, on_frames=True)),
    {"model": "td_backbone_rnn", "head": "gru", "backbone": "tiny", "backbone_weights": "random"},
    {"model": "two_stream"},
]


def assert_streams(clip, **given):
    settings = TrainSettings("many-to-many", causal=True, **given, **SMALL.get(given["model"], {}))
    model = build_model(settings, embedding_dim=clip.embedding_dim, num_classes=3, seed=1)
    (whole,) = predict(model, [clip])
    streamed = StreamedModel(model, streams=settings.stride)
    for _ in range(2):  # again from the start: nothing is left of the first time
        rows = enumerate(clip.embeddings)
        said = [softmax(streamed.logits(row, stream=step % settings.stride)) for step, row in rows]
        np.testing.assert_allclose(said, whole.probabilities, atol=2e-6)
        streamed.restart()


@pytest.mark.parametrize("given", ON_EMBEDDINGS, ids=lambda given: "-".join(map(str, given.values())))
def test_embeddings_one_by_one(given):
    assert_streams(make_clip(70), **given)  # more than the dilated convolutions look back: 60


def test_strided_models_have_a_memory_for_each_offset():
    assert_streams(make_clip(25), model="lstm", stride=3)


@pytest.mark.parametrize("given", ON_FRAMES, ids=lambda given: given["model"])
def test_frames_one_by_one(given):
    channels = 6 if given["model"] == "two_stream" else 3
    assert_streams(frame_clip(7, shape=(16, 16, channels)), **given)
