"""The report of two runs: what differs, who is right where both have one label, and clips that turned."""

import numpy as np
import pytest
from page_reading import Tags, text_of
from run_factory import one_hot, write_facts, write_metrics, write_predictions
from video_run import made_run

import pipeline
from extract.errors import RunError
from sequence_models.report.against import difference_content, write_difference
from sequence_models.report.run import read_evaluated_run
from sequence_models.report.shared import shared_clips, turned_stretches
from sequence_models.settings import DataSettings, TrainSettings
from sequence_models.splits.folds import Fold


def run_of(path, truth, said, *, task="many-to-one", vocabulary="abc", step=0.5, **settings):
    """An evaluated run: clip_id -> true and predicted classes."""
    path.mkdir(parents=True)
    ids = list(truth)
    truths, rows = ([np.atleast_1d(each[name]) for name in ids] for each in (truth, said))
    probabilities = [one_hot(*row, num_classes=len(vocabulary)) for row in rows]
    write_predictions(path, ids, truths, probabilities, step_seconds=step)
    groups = {name: f"g{k}" for k, name in enumerate(ids)}
    how = TrainSettings(task=task, model="bilstm", **settings)
    fold = Fold("split", (), (), tuple(ids))
    write_facts(path, settings=how, vocabulary=vocabulary, folds=(fold,), group_of=groups)
    write_metrics(path, task)
    return path


def content(one, other):
    return difference_content(*(read_evaluated_run(each, refuse_stale=False) for each in (one, other)))


def pair(tmp_path, **more):
    truth = {"a": 0, "b": 1, "c": 2, "d": 0}
    one = run_of(tmp_path / "one", truth, {"a": 0, "b": 1, "c": 0, "d": 1}, hidden=64)
    return one, run_of(tmp_path / "two", truth, {"a": 1, "b": 1, "c": 2, "d": 2}, **more)


def test_clips_that_turned_right_and_wrong_are_named(tmp_path):
    found = content(*pair(tmp_path))
    right, wrong = found["turned"]
    assert [(row["clip_id"], row["truth"], row["ours"], row["theirs"]) for row in right["strips"]] == [
        ("a", "a", "a", "b")
    ]
    assert [(row["clip_id"], row["truth"], row["ours"], row["theirs"]) for row in wrong["strips"]] == [
        ("c", "c", "a", "c")
    ]
    assert (right["clips"], wrong["clips"]) == (1, 1)


def test_the_difference_is_paired_over_the_clips_of_both(tmp_path):
    one, two = pair(tmp_path)
    paired = content(one, two)["paired"]
    assert (paired["ours"], paired["theirs"], paired["difference"], paired["groups"]) == (0.5, 0.5, 0.0, 4)
    better = run_of(tmp_path / "three", {"a": 0, "b": 1}, {"a": 0, "b": 1})
    found = content(better, two)
    assert (found["paired"]["ours"], found["paired"]["theirs"]) == (1.0, 0.5)
    assert found["counts"]["only"] == [0, 2]


def test_only_what_differs_is_listed(tmp_path):
    one, two = pair(tmp_path, dropout=0.1)
    found = content(one, two)
    assert [name for name, *_ in found["settings"]] == ["hidden", "dropout"]
    assert found["data"] == [] and found["versions"] == []
    same = content(one, run_of(tmp_path / "same", {"a": 0}, {"a": 0}, hidden=64))
    assert same["settings"] == []
    assert "Nothing differs" not in text_of(write_difference(one, two).read_text(encoding="utf-8"))


def test_classes_are_matched_by_name(tmp_path):
    one = run_of(tmp_path / "one", {"a": 0, "b": 1}, {"a": 0, "b": 0}, vocabulary=("run", "walk"))
    other = {"a": 2, "b": 0}
    two = run_of(tmp_path / "two", other, {"a": 2, "b": 1}, vocabulary=("walk", "swim", "run"))
    found = content(one, two)
    assert (found["paired"]["ours"], found["paired"]["theirs"]) == (0.5, 0.5)
    assert found["turned"] and ("classes", "run, walk", "walk, swim, run") in found["data"]


def test_a_class_that_only_the_other_run_has_is_said_in_words(tmp_path):
    one = run_of(tmp_path / "one", {"a": 0}, {"a": 0}, vocabulary=("run", "walk"))
    two = run_of(tmp_path / "two", {"a": 2}, {"a": 1}, vocabulary=("walk", "swim", "run"))
    (strip,) = content(one, two)["turned"][0]["strips"]
    assert strip["theirs"] == "a class that only the other run has"


def test_clips_with_other_labels_are_left_out_and_counted(tmp_path):
    one = run_of(tmp_path / "one", {"a": 0, "b": 1}, {"a": 0, "b": 1})
    two = run_of(tmp_path / "two", {"a": 0, "b": 2}, {"a": 0, "b": 2})
    page = text_of(write_difference(one, two).read_text(encoding="utf-8"))
    assert "1 test clip of both runs, with the same label in both" in page
    assert "1 clips are labelled differently in the two runs and are left out" in page


def test_recordings_are_compared_at_the_same_times(tmp_path):
    """The second run has every other timestep."""
    how = {"task": "many-to-many"}
    one = run_of(tmp_path / "one", {"a": [0, 0, 1, 1, 2, 2]}, {"a": [0, 0, 1, 1, 0, 0]}, step=0.5, **how)
    two = run_of(tmp_path / "two", {"a": [0, 1, 2]}, {"a": [1, 0, 2]}, step=1.0, **how)
    (shared,), other_truth = shared_clips(*(read_evaluated_run(path, refuse_stale=False) for path in (one, two)))
    assert shared.steps.tolist() == [0, 2, 4]
    assert shared.turned.tolist() == [1, 1, -1]
    assert shared.right.tolist() == [2, 1]
    assert other_truth == 0
    assert [steps.tolist() for _, steps, _ in turned_stretches(shared, 1)] == [[0], [1]]
    (recording,) = content(one, two)["recordings"]
    assert (recording["ours"], recording["theirs"]) == pytest.approx((2 / 3, 1 / 3))


def test_a_stretch_that_turned_has_frames_of_its_time(tmp_path):
    one = made_run(tmp_path, task="many-to-many")
    two = run_of(tmp_path / "two", {"a.mp4": [0] * 12}, {"a.mp4": [0] * 12}, step=0.3, task="many-to-many")
    (strip,) = content(one, two)["turned"][1]["strips"]
    assert strip["span"] == pytest.approx((1.2, 2.4))
    assert [round(frame["seconds"], 3) for frame in strip["frames"]] == [1.2, 1.5, 1.8, 2.1]


def test_runs_of_other_tasks_or_clips_are_refused_in_a_sentence(tmp_path):
    one, _ = pair(tmp_path)
    frames = run_of(tmp_path / "frames", {"a": [0, 1]}, {"a": [0, 1]}, task="many-to-many")
    with pytest.raises(RunError, match=r"their task differs \(many-to-one and many-to-many\)"):
        content(one, frames)
    other = run_of(tmp_path / "other", {"z": 0}, {"z": 0})
    with pytest.raises(RunError, match="no labelled test clip in common"):
        content(one, other)


def test_several_labels_at_once_need_the_same_classes(tmp_path):
    def multi(name, vocabulary, truth, decided):
        path = tmp_path / name
        path.mkdir()
        write_predictions(path, ["a"], [truth], [np.full(truth.shape, 0.4)], decided=[decided])
        settings = TrainSettings(task="many-to-many", model="bilstm", multi_label=True)
        write_facts(
            path, settings=settings, vocabulary=vocabulary, folds=(Fold("s", (), (), ("a",)),), group_of={"a": ""},
            data=DataSettings(),
        )  # fmt: skip
        write_metrics(path, "many-to-many")
        return path

    truth = np.array([[1, 0], [1, 1], [0, 0]])
    one = multi("one", ("x", "y"), truth, truth)
    two = multi("two", ("y", "x"), truth[:, ::-1], np.array([[0, 1], [0, 0], [0, 0]]))
    found = content(one, two)
    assert (found["paired"]["ours"], found["paired"]["theirs"]) == pytest.approx((1.0, 2 / 3))
    assert (found["turned"][0]["strips"][0]["truth"], found["turned"][0]["strips"][0]["theirs"]) == ("x, y", "nothing")
    with pytest.raises(RunError, match="both need the same classes"):
        content(one, multi("three", ("x", "z"), truth, truth))


def test_names_from_strangers_stay_text(tmp_path):
    evil = '"><img src=x onerror=alert(1)><script>'
    truth = {f"{evil}.mp4": 0}
    one = run_of(tmp_path / "one", truth, {f"{evil}.mp4": 0}, vocabulary=(evil, "b"))
    two = run_of(tmp_path / evil.replace("/", ""), truth, {f"{evil}.mp4": 1}, vocabulary=(evil, "b"))
    page = write_difference(one, two, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "<script" not in page
    tags = Tags(page)
    assert not tags.open and f"{evil}.mp4" in text_of(page)


def test_the_command_writes_beside_the_run_or_where_it_is_told(tmp_path, capsys):
    one, two = pair(tmp_path)
    assert pipeline.main(["report", str(one), "--against", str(two)]) == 0
    assert (one / "against-two.html").exists()
    assert pipeline.main(["report", str(one), "--against", str(two), "--output", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").exists()
    assert pipeline.main(["report", str(one), "--against", str(two), "--output", "x.pdf"]) == 2
    assert "must end in .html" in capsys.readouterr().err
    assert pipeline.main(["report", str(one), "--against", str(two), "--figures", "f"]) == 2
    assert "leave out --against" in capsys.readouterr().err
    assert pipeline.main(["report", str(one), "--against", str(tmp_path / "nothing")]) == 1
    assert "nothing is not a run directory" in capsys.readouterr().err
