"""Formats with a label per frame: DeepEthogram, MS-TCN's folder, our own CSV."""

from __future__ import annotations

import pytest

from extract.errors import LabelError
from sequence_models.labels.reading import read_everything, understood
from sequence_models.settings import DataSettings


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
        return path

    return write


def spans(table):
    return sorted((row.clip_id, row.label, row.start, row.end) for row in table.rows)


def test_deepethogram_unnamed_index_is_not_a_class(written):
    path = written("rig_labels.csv", ",background,sniff,dig\n0,1,0,0\n1,0,1,0\n2,0,1,1\n3,1,0,0\n")
    table = read_everything(path, DataSettings())
    assert spans(table) == [
        ("rig", "background", 0, 1),
        ("rig", "background", 3, 4),
        ("rig", "dig", 2, 3),
        ("rig", "sniff", 1, 3),
    ]
    assert understood(table) == "DeepEthogram labels, 1 clip, 3 classes" and table.background == "background"
    bare = written("bare_labels.csv", "background,sniff\n1,0\n0,1\n")
    assert spans(read_everything(bare, DataSettings())) == [("bare", "background", 0, 1), ("bare", "sniff", 1, 2)]


def test_deepethogram_minus_one_is_unlabelled_not_background(written):
    path = written("DATA/rig/rig_labels.csv", ",background,sniff\n0,-1,-1\n1,0,1\n2,-1,-1\n3,1,0\n")
    table = read_everything(path.parents[2] / "DATA", DataSettings())
    assert spans(table) == [("rig/rig", "background", 3, 4), ("rig/rig", "sniff", 1, 2)]
    assert table.tool.num_frames == {"rig/rig": 4}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("0,1,0\n1,0,2\n", "line 3: sniff is '2'; it must be 0, 1, or -1"),
        ("0,1,0\n2,0,1\n", "line 3: its frame is '2', after 1 frame;"),
        ("0,-1,0\n", "line 2: only some classes are -1"),
        ("0,1,1\n", "line 2: background is 1; it must be 1 exactly where all others are 0"),
        ("0,0,0\n", "line 2: background is 0"),
        ("0,1\n", "line 2 has 2 cells but the header has 3"),
    ],
)
def test_deepethogram_files_that_are_wrong(written, rows, said):
    with pytest.raises(LabelError, match=f"rig_labels.csv {said}"):
        read_everything(written("rig_labels.csv", f",background,sniff\n{rows}"), DataSettings())


def test_mstcn_bundle_with_crlf(written):
    home = written("mapping.txt", "0 pour milk\r\n1 stir\r\n").parent
    written("groundTruth/P7.txt", "pour milk\npour milk\nstir")
    written("groundTruth/P8.txt", "stir\r\nstir\r\n")
    written("splits/train.split1.bundle", "P7.txt\r\n\r\n")
    written("splits/test.split1.bundle", "P8.txt\r\n")
    table = read_everything(home, DataSettings())
    assert [(row.clip_id, row.label, row.split, row.start, row.end) for row in table.rows] == [
        ("P7", "pour milk", "train", 0, 2),
        ("P7", "stir", "train", 2, 3),
        ("P8", "stir", "test", 0, 2),
    ]
    assert understood(table) == "MS-TCN folder, 2 clips, 2 classes"
    written("splits/test.split2.bundle", "P7.txt\n")
    table = read_everything(home, DataSettings())
    assert {row.split for row in table.rows} == {""} and understood(table).endswith("; 2 splits left out")


def test_mstcn_of_one_frame_with_a_space_in_its_class(written):
    home = written("mapping.txt", "0 pour milk\n").parent
    written("groundTruth/P7.txt", "pour milk\n")
    assert spans(read_everything(home, DataSettings())) == [("P7", "pour milk", 0, 1)]


def test_mstcn_results_on_one_line_below_a_heading(written):
    path = written("results/P7.txt", "### Frame level recognition: ###\nstir stir pour\n")
    table = read_everything(path.parent, DataSettings(label_format="mstcn"))
    assert spans(table) == [("P7", "pour", 2, 3), ("P7", "stir", 0, 2)]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"mapping.txt": "0 stir\n", "groundTruth/P7.txt": "stir\npour\n"}, "P7.txt line 2: class 'pour' is not in"),
        ({"mapping.txt": "zero stir\n", "groundTruth/P7.txt": "stir\n"}, "mapping.txt line 1 is 'zero stir'"),
        ({"mapping.txt": "0 stir\n1 stir\n", "groundTruth/P7.txt": "stir\n"}, "mapping.txt line 2 is '1 stir'"),
        ({"groundTruth/P7.txt": "stir\n\nstir\n"}, "P7.txt line 2 is empty, so the frames after it would shift"),
        ({"mapping.txt": "0 stir\n"}, "holds no .txt files"),
        (
            {"groundTruth/P7.txt": "stir\n", "splits/train.split1.bundle": "P9.txt\n"},
            "train.split1.bundle line 1: 'P9' has no labels",
        ),
        ({"mapping.txt": "0 stir\n", "groundTruth/P7.txt": ""}, "P7.txt has no labels; write one for every frame"),
        ({"mapping.txt": "stir\n", "groundTruth/P7.txt": "stir\n"}, "mapping.txt line 1 is 'stir'"),
        ({"mapping.txt": "", "groundTruth/P7.txt": "stir\n"}, "mapping.txt is empty"),
        ({"groundTruth/P7.txt/x": "stir\n"}, "P7.txt cannot be read as text"),
        ({"groundTruth/P7.txt": "stir\n", "splits/train.split1.bundle": "\n"}, "train.split1.bundle is empty"),
        (
            {
                "groundTruth/P7.txt": "stir\n",
                "splits/test.split1.bundle": "P7.txt\n",
                "splits/train.split1.bundle": "P7.txt\n",
            },
            "train.split1.bundle line 1: 'P7' is in test already",
        ),
    ],
)
def test_mstcn_folders_that_are_wrong(written, tmp_path, files, said):
    for name, text in files.items():
        written(f"set/{name}", text)
    with pytest.raises(LabelError, match=said):
        read_everything(tmp_path / "set", DataSettings())


def test_a_row_per_frame_and_a_column_per_class(written):
    long = written("long.csv", "clip_id,frame,label\na.mp4,1,x\na.mp4,0,x\na.mp4,2,\na.mp4,3,x\nb,0,y\nb,0,x\n")
    assert spans(read_everything(long, DataSettings())) == [
        ("a.mp4", "x", 0, 2),
        ("a.mp4", "x", 3, 4),
        ("b", "x", 0, 1),
        ("b", "y", 0, 1),
    ]
    wide = written("wide.csv", "clip_id,frame,x,y\na,1,1,0\na,2,0,0\na,3,,\na,4,1,1\n")
    table = read_everything(wide, DataSettings(labels_from=1))
    assert spans(table) == [("a", "background", 1, 2), ("a", "x", 0, 1), ("a", "x", 3, 4), ("a", "y", 3, 4)]
    assert table.background == "background"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip_id,frame,label\na,0.5,x\n", "line 2: frame is '0.5'; it must be a whole number >= 0"),
        ("clip_id,frame,label\na,0,x\na,0,x\n", "line 3: frame 0 of 'a' is 'x' on line 2 already"),
        ("clip_id,frame,label\n,0,x\n", "line 2: clip_id is empty"),
        ("clip_id,frame,x\na,0,2\n", "line 2: x is '2'; it must be 0 or 1"),
        ("clip_id,frame,x,y\na,0,1,\n", "line 2: only some classes are empty"),
        ("clip_id,frame\na,0\n", "has no column label, nor one per class"),
        ("clip_id,frame,label,label\na,0,x,y\n", "line 1 names the column 'label' twice"),
    ],
)
def test_frame_files_that_are_wrong(written, text, said):
    with pytest.raises(LabelError, match=said):
        read_everything(written("frames.csv", text), DataSettings())
