import numpy as np
from run_factory import make_multilabel_run, make_run, one_hot, write_predictions

from sequence_models.report.bouts import bouts_content
from sequence_models.report.page import write_report
from sequence_models.report.run import read_evaluated_run


def test_bouts_of_truth_and_prediction_stand_beside_each_other(tmp_path):
    run = make_run(tmp_path / "run", task="many-to-many", vocabulary=("<i>rest", "groom", "never"))
    truths = [np.array([-1, 0, 0, 1, 1, 0]), np.array([0, 0, 1, 1, 1, 1])]
    said = [one_hot(0, 0, 1, 1, 1, 0), one_hot(0, 0, 0, 0, 1, 1)]
    write_predictions(run, ["a.mp4", "b.mp4"], truths, said, step_seconds=0.5)
    rest, groom = bouts_content(read_evaluated_run(run))["rows"]
    assert (rest["truth"]["count"], rest["predicted"]["count"]) == (3, 3)
    assert rest["truth"]["values"] == [2.5, 2.5 / 3, 1.0, 0.25, 1.0]
    assert rest["predicted"]["values"][0] == 3.0  # of the unlabelled timestep nothing is counted
    assert rest["truth"]["then"] == "groom 2" and groom["truth"]["then"] == "<i>rest 1"
    page = write_report(run).read_text(encoding="utf-8")
    assert "<th>mostly followed by</th>" in page and "&lt;i&gt;rest 1" in page and "<i>rest" not in page


def test_bouts_of_classes_that_overlap(tmp_path):
    content = bouts_content(read_evaluated_run(make_multilabel_run(tmp_path / "run")))
    assert [row["name"] for row in content["rows"]] == ["hug", "kick"]
    assert [(row["truth"]["count"], row["predicted"]["count"]) for row in content["rows"]] == [(1, 1), (2, 1)]
