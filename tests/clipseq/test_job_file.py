"""A job file names the line of what is wrong in it, and means what the same flags mean."""

import re

import pytest
from places import ROOT
from tiny_project import JOB

import pipeline
from clipseq.job_file import read_job

PAGE = (ROOT / "docs/jobs.md").read_text(encoding="utf-8")


def test_a_key_means_what_the_flag_means(tmp_path):
    (tmp_path / "job.toml").write_text(JOB)
    job = read_job(tmp_path / "job.toml")
    flags = ["train", "features", "--labels", "labels.csv", "--task", "many-to-one", "--run", "runs/first"]
    expected = vars(pipeline.make_parser().parse_args([*flags, "--model", "meanpool", "--updates", "5"]))
    given = vars(job.experiment.arguments)
    assert given == {name: expected[name] for name in given}
    assert job.predictions[0].arguments.run_directory == given["run_directory"]


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_the_files_on_the_page_are_right(tmp_path, text):
    (tmp_path / "job.toml").write_text(text)
    assert read_job(tmp_path / "job.toml").sources


def test_a_source_may_be_given_several_times(tmp_path):
    second = JOB.replace("[extract]", "[[extract]]").split("[train]")[0].replace('"features"', '"flow"\ninput = "flow"')
    (tmp_path / "job.toml").write_text(JOB.replace("[extract]", second + "[[extract]]"))
    job = read_job(tmp_path / "job.toml")
    assert job.experiment.arguments.stores == ["flow", "features"]
    wrong = JOB.replace("[extract]", second + "[[extract]]").replace("every = 2\n\n[train]", "evry = 2\n\n[train]")
    (tmp_path / "job.toml").write_text(wrong)
    with pytest.raises(Exception, match=r"line 12: evry is unknown in \[extract\]; did you mean every\?"):
        read_job(tmp_path / "job.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    (
        ("updates = 5", "update = 5", "line 12: update is unknown in [train]; did you mean updates?"),
        ("updates = 5", 'updates = "5"', "line 12: updates is '5', which is not a whole number"),
        ("[predict]", "[predictt]", "line 14: [predictt] is unknown; did you mean predict?"),
        ('task = "many-to-one"\n', "", "line 7: [train] needs task"),
        ("every = 2", "every = ", "Invalid value (at line 5, column 9)"),
        (
            "[predict]",
            '[compare]\ntask = "many-to-one"\nrun = "a"\n[predict]',
            "a job has one of [train] and [compare]",
        ),
        ("[extract]", "extract = 3\n[train.x]", "line 1: extract is not a section; write [extract] above its keys"),
    ),
)
def test_what_is_wrong_in_the_file_is_named_with_its_line(tmp_path, capsys, old, new, said):
    (tmp_path / "job.toml").write_text(JOB.replace(old, new, 1))
    assert pipeline.main(["run", str(tmp_path / "job.toml")]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path, capsys):
    assert pipeline.main(["run", str(tmp_path / "job.toml")]) == 1
    (tmp_path / "job.toml").write_text("")
    assert pipeline.main([str(tmp_path / "job.toml")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "cannot be read as TOML (No such file or directory)" in first and "has nothing to do" in second
