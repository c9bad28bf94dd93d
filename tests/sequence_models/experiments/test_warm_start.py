import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from frame_clips import moving_clips
from frame_stores import write_embeddings, write_frames

import pipeline
from extract.errors import RunError
from sequence_models.experiments.warm_start import start_head
from sequence_models.runs.fitted import predict_clips
from sequence_models.runs.run import FINAL, read_run
from sequence_models.splits.folds import Fold

pytestmark = pytest.mark.slow

FLAGS = ["--task", "many-to-one", "--hidden", "4", "--projection", "4", "--group-from", r"(\d+-\d+)-", "--epochs", "2"]
FINE = ["--model", "td_backbone_rnn", "--backbone", "tiny", "--head", "gru"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A cached run of two folds, and the frames that it was cached from."""
    home, clips = tmp_path_factory.mktemp("head"), moving_clips(24)
    write_frames(home / "frames", clips)
    write_embeddings(home / "cache", clips)
    cached = ["train", str(home / "cache"), "--model", "gru", "--cv", "2", "--run", str(home / "cached"), *FLAGS]
    assert pipeline.main(cached) == 0
    return home


@pytest.fixture(scope="module")
def run(home):
    """A fine-tuned run that begins with the cached one, its backbone frozen."""
    fine = ["train", str(home / "frames"), *FINE, "--cv", "2", "--run", str(home / "fine"), *FLAGS]
    assert pipeline.main([*fine, "--trainable-layers", "0", "--start-from", str(home / "cached")]) == 0
    return read_run(home / "fine")


def test_every_fold_begins_with_the_head_of_its_own_fold(home, run):
    cached = read_run(home / "cached")
    heads = [start_head(run, name, seed=0).get_weights() for name in (*(f.name for f in run.folds), FINAL)]
    assert not np.allclose(heads[0][2], heads[1][2])
    saved = [path.stem for path in sorted((home / "cached" / "models").glob("*.h5"))]
    assert len(saved) == 3 and cached.seeds == 1


def test_without_start_from_there_is_no_head(run):
    assert start_head(replace(run, settings=replace(run.settings, start_from="")), "fold1", 0) is None


def test_a_head_whose_features_have_changed_since_is_refused(home, run, tmp_path):
    cached = shutil.copytree(home / "cached", tmp_path / "cached")
    record = json.loads((cached / "run.json").read_text(encoding="utf-8"))
    first = min(record["clips"])
    record["clips"][first]["rows"] = "0" * 32
    (cached / "run.json").write_text(json.dumps(record), encoding="utf-8")
    changed = replace(run, settings=replace(run.settings, start_from=str(cached)))
    with pytest.raises(
        RunError, match=f"was trained on other data: 1 clip has other features \\({re.escape(first)}\\)"
    ):
        start_head(changed, "fold1", 0)


def test_a_fine_tuned_run_is_evaluated_and_predicts_a_store(home, run, capsys):
    assert pipeline.main(["evaluate", str(run.path)]) == 0
    metrics = json.loads((run.path / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["model"], metrics["test_clips"]) == ("td_backbone_rnn", 24)
    clips, predictions = predict_clips(run, [home / "frames"])
    assert [p.probabilities.shape for p in predictions] == [(2,)] * len(clips) == [(2,)] * 24


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"head": "lstm", "hidden": 8},
            "cached was trained with head gru (not lstm), hidden 4 (not 8); use the same settings as --start-from",
        ),
        ({"backbone_weights": "random"}, "cached was trained on embeddings with weights_digest"),
    ],
)
def test_a_head_of_another_shape_is_refused(run, changes, message):
    changed = replace(run, settings=replace(run.settings, **changes))
    with pytest.raises(RunError, match=re.escape(message)):
        start_head(changed, run.folds[0].name, 0)


def test_other_pictures_are_refused(run):
    changed = replace(run, recipes=({**run.recipes[0], "fit": "crop", "input": "flow"},))
    message = "cached was trained on embeddings with fit stretch (not crop), input rgb (not flow); give a run on"
    with pytest.raises(RunError, match=re.escape(message)):
        start_head(changed, run.folds[0].name, 0)


def test_other_classes_are_refused(run):
    message = "cached has the classes left, right, but this run has down, up; train both on the same labels"
    with pytest.raises(RunError, match=message):
        start_head(replace(run, vocabulary=("down", "up")), run.folds[0].name, 0)


def test_a_head_that_learnt_from_test_clips_is_refused(run):
    first, second = run.folds
    swapped = Fold(first.name, second.train, second.validation, second.test)
    message = f"cached was trained on {len(second.test)} test clips of fold {first.name} (first: left/"
    with pytest.raises(RunError, match=re.escape(message)):
        start_head(replace(run, folds=(swapped, second)), first.name, 0)


def test_a_fold_that_the_head_does_not_have_is_refused(run):
    names = ", ".join(fold.name for fold in run.folds)
    with pytest.raises(RunError, match=rf"cached has no fold ninth \(it has {names}\); train it with the same --cv"):
        start_head(run, "ninth", 0)


def test_a_head_that_learnt_from_validation_clips_of_another_seed_is_refused(run):
    assert run.folds[0].rotation
    message = (
        r"cached has 1 fit, and the model that seed 1 would start from was trained on \d+ of its validation clips in "
        "fold fold1"
    )
    with pytest.raises(RunError, match=message + "; train it with --seeds 2 first"):
        start_head(replace(run, seeds=2), "fold1", 1)
