"""The scikit-learn estimator: what its users rely on, and that padding and order of the clips change nothing."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import clipseq
from sequence_models.runs.files import read_arrays, write_arrays

QUICK = {"model": "lstm", "hidden": 8, "projection": 0, "updates": 120, "dropout": 0.0, "learning_rate": 1e-2}
FRAMES = QUICK | {"task": "many-to-many"}


def ramps(count=24, *, seed=0, framewise=False):
    """Clips (T, 4) of two classes that differ in their order only, and the classes."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for row in range(count):
        steps, name = int(rng.integers(4, 12)), ("falls", "rises")[row % 2]
        slope = np.linspace(-2, 2, steps) * (1 if name == "rises" else -1)
        X.append((rng.normal(0, 0.3, (steps, 4)) + slope[:, None] * [1, -1, 0, 0]).astype(np.float32))
        y.append([name] * steps if framewise else name)
    return X, y


@pytest.fixture(scope="module")
def fitted():
    return clipseq.SequenceEstimator(**QUICK).fit(*ramps())


@pytest.fixture(scope="module")
def fitted_on_frames():
    return clipseq.SequenceEstimator(**FRAMES).fit(*ramps(framewise=True))


def test_it_learns_what_a_mean_cannot_know(fitted):
    X, y = ramps(seed=1)
    assert fitted.score(X, y) > 0.9
    assert clipseq.SequenceEstimator(**QUICK | {"model": "meanpool"}).fit(*ramps()).score(X, y) < 0.8
    assert fitted.classes_.tolist() == ["falls", "rises"] and fitted.n_features_in_ == 4


def test_probabilities_and_classes_agree(fitted):
    X, _ = ramps(seed=2)
    probabilities = fitted.predict_proba(X)
    assert probabilities.shape == (24, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(X))


def test_labels_per_timestep_come_back_in_the_length_of_their_clips(fitted_on_frames):
    X, y = ramps(seed=1, framewise=True)
    said, probabilities = fitted_on_frames.predict(X), fitted_on_frames.predict_proba(X)
    assert [len(each) for each in said] == [len(each) for each in X]
    assert [each.shape for each in probabilities] == [(len(each), 2) for each in X]
    right = np.concatenate(said) == np.concatenate(y)
    assert fitted_on_frames.score(X, y) == right.mean() > 0.7


@pytest.mark.parametrize("which", ("fitted", "fitted_on_frames"))
def test_a_clip_alone_gets_what_it_gets_in_a_batch(which, request):
    estimator, (X, _) = request.getfixturevalue(which), ramps(seed=3)
    together = estimator.predict_proba(X)
    for clip, expected in zip(X, together, strict=True):
        np.testing.assert_allclose(estimator.predict_proba([clip])[0], expected, atol=1e-6)


def test_the_same_random_state_gives_the_same_numbers_and_another_gives_others(fitted):
    X, y = ramps()
    again = clone(fitted).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    other = clone(fitted).set_params(random_state=1).fit(X, y)
    assert np.abs(other.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-4


def test_a_group_is_held_out_whole_or_not_at_all():
    X, y = ramps()
    groups = np.arange(24) // 4
    rows = clipseq.SequenceEstimator(**QUICK | {"updates": 2}).fit(X, y, groups=groups).validation_rows_
    assert 0 < len(rows) < 12
    assert set(groups[rows]).isdisjoint(np.delete(groups, rows))


def test_cross_validation_hands_groups_on():
    X, y = ramps(28)
    groups = np.arange(28) // 4
    estimator, splitter = clipseq.SequenceEstimator(**QUICK | {"updates": 2}), GroupKFold(2)
    how = {"groups": groups, "cv": splitter, "params": {"groups": groups}, "return_estimator": True}
    done = cross_validate(estimator, X, y, **how)
    for (train, _), fitted in zip(splitter.split(X, y, groups), done["estimator"], strict=True):
        rows = fitted.validation_rows_
        assert len(rows) and set(groups[train][rows]).isdisjoint(np.delete(groups[train], rows))


def test_cross_validation_scores_every_fold():
    assert cross_val_score(clipseq.SequenceEstimator(**QUICK), *ramps(), cv=3).mean() > 0.8


def test_label_sequences_are_cross_validated_without_strata():
    X, y = ramps(framewise=True)
    scores = cross_val_score(clipseq.SequenceEstimator(**FRAMES | {"updates": 10}), X, y, cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all()


def test_a_grid_with_numbers_of_numpy_inside_a_pipeline():
    X, y = ramps()
    halved = FunctionTransformer(lambda clips: [clip / 2 for clip in clips])
    steps = Pipeline([("halve", halved), ("model", clipseq.SequenceEstimator(**QUICK | {"updates": 20}))])
    grid = GridSearchCV(steps, {"model__hidden": np.array([4, 8]), "model__learning_rate": [1e-2]}, cv=2).fit(X, y)
    assert grid.best_params_["model__hidden"] in (4, 8) and len(grid.predict(X)) == 24
    assert len(grid.cv_results_["mean_test_score"]) == 2


def test_parameters_are_stored_as_given_and_shown_when_they_differ():
    estimator = clipseq.SequenceEstimator(hidden=12, task="many-to-many")
    assert repr(estimator) == "SequenceEstimator(hidden=12, task='many-to-many')"
    assert clone(estimator).get_params() == estimator.get_params()
    assert estimator.set_params(dropout=0.1).get_params()["dropout"] == 0.1


@pytest.mark.parametrize("which", ("fitted", "fitted_on_frames"))
def test_saving_and_pickling_keep_every_number(which, request, tmp_path):
    estimator, (X, _) = request.getfixturevalue(which), ramps(seed=4)
    estimator.save(tmp_path / "estimator.npz")
    loaded = clipseq.SequenceEstimator.load(tmp_path / "estimator.npz")
    for same in (loaded, pickle.loads(pickle.dumps(estimator))):
        assert same.get_params() == estimator.get_params()
        for one, other in zip(same.predict_proba(X), estimator.predict_proba(X), strict=True):
            np.testing.assert_array_equal(one, other)
        assert [list(np.atleast_1d(a)) for a in same.predict(X)] == [
            list(np.atleast_1d(a)) for a in estimator.predict(X)
        ]


def test_whole_numbers_as_classes_are_kept_when_saved(tmp_path):
    X, y = ramps()
    numbers = [7 if name == "rises" else -1 for name in y]
    estimator = clipseq.SequenceEstimator(**QUICK | {"updates": 2}).fit(X, numbers)
    estimator.save(tmp_path / "estimator.npz")
    assert clipseq.SequenceEstimator.load(tmp_path / "estimator.npz").classes_.tolist() == [-1, 7]


def test_a_damaged_or_foreign_file_is_refused(fitted, tmp_path):
    path = tmp_path / "estimator.npz"
    fitted.save(path)
    arrays = read_arrays(path, again="")
    for changed in (
        {name: array for name, array in arrays.items() if name != "classes"},
        arrays | {"parameters": np.array('{"hidden": 9}')},
        arrays | {"parameters": np.array('{"hidden": "many"}')},
        arrays | {"parameters": np.array('{"unheard_of": 1}')},
        arrays | {"parameters": np.array("[]")},
        arrays | {"value0": arrays["value0"][:1]},
    ):
        write_arrays(path, changed)
        with pytest.raises(clipseq.RunError, match="was not written by SequenceEstimator"):
            clipseq.SequenceEstimator.load(path)
    path.write_bytes(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.")  # a pickle that would run a program
    with pytest.raises(clipseq.RunError, match="cannot be read"):
        clipseq.SequenceEstimator.load(path)
    with pytest.raises(clipseq.RunError, match="is missing: save the estimator again"):
        clipseq.SequenceEstimator.load(tmp_path / "nothing.npz")


def test_an_estimator_that_is_not_fitted_says_so(tmp_path):
    with pytest.raises(NotFittedError):
        clipseq.SequenceEstimator().predict(ramps()[0])
    with pytest.raises(NotFittedError):
        clipseq.SequenceEstimator().save(tmp_path / "estimator.npz")


CLIP = np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("X", "y", "parameters", "said"),
    (
        ([CLIP[0]] * 2, ["a", "b"], {}, r"X\[0\] must be numbers \(T, D\), one row per timestep, got float32 \(2,\)"),
        ([CLIP] * 2, ["a", "a"], {}, r"y has only one class \(a\), but training needs at least two"),
        ([CLIP] * 3, ["a", "b"], {}, "there are 3 clips, but 2 labels; give one for each clip"),
        ([CLIP] * 2, ["a", 1], {}, "y must be text, or whole numbers, or booleans, the same for all clips"),
        ([CLIP] * 2, [0.5, 1.5], {}, "y must be text, or whole numbers"),
        ([CLIP] * 2, [["a"] * 3] * 2, {}, r"y\[0\] has the shape \(3,\), but task many-to-one takes one class"),
        ([CLIP] * 2, ["a", "b"], {"task": "many-to-many"}, r"y\[0\] has the shape \(\), but task many-to-many takes a"),
        ([CLIP] * 2, [["a", "b"]] * 2, {"task": "many-to-many"}, r"y\[0\] has 2 labels for the 3 timesteps of X\[0\]"),
        ([CLIP, CLIP[:, :1]] * 2, ["a", "b"] * 2, {}, r"X\[1\] has embeddings of width 1, but 2 is expected"),
        ([CLIP, CLIP[:0]] * 2, ["a", "b"] * 2, {}, r"X\[1\] has no timesteps"),
        ([CLIP] * 2, ["a", "b"], {}, "nothing can be held out from 2 groups .* validation_share=0"),
        ([CLIP] * 2, ["a", "b"], {"hidden": 0}, "hidden must be at least 1"),
        ([CLIP] * 2, ["a", "b"], {"model": "conv3d"}, "model conv3d takes raw frames"),
        ([CLIP] * 2, ["a", "b"], {"validation_share": 1}, "validation_share is 1; it must be from 0 to less than 1"),
        ([CLIP] * 2, ["a", "b"], {"random_state": None}, "random_state is None; it must be a whole number"),
        ([], [], {}, "there are no clips"),
    ),
)
def test_what_does_not_fit_is_refused_in_one_sentence(X, y, parameters, said):
    with pytest.raises(clipseq.ClipseqError, match=said):
        clipseq.SequenceEstimator(**parameters).fit(X, y)


def test_without_a_validation_part_the_last_weights_are_kept():
    estimator = clipseq.SequenceEstimator(**QUICK | {"updates": 7, "validation_share": 0}).fit(*ramps())
    assert estimator.validation_rows_.tolist() == [] and estimator.validation_score_ is None
    assert estimator.best_update_ == 7
