"""`clipseq score`: published numbers through the command line, the files that it reads, the errors that it gives."""

from __future__ import annotations

import json

import pytest
from published_segments import PUBLISHED, published_labels

import pipeline
from extract.errors import LabelError, UsageError
from sequence_models.labels.formats.frame_texts import find_label_files, read_frame_labels
from sequence_models.scoring.files import read_splits, score_files, score_text


def write_videos(folder, ending=".txt", **labels):
    """One file per video, one label a line; "a a b" stands for three frames."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in labels.items():
        (folder / f"{name}{ending}").write_text("\n".join(text.split()) + "\n", encoding="utf-8")
    return folder


def write_published(source, folder):
    """The published cells of one model as MS-TCN writes them: a flat groundTruth/, results/<split>/ with a heading."""
    for split, sides in published_labels(source).items():
        for number, (truth, predicted) in enumerate(zip(*sides, strict=True)):
            name = f"{split}_video{number:02d}.v1"
            write_videos(folder / "groundTruth", **{name: " ".join(map(str, truth))})
            (folder / "results" / split).mkdir(parents=True, exist_ok=True)
            text = "### Frame level recognition: ###\n" + " ".join(map(str, predicted))
            (folder / "results" / split / name).write_text(text, encoding="utf-8")
    return folder / "results", folder / "groundTruth"


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_published_table_comes_out_of_the_command(shared, tmp_path, capsys, model):
    background, accuracy_v, accuracy_p, edit, f1_v, f1_p = PUBLISHED[model]
    results, truth = write_published(shared / "action_segmentation" / model, tmp_path)
    named = ["--background", "0"] if background else []
    assert pipeline.main(["score", str(results), str(truth), *named]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    per_video, per_split = ([float(cell) for cell in row[-5:]] for row in rows if row[0] in "VP")
    assert per_video == [accuracy_v, edit, *f1_v]
    assert [per_split[0], *per_split[2:]] == [accuracy_p, *f1_p]


@pytest.fixture
def two_splits(tmp_path):
    """Three videos in two splits: 1/a is right, 1/b half right, 2/c all wrong."""
    write_videos(tmp_path / "predicted" / "1", "", a="x x y y y y", b="x x")
    write_videos(tmp_path / "predicted" / "2", "", c="y y")
    write_videos(tmp_path / "truth", a="x x y y y y", b="x y", c="x x")
    return tmp_path


def values(record, protocol):
    return {name: round(score["value"], 2) for name, score in record[protocol].items()}


def test_the_protocols_differ_in_what_is_averaged(two_splits):
    record = score_files(two_splits / "predicted", two_splits / "truth")
    assert values(record, "per_video") == {
        "accuracy": 50.0,
        "edit": 50.0,
        "f1@10": 55.56,
        "f1@25": 55.56,
        "f1@50": 55.56,
    }
    assert values(record, "per_split") == {
        "accuracy": 43.75,
        "edit": 37.5,
        "f1@10": 42.86,
        "f1@25": 42.86,
        "f1@50": 42.86,
    }
    assert record["macro_f1"]["value"] == pytest.approx(100 * (2 * 3 / 9 + 2 * 4 / 11) / 2)
    assert record["per_split"]["edit"]["protocol"] == (
        "edit in percent, mean over the videos of a split, mean over 2 splits, each video its own group; "
        "95 % interval over 3 groups"
    )


def test_the_table_says_what_was_scored(two_splits):
    text = score_text(score_files(two_splits / "predicted", two_splits / "truth", background=["y"]))
    assert text.splitlines() == [
        "3 videos in 2 splits (1, 2), 10 frames, 2 classes",
        "background: y",
        "                                  accuracy      edit     F1@10     F1@25     F1@50",
        "V  per video, mean over videos       50.00     66.67     66.67     66.67     66.67",
        "P  pooled per split, mean            43.75     50.00     50.00     50.00     50.00",
        "macro-F1 69.70 (mean F1 of the 2 classes occurring, over the pooled frames of all videos, in percent)",
    ]


def test_a_split_file_stands_for_sub_folders_and_says_what_is_scored(two_splits):
    flat = write_videos(two_splits / "flat", a="x x y y y y", b="x x", c="y y", d="x")
    (two_splits / "splits.csv").write_text("video,split\na.txt,1\nb,1\nc,2\n", encoding="utf-8")
    by_file = score_files(flat, two_splits / "truth", splits=two_splits / "splits.csv")
    by_folder = score_files(two_splits / "predicted", two_splits / "truth")
    assert by_file["per_split"] == by_folder["per_split"]
    assert by_file["notes"] == [f"1 video not in {two_splits / 'splits.csv'}, left out: 'd'"]


def test_without_splits_all_videos_are_one(two_splits):
    flat = write_videos(two_splits / "flat", a="x x y y y y", b="x x", c="y y")
    record = score_files(flat, two_splits / "truth")
    assert values(record, "per_split")["accuracy"] == 70.0
    assert record["splits"] == []
    assert "1 split," in record["per_split"]["accuracy"]["protocol"]


def test_the_truth_may_hold_the_splits(two_splits):
    flat = write_videos(two_splits / "flat", a="x x y y y y", b="x x", c="y y")
    write_videos(two_splits / "by_split" / "1", a="x x y y y y", b="x y")
    truth = write_videos(two_splits / "by_split" / "2", c="x x").parent
    expected = score_files(two_splits / "predicted", two_splits / "truth")["per_split"]
    assert score_files(flat, truth)["per_split"] == expected
    assert score_files(two_splits / "predicted", truth)["per_split"] == expected


def test_videos_of_nothing_but_background_are_all_right(tmp_path):
    folder = write_videos(tmp_path / "both", a="none none")
    record = score_files(folder, folder, background=["none"])
    assert values(record, "per_video") == values(record, "per_split") == dict.fromkeys(record["per_video"], 100.0)


def test_the_truth_may_be_a_whole_data_set(tmp_path):
    write_videos(tmp_path / "predictions", v="a a b b")
    write_videos(tmp_path / "set" / "groundTruth", v="a b b b")
    (tmp_path / "set" / "mapping.txt").write_text("0 a\n1 b\n")
    record = score_files(tmp_path / "predictions", tmp_path / "set")
    assert record["videos"] == 1 and record["per_video"]["accuracy"]["value"] == 75


def test_json_holds_protocols_and_intervals(two_splits, capsys):
    assert pipeline.main(["score", str(two_splits / "predicted"), str(two_splits / "truth"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["vocabulary"] == ["x", "y"]
    assert record["per_video"]["accuracy"].keys() == {"value", "protocol", "ci95", "groups"}
    assert record["per_video"]["accuracy"]["ci95"][0] < 50 < record["per_video"]["accuracy"]["ci95"][1]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("pour milk\nstir\n", ["pour milk", "stir"]),
        ("a a b", ["a", "a", "b"]),
        ("### Frame level recognition: ###\na b a \n\n", ["a", "b", "a"]),
        ("\ufeffa\r\nb\r\n", ["a", "b"]),
        ("a", ["a"]),
    ],
)
def test_every_layout_of_a_label_file_is_read(tmp_path, text, labels):
    (tmp_path / "v").write_bytes(text.encode())
    assert read_frame_labels(tmp_path / "v") == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{path} has no labels; write one for every frame, or remove the file."),
        (
            b"### Frame level recognition: ###\n",
            "{path} has no labels; write one for every frame, or remove the file.",
        ),
        (b"### x ###\na\n\nb\n", "{path} line 3 is empty, so the frames after it would shift; write a label there."),
        (
            b"\xff\xfe",
            "{path} cannot be read as text ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte); "
            "give one label per line.",
        ),
    ],
)
def test_a_label_file_that_cannot_be_read_is_refused(tmp_path, content, message):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(LabelError) as caught:
        read_frame_labels(path)
    assert str(caught.value) == message.format(path=path)


def test_other_lengths_are_never_cut(tmp_path):
    truth = write_videos(tmp_path / "truth", a="x x", b="x x x")
    predicted = write_videos(tmp_path / "predicted", a="x x x", b="x x")
    with pytest.raises(LabelError) as caught:
        score_files(predicted, truth, missing="skip")
    assert str(caught.value) == (
        f"{predicted / 'a.txt'} has 3 labels but {truth / 'a.txt'} has 2, and 1 more video differs; "
        "give exactly one prediction for every true frame."
    )


def test_videos_without_a_partner_are_named_or_left_out(tmp_path):
    truth = write_videos(tmp_path / "truth", a="x", b="x")
    predicted = write_videos(tmp_path / "predicted", b="x", c="x")
    with pytest.raises(LabelError) as caught:
        score_files(predicted, truth)
    assert str(caught.value) == (
        f"{truth} lacks 1 video of {predicted}: 'c'; add them, or score the rest with --missing skip."
    )
    record = score_files(predicted, truth, missing="skip")
    assert record["videos"] == 1
    assert record["notes"] == [
        f"{truth} lacks 1 video of {predicted}: 'c'; left out",
        f"{predicted} lacks 1 video of {truth}: 'a'; left out",
    ]


def test_split_folders_of_other_names_are_no_partners(tmp_path):
    write_videos(tmp_path / "truth" / "1", a="x")
    write_videos(tmp_path / "predicted" / "one", a="x")
    with pytest.raises(LabelError, match=r"truth lacks 1 video of .*predicted: 'a'"):
        score_files(tmp_path / "predicted", tmp_path / "truth")
    with pytest.raises(LabelError, match="have no video in common; give the folders that hold the files"):
        score_files(tmp_path / "predicted", tmp_path / "truth", missing="skip")


def test_names_of_labels_must_fit(tmp_path):
    truth = write_videos(tmp_path / "truth", a="x y", b="y")
    with pytest.raises(LabelError, match=r"--background 'SIL' is not a label in .*truth; it has x, y\."):
        score_files(truth, truth, background=["SIL"])
    with pytest.raises(LabelError, match=r"share no label \('0', '1' against 'x', 'y'\); use the same names"):
        score_files(write_videos(tmp_path / "numbers", a="0 1", b="1"), truth)
    record = score_files(write_videos(tmp_path / "more", a="x z", b="y"), truth)
    assert record["notes"] == [f"1 label predicted that {truth} never uses: 'z'"]


def test_folders_that_are_none_are_refused(tmp_path):
    with pytest.raises(UsageError, match="nowhere is not a folder; give one that holds a text file per video"):
        find_label_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty is empty; it must hold a text file per video, or a sub-folder"):
        find_label_files(tmp_path / "empty")
    write_videos(tmp_path / "mixed", a="x")
    write_videos(tmp_path / "mixed" / "1", a="x")
    with pytest.raises(UsageError, match="mixed holds files and the folder 1; it must hold"):
        find_label_files(tmp_path / "mixed")
    write_videos(tmp_path / "deep" / "1" / "2", a="x")
    with pytest.raises(UsageError, match="1 must hold only the text files of one split; give the folder above"):
        find_label_files(tmp_path / "deep")


def test_two_files_of_one_video_are_refused_and_hidden_ones_passed_over(tmp_path):
    folder = write_videos(tmp_path / "v", **{"a": "x", ".hidden": "x"})
    assert find_label_files(folder) == {"": {"a": folder / "a.txt"}}
    write_videos(folder, "", a="x")
    with pytest.raises(LabelError, match=r"a and .*a\.txt are for the same video; remove one\."):
        find_label_files(folder)


def test_splits_are_said_once(two_splits):
    path = two_splits / "splits.csv"
    path.write_text("video,split\na,1\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"predicted already has a sub-folder per split; leave out --splits"):
        score_files(two_splits / "predicted", two_splits / "truth", splits=path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,split\na,1\na.txt,2\n", "{path} line 3: video 'a.txt' is listed twice; keep one."),
        ("video\na\n", "{path} line 2 needs a video and a split under the header video,split."),
        ("video,split\n", "{path} names no video; write the header video,split and a line per video."),
    ],
)
def test_a_split_file_that_means_nothing_is_refused(tmp_path, text, message):
    path = tmp_path / "splits.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabelError) as caught:
        read_splits(path)
    assert str(caught.value) == message.format(path=path)


def test_a_split_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LabelError, match=r"splits\.csv cannot be read .*; give a CSV with the columns video and split"):
        read_splits(tmp_path / "splits.csv")
