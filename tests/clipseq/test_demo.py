"""The demo is two job files: they can be read, run, changed, and run again."""

import pytest

from clipseq import demo
from clipseq.job_file import read_job
from extract import demo as rendering
from sequence_models.arguments import train_arguments


@pytest.mark.parametrize("name", demo.JOBS)
def test_its_job_files_are_right(tmp_path, name):
    (tmp_path / "job.toml").write_text(demo.JOBS[name])
    job = read_job(tmp_path / "job.toml")
    assert train_arguments(job.experiment.arguments)["run"].name == name


@pytest.mark.slow
def test_a_second_time_only_what_was_changed_is_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "TAKES_PER_MOVE", 8)
    monkeypatch.setattr(rendering, "MONTAGES_PER_GROUP", 1)
    quick = {"updates = 400": "updates = 3", "updates = 600": "updates = 3", "seeds = 2": "seeds = 1"}
    for name, text in demo.JOBS.items():
        for given, less in (quick | {"[extract]": '[extract]\nbackbone = "tiny"', 'cv = "4"': 'cv = "2"'}).items():
            text = text.replace(given, less)
        monkeypatch.setitem(demo.JOBS, name, text)

    def lines():
        said = []
        assert demo.run_demo(tmp_path, say=said.append, predict=lambda arguments: 1) == 0
        return said

    first, again = lines(), lines()
    assert sum("done now" in line for line in first) == 8
    assert sum("up to date" in line for line in again) == 8
    assert "Order is the label here" in first[-3] and "".join(first[-2:]).count("report.html") == 3
    changed = tmp_path / "clips.toml"
    changed.write_text(changed.read_text().replace("updates = 3", "updates = 4"))
    third = [line for line in lines() if "done now" in line]
    assert [line.split()[0] for line in third] == ["train", "evaluate", "report"]
