"""The official lists of UCF101 and HMDB51, on miniature trees with the odd names of the real ones."""

import json
import logging

import numpy as np
import pytest
from official_trees import HMDB51_CLIPS, UCF101_CLIPS, write_hmdb51_lists, write_ucf101_lists

import pipeline
from extract.errors import LabelError, SplitError, UsageError
from sequence_models.labels.groups import groups_of
from sequence_models.records import Clip
from sequence_models.splits.folds import make_folds
from sequence_models.splits.official import OfficialLists, official_lists


def clips_of(clip_ids, data_set):
    """One clip each; the folder is the class, the group is what the data set's own rule says."""
    classes = sorted({clip_id.split("/")[-2] for clip_id in clip_ids})
    groups = groups_of(clip_ids, data_set)
    return [
        Clip(c, np.zeros((2, 1)), np.arange(2) / 8, np.arange(2), np.array(classes.index(c.split("/")[-2])), groups[c])
        for c in sorted(clip_ids)
    ]


def folds_of(clips, split, vocabulary=()):
    return make_folds(clips, cv=None, split_file=split, seed=0, vocabulary=vocabulary)


@pytest.fixture
def ucf101(tmp_path):
    return write_ucf101_lists(tmp_path / "ucfTrainTestlist")


@pytest.fixture
def hmdb51(tmp_path):
    return write_hmdb51_lists(tmp_path / "testTrainMulti_7030_splits")


def test_ucf101_tests_the_clips_of_its_test_list(ucf101):
    (fold,) = folds_of(clips_of(UCF101_CLIPS, "ucf101"), f"ucf101:{ucf101}:2")
    assert fold.name == "split2"
    assert set(fold.test) == {clip for clip in UCF101_CLIPS if "_g03_" in clip or "_g04_" in clip}
    assert "HandstandPushups/v_HandstandPushups_g03_c01.avi" in fold.test  # its list says v_HandStandPushups
    assert {*fold.train, *fold.validation, *fold.test} == set(UCF101_CLIPS)


def test_the_validation_part_comes_out_of_the_training_list_by_group(ucf101):
    (fold,) = folds_of(clips_of(UCF101_CLIPS, "ucf101"), f"ucf101:{ucf101}:1")
    groups = [{clip[-10:-8] for clip in part} for part in (fold.train, fold.validation, fold.test)]
    assert groups[2] == {"01", "02"}
    assert len(groups[1]) == 1
    assert not groups[0] & groups[1]


def test_clips_below_another_folder_and_in_the_spelling_of_the_lists_are_found(ucf101):
    spelled = [f"UCF-101/{clip.replace('v_Handstand', 'v_HandStand')}" for clip in UCF101_CLIPS]
    (fold,) = folds_of(clips_of(spelled, "ucf101"), f"ucf101:{ucf101}:1")
    assert len(fold.test) == 12
    assert "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi" in fold.test


def test_hmdb51_reads_train_test_and_unused(hmdb51, caplog):
    with caplog.at_level(logging.WARNING):
        (fold,) = folds_of(clips_of(HMDB51_CLIPS, "hmdb51"), f"hmdb51:{hmdb51}:1")
    assert set(fold.test) == {
        "clap/(2)_Applause_[HQ]_clap_u_cm_np1_fr_med_0.avi",
        "fall_floor/Kung_Fu_fall_floor_l_nm_np1_ba_goo_7.avi",
    }
    assert len(fold.train) + len(fold.validation) == 7
    assert caplog.messages == [
        f"1 clip is in no part of split1 of {hmdb51} and is left out: "
        "'fall_floor/TrumanShow_fall_floor_f_nm_np1_ba_med_5.avi'"
    ]


def test_a_clip_may_be_tested_in_several_official_splits(hmdb51):
    folds = folds_of(clips_of(HMDB51_CLIPS, "hmdb51"), f"hmdb51:{hmdb51}:all")
    assert [fold.name for fold in folds] == ["split1", "split2", "split3"]
    clip = "clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi"
    assert [clip in fold.test for fold in folds] == [False, True, True]
    assert all(not set(fold.test) & {*fold.train, *fold.validation} for fold in folds)


def test_listed_clips_without_features_are_counted_and_named(ucf101, caplog):
    there = [clip for clip in UCF101_CLIPS if "YoYo" not in clip]
    with caplog.at_level(logging.WARNING):
        folds_of(clips_of(there, "ucf101"), f"ucf101:{ucf101}:1")
    assert caplog.messages == [
        f"split1 of {ucf101} names 14 clips without features or label: "
        "'v_YoYo_g03_c01', 'v_YoYo_g03_c02', 'v_YoYo_g04_c01' and 11 more"
    ]


def test_a_class_that_is_in_no_list_is_named(hmdb51):
    for number in (1, 2, 3):
        (hmdb51 / f"clap_test_split{number}.txt").unlink()
    with pytest.raises(SplitError) as caught:
        folds_of(clips_of(HMDB51_CLIPS, "hmdb51"), f"hmdb51:{hmdb51}:1", ("clap", "fall_floor"))
    assert str(caught.value) == (
        "split1: class 'clap' is not in the training part; change the split, add clips, "
        "or leave the class out with --classes."
    )


def test_lists_that_lack_a_class_are_refused(ucf101, hmdb51):
    path = ucf101 / "testlist01.txt"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "YoYo" not in line))
    with pytest.raises(LabelError) as caught:
        folds_of(clips_of(UCF101_CLIPS, "ucf101"), f"ucf101:{ucf101}:1")
    assert str(caught.value) == f"{path} has no clip of class 'YoYo' of classInd.txt; download the lists again."
    path = hmdb51 / "clap_test_split1.txt"
    path.write_text(path.read_text().replace(" 2 ", " 0 "))
    with pytest.raises(LabelError, match=r"has no clip of class 'clap' of both parts \(1 train, 2 test\); download"):
        folds_of(clips_of(HMDB51_CLIPS, "hmdb51"), f"hmdb51:{hmdb51}:1")


def test_lists_that_are_missing_or_something_else_are_named(ucf101, tmp_path):
    clips = clips_of(UCF101_CLIPS, "ucf101")
    (ucf101 / "testlist03.txt").unlink()
    with pytest.raises(LabelError, match=r"testlist03\.txt cannot be read .*; give the folder of the official lists\."):
        folds_of(clips, f"ucf101:{ucf101}:3")
    with pytest.raises(LabelError, match=r"has no list such as clap_test_split1\.txt; give the folder of HMDB51's"):
        folds_of(clips, f"hmdb51:{ucf101}:1")
    (ucf101 / "testlist02.txt").write_text("v_YoYo_g01_c01.avi\n")
    with pytest.raises(LabelError, match=r"testlist02\.txt line 1 is 'v_YoYo_g01_c01\.avi', which is not a list entry"):
        folds_of(clips, f"ucf101:{ucf101}:2")


def test_lists_of_other_clips_are_refused(ucf101, hmdb51):
    with pytest.raises(SplitError, match=r"split1 of .* names none of the 10 labelled clips .*; check the clip ids"):
        folds_of(clips_of(HMDB51_CLIPS, "hmdb51"), f"ucf101:{ucf101}:1")


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("ucf101:a/b:1", ("ucf101", "a/b", (1,))),
        ("hmdb51:C:/lists:all", ("hmdb51", "C:/lists", (1, 2, 3))),
    ],
)
def test_official_lists_are_asked_for_by_name(split, expected):
    lists = official_lists(split)
    assert isinstance(lists, OfficialLists)
    assert (lists.data_set, str(lists.folder), lists.numbers) == expected


@pytest.mark.parametrize("split", [None, "split.csv", "ucf101", "kinetics:lists:1"])
def test_other_splits_are_files_of_the_user(split):
    assert official_lists(split) is None


@pytest.mark.parametrize("split", ["ucf101:lists", "ucf101:lists:4", "ucf101::1"])
def test_a_split_that_no_data_set_has_is_refused(split):
    with pytest.raises(UsageError) as caught:
        official_lists(split)
    assert str(caught.value) == (
        f"--split {split} must be ucf101:DIR:1, ucf101:DIR:2, ucf101:DIR:3 or ucf101:DIR:all, "
        "DIR being the folder of the official lists."
    )


def test_the_mean_over_the_official_splits_is_reported(tmp_path, make_video, capsys):
    for number, clip in enumerate(HMDB51_CLIPS):
        make_video(tmp_path / "videos" / clip, frames=6, step=3 + number)
    lists, run, store = write_hmdb51_lists(tmp_path / "lists"), tmp_path / "run", tmp_path / "features"
    extract = ["extract", str(tmp_path / "videos"), "--output", str(store), "--backbone", "tiny", "--every", "1"]
    train = ["train", str(store), "--task", "many-to-one", "--split", f"hmdb51:{lists}:all", "--run", str(run)]
    assert pipeline.main(extract) == 0
    assert pipeline.main([*train, "--epochs", "1", "--model", "lstm"]) == 0
    assert "3 folds" in capsys.readouterr().out
    assert pipeline.main(["evaluate", str(run)]) == 0
    assert "mean over splits" in capsys.readouterr().out
    record = json.loads((run / "metrics.json").read_text())
    assert record["test_clips"] == 2 + 3 + 2
    # Training and validation hold 4 clap and 3 fall_floor in split 1, 3 and 4 in the other two.
    accuracy = record["mean_over_folds"]["majority"]["accuracy"]
    assert accuracy["per_fold"] == {"split1": 0.5, "split2": pytest.approx(1 / 3), "split3": 0.5}
    assert accuracy["value"] == pytest.approx((0.5 + 1 / 3 + 0.5) / 3)
    assert accuracy["protocol"] == "mean over 3 official splits, each scored by itself"
    assert pipeline.main(["report", str(run)]) == 0
    settings = json.loads((run / "run.json").read_text())
    assert settings["data"]["group_from"] == "hmdb51"
    assert settings["clips"]["clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi"]["group"] == "#20_Rhythm"
