"""A run directory holds one experiment, goes on where it stopped, and refuses another."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from extract.errors import RunError
from extract.store.recipe import fingerprint
from sequence_models.runs.checks import refuse_training_into_comparison
from sequence_models.runs.files import read_arrays, read_record, write_arrays, write_record
from sequence_models.runs.run import Run, create_run, note_test_opened, read_run
from sequence_models.settings import DataSettings, TrainSettings
from sequence_models.splits.folds import Fold


@pytest.fixture
def run(tmp_path):
    return Run(
        path=tmp_path / "runs" / "first",
        settings=TrainSettings(hidden=64),
        vocabulary=("hug", "kick"),
        stores=("features",),
        recipes=({"backbone": "tiny"},),
        fingerprints=(fingerprint({"backbone": "tiny"}),),
        labels="",
        data=DataSettings(),
        cv="",
        folds=(Fold("split", ("a", "b"), ("c",), ("d",)),),
        seeds=1,
        clips={clip_id: {"group": "", "timesteps": 3, "label": "hug"} for clip_id in "abcd"},
        embedding_dim=16,
    )


def test_a_run_reads_back_as_it_was_written(run):
    made = create_run(run)
    assert read_run(run.path) == made == replace(run, run_id=made.run_id)
    assert len(made.run_id) == 16 and create_run(replace(run, path=run.path.with_name("again"))).run_id == made.run_id


def test_the_shape_of_raw_frames_reads_back(run):
    create_run(replace(run, embedding_dim=(16, 20, 3)))
    assert read_run(run.path).embedding_dim == (16, 20, 3)


def test_the_same_experiment_goes_on_and_keeps_its_count(run):
    note_test_opened(create_run(run))
    assert create_run(run).test_opened == 1


def test_another_experiment_is_refused_with_every_difference(run):
    create_run(run)
    other = replace(run, settings=TrainSettings(hidden=32, model="gru"), fingerprints=("def",))
    with pytest.raises(RunError) as caught:
        create_run(other)
    for text in ("hidden was 64, now 32", "model was bilstm, now gru", "Use another --run"):
        assert text in str(caught.value)


def test_another_number_of_stores_is_a_difference(run):
    create_run(run)
    with pytest.raises(RunError, match=r"it had 1 feature store, now 2\."):
        create_run(replace(run, fingerprints=(*run.fingerprints, "def")))


def test_differences_are_said_as_on_the_command_line_and_never_empty(run):
    create_run(replace(run, cv="5", data=DataSettings(keep=("a", "b"))))
    with pytest.raises(RunError) as caught:
        create_run(replace(run, recipes=({"backbone": "other"},), fingerprints=("def",), vocabulary=("hug", "push")))
    assert str(caught.value) == (
        f"{run.path} holds another experiment: --clips was a, b, now not given; --cv was 5, now not given; the list "
        "of classes was hug, kick, now hug, push; backbone was tiny, now other. Use another --run, or delete that "
        "directory"
    )


def test_a_run_is_not_made_in_a_feature_store(run, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "recipe.json").write_text("{}")
    (tmp_path / "runs" / "shard-a-000000.h5").touch()
    with pytest.raises(RunError, match=r"first is inside the feature store .*runs; choose a folder of its own"):
        create_run(run)
    with pytest.raises(RunError, match=r"is a feature store; choose a folder of its own, such as --run"):
        create_run(replace(run, path=tmp_path / "runs"))
    assert not run.path.exists()


def test_a_run_that_is_there_goes_on_and_a_recipe_of_something_else_is_no_store(run, tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    created = create_run(run)
    (tmp_path / "shard-a-000000.h5").touch()
    assert create_run(run) == created


def test_a_run_is_not_made_among_files_that_are_no_run(run):
    (run.path / "models").mkdir(parents=True)
    create_run(run)  # empty folders are what a run leaves that was killed at once
    (run.path / "run.json").rename(run.path / "models" / "mine.txt")
    with pytest.raises(RunError, match=r"first holds other files \(such as models/mine\.txt\); choose a new"):
        create_run(run)


def test_training_into_a_comparison_says_what_to_do(tmp_path):
    refuse_training_into_comparison(tmp_path)
    (tmp_path / "compare.json").write_text("{}")
    with pytest.raises(RunError, match=r"holds a comparison of models; train into another --run, or add a model"):
        refuse_training_into_comparison(tmp_path)


def test_more_seeds_continue_a_run(run):
    create_run(run)
    assert create_run(replace(run, seeds=5)).seeds == 5


def test_a_folder_that_is_no_run_says_how_to_make_one(tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory: it has no run\.json\. Make one with clipseq train"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", ("", "{", "[]", '{"settings": {"bogus": 1}}', "{}"))
def test_a_damaged_run_json_is_one_sentence(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json cannot be read"):
        read_run(tmp_path)


def test_arrays_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "evil.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RunError, match="cannot be read"):
        read_arrays(tmp_path / "evil.npz", again="go")


@pytest.mark.parametrize(
    ("entry", "value", "text"),
    [
        ("vocabulary", "hug", 'it.vocabulary is "hug", not a list'),
        ("vocabulary", ["hug", "hug"], "it has no classes, or duplicates"),
        ("seeds", 1.5, "it.seeds is 1.5, not a whole number"),
        ("seeds", 0, "its seeds or the width of its features are below 1"),
        ("settings", {"hidden": "many"}, 'it.settings.hidden is "many", not a whole number'),
        ("settings", {"modell": "gru"}, "it.settings has an unknown entry 'modell'"),
        ("settings", {"model": "grue"}, "model 'grue' is unknown; choose one of "),
        ("data", {"labels_fps": "8"}, 'it.data.labels_fps is "8", not a number'),
        ("data", {"lables": "8"}, "it.data has an unknown entry 'lables'"),
        ("data", {"alignment": "loose"}, "alignment 'loose' is unknown; choose one of strict, tolerant"),
        ("schema_version", 4, "it has schema 4, but this clipseq reads up to 3: upgrade clipseq"),
        ("clips", {"a": {}}, "a fold holds clips that it does not list"),
        ("recipes", [{"backbone": "huge"}], "its recipes do not match its fingerprints"),
        (
            "folds",
            [{"name": "../a", "train": [], "validation": [], "test": []}],
            "a fold's name is not a valid file name",
        ),
        ("folds", [{"name": "a", "train": [5], "validation": [], "test": []}], "it.folds[0].train[0] is 5, not text"),
        ("embedding_dim", float("nan"), "NaN is not a JSON number"),
    ],
)
def test_a_run_json_of_wrong_types_is_one_sentence(run, entry, value, text):
    create_run(run)
    record = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    (run.path / "run.json").write_text(json.dumps(record | {entry: value}), encoding="utf-8")
    with pytest.raises(RunError, match=re.escape(f"{run.path}/run.json cannot be read ({text}")):
        read_run(run.path)


def test_names_that_are_no_text_read_back_from_a_run_json(run):
    name = b"caf\xe9.avi".decode("utf-8", "surrogateescape")
    made = replace(run, clips=run.clips | {name: {"group": "ü", "timesteps": 1}}, vocabulary=("ü", name))
    made = create_run(made)
    assert read_run(run.path) == made
    assert '"ü"' in (run.path / "run.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("change", [b"1.5", b"NaN", b"2"])
def test_a_record_that_was_changed_is_noticed(tmp_path, change):
    path = tmp_path / "a.json"
    write_record(path, {"score": 1.25, "names": ["ü"]})
    assert read_record(path, again="go") == {"score": 1.25, "names": ["ü"]}
    path.write_bytes(path.read_bytes().replace(b"1.25", change))
    with pytest.raises(RunError, match=r"a\.json cannot be read \(.*\): go$"):
        read_record(path, again="go")


def test_arrays_that_were_changed_are_noticed(tmp_path):
    write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    with np.load(tmp_path / "a.npz") as arrays:
        np.savez(tmp_path / "a.npz", x=np.arange(3) + 1, digest=arrays["digest"])
    with pytest.raises(RunError, match=r"its digest differs\): go$"):
        read_arrays(tmp_path / "a.npz", again="go")


def test_arrays_read_back(tmp_path):
    write_arrays(tmp_path / "a.npz", {"x": np.arange(3), "names": np.array(["ü", "b"])})
    arrays = read_arrays(tmp_path / "a.npz", again="go")
    assert list(arrays["x"]) == [0, 1, 2] and list(arrays["names"]) == ["ü", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"model": "bilstm", "readout": "concat", "steps": 0}, ("bilstm_parts", "attention", 4)),
        ({"model": "gru", "readout": "concat", "steps": 6}, ("gru_parts", "attention", 6)),
        ({"model": "lstm", "readout": "mean", "steps": 0}, ("lstm", "mean", 4)),
        ({"model": "meanpool", "readout": "concat", "steps": 0}, ("meanpool", "attention", 4)),
    ],
)
def test_a_run_of_schema_2_is_of_the_model_that_it_really_was(run, before, after):
    """lstm with the read-out concat saw four means of the clip, and no timestep."""
    create_run(run)
    record = json.loads((run.path / "run.json").read_text(encoding="utf-8")) | {"schema_version": 2}
    settings = {name: value for name, value in record["settings"].items() if name != "parts"} | before
    (run.path / "run.json").write_text(json.dumps(record | {"settings": settings}), encoding="utf-8")
    read = read_run(run.path).settings
    assert (read.model, read.readout, read.parts) == after


@pytest.mark.parametrize(
    ("model", "scaling"), [("td_cnn_lstm", "range"), ("two_stream", "range"), ("lstm", "training")]
)
def test_an_earlier_run_on_raw_frames_saw_them_as_a_range(run, model, scaling):
    """Its weights hold no statistics of frames; one on embeddings trains on with the command that it was made with."""
    create_run(run)
    record = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    del record["settings"]["frame_scaling"]
    record["settings"]["model"] = model
    (run.path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert read_run(run.path).settings.frame_scaling == scaling


def test_a_run_of_schema_2_whose_model_is_no_more_is_one_sentence(run):
    create_run(run)
    record = json.loads((run.path / "run.json").read_text(encoding="utf-8")) | {"schema_version": 2}
    settings = record["settings"] | {"model": "lstm", "readout": "mean", "steps": 4}
    settings.pop("parts")
    (run.path / "run.json").write_text(json.dumps(record | {"settings": settings}), encoding="utf-8")
    with pytest.raises(
        RunError, match="its model, lstm with steps 4 and readout mean, no longer exists: train it again"
    ):
        read_run(run.path)
