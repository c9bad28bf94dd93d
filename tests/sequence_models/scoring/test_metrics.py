import numpy as np
import pytest
from published_segments import PUBLISHED, published_labels

from sequence_models.scoring.confidence import no_interval, ratio_score, shown_interval
from sequence_models.scoring.metrics import clip_metrics, cohens_kappa, confusion_matrix, frame_metrics
from sequence_models.scoring.segments import edit_score, f1_counts, f1_from_counts, segments


def one_hot(labels, num_classes):
    return np.eye(num_classes)[np.asarray(labels)]


def published_scores(folder, background):
    """One dict of values per split, and the number of videos in each."""
    scores, videos = [], []
    for truths, predictions in published_labels(folder).values():
        num_classes = 1 + max(int(labels.max()) for labels in truths + predictions)
        names = [str(number) for number in range(num_classes)]
        found = frame_metrics(
            truths, predictions, names, [""] * len(truths), background=[names[number] for number in background]
        )
        scores.append({name: score["value"] for name, score in found.items() if "value" in score})
        videos.append(len(truths))
    return scores, np.array(videos)


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_published_table_comes_out_to_two_decimals(shared, model):
    background, accuracy_v, accuracy_p, edit, f1_v, f1_p = PUBLISHED[model]
    scores, videos = published_scores(shared / "action_segmentation" / model, background)
    per_video = {name: sum(videos * [split[name] for split in scores]) / videos.sum() for name in scores[0]}
    per_split = {name: np.mean([split[name] for split in scores]) for name in scores[0]}
    assert round(100 * per_video["frame_accuracy_per_video"], 2) == accuracy_v
    assert round(100 * per_split["frame_accuracy"], 2) == accuracy_p
    assert round(per_video["edit"], 2) == edit
    assert tuple(round(per_video[f"f1@{percent}"], 2) for percent in (10, 25, 50)) == f1_v
    assert tuple(round(float(per_split[f"f1@{percent}_pooled"]), 2) for percent in (10, 25, 50)) == f1_p


def test_counting_the_background_changes_the_published_score(shared):
    scores, videos = published_scores(shared / "action_segmentation/50Salads/mid/mid_video_ED-TCN_L2_C15", ())
    assert round(sum(videos * [split["edit"] for split in scores]) / videos.sum(), 2) == 50.34
    assert [round(np.mean([split[f"f1@{k}_pooled"] for split in scores]), 1) for k in (10, 25, 50)] == [
        58.0,
        54.1,
        43.2,
    ]


@pytest.mark.parametrize(
    ("labels", "background", "expected"),
    [
        ([], (), []),
        ([2], (), [(2, 0, 1)]),
        ([0, 0, 1, 1, 1, 0, 2], (0,), [(1, 2, 5), (2, 6, 7)]),
        ([1, 0, 1], (0,), [(1, 0, 1), (1, 2, 3)]),
        ([3, 0, 1, 1, 4], (3, 4), [(0, 1, 2), (1, 2, 4)]),
        ([1, -1, 1, 1], (), [(1, 0, 1), (1, 2, 4)]),
    ],
)
def test_segments_are_maximal_runs(labels, background, expected):
    assert segments(np.array(labels, int), background=background) == expected


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([], [], 100.0),
        ([1], [], 0.0),
        ([], [1, 2], 0.0),
        ([1, 2, 3], [1, 2, 3], 100.0),
        ([1, 2, 3], [1, 3], 100 * (1 - 1 / 3)),
        ([1, 2, 1, 2], [2, 1, 2, 1], 50.0),
        ([1, 2, 3], [4, 1, 5, 3], 50.0),
    ],
)
def test_the_edit_score_is_the_levenshtein_distance_of_the_labels(truth, predicted, expected):
    as_segments = [[(label, place, place + 1) for place, label in enumerate(labels)] for labels in (truth, predicted)]
    assert edit_score(*as_segments) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("truth", "predicted", "overlap", "expected"),
    [
        ([(1, 0, 10)], [(1, 0, 10)], 0.5, (1, 0, 0)),
        ([(1, 0, 10)], [(1, 0, 5)], 0.5, (1, 0, 0)),
        ([(1, 0, 10)], [(1, 0, 4)], 0.5, (0, 1, 1)),
        ([(1, 0, 10)], [(2, 0, 10)], 0.1, (0, 1, 1)),
        ([(1, 0, 10)], [(1, 0, 4), (1, 5, 10)], 0.25, (1, 1, 0)),
        ([(1, 0, 4), (1, 6, 10)], [(1, 0, 10)], 0.25, (1, 0, 1)),
        ([], [(1, 0, 1)], 0.1, (0, 1, 0)),
        ([(1, 0, 1)], [], 0.1, (0, 0, 1)),
    ],
)
def test_a_segment_is_hit_once_and_by_enough_overlap(truth, predicted, overlap, expected):
    assert f1_counts(truth, predicted, overlap=overlap) == expected


def test_f1_of_nothing_to_find_is_100():
    assert f1_from_counts(0, 0, 0) == 100.0
    assert f1_from_counts(1, 1, 0) == pytest.approx(100 * 2 / 3)


def test_confusion_rows_are_the_truth_and_unlabelled_is_not_counted():
    counts = confusion_matrix(np.array([0, 0, 1, -1]), np.array([0, 2, 1, 1]), 3)
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_clip_metrics_by_hand():
    truth = np.array([0, 0, 0, 1, 1, -1])
    scores = clip_metrics(truth, one_hot([0, 0, 1, 1, 0, 1], 3), ("a", "b", "c"), list("uuvvww"))
    assert scores["accuracy"]["value"] == pytest.approx(3 / 5)
    assert scores["per_class_f1"]["a"]["value"] == pytest.approx(4 / 6)
    assert scores["per_class_f1"]["b"]["value"] == pytest.approx(2 / 4)
    assert scores["macro_f1"]["value"] == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert "c" not in scores["per_class_f1"]
    assert scores["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert scores["accuracy"]["protocol"] == (
        "share of 5 clips whose most probable class is right, pooled; 95 % interval over 3 groups"
    )
    assert scores["macro_f1"]["protocol"] == (
        "mean F1 of the 2 classes occurring, over pooled clips; 95 % interval over 3 groups"
    )


def test_top_k_counts_the_class_among_the_most_probable():
    rows = np.array([[0.4, 0.3, 0.2, 0.1, 0, 0], [0.1, 0.2, 0.3, 0.25, 0.1, 0.05], [0.3, 0.3, 0.1, 0.1, 0.1, 0.1]])
    scores = clip_metrics(np.array([2, 0, 5]), rows, "abcdef", ["", "", ""])
    assert scores["accuracy"]["value"] == 0
    assert scores["top3_accuracy"]["value"] == pytest.approx(1 / 3)
    assert scores["top5_accuracy"]["value"] == pytest.approx(2 / 3)  # a tie goes to the class that comes first
    assert scores["top3_accuracy"]["protocol"] == (
        "share of 3 clips whose class is among the 3 most probable, pooled; 95 % interval over 3 groups"
    )


def test_top_k_of_no_more_classes_than_k_says_nothing_and_is_left_out():
    scores = clip_metrics(np.array([0, 1]), one_hot([0, 1], 5), "abcde", ["", ""])
    assert "top3_accuracy" in scores
    assert "top5_accuracy" not in scores


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[20, 5], [10, 15]], 0.4),  # Cohen 1960: 0.7 seen, 0.5 by chance
        ([[5, 0], [0, 5]], 1.0),
        ([[0, 5], [5, 0]], -1.0),
        ([[9, 0], [0, 0]], 0.0),
        ([[0, 0], [0, 0]], 0.0),
    ],
)
def test_kappa_is_agreement_beyond_chance(table, expected):
    assert cohens_kappa(np.array(table)) == pytest.approx(expected)


def test_kappa_has_a_jackknife_interval_over_groups():
    truth, predicted = np.arange(40) % 2, np.where(np.arange(40) < 30, np.arange(40) % 2, 0)
    kappa = clip_metrics(truth, one_hot(predicted, 2), "ab", [f"g{n // 10}" for n in range(40)])["kappa"]
    without_one = [cohens_kappa(np.array(table)) for table in ([[15, 0], [0, 15]], [[15, 0], [5, 10]])]
    spread = np.array([without_one[0], *[without_one[1]] * 3]) - (without_one[0] + 3 * without_one[1]) / 4
    half = 3.182446305 * np.sqrt(3 / 4 * np.sum(spread**2))
    assert kappa["value"] == pytest.approx(0.75)
    assert kappa["ci95"] == pytest.approx([0.75 - half, 1.0])
    assert kappa["protocol"] == (
        "Cohen's kappa over 40 pooled clips; "
        "95 % interval by a delete-one-group jackknife and Student's t over 4 groups"
    )


def test_a_perfect_kappa_is_not_certain_and_one_group_gives_no_interval():
    truth = np.arange(12) % 2
    scores = clip_metrics(truth, one_hot(truth, 2), "ab", [f"g{n // 2}" for n in range(12)])
    assert scores["kappa"]["value"] == 1.0
    assert scores["kappa"]["ci95"] == pytest.approx([2 * scores["accuracy"]["ci95"][0] - 1, 1.0])
    alone = clip_metrics(truth, one_hot(truth, 2), "ab", ["g"] * 12)["kappa"]
    assert alone["ci95"] == [-1.0, 1.0]
    assert alone["protocol"] == "Cohen's kappa over 12 pooled clips; one group, so no interval"


def test_several_background_classes_are_no_segments():
    truths, rows = [np.array([2, 2, 0, 0, 1, 3])], [np.array([2, 0, 0, 0, 1, 3])]
    scores = frame_metrics(truths, rows, ("a", "b", "start", "end"), [""], background=("start", "end"))
    assert scores["f1@50"]["value"] == 100.0
    assert scores["kappa"]["value"] == pytest.approx((30 - 10) / (36 - 10))
    assert frame_metrics(truths, [np.zeros(6, int)], "abcd", [""], background=("c", "d"))["edit"]["value"] == 50.0


def test_frame_metrics_leave_unlabelled_timesteps_out():
    truths = [np.array([-1, 0, 0, 1]), np.array([1, 1]), np.array([-1, -1])]
    predictions = [np.array([1, 0, 1, 1]), np.array([1, 0]), np.array([0, 0])]
    scores = frame_metrics(truths, predictions, ("a", "b"), ["", "", ""])
    assert scores["frame_accuracy"]["value"] == pytest.approx(3 / 5)
    assert scores["frame_accuracy_per_video"]["value"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores["coverage"]["value"] == pytest.approx(5 / 8)
    assert scores["edit"]["value"] == pytest.approx((100 + 50) / 2)
    assert scores["f1@50_pooled"]["value"] == pytest.approx(100 * 6 / 7)  # 3 hits, 1 false alarm
    assert "mean over 2 videos, every class is a segment; 95 % interval over 2 groups" in scores["edit"]["protocol"]


def test_long_and_short_videos_differ_between_the_protocols():
    truths = [np.zeros(90, int), np.zeros(10, int)]
    predictions = [np.zeros(90, int), np.ones(10, int)]
    scores = frame_metrics(truths, predictions, ("a", "b"), ["", ""])
    assert scores["frame_accuracy"]["value"] == pytest.approx(0.9)
    assert scores["frame_accuracy_per_video"]["value"] == pytest.approx(0.5)


def test_padding_or_batching_is_no_input_so_lengths_must_agree():
    with pytest.raises(ValueError, match="3 truths, 2 predictions and 3 groups differ in length"):
        clip_metrics(np.zeros(3, int), np.zeros((2, 2)), ("a", "b"), ["", "", ""])
    with pytest.raises(ValueError, match=r"probabilities must be \(n, 2\), got \(3, 3\)"):
        clip_metrics(np.zeros(3, int), np.zeros((3, 3)), ("a", "b"), ["", "", ""])
    with pytest.raises(ValueError, match="no clip has a label"):
        clip_metrics(np.full(1, -1), np.zeros((1, 2)), ("a", "b"), [""])
    with pytest.raises(ValueError, match=r"background 'z' is not in the vocabulary \['a', 'b'\]"):
        frame_metrics([np.zeros(1, int)], [np.zeros(1, int)], ("a", "b"), [""], background=("z",))


def test_one_group_gives_no_interval():
    scores = clip_metrics(np.array([0, 1]), one_hot([0, 0], 2), ("a", "b"), ["g", "g"])
    assert scores["accuracy"]["ci95"] == [0.0, 1.0]
    assert scores["accuracy"]["protocol"].endswith("; one group, so no interval")


def test_all_right_is_not_certain():
    truth = np.arange(12) % 2
    low, high = clip_metrics(truth, one_hot(truth, 2), ("a", "b"), [f"g{n // 2}" for n in range(12)])["accuracy"][
        "ci95"
    ]
    assert 0.5 < low < 0.8
    assert high == 1.0


def test_dependent_clips_widen_the_interval():
    truth = np.zeros(40, int)
    predicted = one_hot([0] * 20 + [1] * 20, 2)
    apart = clip_metrics(truth, predicted, ("a", "b"), [""] * 40)["accuracy"]["ci95"]
    together = clip_metrics(truth, predicted, ("a", "b"), [f"g{n // 5}" for n in range(40)])["accuracy"]["ci95"]
    assert apart == pytest.approx([0.35, 0.65], abs=0.02)
    assert together == pytest.approx([0.17, 0.83], abs=0.02)


@pytest.mark.parametrize("num_groups", [5, 10, 20, 40])
@pytest.mark.parametrize("score", [0.7, 0.9])
def test_the_interval_covers_the_true_score(num_groups, score):
    """Groups of 3 to 9 clips whose own difficulty varies (correlation 0.15); a plain t interval covers 0.88 here."""
    rng = np.random.default_rng(num_groups)
    covered = 0
    for _ in range(1000):
        sizes = rng.integers(3, 10, num_groups)
        correct = rng.binomial(sizes, rng.beta(score * 17 / 3, (1 - score) * 17 / 3, num_groups))
        low, high = ratio_score(correct[:, None], sizes[:, None], protocol="", units=int(sizes.sum()))["ci95"]
        covered += low <= score <= high
    assert 0.93 <= covered / 1000 <= 0.99


@pytest.mark.parametrize(
    ("score", "interval", "words"),
    [
        ({"ci95": [0.1, 0.9], "groups": 3}, (0.1, 0.9), ""),
        ({"ci95": [0.1, 0.9]}, (0.1, 0.9), ""),
        ({"ci95": [0.0, 0.991], "groups": 2}, None, "2 groups: no interval"),
        ({"ci95": [0.0, 1.0], "groups": 1}, None, "1 group: no interval"),
        ({"ci95": [0.4, 0.4], "groups": 5}, None, ""),
        ({"ci95": None}, None, ""),
    ],
)
def test_no_interval_is_shown_of_too_few_groups_or_without_width(score, interval, words):
    assert (shown_interval(score), no_interval(score)) == (interval, words)


def test_every_score_says_over_how_many_groups_it_is():
    scores = clip_metrics(np.array([0, 1, 0, 1]), np.eye(2)[[0, 1, 1, 1]], ("a", "b"), ("g", "g", "h", "h"))
    assert [scores[name]["groups"] for name in ("accuracy", "macro_f1", "kappa")] == [2, 2, 2]


def test_protocols_count_one_as_one():
    scores = clip_metrics(np.array([0]), np.eye(2)[[0]], ("a", "b"), ("g",))
    assert scores["accuracy"]["protocol"].startswith("share of 1 clip whose")
    assert scores["macro_f1"]["protocol"].startswith("mean F1 of the 1 class occurring, over")
