import csv
import sys
from dataclasses import replace

import numpy as np
import pytest
from clip_factory import make_clip, make_clips, ordered_clips

from extract.errors import ClipError, LabelError, RunError, UsageError, WriteError
from sequence_models.models.build import load_model
from sequence_models.prediction.predict import predict
from sequence_models.scoring.predictions import macro_f1
from sequence_models.settings import TrainSettings
from sequence_models.training.fit import fit_model
from sequence_models.training.log import write_events
from sequence_models.training.statistics import embedding_statistics

SMALL = TrainSettings(model="lstm", hidden=6, projection=4, updates=30, batch_size=4, learning_rate=0.02)


@pytest.fixture
def fit(tmp_path):
    def run(train, validation, settings=SMALL, *, num_classes=2, seed=0, **options):
        return fit_model(
            train,
            validation,
            settings,
            num_classes=num_classes,
            seed=seed,
            checkpoint=tmp_path / "models" / "a.weights.h5",
            log=tmp_path / "logs" / "a.csv",
            quiet=True,
            **options,
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize("task", ["many-to-one", "many-to-many"])
def test_order_is_learned(fit, task):
    settings = TrainSettings(task, "bilstm", "last", hidden=8, projection=4, updates=120, learning_rate=0.02)
    test = ordered_clips(20, task, seed=2)
    result = fit(ordered_clips(24, task), ordered_clips(12, task, seed=1), settings)
    predictions = predict(result.model, test)
    hits = [(p.probabilities.argmax(-1) == clip.labels).mean() for p, clip in zip(predictions, test, strict=True)]
    assert np.mean(hits) > 0.9


def test_a_second_fit_of_the_same_model_compiles_nothing_and_few_calls_make_many_updates(fit):
    settings = replace(SMALL, hidden=7)  # no other test has compiled it
    train, validation = ordered_clips(12, "many-to-one"), ordered_clips(6, "many-to-one", seed=1)
    first, second = (fit(some, validation, settings) for some in (train, train[:9]))
    assert first.counts["compilations"] == 2 and second.counts.get("compilations", 0) == 0
    assert 0 < second.counts["calls"] < second.updates


def test_the_same_seed_gives_the_same_numbers(fit):
    clips = ordered_clips(12, "many-to-one")
    first, again, other = (fit(clips[:8], clips[8:], seed=seed) for seed in (1, 1, 2))
    losses = [[record["loss"] for record in result.history] for result in (first, again, other)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    assert all(np.array_equal(a, b) for a, b in zip(first.model.get_weights(), again.model.get_weights(), strict=True))


def test_statistics_of_one_fold_do_not_leak_into_the_next(fit):
    """A second fold gives what it gives when it is trained alone, and the first model stays as it was."""
    first_fold, second_fold = ordered_clips(8, "many-to-one"), ordered_clips(8, "many-to-one", seed=5)
    alone = fit(second_fold, []).model.get_weights()
    first = fit(first_fold, [])
    kept = [weight.copy() for weight in first.model.get_weights()]
    second = fit(second_fold, [])
    assert all(np.array_equal(a, b) for a, b in zip(alone, second.model.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(kept, first.model.get_weights(), strict=True))
    assert not np.allclose(kept[0], second.model.get_weights()[0])


def test_the_checkpoint_is_the_model_with_its_standardisation(fit, tmp_path):
    clips = ordered_clips(12, "many-to-one")
    result = fit(clips[:8], clips[8:])
    loaded = load_model(SMALL, tmp_path / "models" / "a.weights.h5", embedding_dim=4, num_classes=2)
    mean, deviation = embedding_statistics(clips[:8])
    np.testing.assert_allclose(loaded.get_layer("standardise").mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loaded.get_layer("standardise").scale.numpy(), 1 / deviation, rtol=1e-5)
    for kept, read in zip(predict(result.model, clips), predict(loaded, clips), strict=True):
        np.testing.assert_array_equal(kept.probabilities, read.probabilities)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["a.weights.h5"]


def test_the_best_moment_is_the_one_of_the_best_recent_scores_then_of_the_lowest_loss(fit):
    clips = ordered_clips(16, "many-to-one")
    result = fit(clips[:8], clips[8:], replace(SMALL, updates=120, patience_updates=120))
    scores = [0.0] * 4 + [record["validation_score"] for record in result.history]
    recent = [round(sum(scores[look : look + 5]) / 5, 6) for look in range(12)]
    ranks = [(r, -record["validation_loss"]) for r, record in zip(recent, result.history, strict=True)]
    best = result.history[ranks.index(max(ranks))]
    assert (result.best_update, result.best_score) == (best["update"], best["validation_score"])


def test_training_stops_when_patience_is_over(fit):
    wrong = [replace(clip, labels=1 - clip.labels) for clip in ordered_clips(4, "many-to-one")]
    settings = replace(SMALL, updates=500, patience_updates=20, learning_rate=0.1)
    result = fit(ordered_clips(12, "many-to-one"), wrong, settings)
    losses = {record["update"]: record["validation_loss"] for record in result.history}
    progress = max(result.best_update, min(losses, key=losses.get))
    assert result.updates == progress + 20 < 500


def test_a_validation_loss_that_still_falls_is_not_the_end(fit):
    """The score of four clips stands still for long: it was right, or wrong, from the first look on."""
    settings = replace(SMALL, updates=60, patience_updates=10, learning_rate=1e-4)
    result = fit(ordered_clips(12, "many-to-one"), ordered_clips(4, "many-to-one"), settings)
    losses = [record["validation_loss"] for record in result.history]
    assert losses == sorted(losses, reverse=True) and len({r["validation_score"] for r in result.history}) < 6
    assert result.updates == 60


def test_overfitting_is_named_by_the_update_from_which_the_loss_rose(fit):
    wrong = [replace(clip, labels=1 - clip.labels) for clip in ordered_clips(4, "many-to-one")]
    result = fit(ordered_clips(12, "many-to-one"), wrong, replace(SMALL, updates=60, patience_updates=60))
    losses = {record["update"]: record["validation_loss"] for record in result.history}
    assert result.overfits_from == min(losses, key=losses.get) < 60
    assert fit(ordered_clips(12, "many-to-one"), ordered_clips(6, "many-to-one")).overfits_from is None


def test_without_validation_the_last_moment_is_kept(fit):
    result = fit(ordered_clips(8, "many-to-one"), [], stop_after=3)
    assert (result.updates, result.best_update, result.best_score) == (3, 3, None)


def test_the_log_has_a_line_per_look_at_validation(fit, tmp_path):
    clips = ordered_clips(12, "many-to-one")
    result = fit(clips[:8], clips[8:])
    with (tmp_path / "logs" / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = ["update", "pass", "loss", "validation_loss", "validation_score", "learning_rate", "seconds"]
    assert list(rows[0]) == columns
    assert [(row["update"], row["pass"]) for row in rows] == [("10", "5"), ("20", "10"), ("30", "15")]
    assert [float(row["loss"]) for row in rows] == [record["loss"] for record in result.history]
    assert float(rows[0]["learning_rate"]) == pytest.approx(0.02)


def test_the_standardisation_is_of_training_clips_only(fit):
    clips = ordered_clips(12, "many-to-one")
    layer = fit(clips[:8], clips[8:]).model.get_layer("standardise")
    np.testing.assert_allclose(layer.mean.numpy(), embedding_statistics(clips[:8])[0], rtol=1e-5, atol=1e-6)


def test_embedding_statistics_pool_all_timesteps():
    short, long = make_clip(2, 0), make_clip(7, 0)
    mean, deviation = embedding_statistics([short, long])
    rows = np.concatenate([short.embeddings, long.embeddings]).astype(np.float64)
    np.testing.assert_allclose(mean, rows.mean(axis=0))
    np.testing.assert_allclose(deviation, rows.std(axis=0))


def test_macro_f1_is_the_mean_over_the_classes_of_the_truth():
    assert macro_f1(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_unlabelled_training_clips_are_left_out(fit):
    clips = [*ordered_clips(4, "many-to-one"), make_clip(5, -1, dim=4)]
    layer = fit(clips, [], stop_after=1).model.get_layer("standardise")
    np.testing.assert_allclose(layer.mean.numpy(), embedding_statistics(clips[:4])[0], rtol=1e-5, atol=1e-6)


def test_without_any_label_there_is_nothing_to_train(fit):
    with pytest.raises(LabelError, match="No training clip has a label; label some, or use another split"):
        fit([make_clip(5, -1)], [])


@pytest.mark.parametrize(
    ("task", "clip_task", "has"),
    [("many-to-one", "many-to-many", "one label per timestep"), ("many-to-many", "many-to-one", "one label per clip")],
)
def test_labels_of_the_other_task_are_refused(fit, task, clip_task, has):
    with pytest.raises(LabelError, match=f"has {has}, which is not what task {task} needs; choose the other --task"):
        fit(make_clips((3, 4), clip_task), [], TrainSettings(task=task))


def test_validation_clips_of_another_width_are_refused(fit):
    with pytest.raises(ClipError, match="has embeddings of width 6, but 5 is expected"):
        fit([make_clip(4, 1)], [make_clip(5, 1, dim=6)])


def test_weights_of_another_model_are_refused(fit, tmp_path):
    fit(ordered_clips(4, "many-to-one"), [], stop_after=1)
    path = tmp_path / "models" / "a.weights.h5"
    with pytest.raises(RunError, match=r"a.weights.h5 does not fit model lstm \(.+\); train the run again"):
        load_model(SMALL, path, embedding_dim=9, num_classes=2)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(RunError, match=r"gone.weights.h5 does not fit model lstm"):
        load_model(SMALL, tmp_path / "gone.weights.h5", embedding_dim=4, num_classes=2)


def test_tensorboard_events_hold_the_log_and_replace_those_of_an_earlier_fit(tmp_path):
    record = {"update": 1, "loss": 0.5, "validation_loss": None, "validation_score": None}
    history = [record | {"learning_rate": 1e-3, "seconds": 0.1}]
    write_events(tmp_path / "events", history)
    write_events(tmp_path / "events", history)
    (file,) = (tmp_path / "events").iterdir()
    written = file.read_bytes()
    assert all(name in written for name in (b"loss", b"learning_rate", b"seconds"))
    assert b"validation_score" not in written


def test_tensorboard_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UsageError, match=r"--tensorboard needs the package tensorboardX; pip install 'clipseq\[tensor"):
        write_events(tmp_path, [])


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of the file size")
def test_weights_that_the_disk_cannot_hold_are_one_error_without_tracebacks_of_hdf5(fit, tmp_path, capfd):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, before[1]))
    try:
        with pytest.raises(WriteError, match=r"could not be written \(File too large\); what was"):
            fit(ordered_clips(8, "many-to-one"), [], replace(SMALL, hidden=24))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert capfd.readouterr().err == ""
    assert list((tmp_path / "models").iterdir()) == []
