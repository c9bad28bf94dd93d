"""A job does only what is stale, and says why."""

import os
import re
import shutil
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_project import JOB, write_ramp

import clipseq.job as job_module
import pipeline

pytestmark = pytest.mark.slow
ALL = ["extract features", "train runs/first", "evaluate runs/first", "predict predictions.csv", "report runs/first/"]


def shorten(step):
    return step.removesuffix("report.html")


@pytest.fixture(scope="module")
def done_job(made_project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    shutil.copytree(made_project / "videos", folder / "videos")
    shutil.copy(made_project / "labels.csv", folder)
    (folder / "job.toml").write_text(JOB)
    assert pipeline.main(["run", str(folder / "job.toml")]) == 0
    return folder


@pytest.fixture
def folder(done_job, tmp_path):
    """A folder in which the job is done."""
    shutil.copytree(done_job, tmp_path / "job")
    return tmp_path / "job"


@pytest.fixture
def steps_of(folder, capsys):
    """A function that runs the job and returns the steps that were done, or would be, each with its reason."""

    def run(*flags):
        capsys.readouterr()
        assert pipeline.main(["run", str(folder / "job.toml"), *flags]) == 0
        lines = capsys.readouterr().out.splitlines()
        told = [re.fullmatch(r"(.*?): (done now|would be done|up to date)(?:, (.*))?", line) for line in lines]
        steps = [match for match in told if match and shorten(match[1]) in ALL]
        assert [shorten(match[1]) for match in steps] == ALL and not any("next:" in line for line in lines)
        return {shorten(match[1]): match[3] for match in steps if match[2] != "up to date"}

    return run


def test_nothing_is_done_twice(folder, steps_of):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert steps_of() == steps_of("--dry-run") == {}
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_a_changed_label_trains_again_and_extracts_nothing(folder, steps_of):
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("rise/3.avi,rise", "rise/3.avi,fall"))
    planned, done = steps_of("--dry-run"), steps_of()
    assert list(planned) == list(done) == ALL[1:]
    assert planned["train runs/first"] == done["train runs/first"] and "1 clip has other labels" in done[ALL[1]]
    assert len(list((folder / "runs").glob("first.until-*"))) == 1  # nothing is lost
    assert steps_of() == {}


def test_a_changed_video_is_embedded_alone_and_what_depends_on_it_is_done_again(folder, steps_of):
    write_ramp(folder / "videos/rise/3.avi", rising=True, frames=14, level=0)
    assert list(steps_of("--dry-run")) == ALL
    done = steps_of()
    assert list(done) == ALL
    assert done[ALL[0]] == "1 clip to do: rise/3.avi (the file's size has changed since the extraction)"
    assert steps_of() == {}


def test_a_video_without_a_label_is_embedded_and_predicted_and_nothing_is_trained(folder, steps_of):
    write_ramp(folder / "videos/rise/new.avi", rising=True, frames=9, level=0)
    assert list(steps_of()) == [ALL[0], ALL[3]]
    assert "rise/new.avi" in (folder / "predictions.csv").read_text()
    assert steps_of() == {}


def test_a_changed_setting_trains_again(folder, steps_of):
    job = folder / "job.toml"
    job.write_text(JOB.replace("updates = 5", "updates = 6"))
    done = steps_of()
    assert list(done) == ALL[1:] and done[ALL[1]] == "--updates was 5, now 6"


def test_more_seeds_keep_the_fits_that_are_done(folder, steps_of):
    first = folder / "runs/first/models/split-seed0.weights.h5"
    before = first.stat().st_mtime_ns
    (folder / "job.toml").write_text(JOB.replace("updates = 5", "updates = 5\nseeds = 2"))
    done = steps_of()
    assert list(done) == ALL[1:] and done[ALL[1]] == "1 fit to do"
    assert first.stat().st_mtime_ns == before and not list((folder / "runs").glob("first.until-*"))


@pytest.mark.parametrize(
    ("gone", "again"), (("predictions.csv", ALL[3:4]), ("runs/first/report.html", ALL[4:]), ("runs", ALL[1:]))
)
def test_what_is_gone_is_made_again(folder, steps_of, gone, again):
    shutil.rmtree(folder / gone) if (folder / gone).is_dir() else os.remove(folder / gone)
    assert list(steps_of()) == again


def test_a_recipe_that_changes_is_refused_as_by_extract(folder, capsys):
    (folder / "job.toml").write_text(JOB.replace("every = 2", "every = 3"))
    assert pipeline.main(["run", str(folder / "job.toml")]) == 1
    assert "every=2" in (err := capsys.readouterr().err) and "--output" in err


def test_imported_features_and_a_comparison(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for row in range(12):
        file = tmp_path / f"arrays/{'ab'[row % 2]}/{row}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, rng.normal(row % 2, 1, (5, 3)).astype(np.float32))
    job = '[import-features]\nfolder = "arrays"\noutput = "features"\nfps = 8\n\n[compare]\ntask = "many-to-one"\n'
    job += 'run = "runs/all"\nmodels = ["meanpool"]\nupdates = 3\ninner = 1\n'
    (tmp_path / "job.toml").write_text(job)

    def done():
        assert pipeline.main([str(tmp_path / "job.toml")]) == 0
        return [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if ": done now" in line]

    assert done() == ["import-features features", "compare runs/all", "report runs/all/report.html"]
    assert done() == []
    (tmp_path / "job.toml").write_text(job.replace('["meanpool"]', '["meanpool", "maxpool"]'))
    assert done() == ["compare runs/all", "report runs/all/report.html"]
    assert (tmp_path / "runs/all/maxpool").is_dir() and not list((tmp_path / "runs").glob("all.until-*"))
    np.save(tmp_path / "arrays/a/0.npy", np.ones((6, 3), np.float32))
    assert pipeline.main([str(tmp_path / "job.toml"), "--dry-run"]) == 0
    assert "1 clip to do: a/0 (the file has changed since it was imported)" in capsys.readouterr().out


def test_the_file_from_a_run_repeats_its_numbers(folder, capsys):
    (folder / "split.csv").write_text(
        "clip_id,split\n"
        + "\n".join(
            f"{name}/{number}.avi,{'test' if number > 8 else 'validation' if number > 6 else 'train'}"
            for name in ("rise", "fall")
            for number in range(12)
        )
    )
    more = 'updates = 5\nsplit = "split.csv"\nclasses = ["fall", "rise"]'
    (folder / "job.toml").write_text(JOB.replace("updates = 5", more))
    assert pipeline.main([str(folder / "job.toml")]) == 0
    again = folder / "again.toml"
    assert pipeline.main(["run", str(again), "--from", str(folder / "runs/first")]) == 0
    assert (folder / "again.split.csv").is_file()
    assert pipeline.main([str(again)]) == 0
    records = [(folder / f"runs/first{name}/models/split-seed0.json").read_text() for name in ("", "-again")]
    digests = [re.search(r'"best_score": [^,]*', record)[0] for record in records]
    assert digests[0] == digests[1]
    assert pipeline.main(["run", str(again), "--from", str(folder / "runs/first")]) == 2
    assert "exists; give another name" in capsys.readouterr().err


def test_labels_that_a_job_wrote_for_a_tool_are_kept_and_written_again(tmp_path, monkeypatch):
    """`[predict] to = "elan"` worked once: predict refuses to write where something is."""
    output, run, said = tmp_path / "labels.csv", tmp_path / "run", []
    earlier = tmp_path / "run.until-20260101-000000"  # the settings have changed since
    notes = {(earlier, f"predict {output}"): "digest"}
    earlier.mkdir()
    monkeypatch.setattr(job_module, "_inputs_digest", lambda arguments: "new")
    monkeypatch.setattr(job_module, "_noted", lambda path, name: notes.get((path, name)))
    monkeypatch.setattr(job_module, "_note", lambda path, name, digest: 0)
    step = SimpleNamespace(arguments=Namespace(to="boris", output=output, run_directory=run))

    def predict(arguments):
        assert not output.exists()
        output.write_text("new")
        return 0

    output.write_text("old")
    assert job_module._predict(step, predict, said.append) == 0
    [kept] = tmp_path.glob("labels.until-*.csv")
    assert (kept.read_text(), output.read_text()) == ("old", "new") and str(kept) in said[0]
    notes.clear()  # somebody else's file is left to predict, which refuses
    with pytest.raises(AssertionError):
        job_module._predict(step, predict, said.append)
    assert output.read_text() == "new"
