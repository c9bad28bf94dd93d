"""The figures for a paper: PDF, PNG and the numbers in them."""

import csv

import numpy as np
import pytest
from matplotlib.image import imread
from run_factory import make_multilabel_run, make_run, one_hot, write_predictions

from sequence_models.report.figures import row_name, write_figures
from sequence_models.report.page import write_report
from sequence_models.report.run import read_evaluated_run


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("figures") / "r", num_clips=4)
    ids = [f"hug/clip{k}.avi" for k in range(4)]
    write_predictions(run, ids, [np.array([0])] * 4, [one_hot(k, sure=0.9) for k in (0, 0, 1, 2)])
    return run


@pytest.fixture(scope="module")
def folder(run):
    write_report(run, figures=run.parent / "new" / "figures")
    return run.parent / "new" / "figures"


def test_every_figure_has_a_pdf_a_png_and_its_data(folder):
    names = {path.stem for path in folder.iterdir()}
    assert names == {
        "score_accuracy", "score_macro_f1", "confusion", "calibration", "curves_loss", "curves_validation_score",
    }  # fmt: skip
    for name in names:
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert len(rows_of(folder / f"{name}.csv")) > 1


def test_figures_fit_one_column_of_two(folder):
    widths = {imread(path).shape[1] for path in folder.glob("*.png")}
    assert widths == {1005}  # 3.35 inches of 300 pixels


def test_the_data_are_the_numbers_of_the_run(folder):
    assert rows_of(folder / "confusion.csv") == [
        ["truth", "hug", "kick", "push"],
        ["hug", "2", "1", "1"],
        ["kick", "0", "0", "0"],
        ["push", "0", "0", "0"],
    ]
    assert rows_of(folder / "score_accuracy.csv")[:2] == [
        ["model", "accuracy", "ci95_low", "ci95_high"],
        ["bilstm", "0.81", "0.5", "0.9"],
    ]
    given, right, count = rows_of(folder / "calibration.csv")[1]
    assert (float(given), right, count) == (pytest.approx(0.9), "0.5", "4")


@pytest.mark.slow
def test_the_same_run_gives_the_same_figures(run, folder):
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    written = write_figures(read_evaluated_run(run), folder)
    assert {path.name: path.read_bytes() for path in written} == first


def test_baselines_that_differ_at_the_end_stay_apart_beside_a_plot():
    """Their titles were cut to the same beginning."""
    title = "logistic regression on windows (window_logreg)"
    assert [row_name(name) for name in (title, f"{title}, post-processed", "majority class")] == [
        "window_logreg",
        "window_logreg, post-processed",
        "majority class",
    ]


def test_names_of_any_script_and_formulas_do_no_harm(tmp_path):
    """Letters that the font lacks raised a warning, which is an error here."""
    run = make_run(tmp_path / "r", vocabulary=("=1+1", "舞蹈", "שלום $x^"), epochs=0)
    write_figures(read_evaluated_run(run), tmp_path / "figures")
    assert rows_of(tmp_path / "figures" / "confusion.csv")[0] == ["truth", "'=1+1", "舞蹈", "שלום $x^"]


def test_a_multi_label_run_has_no_confusion(tmp_path):
    written = write_figures(read_evaluated_run(make_multilabel_run(tmp_path / "r")), tmp_path / "figures")
    assert {path.stem for path in written} == {"score_mean_average_precision", "score_macro_f1"}
