import subprocess
import sys

import numpy as np
import pytest
from clip_factory import make_clip, make_clips
from frame_clips import frame_clips

import sequence_models.prediction.predict
from extract.errors import ClipError
from sequence_models.models.build import build_model
from sequence_models.prediction.predict import average, forward, predict
from sequence_models.records import Prediction
from sequence_models.settings import TrainSettings

MANY_TO_MANY = TrainSettings(task="many-to-many", model="lstm", hidden=3, projection=0)


def test_predictions_come_unpadded_in_the_order_of_the_clips():
    clips = make_clips((9, 3, 20, 4), "many-to-many")
    predictions = predict(build_model(MANY_TO_MANY, embedding_dim=5, num_classes=3), clips, batch_size=2)
    assert [p.clip_id for p in predictions] == [clip.clip_id for clip in clips]
    assert [p.probabilities.shape for p in predictions] == [(9, 3), (3, 3), (20, 3), (4, 3)]
    assert all(np.allclose(p.probabilities.sum(axis=-1), 1, atol=1e-6) for p in predictions)


def test_the_batch_size_changes_nothing():
    clips = make_clips((9, 3, 20, 4, 7), "many-to-many")
    model = build_model(MANY_TO_MANY, embedding_dim=5, num_classes=3)
    for one, many in zip(predict(model, clips, batch_size=1), predict(model, clips, batch_size=64), strict=True):
        np.testing.assert_allclose(one.probabilities, many.probabilities, atol=1e-6)


def test_two_models_of_one_architecture_keep_their_own_predictions():
    clips = make_clips((9, 3), "many-to-many")
    first, second = (build_model(MANY_TO_MANY, embedding_dim=5, num_classes=3, seed=seed) for seed in (0, 1))
    before = predict(first, clips)[0].probabilities
    assert not np.allclose(before, predict(second, clips)[0].probabilities)
    assert np.array_equal(before, predict(first, clips)[0].probabilities)


def test_no_clips_give_no_predictions():
    assert predict(build_model(MANY_TO_MANY, embedding_dim=5, num_classes=3), []) == []


def test_clips_of_another_width_are_refused():
    model = build_model(MANY_TO_MANY, embedding_dim=5, num_classes=3)
    with pytest.raises(ClipError, match="has embeddings of width 6, but 5 is expected"):
        predict(model, [make_clip(4, dim=6)])


def test_average_is_the_mean_of_probabilities():
    first = [Prediction("a.mp4", np.array([0.2, 0.8], np.float32))]
    second = [Prediction("a.mp4", np.array([0.6, 0.4], np.float32))]
    (mean,) = average([first, second])
    assert mean.clip_id == "a.mp4"
    np.testing.assert_allclose(mean.probabilities, [0.4, 0.6])


def test_predictions_of_different_clips_are_not_averaged():
    first = [Prediction("a.mp4", np.array([0.2, 0.8], np.float32))]
    second = [Prediction("b.mp4", np.array([0.6, 0.4], np.float32))]
    with pytest.raises(ClipError, match="Predictions of different clips cannot be averaged; predict the same clips"):
        average([first, second])


def test_importing_predictions_loads_no_keras():
    code = "import sequence_models.prediction.predict, sequence_models.settings, sys; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_raw_frames_go_in_few_rows_so_that_memory_stays_bounded(monkeypatch):
    monkeypatch.setattr(
        sequence_models.prediction.predict, "RAW_VALUES_PER_BATCH", 8 * 8 * 3 * 16
    )  # two clips of 8 timesteps
    rows = []

    class Twin:
        settings = TrainSettings("many-to-one", "td_cnn_avgpool")

        def standardised(self, batch):
            return batch

        def logits(self, batch):
            rows.append(len(batch.mask))
            return np.zeros((len(batch.mask), 3))

    forward(Twin(), frame_clips((5, 3, 6, 4, 20), "many-to-one"))
    assert rows == [1, 2, 2]
