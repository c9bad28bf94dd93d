"""No model is scored on other features, labels or weights than it was trained with, and no verb passes over it."""

from __future__ import annotations

import json
import logging
import shutil

import h5py
import numpy as np
import pytest
from label_examples import write_labels

import pipeline
from extract.records import Source
from extract.store.writer import StoreWriter

CLIPS = [f"g{group}/clip{number}" for group in range(4) for number in range(2)]
STEPS = 12
FLAGS = ["--task", "many-to-many", "--group-from", r"(g\d)/", "--cv", "2", "--epochs", "1", "--hidden", "4"]


def write_store(path, *, seed=0, parts=1):
    """The same rows for the same seed, in so many shards."""
    rng = np.random.default_rng(seed)
    for some in np.array_split(CLIPS, parts):
        with StoreWriter(path, {"backbone": "some"}, engine="none", dtype="float32") as writer:
            for clip_id in map(str, some):
                index = np.arange(STEPS)
                rows = rng.normal(size=(STEPS, 3)).astype(np.float32)
                writer.append(clip_id, rows, index, index / 10, Source(clip_id, 1, 1))
                writer.finish(clip_id, None)


def label_lines(*, swapped=()):
    yield "clip_id,start_frame,end_frame,label"
    for clip_id in CLIPS:
        first, second = ("b", "a") if clip_id in swapped else ("a", "b")
        yield f"{clip_id},0,6,{first}"
        yield f"{clip_id},6,12,{second}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("stale")
    write_store(home / "store")
    write_labels(home / "labels.csv", *label_lines())
    for verb, run in (("train", "run"), ("compare", "compared")):
        assert pipeline.main(words(home, verb, run)) == 0
    assert pipeline.main(["evaluate", str(home / "run")]) == 0
    return home


@pytest.fixture
def home(trained, tmp_path):
    """Store, labels and runs, put back after the test."""
    kept = shutil.copytree(trained, tmp_path / "kept")
    yield trained
    shutil.rmtree(trained)
    shutil.copytree(kept, trained)


def words(home, verb, run="run"):
    if verb in ("evaluate", "report"):
        return [verb, str(home / run)]
    model = ["--model", "gru"] if verb == "train" else ["--models", "gru"]
    paths = ["--labels", str(home / "labels.csv"), "--run", str(home / run)]
    return [verb, str(home / "store"), *paths, *model, *FLAGS]


def refused(home, capsys, *, verbs=("train", "evaluate", "report", "compare")):
    """What each verb says when it refuses."""
    said = []
    for verb in verbs:
        capsys.readouterr()
        assert pipeline.main(words(home, verb, "compared" if verb == "compare" else "run")) == 1, verb
        said.append(capsys.readouterr().err)
    return said


def test_nothing_is_refused_where_nothing_has_changed(home):
    for verb in ("train", "evaluate", "report"):
        assert pipeline.main(words(home, verb)) == 0
    assert pipeline.main(words(home, "compare", "compared")) == 0


def test_swapped_labels_are_refused_by_name(home, capsys):
    write_labels(home / "labels.csv", *label_lines(swapped=CLIPS[:5]))
    for said in refused(home, capsys):
        assert f"5 clips have other labels ({CLIPS[0]}, {CLIPS[1]}, {CLIPS[2]} and 2 more)" in said


def test_features_of_other_videos_of_the_same_length_are_refused_by_name(home, capsys):
    shutil.rmtree(home / "store")
    write_store(home / "store", seed=1)
    for said in refused(home, capsys):
        assert f"8 clips have other features ({CLIPS[0]}, {CLIPS[1]}, {CLIPS[2]} and 5 more)" in said


def test_an_edited_weights_file_is_refused_by_name(home, capsys):
    for weights in (home / "run" / "models" / "fold1-seed0.weights.h5", *home.glob("compared/*/models/fold1*.h5")):
        with h5py.File(weights, "r+") as file:
            values = file.visititems(lambda _, item: item if isinstance(item, h5py.Dataset) else None)
            values[...] = values[...] + 1
    for said in refused(home, capsys):
        assert "fold1-seed0.weights.h5 is not the file that training wrote" in said


def test_a_row_that_changed_inside_a_shard_is_refused_by_the_name_of_shard_and_clip(home, capsys):
    [shard] = (home / "store").glob("shard-*.h5")
    with h5py.File(shard, "r") as file:
        offset = file["embeddings"].id.get_offset()
    raw = bytearray(shard.read_bytes())
    raw[offset + 1] ^= 1
    shard.write_bytes(raw)
    for said in refused(home, capsys):
        assert f"{shard} is damaged (the digest of {CLIPS[0]} is wrong)" in said


def test_the_same_rows_in_a_packed_file_or_in_other_shards_pass(home):
    assert pipeline.main(["pack", str(home / "store"), str(home / "packed.h5")]) == 0
    shutil.rmtree(home / "store")
    write_store(home / "store", parts=3)
    assert pipeline.main(words(home, "evaluate")) == 0
    shutil.rmtree(home / "store")
    told = (home / "run" / "run.json").read_text(encoding="utf-8")
    told = told.replace(str(home / "store"), str(home / "packed.h5"))
    (home / "run" / "run.json").write_text(told, encoding="utf-8")
    assert pipeline.main(words(home, "evaluate")) == 0


def test_a_moved_run_passes(home):
    (home / "run").rename(home / "moved")
    assert pipeline.main(["evaluate", str(home / "moved")]) == 0
    assert pipeline.main(["report", str(home / "moved")]) == 0


def test_a_report_without_the_store_says_that_nothing_was_compared(home, caplog):
    shutil.rmtree(home / "store")
    assert pipeline.main(words(home, "report")) == 0
    assert f"{home / 'store'} is not here: cannot check whether it has changed since training" in caplog.text


def test_predict_says_that_clips_of_the_run_have_other_features_and_goes_on(home, caplog, tmp_path):
    predict = ["predict", str(home / "run"), str(home / "store"), "--output", str(tmp_path / "said.csv")]
    caplog.set_level(logging.WARNING)
    assert pipeline.main(predict) == 0
    assert "differ from those" not in caplog.text
    shutil.rmtree(home / "store")
    write_store(home / "store", seed=1)
    assert pipeline.main(predict) == 0
    assert f"features of 8 clips ({CLIPS[0]}, {CLIPS[1]}, {CLIPS[2]} and 5 more) differ from those" in caplog.text


@pytest.mark.parametrize(
    ("folder", "verbs"),
    [("baselines", ("evaluate",)), ("decisions", ("evaluate",)), ("models", ("evaluate", "report"))],
)
def test_files_of_another_run_are_refused_though_each_is_sound(home, capsys, folder, verbs):
    arguments = words(home, "train", "other")
    assert pipeline.main([*arguments, "--seeds", "2"]) == 0
    for path in (home / "run" / folder).glob("*.*"):
        shutil.copy(home / "other" / folder / path.name, path)
    for said in refused(home, capsys, verbs=verbs):
        assert "it was written for another run, or under another name" in said
    if folder != "models":
        shutil.rmtree(home / "run" / folder)
        assert pipeline.main(words(home, "train")) == 0
        assert pipeline.main(words(home, "evaluate")) == 0


def test_baselines_of_two_folds_are_not_exchanged(home, capsys):
    one, other = sorted((home / "run" / "baselines").glob("*framewise*"))
    shutil.copy(other, one)
    assert "it was written for another run, or under another name" in refused(home, capsys, verbs=("evaluate",))[0]


def test_a_copy_of_the_labels_under_another_name_goes_on(home):
    shutil.move(home / "labels.csv", home / "same.csv")
    arguments = [word.replace("labels.csv", "same.csv") for word in words(home, "train")]
    assert pipeline.main(arguments) == 0


@pytest.mark.slow
def test_a_folder_of_partly_labelled_videos_is_scored_where_labelled_and_compared_file_by_file(home, capsys):
    rows = ["-1,-1,-1", "-1,-1,-1", *["0,1,0"] * 4, *["0,1,1"] * 2, *["1,0,0"] * 4]
    text = ",background,a,b\n" + "".join(f"{k},{row}\n" for k, row in enumerate(rows))
    files = [home / "frames" / f"{clip_id}_labels.csv" for clip_id in CLIPS]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    paths = ["--labels", str(home / "frames"), "--run", str(home / "many")]
    train = ["train", str(home / "store"), *paths, "--model", "gru", "--multi-label", *FLAGS]
    assert pipeline.main(train) == 0
    out = capsys.readouterr().out
    assert f"{home / 'frames'}: DeepEthogram labels, 8 clips, 3 classes" in out
    assert "without a label, so not trained on or scored: 16 of 96 timesteps" in out
    assert pipeline.main(["evaluate", str(home / "many")]) == 0
    record = json.loads((home / "many" / "metrics.json").read_text(encoding="utf-8"))
    majority = record["baselines"]["majority"]["mean_average_precision"]["value"]
    assert majority == pytest.approx((6 / 10 + 2 / 10) / 2)  # of the 10 frames that are labelled, not of 12
    files[3].write_text(text.replace("5,0,1,0", "5,1,0,0"), encoding="utf-8")
    for words_of_verb in (train, ["evaluate", str(home / "many")], ["report", str(home / "many")]):
        capsys.readouterr()
        assert pipeline.main(words_of_verb) == 1
        assert f"1 clip has other labels ({CLIPS[3]})" in capsys.readouterr().err
