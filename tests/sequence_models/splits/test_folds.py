import logging
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.errors import LabelError, SplitError, UsageError
from sequence_models.records import Clip
from sequence_models.splits.folds import Fold, make_folds

WORDS = ("apple", "bread", "cheese")


def clip(clip_id, label, group="", split=""):
    labels = np.array(label)
    steps = len(labels) if labels.ndim else 2
    return Clip(clip_id, np.zeros((steps, 1)), np.arange(steps) / 8, np.arange(steps), labels, group, split)


def grouped(groups, classes=2):
    """One clip of each class in each group."""
    return [clip(f"{g}/{k}", k, f"g{g}") for g in range(groups) for k in range(classes)]


def folds_of(clips, cv=None, split_file=None, seed=0):
    return make_folds(clips, cv=cv, split_file=split_file, seed=seed, vocabulary=WORDS[: 1 + _highest(clips)])


def _highest(clips):
    return max(int(c.labels.max()) for c in clips)


def _groups(clip_ids):
    return {clip_id.split("/")[0] for clip_id in clip_ids}


def test_leave_one_group_out_tests_every_group_once():
    folds = folds_of(grouped(5), cv="leave-one-group-out")
    assert [(fold.name, fold.test) for fold in folds] == [(f"g{g}", (f"{g}/0", f"{g}/1")) for g in range(5)]
    assert all(len(fold.validation) == 2 and len(fold.train) == 6 for fold in folds)


def test_fold_names_can_be_file_names():
    clips = [clip(f"{folder}/{n}.avi", n, f"{folder}/{n}.avi") for folder in ("a b", "a_b") for n in (0, 1)]
    names = [fold.name for fold in folds_of(clips, cv="leave-one-group-out")]
    assert names == ["a_b_0.avi", "a_b_1.avi", "a_b_0.avi-3", "a_b_1.avi-4"]


def test_k_folds_keep_groups_together_and_classes_apart_evenly():
    clips = [clip(f"{g}/{n}", n % 3, f"g{g}") for g in range(12) for n in range(3 * (1 + g % 4))]
    folds = folds_of(clips, cv="4")
    assert [fold.name for fold in folds] == ["fold1", "fold2", "fold3", "fold4"]
    assert sorted(clip_id for fold in folds for clip_id in fold.test) == sorted(c.clip_id for c in clips)
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 6, sizes
    for fold in folds:
        assert not _groups(fold.train) & _groups(fold.validation)
        assert not _groups(fold.train + fold.validation) & _groups(fold.test)


def test_k_folds_share_every_class_where_groups_are_of_one_class():
    sizes = (1, 2, 3, 4, 2, 3, 1, 4)
    clips = [clip(f"{k}-{g}/{n}", k, f"{k}-{g}") for k in range(3) for g, size in enumerate(sizes) for n in range(size)]
    folds = folds_of(clips, cv="4")
    label = {c.clip_id: int(c.labels) for c in clips}
    assert [Counter(label[i] for i in fold.test) for fold in folds] == [{0: 5, 1: 5, 2: 5}] * 4
    for fold in folds:
        assert not _groups(fold.train + fold.validation) & _groups(fold.test)


def test_the_default_split_is_60_20_20_and_stratified():
    clips = [clip(f"c{number}", number % 2) for number in range(100)]
    (fold,) = folds_of(clips)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (60, 20, 20)
    label = {c.clip_id: int(c.labels) for c in clips}
    assert [Counter(label[i] for i in part)[0] for part in (fold.train, fold.validation, fold.test)] == [30, 10, 10]


def test_the_parts_keep_the_order_of_the_clips():
    clips = [clip(f"c{number}", number % 2) for number in (7, 3, 9, 1, 5, 0, 2, 8, 4, 6)]
    order = [c.clip_id for c in clips]
    (fold,) = folds_of(clips)
    for part in (fold.train, fold.validation, fold.test):
        assert list(part) == [clip_id for clip_id in order if clip_id in part]


def test_the_same_seed_gives_the_same_folds_and_another_seed_others():
    clips = grouped(20)
    assert folds_of(clips, cv="5", seed=3) == folds_of(clips, cv="5", seed=3)
    assert folds_of(clips, cv="5", seed=3) != folds_of(clips, cv="5", seed=4)


@settings(max_examples=60, deadline=None)
@given(
    members=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=4, max_size=12),
    cv=st.sampled_from([None, "2", "3", "leave-one-group-out"]),
    seed=st.integers(0, 3),
)
def test_nothing_leaks_and_training_has_every_class(members, cv, seed):
    clips = [clip(f"{g}/{n}", k, f"g{g}") for g, group in enumerate(members) for n, k in enumerate(group)]
    try:
        folds = make_folds(clips, cv=cv, split_file=None, seed=seed)
    except SplitError as error:
        assert "class" in str(error) or "in one group only" in str(error)
        return
    label = {c.clip_id: int(c.labels) for c in clips}
    for fold in folds:
        parts = [_groups(part) for part in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(members)
        assert fold.train and fold.test and (fold.validation or len(parts[0]) == 1)
        assert {label[i] for i in fold.train} == set(label.values())


def test_two_groups_leave_no_validation_part():
    (fold,) = folds_of(grouped(2))
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (2, 0, 2)
    assert [len(fold.validation) for fold in folds_of(grouped(2), cv="leave-one-group-out")] == [0, 0]


def test_frame_labels_are_balanced_by_timesteps():
    clips = [clip(f"c{n}", [0] * 8 + [1] * 2 if n % 2 else [0] * 2 + [-1] * 3 + [1] * 8) for n in range(20)]
    (fold,) = folds_of(clips)
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [12, 4, 4]
    assert Counter(int(clip_id[1:]) % 2 for clip_id in fold.test) == {0: 2, 1: 2}


def test_a_class_with_one_clip_is_refused_with_a_way_out():
    clips = [*grouped(4), clip("lone", 2, "g1")]
    with pytest.raises(SplitError) as caught:
        folds_of(clips)
    assert str(caught.value) == (
        "class 'cheese' has one clip, too few to train on and to test on; "
        "add clips, or leave it out with --classes apple,bread."
    )


def test_a_class_that_looks_misspelt_is_refused_with_the_near_name():
    words, clips = ("hand_shake", "hug", "hand_shakee"), [*grouped(4), clip("lone", 2, "g1")]
    with pytest.raises(SplitError) as caught:
        make_folds(clips, cv=None, split_file=None, seed=0, vocabulary=words)
    assert str(caught.value) == (
        "class 'hand_shakee' has one clip, too few to train on and to test on; add clips, or leave it out with "
        "--classes hand_shake,hug. If 'hand_shakee' is misspelt (did you mean hand_shake?), correct the label."
    )


def test_classes_with_one_clip_are_named_together_and_no_single_class_is_advised():
    clips = [*grouped(4), clip("lone", 2, "g1"), clip("alone", 3, "g1")]
    words = ("apple", "bread", "cheese", "date")
    with pytest.raises(
        SplitError, match=r"classes 'cheese', 'date' have one clip each or none, .* --classes apple,bread"
    ):
        make_folds(clips, cv=None, split_file=None, seed=0, vocabulary=words)
    with pytest.raises(SplitError, match=r"too few to train on and to test on; add clips\.$"):
        make_folds([clip("a", 0), clip("b", 0), clip("c", 1)], cv=None, split_file=None, seed=0, vocabulary=words[:2])


def test_one_recording_is_not_sent_round_in_a_circle_of_classes():
    with pytest.raises(SplitError, match=r"^there is only one labelled clip, 'rec', so nothing .* on; add clips\.$"):
        folds_of([clip("rec", [0, 1, 1, 0])])


def test_leaving_groups_out_needs_groups():
    clips = [clip(f"{n}", n % 2) for n in range(6)]
    with pytest.raises(SplitError) as caught:
        folds_of(clips, cv="leave-one-group-out")
    assert str(caught.value) == (
        "--cv leave-one-group-out needs groups, but no clip has one; give --group-from or a group column, or use "
        "--cv 5, where every clip is its own group."
    )


def test_a_class_in_one_group_cannot_be_cross_validated():
    clips = [*grouped(4), clip("1/a", 2, "g1"), clip("1/b", 2, "g1")]
    with pytest.raises(SplitError) as caught:
        folds_of(clips, cv="leave-one-group-out")
    assert str(caught.value) == (
        "class 'cheese' is in group 'g1' only, so nothing is left to train on when it is tested; "
        "add groups or leave the class out with --classes."
    )


def test_a_class_in_one_group_stays_in_training_and_its_absence_from_the_test_part_is_logged(caplog):
    clips = [*grouped(6), clip("1/a", 2, "g1"), clip("1/b", 2, "g1")]
    with caplog.at_level(logging.WARNING):
        (fold,) = folds_of(clips)
    assert {"1/a", "1/b"} <= set(fold.train)
    assert caplog.messages == ["1 of 1 test part lacks a class: split lacks 'cheese'"]


def test_groups_that_each_hold_the_last_of_a_class_leave_nothing_to_validate_on():
    clips = [clip(f"{g}/{n}", g % 2, f"g{g}") for g in range(4) for n in range(2)]
    with pytest.raises(SplitError) as caught:
        folds_of(clips, cv="2")
    assert "nothing can be held out from 2 groups without losing a class from training" in str(caught.value)
    assert "(in one group only: 'apple', 'bread'); add groups, or leave classes out with --classes." in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("clips", "cv", "error", "message"),
    [
        (
            grouped(3),
            "five",
            UsageError,
            "--cv is 'five'; it must be leave-one-group-out or a whole number of folds >= 2.",
        ),
        (grouped(3), "1", UsageError, "--cv is '1'; it must be leave-one-group-out or a whole number of folds >= 2."),
        (grouped(3), "4", SplitError, "--cv 4 needs as many groups, but there are 3; use fewer folds or add groups."),
        (
            [*grouped(1), clip("0/a", 0, "g0"), clip("0/b", 1, "g0")],
            None,
            SplitError,
            "all clips are of one group, 'g0', so nothing unseen is left to test on; add groups.",
        ),
        ([], None, SplitError, "there are no labelled clips to split."),
    ],
)
def test_splits_that_cannot_be_are_refused(clips, cv, error, message):
    with pytest.raises(error) as caught:
        make_folds(clips, cv=cv, split_file=None, seed=0)
    assert str(caught.value) == message


@pytest.fixture
def split_file(tmp_path):
    def write(*rows):
        path = tmp_path / "split.csv"
        path.write_text("\n".join(["clip_id,split", *rows]) + "\n", encoding="utf-8")
        return path

    return write


def test_a_split_file_is_followed(split_file):
    clips = [clip(f"v/{n}.avi", n % 2) for n in range(6)]
    path = split_file("0,train", "v/1.avi,train", "2.avi,val", "3,validation", "4,test", "5,test")
    assert folds_of(clips, split_file=path) == [
        Fold("split", ("v/0.avi", "v/1.avi"), ("v/2.avi", "v/3.avi"), ("v/4.avi", "v/5.avi"))
    ]


def test_a_split_column_is_followed_and_a_validation_part_taken_by_group():
    clips = [clip(f"{g}/{k}", k, f"g{g}", "test" if g == 5 else "train") for g in range(6) for k in range(2)]
    (fold,) = folds_of(clips)
    assert fold.test == ("5/0", "5/1")
    assert len(_groups(fold.validation)) == 1
    assert len(_groups(fold.train)) == 4


def test_cross_validation_goes_before_the_split_column():
    clips = [clip(f"{g}/{k}", k, f"g{g}", "test" if g == 5 else "train") for g in range(6) for k in range(2)]
    assert len(folds_of(clips, cv="leave-one-group-out")) == 6


def test_clips_that_the_split_leaves_out_and_unknown_ones_are_logged(split_file, caplog):
    clips = [clip(f"{n}", n % 2) for n in range(7)]
    path = split_file("0,train", "1,train", "2,validation", "4,test", "5,test", "nine,test")
    with caplog.at_level(logging.WARNING):
        folds_of(clips, split_file=path)
    assert caplog.messages == [
        f"{path} names 1 clip without features or label: 'nine'",
        f"2 clips are in no part of {path} and are left out: '3', '6'",
    ]


def test_a_split_that_cuts_a_group_is_logged(split_file, caplog):
    clips = grouped(3)
    path = split_file("0/0,train", "0/1,train", "1/0,validation", "1/1,test", "2/0,test", "2/1,test")
    with caplog.at_level(logging.WARNING):
        folds_of(clips, split_file=path)
    assert caplog.messages == [
        f"{path} puts 1 group into both the test part and another, which can raise the score: 'g1'"
    ]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (("0,train", "1,train"), SplitError, "{path} puts no clip with features and a label into test; add some."),
        (("x,train",), SplitError, "{path} names none of the 4 labelled clips (first: 'x'); check the clip ids."),
        (("0,train", "0,test"), LabelError, "{path} line 3: clip_id '0' is also on line 2; keep one."),
        (("0,eval",), LabelError, "{path} line 2: split is 'eval'; it must be train, validation or test."),
        (
            ("0,train", "2,train", "1,validation", "3,test"),
            SplitError,
            "split: class 'bread' is not in the training part; change the split, add clips, "
            "or leave the class out with --classes.",
        ),
    ],
)
def test_a_split_file_that_cannot_be_followed_is_refused(split_file, rows, error, message):
    path = split_file(*rows)
    with pytest.raises(error) as caught:
        folds_of([clip(f"{n}", n % 2) for n in range(4)], split_file=path)
    assert str(caught.value) == message.format(path=path)


def test_cv_and_a_split_file_exclude_each_other(split_file):
    with pytest.raises(UsageError, match="--cv and --split exclude each other; give one of them"):
        folds_of(grouped(3), cv="2", split_file=split_file("0,train"))


def test_multi_label_clips_are_split_by_the_classes_that_they_hold():
    both, first, second = [[1, 1], [0, 0]], [[1, 0], [1, 0]], [[0, 0], [0, 1]]
    clips = [clip(f"{g}/{k}", np.array(label), f"g{g}") for g in range(4) for k, label in enumerate((both, first))]
    clips += [clip("4/0", np.array(second), "g4"), clip("5/0", np.array(first), "g5")]
    folds = make_folds(clips, cv="leave-one-group-out", split_file=None, seed=0, vocabulary=WORDS[:2])
    assert [fold.test for fold in folds][4:] == [("4/0",), ("5/0",)]
    assert all(set(fold.train) & {"0/0", "1/0", "2/0", "3/0", "4/0"} for fold in folds)


def test_a_multi_label_class_of_one_clip_is_refused():
    clips = [clip("1", np.array([[1, 0], [0, 1]])), clip("2", np.array([[1, 0], [0, 0]]))]
    with pytest.raises(SplitError, match="class 'bread' has one clip, too few to train on and to test on"):
        make_folds(clips, cv="2", split_file=None, seed=0, vocabulary=WORDS[:2])


def test_a_multi_label_class_without_a_positive_frame_is_refused():
    clips = [clip(f"{k}", np.array([[1, 0], [0, 0]], np.int8)) for k in range(3)]
    with pytest.raises(SplitError, match="class 'bread' has no clip"):
        make_folds(clips, cv="2", split_file=None, seed=0, vocabulary=WORDS[:2])


def test_the_seeds_of_a_fold_hold_out_all_its_training_groups_in_turn():
    for fold in folds_of(grouped(10), cv="5"):
        assert len(fold.rotation) == 4
        parts = [set(fold.of_seed(seed).validation) for seed in range(5)]
        assert set.union(*parts) == set(fold.known) and sum(map(len, parts)) == len(fold.known)
        for seed in range(5):
            mine = fold.of_seed(seed)
            assert not _groups(mine.train) & _groups(mine.validation) and mine.test == fold.test
            assert set(mine.train + mine.validation) == set(fold.known)
        assert fold.of_seed(5) == fold.of_seed(0) and fold.of_seed(0).train == fold.train


def test_no_seed_loses_a_class_from_training():
    clips = [*grouped(8), clip("9/2", 2, "g9"), clip("8/2", 2, "g8")]
    for fold in folds_of(clips, cv=None):
        for seed in range(1 + len(fold.rotation)):
            assert {"0", "1", "2"} <= {clip_id.split("/")[1] for clip_id in fold.of_seed(seed).train} | {"2"}
            assert {"8", "9"} & _groups(fold.of_seed(seed).train) or not {"8", "9"} & _groups(fold.known)


def test_a_validation_part_that_is_given_is_that_of_every_seed(tmp_path):
    path = tmp_path / "split.csv"
    parts = ("train", "train", "train", "validation", "test")
    path.write_text("clip_id,split\n" + "".join(f"{g}/{k},{p}\n" for g, p in enumerate(parts) for k in (0, 1)))
    (fold,) = folds_of(grouped(5), split_file=path)
    assert fold.rotation == () and fold.of_seed(3) == fold


@pytest.mark.parametrize("cv", [None, "2", "leave-one-group-out"])
def test_groups_that_are_the_classes_are_named_as_such(cv):
    clips = [clip(f"{name}/{n}", number, name) for number, name in enumerate(("apple", "bread")) for n in range(4)]
    with pytest.raises(SplitError) as caught:
        folds_of(clips, cv=cv)
    assert str(caught.value) == (
        "each class has a group of its own ('apple', 'bread'), so none is left to train on when its group is tested; "
        "give groups that hold several classes, such as who or where, or none."
    )
