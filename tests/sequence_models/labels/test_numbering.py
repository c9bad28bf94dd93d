"""Label files that include the last frame of an interval, or count from 1, are known by their intervals."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from label_examples import joined, write_labels, write_store

from extract.errors import LabelError, UsageError
from sequence_models.clips.loading import load_clips
from sequence_models.labels.formats.plain_csv import read_labels

LENGTHS = {"a.avi": 10, "b.avi": 13}
BORDERS = {"a.avi": (0, 4, 7, 10), "b.avi": (0, 5, 9, 13)}
EXPECTED = {"a.avi": [0] * 4 + [1] * 3 + [0] * 3, "b.avi": [0] * 5 + [1] * 4 + [0] * 4}
ENDS = "ends one frame before the next begins, as if the last frame were included"


def lines(*, first=0, inclusive=False):
    yield "clip_id,start_frame,end_frame,label"
    for clip_id, borders in BORDERS.items():
        for start, end, label in zip(borders, borders[1:], "xyx", strict=False):
            yield f"{clip_id},{start + first},{end + first - inclusive},{label}"


@pytest.fixture
def load(tmp_path):
    def join(*text, **options):
        features = write_store(tmp_path / "features", LENGTHS)
        return joined([features], write_labels(tmp_path / "labels.csv", *text), task="many-to-many", **options)

    return join


@pytest.mark.parametrize("first", [0, 1])
def test_inclusive_ends_are_named_with_the_flag_that_mends_them(load, first):
    flags = "--labels-end inclusive and --labels-from 1" if first else "--labels-end inclusive"
    with pytest.raises(LabelError, match=f"every interval {ENDS}.*: give {flags}, or --alignment tolerant"):
        load(*lines(first=first, inclusive=True))
    (note, *_) = load(*lines(first=first, inclusive=True), alignment="tolerant").notes
    assert ENDS in note and note.endswith(flags)
    mended = load(*lines(first=first, inclusive=True), labels_end="inclusive", labels_from=first)
    assert mended.notes == () and {c.clip_id: c.labels.tolist() for c in mended.clips} == EXPECTED


def test_a_background_does_not_hide_inclusive_ends(load):
    with pytest.raises(LabelError, match=ENDS):
        load(*lines(inclusive=True), background="none")


def test_half_open_intervals_from_one_are_named(load):
    with pytest.raises(LabelError, match=r"one frame after .* the first frame were 1: give --labels-from 1"):
        load(*lines(first=1))
    mended = load(*lines(first=1), labels_from=1)
    assert mended.notes == () and {c.clip_id: c.labels.tolist() for c in mended.clips} == EXPECTED


@pytest.mark.parametrize("gaps", [(0, 0, 1, 1, 1), (2, 3, 1, 5, 9), (1, 1)])
def test_other_distances_are_no_inclusive_ends(load, gaps):
    text, start = ["clip_id,start_frame,end_frame,label"], 0
    for gap in (*gaps, 0):
        text.append(f"b.avi,{start},{start + 1},x")
        start += 1 + gap
    assert not any(ENDS in note for note in load(*text, alignment="tolerant").notes)


def test_a_bout_of_one_frame_is_refused_with_the_flag_that_takes_it(tmp_path):
    path = write_labels(tmp_path / "labels.csv", "clip_id,start_frame,end_frame,label", "a,3,3,x")
    with pytest.raises(LabelError, match="if end_frame is the last frame itself, give --labels-end inclusive"):
        read_labels(path)
    (row,) = read_labels(path, inclusive=True).rows
    assert (row.start, row.end) == (3, 4)


def test_frame_0_is_no_frame_of_those_that_count_from_1(tmp_path):
    path = write_labels(tmp_path / "labels.csv", "clip_id,start_frame,end_frame,label", "a,0,3,x")
    with pytest.raises(LabelError, match=re.escape("line 2: start_frame is 0, but --labels-from 1 counts from 1.")):
        read_labels(path, first_frame=1)


def test_numbering_says_nothing_about_seconds(load):
    with pytest.raises(UsageError, match="--labels-from and --labels-end define start_frame,end_frame"):
        load("clip_id,start_seconds,end_seconds,label", "a.avi,0,1,x", labels_end="inclusive")


@pytest.mark.parametrize("name", ["one", "zero"])
def test_real_files_with_inclusive_ends(shared, tmp_path, name):
    folder = shared / "faults" / "B09"
    lengths = {path.stem: len(np.load(path)) for path in sorted(Path(folder / "npy").glob("*.npy"))}
    store = write_store(tmp_path / "features", lengths)
    with pytest.raises(LabelError, match=ENDS):
        load_clips([store], folder / f"var_{name}_incl.csv", task="many-to-many")
    mended = {"labels_end": "inclusive", "labels_from": int(name == "one")}
    data = joined([store], folder / f"var_{name}_incl.csv", task="many-to-many", **mended)
    assert data.notes == () and all((clip.labels >= 0).all() for clip in data.clips)
