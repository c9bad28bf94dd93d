"""Training, comparing and predicting from Python: the same as on the command line."""

import json

import numpy as np
import pytest

import clipseq
import pipeline

QUICK = {"updates": 30, "model": "lstm"}


@pytest.fixture(scope="module")
def trained(made_project):
    path = made_project / "runs/trained"
    labels = made_project / "labels.csv"
    return clipseq.train(made_project / "features", labels, task="many-to-one", run=path, **QUICK)


def test_a_notebook_of_six_lines(project, capfd):
    store = clipseq.open_store("features")
    clip = store["rise/0.avi"]
    run = clipseq.train(store, "labels.csv", task="many-to-one", run="runs/notebook", updates=60)
    run.evaluate()
    scores = run.metrics
    table = run.to_pandas()
    assert clip.embeddings.shape == (4, 16)
    assert scores["test"]["accuracy"]["value"] == (table.truth == table.label).mean()
    assert len(table) == len(set(table.clip_id)) == scores["test_clips"]
    np.testing.assert_allclose(table[["p_fall", "p_rise"]].sum(axis=1), 1, rtol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_python_trains_what_the_command_line_trains(project, trained):
    command = ["train", "features", "--labels", "labels.csv", "--task", "many-to-one", "--run", "runs/command"]
    assert pipeline.main([*command, "--updates", "30", "--model", "lstm", "--jobs", "1"]) == 0
    ours, theirs = (json.loads((path / "run.json").read_text()) for path in (trained.path, project / "runs/command"))
    assert ours == theirs
    assert clipseq.open_run("runs/command").metrics == trained.metrics


def test_a_run_says_what_it_is_and_what_training_said(trained):
    assert repr(trained).startswith(
        f"Run({str(trained.path)!r}, lstm, many-to-one, 24 clips, classes fall, rise; valid"
    )
    assert "24 clips, 2 classes (fall, rise), no groups" in trained.notes[0]
    assert trained.settings.updates == 30 and trained.classes == ("fall", "rise")


def test_training_again_continues_and_other_settings_are_refused(project, trained):
    weights = sorted((trained.path / "models").glob("*.h5"))
    before = [file.stat().st_mtime_ns for file in weights]
    clipseq.train("features", "labels.csv", task="many-to-one", run=trained.path, **QUICK)
    assert [file.stat().st_mtime_ns for file in weights] == before
    with pytest.raises(clipseq.RunError, match="holds another experiment: --updates was 30, now 31"):
        clipseq.train("features", "labels.csv", task="many-to-one", run=trained.path, model="lstm", updates=31)


@pytest.mark.parametrize(
    ("option", "said"),
    (
        ({"hiden": 3}, "hiden is unknown; did you mean hidden?"),
        ({"hidden": "3"}, "hidden is '3', which is not a whole number"),
        ({"hidden": True}, "hidden is True, which is not a whole number"),
        ({"hidden": 0}, "hidden must be at least 1, got 0; choose another --hidden."),
        ({"dropout": "much"}, "dropout is 'much', which is not a number"),
        ({"causal": 1}, "causal is 1, which is not True or False"),
        ({"missing": "skipp"}, "missing 'skipp' is unknown; did you mean skip? There are error, skip"),
        ({"seeds": 0}, "--seeds 0 must be at least 1"),
        ({"cv": 3, "split": "a.csv"}, "--cv and --split exclude each other; give one of them."),
    ),
)
def test_a_wrong_option_is_refused_in_one_sentence(project, option, said):
    with pytest.raises(clipseq.UsageError) as caught:
        clipseq.train("features", "labels.csv", task="many-to-one", run="runs/wrong", **option)
    assert str(caught.value) == said


def test_lists_and_numbers_are_taken_where_flags_take_text(project):
    wanted = {"classes": ["rise", "fall"], "cv": 2, "updates": 5, "model": "meanpool"}
    run = clipseq.train("features", "labels.csv", task="many-to-one", run="runs/lists", **wanted)
    assert run.classes == ("rise", "fall") and len(run._run.folds) == 2


def test_predictions_of_videos_are_those_of_their_store(project, trained):
    from_store, from_videos = trained.predict(clipseq.open_store("features")), trained.predict("videos")
    assert len(from_store) == 24 and not from_videos.failed
    for one, other in zip(from_store, from_videos, strict=True):
        assert one.clip_id == other.clip_id
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    table = from_store.to_pandas()
    assert table.label.tolist() == [("fall", "rise")[int(each.labels)] for each in from_store]


def test_a_video_that_cannot_be_predicted_is_named(project, trained, tmp_path):
    (tmp_path / "new.avi").write_bytes((project / "videos/rise/0.avi").read_bytes())
    (tmp_path / "broken.avi").write_bytes(b"RIFF and then nothing")
    predictions = trained.predict(tmp_path)
    assert [each.clip_id for each in predictions] == ["new.avi"] and list(predictions.failed) == ["broken.avi"]
    assert repr(predictions) == "Predictions(1 clip, classes fall, rise, 1 failed)"


def test_per_frame_tables_have_a_row_per_timestep(project):
    run = clipseq.train("features", "segments.csv", task="many-to-many", run="runs/frames", **QUICK)
    run.evaluate()
    table, predicted = run.to_pandas(), run.predict("features").to_pandas()
    assert list(table.columns) == ["clip_id", "pts_seconds", "truth", "label", "p_fall", "p_rise"]
    assert list(predicted.columns) == ["clip_id", "frame", "pts_seconds", "label", "raw_label", "p_fall", "p_rise"]
    assert predicted.frame.tolist()[:3] == [0, 2, 4]
    said = predicted[["p_fall", "p_rise"]].to_numpy().argmax(axis=1)
    assert predicted.raw_label.tolist() == [("fall", "rise")[number] for number in said]
    store = clipseq.open_store("features")
    for clip_id, rows in table.groupby("clip_id"):
        np.testing.assert_array_equal(rows.pts_seconds, store[clip_id].pts_seconds)
        assert set(rows.truth) == {clip_id.split("/")[0]}


def test_before_evaluation_there_are_no_predictions_of_the_test_part(trained):
    assert set(trained.metrics) == {"validation"}
    with pytest.raises(clipseq.RunError, match=r"run `clipseq evaluate .*` first"):
        trained.to_pandas()


def test_a_comparison_opens_again_and_is_not_a_run(project):
    options = {"models": ["meanpool", "lstm"], "updates": 20, "inner": 1}
    found = clipseq.compare("features", "labels.csv", task="many-to-one", run="runs/comparison", **options)
    again = clipseq.Comparison("runs/comparison")
    assert again.models == found.models == {"meanpool": ["meanpool"], "lstm": ["lstm"]}
    table = again.to_pandas().set_index("model")
    assert table.kind["lstm"] == "model" and table.kind["majority"] == "baseline"
    assert table.accuracy["lstm"] == again.metrics["models"]["lstm"]["accuracy"]["value"]
    with pytest.raises(clipseq.RunError, match="compares models; open one of them: runs/comparison/meanpool"):
        clipseq.open_run("runs/comparison")


def test_a_single_run_is_not_a_comparison(trained):
    with pytest.raises(clipseq.RunError, match="is the run of a single model"):
        clipseq.Comparison(trained.path)


def test_bars_are_shown_where_asked_for(project, tmp_path, capfd):
    clipseq.extract("videos", tmp_path / "quiet", backbone="tiny", every=4)
    assert capfd.readouterr() == ("", "")
    clipseq.extract("videos", tmp_path / "shown", backbone="tiny", every=4, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "24 of 24 clips" in err


def test_an_extraction_names_what_failed_and_what_is_odd(project, tmp_path):
    (tmp_path / "broken.avi").write_bytes(b"RIFF and then nothing")
    (tmp_path / "notes.txt").write_text("not a video")
    found = clipseq.extract(tmp_path, tmp_path / "features", backbone="tiny")
    assert (found.done, found.skipped, list(found.failed)) == (0, 0, ["broken.avi"])
    assert any("notes.txt" in note for note in found.notes)
    with pytest.raises(clipseq.UsageError, match="fps and every exclude each other; give one of them"):
        clipseq.extract("videos", tmp_path / "features", fps=8, every=2)
    with pytest.raises(clipseq.UsageError, match="features is a feature store, not videos"):
        clipseq.extract("features", tmp_path / "other")
