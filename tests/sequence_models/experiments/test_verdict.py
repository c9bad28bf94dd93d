import numpy as np
import pytest

from sequence_models.experiments.verdict import (
    Entry,
    comparison_record,
    comparison_text,
    mean_rank,
    motion_hint,
    rank,
    verdict_sentence,
)
from sequence_models.records import Clip, Prediction
from sequence_models.runs.run import Run
from sequence_models.settings import DataSettings, TrainSettings
from sequence_models.splits.folds import Fold

SIDES = ({"bilstm": 7, "pyramid": 3}, {"meanpool_logreg": 10})


def lead_of(difference, p, *, groups=10, level=0.951):
    ends = [difference - 0.1, difference + 0.1]
    shares = {"ours": 0.8, "theirs": 0.8 - difference}
    return {"difference": difference, "p": p, "groups": groups, "level": level, "ci95": ends, **shares}


@pytest.mark.parametrize(
    ("difference", "p", "kind", "opening", "end"),
    [
        (0.2, 0.004, "better", "Order helps: ", "p 0.0040, so surer than 99 %."),
        (0.2, 0.03, "better", "Order probably helps: ", "p 0.0300, so surer than 95 %."),
        (0.2, 0.05, "open", "Order is not shown to help: ", "p 0.0500."),
        (-0.2, 0.03, "worse", "Order-free models are probably better: ", "so surer than 95 %."),
        (-0.2, 0.002, "worse", "Order-free models are better: ", "so surer than 99 %."),
    ],
)
def test_the_verdict_says_how_sure_it_is(difference, p, kind, opening, end):
    said, sentence = verdict_sentence(lead_of(difference, p), SIDES, score="accuracy")
    assert said == kind and sentence.startswith(opening) and sentence.endswith(end)
    assert "(bilstm in 7, pyramid in 3) reaches accuracy 0.800" in sentence
    assert f"(meanpool_logreg) {0.8 - difference:.3f}, a difference of {difference:+.3f} [" in sentence


def test_the_verdict_says_that_few_groups_allow_no_95_percent():
    _, sentence = verdict_sentence(lead_of(0.2, 0.125, groups=4, level=0.875), SIDES, score="accuracy")
    assert "[+0.100, +0.300, 87.5 % sure: 4 groups allow no more] over 4 groups" in sentence


def test_of_equal_scores_the_lower_loss_is_better_and_no_score_is_worst():
    choices = [{"score": 0.5, "loss": 1.0}, {"score": 0.5, "loss": 0.8}, None, {"score": 0.4, "loss": 0.1}]
    assert sorted(choices, key=rank, reverse=True) == [choices[1], choices[0], choices[3], None]


def test_an_open_verdict_of_few_groups_says_that_it_could_not_be_sure():
    _, sentence = verdict_sentence(lead_of(0.2, 0.0625, groups=5, level=0.9375), SIDES, score="accuracy")
    assert sentence.endswith("; with 5 groups it is never below 0.0625, so no difference could be sure: add some.")


@pytest.fixture
def comparison(tmp_path):
    """Two folds of two clips; bilstm is best on validation in the first, meanpool_logreg in the second."""
    ids, truth = ("a", "b", "c", "d"), (0, 1, 0, 1)
    clips = [
        Clip(i, np.zeros((2, 1)), np.arange(2) / 8, np.arange(2), np.array(k), i)
        for i, k in zip(ids, truth, strict=True)
    ]
    folds = (Fold("one", ("c", "d"), (), ("a", "b")), Fold("two", ("a", "b"), (), ("c", "d")))
    run = Run(
        path=tmp_path, settings=TrainSettings(), vocabulary=("x", "y"), stores=(), recipes=(), fingerprints=(),
        labels="", data=DataSettings(), cv="2", folds=folds, seeds=2, clips={}, embedding_dim=1, test_opened=1,
    )  # fmt: skip
    entries = [
        entry_of("bilstm", (0, 1, 1, 0), scores=(0.9, 0.5), points={"one": "bilstm", "two": "bilstm"}),
        entry_of("meanpool_logreg", (1, 1, 0, 1), scores=(0.6, 0.7)),
        entry_of("majority", (0, 0, 0, 0), scores=(0.1, 0.1)),
    ]
    return run, entries, clips


def entry_of(name, labels, *, scores, points=None):
    said = [Prediction(i, np.eye(2, dtype=np.float32)[k]) for i, k in zip("abcd", labels, strict=True)]
    of_fold = {"one": said[:2], "two": said[2:]}
    choices = {fold: {"score": score, "loss": 1.0} for fold, score in zip(("one", "two"), scores, strict=True)}
    seeds = [said, said[::-1]] if points else []
    said = {"said": of_fold, "plain": of_fold, "shuffled": of_fold, "seeds": seeds}
    return Entry(name, bool(points), 10.0, 2.5, 7.5, 800.0, choices, points or {}, **said)


def test_what_is_best_is_chosen_in_each_fold_on_validation(comparison):
    record, final = comparison_record(*comparison, validation={})
    assert record["chosen"] == {"bilstm": 1, "meanpool_logreg": 1}
    assert [int(said.labels) for said in final] == [0, 1, 0, 1]
    assert record["test"]["accuracy"]["value"] == 1.0
    assert record["models"]["bilstm"]["accuracy"]["value"] == 0.5
    assert record["baselines"]["meanpool_logreg"]["accuracy"]["value"] == 0.75


def test_the_average_of_all_leaves_out_the_majority(comparison):
    run, entries, clips = comparison
    entries[1].plain = {
        fold: [Prediction(p.clip_id, 0.9 * p.probabilities) for p in said] for fold, said in entries[1].plain.items()
    }
    record, _ = comparison_record(run, entries, clips, validation={})
    assert record["average"]["accuracy"]["value"] == 0.5  # where the two disagree bilstm is a little surer


def test_the_verdict_compares_the_best_of_both_sides(comparison):
    verdict = comparison_record(*comparison, validation={})[0]["verdict"]
    assert (verdict["sequence"], verdict["order_free"]) == ({"bilstm": 2}, {"meanpool_logreg": 2})
    assert (verdict["ours"], verdict["theirs"], verdict["difference"], verdict["kind"]) == (0.5, 0.75, -0.25, "open")


def test_motion_is_suggested_where_every_row_on_plain_pictures_is_at_chance(comparison):
    run, entries, clips = comparison
    entries[1] = entry_of("meanpool_logreg", (1, 1, 0, 0), scores=(0.6, 0.7))
    record, _ = comparison_record(run, entries, clips, validation={})
    assert motion_hint(record, ["rgb"]) == (
        "no model or baseline is above chance (accuracy 0.500): the classes may differ in motion, which single "
        "pictures do not show; try clipseq extract --input diff into another --output"
    )
    record["hint"] = motion_hint(record, ["rgb"])
    assert record["hint"] in comparison_text(record).splitlines()
    assert motion_hint(record, ["rgb", "flow"]) == motion_hint(record, [None]) == ""


def test_motion_is_not_suggested_where_one_row_is_surely_above_chance(comparison):
    record, _ = comparison_record(*comparison, validation={})
    score = record["baselines"]["meanpool_logreg"]["accuracy"]
    assert score["value"] == 0.75
    for said, is_at_chance in (
        ({"groups": 10, "ci95": [0.4, 0.9]}, True),
        ({"groups": 10, "ci95": [0.51, 0.9]}, False),
        ({"groups": 2, "ci95": [0.1, 1.0]}, False),  # too few for an interval
    ):
        score |= said
        assert bool(motion_hint(record, ["rgb"])) == is_at_chance


def test_the_order_free_side_goes_without_post_processing(comparison):
    run, entries, clips = comparison
    filtered = entries[1].said
    entries[1].said = {fold: said[::-1] for fold, said in filtered.items()}
    record, _ = comparison_record(run, entries, clips, validation={})
    assert record["verdict"]["theirs"] == 0.75
    assert record["baselines"]["meanpool_logreg"]["accuracy"]["value"] == 0.25


def test_without_a_sequence_model_there_is_no_verdict(comparison):
    run, entries, clips = comparison
    assert comparison_record(run, entries[1:], clips, validation={})[0]["verdict"] is None


def test_the_table_has_no_column_of_what_no_row_knows(comparison):
    record = comparison_record(*comparison, validation={})[0]
    for row in (record["models"] | record["baselines"]).values():
        row |= {"seed_deviation": None, "peak_mb": None}
    header = comparison_text(record).splitlines()[0]
    assert "single seeds" not in header and "peak MB" not in header and header.endswith("extract s")


def test_the_table_has_a_row_for_each_best_first(comparison):
    lines = comparison_text(comparison_record(*comparison, validation={})[0]).splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["test", "meanpool_logreg", "bilstm", "majority", "chosen"]
    assert lines[5].startswith("average of all")
    assert lines[0].split("  ")[0] == "test" and "in order, shuffled" in lines[0] and "parameters" in lines[0]
    assert "0.500 sd 0.000" in lines[2] and lines[2].split()[-4:] == ["10", "2.5", "7.5", "800"]
    assert lines[-1] == "4 test clips of 4 groups; the test split was opened once"


def test_the_point_of_a_grid_that_is_trained_on_all_clips_is_chosen_as_the_folds_choose():
    """By score and, of equals, by loss; the last choice went by macro-F1 over all folds together."""

    def marks(*pairs):
        return [{"score": score, "loss": loss} for score, loss in pairs]

    assert mean_rank(marks((0.9, 0.4), (0.7, 0.2))) > mean_rank(marks((0.8, 0.5), (0.8, 0.2)))
    assert mean_rank(marks((0.9, 0.9), (0.9, 0.9))) > mean_rank(marks((1.0, 0.1), (0.7, 0.1)))
    assert mean_rank([]) == rank(None)
