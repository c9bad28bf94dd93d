from dataclasses import replace

import numpy as np
import pytest
from clip_factory import make_clip, make_clips, ordered_clips
from frame_clips import frame_clips
from sklearn.ensemble import ExtraTreesClassifier

from extract.errors import LabelError, UsageError
from sequence_models.clips.motion import MOST_CHANNELS
from sequence_models.clips.windows import select_steps
from sequence_models.models import baselines
from sequence_models.models.baselines import (
    BASELINES,
    Baseline,
    baseline_names,
    fit_baseline,
    frame_features,
    mean_max_std,
    mean_pool,
    thirds,
)
from sequence_models.models.forest import fit_forest

EVERY = [(task, name) for task in BASELINES for causal in (False, True) for name in baseline_names(task, causal=causal)]
EVERY = list(dict.fromkeys(EVERY))


def _accuracy(baseline, clips):
    right = [
        np.mean(p.probabilities.argmax(-1) == c.labels) for p, c in zip(baseline.predict(clips), clips, strict=True)
    ]
    return np.mean(right)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(1, [0, 0, 0]), (2, [0, 0, 1]), (3, [0, 1, 2]), (4, [0, 1, 2.5]), (6, [0.5, 2.5, 4.5])],
)
def test_thirds_are_means_in_order_also_of_very_short_clips(steps, expected):
    assert thirds(np.arange(steps, dtype=np.float32)[:, None]).tolist() == [expected]


def test_pooled_summaries_by_hand():
    embeddings = np.array([[1.0, 0.0], [3.0, 0.0]], np.float32)
    assert mean_pool(embeddings).tolist() == [[2, 0]]
    assert mean_max_std(embeddings).tolist() == [[2, 0, 3, 0, 1, 0]]


def test_raw_frames_are_averaged_over_areas():
    frames = np.zeros((300, 32, 8, 1), np.uint8)
    frames[299, :2] = 100  # one of 16 rows of areas, 2 x 1 pixels each
    frames[299, 1, 0] = 40
    features = frame_features(frames)
    assert (features.shape, features.dtype) == ((300, 16 * 8), np.float32)
    assert features[299, :9].tolist() == [70, *[100] * 7, 0]
    assert not features[:299].any()


def test_areas_differ_by_a_pixel_where_the_side_does_not_divide():
    frames = np.arange(20, dtype=np.uint8).reshape(1, 20, 1, 1)
    assert frame_features(frames)[0].tolist() == [
        0,
        1,
        2,
        3.5,
        *range(5, 8),
        8.5,
        *range(10, 13),
        13.5,
        15,
        16,
        17,
        18.5,
    ]


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_every_baseline_takes_raw_frames(task, name):
    clips = frame_clips((9, 4, 7, 6, 5, 8), task)
    (prediction, *_) = fit_baseline(name, clips, 3, seed=0).predict(clips)
    assert prediction.probabilities.shape == ((3,) if task == "many-to-one" else (9, 3))


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_every_baseline_gives_probabilities_of_the_right_shape(task, name):
    clips = make_clips((9, 4, 7, 6, 5, 8), task)
    predictions = fit_baseline(name, clips, 4, seed=0).predict(clips)
    assert [p.clip_id for p in predictions] == [c.clip_id for c in clips]
    for prediction, clip in zip(predictions, clips, strict=True):
        assert prediction.probabilities.shape == ((4,) if task == "many-to-one" else (len(clip), 4))
        assert prediction.probabilities.dtype == np.float32
        np.testing.assert_allclose(prediction.probabilities.sum(axis=-1), 1, atol=1e-6)
        assert np.all(prediction.probabilities[..., 3] < 1e-6)  # no training clip is of class 3


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_every_baseline_comes_back_from_its_arrays_without_pickle(task, name, tmp_path):
    clips = make_clips((9, 4, 7, 6, 5, 8), task)
    fitted = fit_baseline(name, clips, 3, seed=0)
    np.savez(tmp_path / "b.npz", **fitted.to_arrays())
    with np.load(tmp_path / "b.npz", allow_pickle=False) as arrays:
        loaded = Baseline.from_arrays(dict(arrays))
    for one, other in zip(fitted.predict(clips), loaded.predict(clips), strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)


@pytest.mark.parametrize("task", BASELINES)
def test_majority_gives_the_class_frequencies_of_what_is_labelled(task):
    clips = [make_clip(4, 1), make_clip(5, 1), make_clip(6, 0), make_clip(7, -1)]
    if task == "many-to-many":
        clips = [make_clip(4)]
        clips[0].labels[:] = [1, -1, 0, 1]
    probabilities = fit_baseline("majority", clips, 3, seed=0).predict(clips[:1])[0].probabilities
    np.testing.assert_allclose(np.atleast_2d(probabilities)[0], [1 / 3, 2 / 3, 0], atol=1e-6)


def test_of_the_simple_summaries_only_thirds_know_the_order_of_a_clip():
    train, test = ordered_clips(60, "many-to-one"), ordered_clips(40, "many-to-one", seed=1)
    assert _accuracy(fit_baseline("thirds_logreg", train, 2, seed=0), test) > 0.95
    assert _accuracy(fit_baseline("meanpool_logreg", train, 2, seed=0), test) < 0.75
    assert _accuracy(fit_baseline("meanmaxstd_logreg", train, 2, seed=0), test) < 0.75


def test_frames_are_classified_one_by_one():
    clips = make_clips((30, 40, 20), "many-to-many")
    for clip in clips:
        clip.labels[:] = np.argmax(clip.embeddings[:, :3], axis=1)
        clip.labels[5] = -1
    fitted = fit_baseline("framewise_logreg", clips, 3, seed=0)
    np.testing.assert_allclose(
        fitted.predict([clips[0]])[0].probabilities[7:9], fitted._probabilities(_cut(clips[0], 7, 9)), atol=1e-6
    )
    assert _accuracy(fitted, clips) > 0.8


def _cut(clip, start, end):
    part = slice(start, end)
    return type(clip)("cut", clip.embeddings[part], clip.pts_seconds[part], clip.frame_indices[part], clip.labels[part])


@pytest.mark.parametrize(("name", "knows_end"), [("clock_logreg", True), ("clock_since_start_logreg", False)])
def test_a_clock_finds_labels_that_follow_the_time_and_sees_nothing(name, knows_end):
    clips = make_clips((60, 80, 100), "many-to-many")
    for clip in clips:
        clip.labels[:] = 0
        clip.labels[20:] = 1
        clip.labels[-10:] = 2
    fitted = fit_baseline(name, clips, 3, seed=0)
    said = fitted.predict([replace(clip, embeddings=clip.embeddings * 0) for clip in clips])
    right = np.mean(np.concatenate([p.labels == c.labels for p, c in zip(said, clips, strict=True)]))
    assert right > 0.95 if knows_end else 0.75 < right < 0.95
    cut = fitted.predict([select_steps(clips[0], np.arange(30))])[0].probabilities
    assert np.allclose(cut, said[0].probabilities[:30]) != knows_end


def test_too_many_frames_are_thinned_alike_for_one_seed(monkeypatch):
    monkeypatch.setattr(baselines, "MAX_FRAMES", 40)
    clips = make_clips((90, 60, 70), "many-to-many")
    same, again, other = (fit_baseline("framewise_logreg", clips, 3, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(same.classifier.weights, again.classifier.weights)
    assert not np.array_equal(same.classifier.weights, other.classifier.weights)
    assert sum(map(len, baselines._chosen_frames(clips, 1))) == 40


def test_one_class_in_training_is_always_predicted():
    clips = [make_clip(4, 2), make_clip(5, 2)]
    assert fit_baseline("meanpool_logreg", clips, 3, seed=0).predict(clips)[0].probabilities.argmax() == 2


def test_a_channel_that_never_moves_does_no_harm():
    clips = make_clips((4, 5, 6), "many-to-one")
    for clip in clips:
        clip.embeddings[:, 1] = 7.0
    probabilities = fit_baseline("thirds_logreg", clips, 3, seed=0).predict(clips)[0].probabilities
    assert np.isfinite(probabilities).all()


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        UsageError, match="baseline 'svm' is unknown for many-to-many; choose one of majority, framewise_log"
    ):
        fit_baseline("svm", make_clips((4, 5), "many-to-many"), 3, seed=0)
    with pytest.raises(UsageError, match=r"task is 'x'; it must be one of many-to-one, many-to-many\."):
        baseline_names("x")
    with pytest.raises(LabelError, match="no training clip has a label; check the labels and the split"):
        fit_baseline("majority", [make_clip(4, -1)], 3, seed=0)


def test_only_the_motion_of_thirds_tells_shaking_from_still_clips():
    """Every clip has the same mean in every third; its class is whether it shakes."""

    def clip(row, label):
        rng = np.random.default_rng(row)
        shaking = np.where(np.arange(12) % 2, 1.0, -1.0)[:, None] * label
        embeddings = (rng.normal(0, 0.2, (12, 4)) + shaking).astype(np.float32)
        return replace(make_clip(12), clip_id=f"{row}", embeddings=embeddings, labels=np.array(label))

    train, test = ([clip(row, row % 2) for row in rows] for rows in (range(40), range(40, 80)))
    assert _accuracy(fit_baseline("thirds_delta_logreg", train, 2, seed=0), test) > 0.95
    assert _accuracy(fit_baseline("thirds_logreg", train, 2, seed=0), test) < 0.7


def shaking_recordings(*lengths, channels=5):
    """Frames look alike; the class is whether the last dozen shook. With many channels, all of them do alike."""
    found = []
    for clip in make_clips(lengths or (300, 260), "many-to-many"):
        rng = np.random.default_rng(len(clip))
        labels = (np.arange(len(clip)) // 40) % 2
        shaking = np.where(rng.random(len(clip)) < 0.5, 1.0, -1.0) * labels
        embeddings = rng.normal(0, 0.3, (len(clip), channels)) + shaking[:, None]
        found.append(replace(clip, embeddings=embeddings.astype(np.float32), labels=labels))
    return found


@pytest.mark.parametrize("name", ["window_logreg", "window_trees"])
@pytest.mark.parametrize("causal", [False, True])
def test_windows_know_what_a_single_frame_does_not(name, causal):
    train, test = shaking_recordings()
    fitted = fit_baseline(name, [train], 2, seed=0, causal=causal)
    assert _accuracy(fitted, [test]) > 0.8
    assert _accuracy(fit_baseline("framewise_logreg", [train], 2, seed=0), [test]) < 0.7
    cut = select_steps(test, np.arange(100))
    same = np.allclose(fitted.predict([cut])[0].probabilities, fitted.predict([test])[0].probabilities[:100], atol=1e-5)
    assert same == causal


@pytest.mark.parametrize("name", ["window_logreg", "window_trees"])
def test_windows_of_wide_embeddings_are_those_of_their_main_axes(name):
    train, test = shaking_recordings(2000, 300, channels=90)
    fitted = fit_baseline(name, [train], 2, seed=0)
    assert fitted.view.reduction.axes.shape == (90, MOST_CHANNELS)
    assert _accuracy(fitted, [test]) > 0.8


def test_baselines_on_windows_see_the_clock_only_where_models_do():
    clips = make_clips((60, 80), "many-to-many")
    for clip in clips:
        clip.embeddings[:] = 0
        clip.labels[:] = np.arange(len(clip)) >= 20
    blind, seeing = (fit_baseline("window_logreg", clips, 2, seed=0, position=given) for given in (False, True))
    assert _accuracy(seeing, clips) > 0.95 > _accuracy(blind, clips)


def test_trees_from_arrays_answer_like_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    examples = rng.normal(size=(500, 6)).astype(np.float32)
    labels = (examples[:, 0] * examples[:, 1] > 0).astype(np.int64) * 2
    forest = fit_forest(examples, labels, 4, seed=3)
    theirs = ExtraTreesClassifier(100, min_samples_leaf=10, max_features="sqrt", random_state=3).fit(examples, labels)
    new = rng.normal(size=(200, 6)).astype(np.float32)
    ours = forest.predict(new)
    np.testing.assert_allclose(ours[:, [0, 2]], theirs.predict_proba(new), atol=1e-6)
    assert not ours[:, [1, 3]].any()


def test_trees_decide_overlapping_labels_each_by_itself():
    rng = np.random.default_rng(0)
    examples = rng.normal(size=(400, 4)).astype(np.float32)
    labels = np.stack([examples[:, 0] > 0, examples[:, 1] > 1, np.zeros(400, bool)], axis=1).astype(np.int64)
    said = fit_forest(examples, labels, 3, seed=0).predict(examples) > 0.5
    assert np.mean(said == labels, axis=0).tolist() == pytest.approx([1, 1, 1], abs=0.1)
