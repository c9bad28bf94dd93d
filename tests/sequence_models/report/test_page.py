"""The report: right numbers, one file, and nothing that a clip's name can break."""

import base64
import configparser
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from page_reading import Tags, page_of, text_of
from places import ROOT
from run_factory import RECIPE, make_run, one_hot, write_facts, write_metrics, write_predictions

from extract.errors import RunError
from extract.store.recipe import fingerprint
from extract.system.lettering import class_palette
from sequence_models.report.page import confused_pairs, per_class_rows, write_report
from sequence_models.report.plots import kept_moment
from sequence_models.report.run import ReportedClip, confusion_counts, read_evaluated_run
from sequence_models.report.scores import Score, Scored, result_sentence, scored_models, verdict
from sequence_models.runs.files import write_record
from sequence_models.runs.run import read_run
from sequence_models.splits.folds import Fold

# ---- the numbers ---------------------------------------------------------------------------------------------------


def test_the_result_is_one_sentence_against_the_best_baseline(tmp_path):
    run = read_evaluated_run(make_run(tmp_path / "ut1"))
    assert result_sentence(run, scored_models(run)) == (
        "bilstm: accuracy 0.81 [0.50, 0.90] on 12 test clips of 4 unseen groups; "
        "mean-pool logistic regression (meanpool_logreg) 0.67"
    )


def test_groups_that_were_trained_on_are_not_called_unseen(tmp_path):
    run = make_run(tmp_path / "leaky", groups=1)
    ids = tuple(f"hug/clip{k}.avi" for k in range(12))
    (run / "run.json").unlink()
    folds = (Fold("split", ids[6:], (), ids[:6]),)
    write_facts(run, task="many-to-one", vocabulary="abc", folds=folds, group_of=dict.fromkeys(ids, "seq00"))
    leaky = read_evaluated_run(run)
    assert "on 12 test clips of 1 group; " in result_sentence(leaky, scored_models(leaky))


def test_a_run_without_scores_still_has_a_sentence(tmp_path):
    run = make_run(tmp_path / "bare")
    write_metrics(run, test={})
    assert "bilstm: no score on 12 test clips of 4 unseen groups." in text_of(page_of(run))


@pytest.mark.parametrize(
    ("difference", "p", "kind", "text"),
    [
        (0.44, 0.008, "better", "Better than x: +0.44 accuracy, ahead in 3 of 4 groups, sign-flip p 0.008."),
        (-0.2, 0.002, "worse", "Worse than x: -0.20 accuracy, ahead in 3 of 4 groups, sign-flip p 0.002."),
        (-0.2, 0.03, "worse", "Probably worse than x: -0.20 accuracy, ahead in 3 of 4 groups, sign-flip p 0.030."),
        (0.3, 0.125, "open", "No clear difference from x: +0.30 accuracy, ahead in 3 of 4 groups, sign-flip p 0.125."),
        (
            0.3,
            float("nan"),
            "open",
            "No clear difference from x: +0.30 accuracy, ahead in 3 of 4 groups, sign-flip p nan.",
        ),
    ],
)
def test_the_verdict_follows_the_paired_test(difference, p, kind, text):
    lead = {"difference": difference, "p": p, "groups_better": 3, "groups": 4}
    score = {"accuracy": Score(0.5, "", None)}
    models = [Scored("bilstm", is_model=True, scores=score), Scored("x", is_model=False, scores=score, lead=lead)]
    assert verdict(models, score="accuracy") == {"kind": kind, "text": text}


def test_near_duplicates_reach_the_report(tmp_path):
    run = make_run(tmp_path / "run")
    pairs = [{"fold": "fold0", "clip_id": f"a{n}.avi", "other_id": f"b{n}.avi", "similarity": 0.9} for n in range(23)]
    without = {"model": {"accuracy": {"value": 0.52, "protocol": "pooled", "ci95": None}}}
    doctor = {"pairs": pairs, "test_clips": 60, "test_clips_without": 37, "without": without}
    write_metrics(run, doctor=doctor)
    text = text_of(page_of(run))
    assert "23 of 60 test clips have a near-duplicate in training: put the clips of each pair into one group" in text
    assert "accuracy is 0.810 with them and 0.520 without, which is no clear difference" in text
    assert "a0.avi b0.avi fold0 0.90" in text and "a20.avi" not in text and "3 more pairs are in metrics.json" in text
    assert "accuracy 0.810 0.520" in text
    write_metrics(run, doctor={**doctor, "pairs": [], "test_clips_without": 60})
    text = text_of(page_of(run))
    assert "No test clip has a near-duplicate in training (60 clips checked)" in text
    assert "Near-duplicates across the split" not in text


def test_places_reach_the_report(tmp_path):
    run = make_run(tmp_path / "run")
    scenes = {"clips": 60, "places": 17, "with_several_classes": 11, "silhouette": 0.398, "is_clear": False}
    write_metrics(run, scenes=scenes)
    assert (
        "By their mean embeddings, 60 clips are of 17 places (silhouette 0.40 of 1, so not clearly apart), 11 of which "
        "hold several classes"
    ) in text_of(page_of(run))


@pytest.mark.parametrize(
    ("task", "score"), [("many-to-one", "+0.64 accuracy"), ("many-to-many", "+0.64 frame accuracy")]
)
def test_the_verdict_names_the_score_that_was_compared(tmp_path, task, score):
    run = make_run(tmp_path / "run", task=task)
    lead = {"groups_better": 4, "groups": 4, "unit": "clip", "difference": 0.64, "p": 0.001, "protocol": ""}
    write_metrics(run, task, against={"majority": lead, "meanpool_logreg": lead})
    assert f"{score}, ahead in 4 of 4 clips, sign-flip p 0.001" in text_of(page_of(run))


def test_nothing_to_compare_with_gives_no_verdict(tmp_path):
    run = make_run(tmp_path / "alone")
    write_metrics(run, baselines={}, against={})
    assert verdict(scored_models(read_evaluated_run(run)), score="accuracy") is None
    assert "Better than" not in page_of(run)


@pytest.mark.parametrize(
    ("score", "text", "interval"),
    [
        (Score(0.8125, "", (0.7, 0.9)), "0.81", "[0.70, 0.90]"),
        (Score(71.25, "", (60.0, 80.0)), "71.2", "[60.0, 80.0]"),
        (Score(0.5, "", (0.0, 40.0)), "0.5", "[0.0, 40.0]"),  # low on the scale to 100: the interval tells
        (Score(1.0, "", None), "1.00", ""),
    ],
)
def test_scores_are_written_on_their_own_scale(score, text, interval):
    assert (score.text(2), score.interval(2)) == (text, interval)


def test_per_class_numbers_of_a_hand_made_confusion():
    rows = per_class_rows(np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]]), ("a", "b", "never"))
    assert rows[0] == {"name": "a", "precision": 0.75, "recall": 0.75, "f1": 0.75, "support": 4}
    assert rows[1]["precision"] == rows[1]["recall"] == 5 / 6
    assert rows[2] == {"name": "never", "precision": None, "recall": None, "f1": None, "support": 0}


def test_the_commonest_confusions_come_first():
    pairs = confused_pairs(np.array([[3, 1, 0], [6, 5, 0], [0, 0, 9]]), ("a", "b", "c"))
    assert pairs == [
        {"truth": "b", "predicted": "a", "count": 6, "share": 6 / 11},
        {"truth": "a", "predicted": "b", "count": 1, "share": 0.25},
    ]


def test_four_hundred_classes_have_a_list_of_confusions_instead_of_a_matrix(tmp_path):
    """160,000 cells made a page of 27 MB."""
    run = make_run(tmp_path / "r", vocabulary=[f"class {k}" for k in range(400)], num_clips=80)
    report = write_report(run)
    page = report.read_text(encoding="utf-8")
    assert "There are 400 classes, too many for a matrix" in text_of(page)
    assert 'class="confusion"' not in page
    assert report.stat().st_size < 1_000_000


def test_unlabelled_frames_are_not_counted():
    truth = np.array([0, -1, 2, 2])
    clip = ReportedClip("a.mp4", "", "", truth, np.array([0, 1, 2, 0]), one_hot(0, 1, 2, 0), np.arange(4.0))
    assert confusion_counts([clip], num_classes=3).tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert clip.accuracy == 2 / 3


def test_wrong_clips_come_first_and_the_surest_mistake_on_top(tmp_path):
    run = make_run(tmp_path / "r", num_clips=4)
    ids = [f"hug/clip{k}.avi" for k in range(4)]
    said = [one_hot(0, sure=0.6), one_hot(1, sure=0.5), one_hot(1, sure=0.9), one_hot(0, sure=0.95)]
    write_predictions(run, ids, [np.array([0])] * 4, said)
    table = text_of(page_of(run)).split("Every test clip")[1]
    assert re.findall(r"hug/clip\d", table)[:4] == ["hug/clip2", "hug/clip1", "hug/clip0", "hug/clip3"]
    assert "hug/clip2.avi ✗ wrong hug kick 0.90" in table
    assert "hug/clip3.avi ✓ right hug hug 0.95" in table


def test_a_long_table_says_how_much_it_hides(tmp_path):
    text = text_of(page_of(make_run(tmp_path / "big", num_clips=2000, noise=0.3)))
    hidden = re.search(r"([\d,]+) more are not shown, ([\d,]+) of them wrong\.", text)
    assert hidden[1] == "1,700"
    assert text.count("✗ wrong") + text.count("✓ right") == 300


def test_models_are_rows_with_intervals_and_leads(tmp_path):
    text = text_of(page_of(make_run(tmp_path / "r")))
    assert "bilstm 0.810 [0.500, 0.900] mean-pool logistic regression (meanpool_logreg) 0.670 [0.500, 0.900]" in text
    assert "majority class 0.170 [0.500, 0.900] bilstm on validation 0.880" in text
    assert "Protocols accuracy pooled over all test clips macro-F1 pooled over all test clips" in text
    assert "mean-pool logistic regression (meanpool_logreg) +0.140 4 of 4 groups 0.125" in text
    assert "accuracy minus the baseline's, in pairs over groups" in text


def test_a_score_is_a_dot_with_its_interval_and_the_chance_line(tmp_path):
    page = page_of(make_run(tmp_path / "r"))
    dots = re.findall(r'<svg class="dots".*?</svg>', page, flags=re.DOTALL)
    assert 'aria-label="0.81, 95 % interval [0.50, 0.90]; chance 0.17"' in dots[0]
    assert '<line class="chance" x1="17.00%" x2="17.00%"' in dots[0]
    assert '<line class="range" x1="50.00%" x2="90.00%"' in dots[0]
    assert '<circle class="dot" cx="81.00%"' in dots[0]


def test_single_seeds_are_told(tmp_path):
    run = make_run(tmp_path / "r")
    write_metrics(run, per_seed={"accuracy": [0.7, 0.8, 0.75], "macro_f1": [0.7]})
    assert "accuracy of the 3 seeds alone: 0.700 to 0.800." in text_of(page_of(run))


@pytest.mark.parametrize(
    ("times", "text"),
    [
        (1, "The test split was opened once."),
        (3, "The test split was opened 3 times: choices made between two openings make the scores too good."),
    ],
)
def test_how_often_the_test_split_was_opened_is_told(tmp_path, times, text):
    run = make_run(tmp_path / "r")
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(facts | {"test_opened": times}), encoding="utf-8")
    assert text in text_of(page_of(run))


def test_settings_recipe_splits_and_versions_are_told(tmp_path):
    text = text_of(page_of(make_run(tmp_path / "r")))
    for part in (
        f"fingerprint {fingerprint(RECIPE)}",
        "backbone efficientnet_lite0",
        "keras 3.15.1",
        "fold1 5 1 6 seq01 , seq03",
    ):
        assert part in text


# ---- curves --------------------------------------------------------------------------------------------


def test_the_mark_is_at_the_moment_whose_weights_were_kept(tmp_path):
    """It stood at the best single score, and what is kept is the best of several in a row."""
    run = make_run(tmp_path / "r", folds=1, epochs=3)
    write_record(run / "models" / "fold0-seed0.json", {"best_update": 20}, run_id="")
    log = read_evaluated_run(run).logs["fold0-seed0"]
    assert kept_moment(log) == 20 and log["kept"].tolist() == [False, True, False]
    assert "(20)" in page_of(run)
    assert kept_moment({"update": np.array([10.0])}) is None


def test_logs_of_a_run_that_counted_in_epochs_are_drawn(tmp_path):
    run = make_run(tmp_path / "r", folds=1, epochs=3)
    log = run / "logs" / "fold0-seed0.csv"
    log.write_text(log.read_text(encoding="utf-8").replace("update,pass", "epoch,pass"), encoding="utf-8")
    write_record(run / "models" / "fold0-seed0.json", {"best_epoch": 30}, run_id="")
    assert kept_moment(read_evaluated_run(run).logs["fold0-seed0"]) == 30
    assert "(30)" in page_of(run)


def test_a_run_without_logs_says_so(tmp_path):
    assert "This run has no training logs." in page_of(make_run(tmp_path / "r", epochs=0))


def test_a_torn_log_costs_only_its_last_line(tmp_path):
    run = make_run(tmp_path / "r", folds=1, epochs=3)
    log = run / "logs" / "fold0-seed0.csv"
    log.write_text(log.read_text(encoding="utf-8") + "40,4,0.1,\n50", encoding="utf-8")
    columns = read_evaluated_run(run).logs["fold0-seed0"]
    assert columns["update"].tolist() == [10, 20, 30, 40, 50]
    assert np.isnan(columns["validation_score"][3:]).all()
    write_report(run)


def test_a_log_whose_moments_are_no_numbers_costs_these_lines_alone(tmp_path):
    """A cell such as =1+1 ended the report in a traceback."""
    run = make_run(tmp_path / "r", folds=1, epochs=3)
    log = run / "logs" / "fold0-seed0.csv"
    header, first, *rest = log.read_text(encoding="utf-8").splitlines()
    spoilt = ["=1+1" + first[2:], "1e999" + first[2:], "-1" + first[2:]]
    log.write_text("\n".join([header, *spoilt, *rest]), encoding="utf-8")
    assert read_evaluated_run(run).logs["fold0-seed0"]["update"].tolist() == [20, 30]
    write_report(run)
    log.write_text("\n".join([header, *spoilt]), encoding="utf-8")
    assert "fold0-seed0" not in read_evaluated_run(run).logs
    write_report(run)


def test_every_class_has_its_own_colour():
    assert len(set(class_palette(9))) == 9
    assert len(set(class_palette(40))) == 40


# ---- one file that nothing breaks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["many-to-one", "many-to-many"])
def test_the_page_needs_no_other_file_and_no_script_but_its_own(tmp_path, task):
    page = page_of(make_run(tmp_path / "r", task=task, steps=40))
    tags = Tags(page)
    assert not tags.open
    assert tags.tags.count("script") == (2 if task == "many-to-many" else 0)
    assert not {"iframe", "object", "embed"} & set(tags.tags)
    links = [value for name, value in tags.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert not re.search(r"url\((?!#)|@import|eval\(|innerHTML|https?:(?!//www\.w3\.org/)", page)


def test_the_policy_allows_the_pages_own_script_and_no_other(tmp_path):
    page = page_of(make_run(tmp_path / "r", task="many-to-many", steps=40))
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    assert policy.endswith(f"script-src 'sha256-{digest}'")
    assert policy.startswith("default-src 'none'") and "unsafe-eval" not in policy
    assert "script-src" not in page_of(make_run(tmp_path / "clips"))


@pytest.mark.parametrize("task", ["many-to-one", "many-to-many"])
def test_names_from_strangers_stay_text(tmp_path, task):
    evil = '</script><script>alert("{}")</script>/\u202eé 舞.avi'
    vocabulary = ('"><img src=x onerror=y>', "舞蹈 שלום", "<!--<script>")
    run = make_run(tmp_path / "evil", task=task, steps=40, vocabulary=vocabulary, name=evil)
    page = page_of(run)
    tags = Tags(page)
    assert tags.tags.count("script") == (2 if task == "many-to-many" else 0)
    assert "onerror" not in dict(tags.attributes)
    assert '</script><script>alert("3")</script>/\u202eé 舞.avi' in text_of(page)
    if task == "many-to-many":
        data = page.partition('id="timeline-data">')[2].partition("</script>")[0]
        assert not set(data) & set("<>&")
        held = json.loads(data)
        assert held["classes"] == list(vocabulary)
        assert evil.format(3) in [recording["id"] for recording in held["recordings"]]


def test_a_file_name_that_is_no_text_does_not_stop_the_report(tmp_path):
    run = make_run(tmp_path / "r")
    facts = (run / "run.json").read_text(encoding="utf-8").replace('"labels.csv"', '"labels\\udcff.csv"')
    (run / "run.json").write_text(facts, encoding="utf-8")
    assert "labels\\udcff.csv" in page_of(run)


@pytest.mark.parametrize(
    "shape",
    [
        {"num_clips": 1, "folds": 1, "groups": 1, "epochs": 1},
        {"vocabulary": [f"class {k}" for k in range(40)], "num_clips": 60},
        {"task": "many-to-many", "num_clips": 2, "steps": 15_000, "folds": 1},
        {"task": "many-to-many", "num_clips": 1, "steps": 1, "folds": 1},
        {"task": "many-to-many", "vocabulary": [f"class {k}" for k in range(40)], "num_clips": 60, "steps": 20},
        {"folds": 100, "groups": 100, "num_clips": 200, "epochs": 2},
    ],
)
def test_small_and_large_runs_give_a_page_of_moderate_size(tmp_path, shape):
    report = write_report(make_run(tmp_path / "r", **shape))
    assert not Tags(report.read_text(encoding="utf-8")).open
    assert report.stat().st_size < 1_000_000


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = make_run(tmp_path / "r", task="many-to-many", steps=30)
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert [path.name for path in run.glob("report*")] == ["report.html"]


def test_every_file_of_the_page_is_in_the_package():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    patterns = settings["options.package_data"]["sequence_models.report"].split(", ")
    files = [path.name for path in (ROOT / "sequence_models" / "report").iterdir() if path.is_file()]
    assert not [name for name in files if not name.endswith(".py") and not any(map(Path(name).match, patterns))]


# ---- runs that are not ready ---------------------------------------------------------------------------------------


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match=r"nothing is not a run directory"):
        write_report(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["metrics.json", "predictions.npz"])
def test_a_run_that_was_not_evaluated_names_the_next_step(tmp_path, name):
    run = make_run(tmp_path / "r")
    (run / name).unlink()
    if name == "metrics.json":
        with pytest.raises(RunError, match=r"r is not fully trained .*; run the same clipseq train command again"):
            write_report(run)
    record = read_run(run)
    (run / "models").mkdir(exist_ok=True)
    for name_of_fold in (*(fold.name for fold in record.folds), "final"):
        for seed in range(record.seeds):
            record.fit_path(name_of_fold, seed).touch()
    with pytest.raises(RunError, match=rf"{name} is missing: run `clipseq evaluate .*r` first$"):
        write_report(run)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("metrics.json", b"{", r"metrics\.json cannot be read \(.*\): run `clipseq evaluate"),
        ("metrics.json", b"[1]", r"metrics\.json cannot be read \(it is not a JSON object\): run `clipseq evaluate"),
        ("predictions.npz", b"PK\x03\x04", r"predictions\.npz cannot be read \(.*\): run `clipseq evaluate"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, text):
    run = make_run(tmp_path / "r")
    (run / name).write_bytes(content)
    with pytest.raises(RunError, match=text):
        write_report(run)


def test_predictions_of_other_classes_are_refused(tmp_path):
    run = make_run(tmp_path / "r")
    write_predictions(run, ["a"], [np.array([0, 1])], [one_hot(0, 1, num_classes=2)])
    with pytest.raises(
        RunError, match=r"does not match a run with 3 classes \(2 steps, probabilities \(2, 2\), .*: run `cli"
    ):
        write_report(run)
