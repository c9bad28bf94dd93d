"""Training on clips that stay in their store: the same numbers as in memory, and bounded memory."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from clip_factory import ordered_clips

from extract.errors import WriteError
from extract.store.lazy_rows import LazyRows
from sequence_models.clips import buffers
from sequence_models.models import summaries
from sequence_models.models.baselines import baseline_names, fit_baseline
from sequence_models.prediction.predict import predict
from sequence_models.settings import TrainSettings
from sequence_models.training.fit import fit_model
from sequence_models.training.forecast import forecast
from sequence_models.training.statistics import embedding_statistics

SMALL = TrainSettings(model="lstm", hidden=6, projection=4, updates=120, batch_size=4, learning_rate=0.02)
PER_STEP = replace(SMALL, task="many-to-many", derived="windows", updates=10, chunk=8)


def stored(clips, read=None, rows_read=None):
    """The same clips with embeddings that are read when they are needed."""

    def rows_of(number, rows):
        if read is not None:
            read[number] += 1
        if rows_read is not None:
            rows_read.append(len(rows))
        return clips[number].embeddings[rows]

    kind, dim = clips[0].embeddings.dtype, clips[0].embeddings.shape[1]
    rows = [
        LazyRows(partial(rows_of, number), np.arange(len(clip)), (dim,), kind, (0, number))
        for number, clip in enumerate(clips)
    ]
    return [replace(clip, embeddings=each) for clip, each in zip(clips, rows, strict=True)]


@pytest.fixture
def fit(tmp_path):
    where = {"checkpoint": tmp_path / "a.weights.h5", "log": tmp_path / "a.csv"}
    return partial(fit_model, num_classes=2, seed=0, quiet=True, **where)


@pytest.fixture
def small_buffers(monkeypatch):
    """Buffers of about four clips."""
    rooms = ("clips.buffers", "training.fit", "training.statistics", "training.forecast")
    for module in rooms:
        monkeypatch.setattr(f"sequence_models.{module}.BUFFER_VALUES", 4 * 4 * 11)
    monkeypatch.setattr(buffers, "RUNS_PER_BUFFER", 4)


def test_clips_that_fit_in_one_buffer_train_the_same_weights_as_in_memory(fit):
    train, validation = ordered_clips(16, "many-to-one"), ordered_clips(8, "many-to-one", seed=1)
    held, lazily = (
        fit(*parts, SMALL, stop_after=30) for parts in ((train, validation), map(stored, (train, validation)))
    )
    for one, other in zip(held.values, lazily.values, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert held.best_score == lazily.best_score and held.updates == lazily.updates


def test_with_several_buffers_every_clip_is_read_once_a_pass_and_order_is_learned(fit, small_buffers):
    train, validation = ordered_clips(32, "many-to-one"), ordered_clips(12, "many-to-one", seed=1)
    read = [0] * len(train)
    result = fit(stored(train, read), stored(validation), SMALL)
    passes = 1 + result.history[-1]["pass"]  # one for the statistics; the last may be cut short
    assert set(read) <= {passes - 1, passes}
    test = ordered_clips(20, "many-to-one", seed=2)
    said = predict(result.model, stored(test))
    assert np.mean([each.labels == clip.labels for each, clip in zip(said, test, strict=True)]) > 0.9
    for one, other in zip(said, predict(result.model, test), strict=True):
        assert one.clip_id == other.clip_id
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_numbers_with_several_buffers(fit, small_buffers):
    clips = stored(ordered_clips(16, "many-to-many"))
    first, again, other = (fit(clips[:12], clips[12:], PER_STEP, seed=seed) for seed in (0, 0, 1))
    losses = [[record["loss"] for record in each.history] for each in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]


def test_a_clip_larger_than_a_buffer_is_timed_trained_on_and_predicted_in_pieces(fit, small_buffers):
    clips, rows_read = ordered_clips(6, "many-to-many"), list[int]()
    steps = np.arange(30_000)
    many = {name: getattr(clips[0], name)[steps % len(clips[0])] for name in ("embeddings", "labels")}
    long = replace(clips[0], clip_id="long", pts_seconds=steps / 8, frame_indices=steps, **many)
    train = stored([long, *clips], rows_read=rows_read)
    told = forecast(train, (), PER_STEP, num_classes=2)
    assert told.endswith("embeddings stay in the store, read when needed") and max(rows_read) < 1000
    result = fit(train, stored(clips), PER_STEP)
    assert result.updates == 10 and all(np.isfinite(record["loss"]) for record in result.history)
    assert max(rows_read) < 4000  # of which a reduction is fitted


def test_statistics_in_a_pass_are_those_in_memory(small_buffers):
    clips = ordered_clips(30, "many-to-one")
    clips[0].embeddings[:] += 100  # far from the rest
    for one, other in zip(embedding_statistics(clips), embedding_statistics(stored(clips)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("task", ["many-to-one", "many-to-many"])
def test_baselines_in_passes_say_what_they_say_in_memory(monkeypatch, small_buffers, task):
    monkeypatch.setattr(summaries, "HELD_VALUES", 1)  # summaries go to a file
    monkeypatch.setattr(summaries, "ROWS_AT_ONCE", 5)
    clips = ordered_clips(24, task)
    for name in baseline_names(task):
        held, lazily = (fit_baseline(name, some, 2, seed=0) for some in (clips, stored(clips)))
        for one, other in zip(held.predict(clips), lazily.predict(stored(clips)), strict=True):
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-3)


def test_a_baseline_that_looks_at_no_embedding_reads_none():
    clips = ordered_clips(8, "many-to-many")
    read = [0] * len(clips)
    for name in ("majority", "clock_logreg"):
        fit_baseline(name, stored(clips, read), 2, seed=0).predict(stored(clips, read))
    assert not any(read[1:])  # of the first, one row for its width


def test_a_full_disk_under_the_summaries_is_one_sentence(monkeypatch, small_disk):
    monkeypatch.setattr(summaries, "HELD_VALUES", 1)
    monkeypatch.setattr(summaries.tempfile, "tempdir", str(small_disk))
    clips = ordered_clips(8, "many-to-one")
    wide = [replace(clip, embeddings=np.ones((2, 200_000), np.float16), **two_steps()) for clip in clips]
    with pytest.raises(WriteError, match=r"cannot hold the summaries of 8 clips .*TMPDIR"):
        fit_baseline("meanpool_logreg", stored(wide), 2, seed=0)


def two_steps():
    return {"pts_seconds": np.arange(2) / 8, "frame_indices": np.arange(2)}
