"""Audacity, Label Studio, VIA, Bento and ActivityNet files as the tools write them, and as people break them."""

from __future__ import annotations

import json

import pytest

from extract.errors import LabelError, UsageError
from sequence_models.labels.reading import read_everything, read_label_source, understood
from sequence_models.settings import DataSettings

ANNOT = """Bento annotation file
Movie file(s):
/data/pair4.seq

Stimulus name:
Annotation start frame: 1
Annotation stop frame: 900
Annotation framerate: 30

List of channels:
Ch1

List of annotations:
chase
sniff

Ch1----------
>chase
Start\tStop\tDuration
101\t150\t50

>sniff
Start\tStop\tDuration
151\t151\t1
"""


@pytest.fixture
def written(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def spans(table):
    return [(row.clip_id, row.label, row.start, row.end) for row in table.rows]


def test_audacity_frequency_line(written):
    path = written("rig.txt", "1.250000\t2.500000\tsniff\n\\\t800.0\t4000.0\n3.000000\t3.000000\tdig\n")
    assert spans(read_everything(path, DataSettings())) == [("rig", "sniff", 1.25, 2.5), ("rig", "dig", 3.0, 3.0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.0\t2.0\n", "rig.txt line 1: it has 2 cells; a label has start, end and name"),
        ("1.0\t2.0\ta\n3.0\t2.0\tb\n", "rig.txt line 2: it ends at 2, before it begins at 3"),
        ("1.0\t2.0\ta\n3,5\t4\tb\n", "rig.txt line 2: start is '3,5'"),
        ("1.0\t2.0\t\n", "line 1: the label from 1 to 2 s has no name"),
    ],
)
def test_audacity_files_that_are_wrong(written, text, said):
    with pytest.raises(LabelError, match=said):
        read_everything(written("rig.txt", text), DataSettings())


def region(label, start, end, **more):
    return {"id": f"r{start}", "type": "timelinelabels",
            "value": {"ranges": [{"start": start, "end": end}], "timelinelabels": [label], **more}}  # fmt: skip


def task(*annotations, video="/data/upload/9/00ff12ab-rig 2.mp4"):
    return [{"id": 41, "data": {"video": video}, "annotations": list(annotations)}]


def test_label_studio_frame_one_is_time_zero(written):
    path = written("export.json", task({"completed_by": 3, "result": [region("sniff", 1, 25), region("dig", 40, 40)]}))
    table = read_everything(path, DataSettings(labels_fps=25))
    assert spans(table) == [("rig 2.mp4", "sniff", 0, 25), ("rig 2.mp4", "dig", 39, 40)]
    assert understood(table) == "Label Studio, 1 task, 1 clip, 2 classes, 1 annotator, 25 fps"


def test_label_studio_phantom_result_without_ranges(written):
    phantom = {"id": "p", "type": "timelinelabels", "value": {"timelinelabels": ["sniff"]}}
    box = {"id": "b", "type": "videorectangle", "value": {"sequence": []}}
    skipped = {"was_cancelled": True, "result": [region("no", 1, 2)]}
    path = written("export.json", task({"result": [phantom, box, region("sniff", 5, 6)]}, skipped))
    table = read_everything(path, DataSettings(labels_fps=25))
    assert [row.label for row in table.rows] == ["sniff"]
    assert understood(table).endswith("; 2 phantom results, 1 skipped annotation left out")


def test_label_studio_rate_must_be_given(written):
    path = written("export.json", task({"result": [region("sniff", 5, 6, framesCount=1051, duration=42.008)]}))
    with pytest.raises(
        UsageError, match=r"export.json counts frames at the frameRate .* --labels-fps; .* looks like 25.02"
    ):
        read_everything(path, DataSettings())


def test_label_studio_two_annotators_are_asked_for(written):
    both = [{"completed_by": {"id": 1, "email": n}, "result": [region(n, 5, 6)]} for n in ("ann", "bob")]
    path = written("export.json", task(*both))
    with pytest.raises(UsageError, match=r"task 41, result 'r5': 'rig 2.mp4' was labelled by 'ann' and by 'bob'"):
        read_label_source(path, DataSettings(labels_fps=25))
    chosen = read_label_source(path, DataSettings(labels_fps=25, annotator="bob"))
    assert [row.label for row in chosen.rows] == ["bob"]
    with pytest.raises(LabelError, match="no labels of --annotator 'eve'; there are ann, bob"):
        read_label_source(path, DataSettings(labels_fps=25, annotator="eve"))


def test_label_studio_json_min(written):
    short = [{"video": "rig.mp4", "id": 7, "annotator": 2, "behaviour": [region("sniff", 2, 3)["value"]]}]
    table = read_everything(written("min.json", short), DataSettings(labels_fps=25))
    assert spans(table) == [("rig.mp4", "sniff", 1, 3)] and table.rows[0].annotator == "2"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (task({"result": [region("a", 0, 5)]}), "task 41, result 'r0': the range 0 to 5 is not two frames from 1 on"),
        (task({"result": [region("a", 9, 5)]}), "the range 9 to 5 is not two frames"),
        (task({"result": [region("a", 1, 10**30)]}), "is not two frames from 1 on"),
        (task({"result": [region("", 1, 5)]}), r"timelinelabels is \[''\]; it must be a list of names"),
        (task({"result": "x"}), "task 41: result is not a list of objects"),
        (task({"result": [region("a", 1, 5)]}, video=""), "task 41 names no video"),
    ],
)
def test_label_studio_files_that_are_wrong(written, found, said):
    with pytest.raises(LabelError, match=said):
        read_everything(written("export.json", found), DataSettings(labels_fps=25))


def test_via_header_is_a_comment(written):
    text = (
        "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)\n"
        "# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata\n"
        '"1_x","[""rig.mp4""]",2.5,4.75,"{""ACT"":""sniff""}"\n'
    )
    table = read_everything(written("via.csv", text), DataSettings())
    assert spans(table) == [("rig.mp4", "sniff", 2.5, 4.75)] and table.rows[0].line == 3


def test_via_option_ids_become_names(written):
    attributes = json.dumps({"1": {"aname": "act", "options": {"0": "sniff", "1": "dig"}}, "2": {"aname": "note"}})
    text = (
        f"# SHAPE_ID = {{}}\n# FLAG_ID = {{}}\n# ATTRIBUTE = {attributes}\n"
        "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
        '"a","[""rig.mp4""]",0,"[2.5,4.75]","[]","{""1"":""0,1""}"\n'
        '"b","[""rig.mp4""]",0,"[6.25]","[]","{""2"":""free text""}"\n'
        '"c","[""rig.mp4""]",0,"[]","[]","{""1"":""1""}"\n'
        '"d","[""rig.mp4""]",0,"[1.0]","[2,10,10,5,5]","{""1"":""1""}"\n'
    )
    table = read_everything(written("via.csv", text), DataSettings())
    assert spans(table) == [
        ("rig.mp4", "sniff", 2.5, 4.75),
        ("rig.mp4", "dig", 2.5, 4.75),
        ("rig.mp4", "free text", 6.25, 6.25),
    ]
    assert understood(table).endswith("; 1 whole-file label, 1 box left out")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('"a","[""rig.mp4""]",2.5,1.5,"{""ACT"":""sniff""}"', "line 2: it ends at 1.5, before it begins at 2.5"),
        ('"a","[""rig.mp4""]",x,1.5,"{""ACT"":""sniff""}"', r"line 2: '\[x,1.5\]' is not valid JSON"),
        ('"a","[""rig.mp4""]",0,1.5,"{""ACT"":""_DEFAULT""}"', "line 2: the segment from 0 s has no class yet"),
        ('"a","[""r.mp4"",""s.mp4""]",0,1.5,"{""ACT"":""sniff""}"', "line 2: it is about 2 files"),
    ],
)
def test_via_files_that_are_wrong(written, row, said):
    header = "# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata\n"
    with pytest.raises(LabelError, match=said):
        read_everything(written("via.csv", header + row + "\n"), DataSettings())


def test_annot_last_frame_is_included(written):
    table = read_everything(written("pair4.annot", ANNOT), DataSettings())
    assert spans(table) == [
        ("pair4.seq", "chase", 100, 150),
        ("pair4.seq", "sniff", 150, 151),
        ("pair4.seq", "other", 0, 100),
        ("pair4.seq", "other", 151, 900),
    ]
    assert table.background == "other" and table.rows[0].line == 20


def test_annot_times_with_a_point_are_seconds(written):
    text = ANNOT.replace("101\t150\t50", "3.0\t5.0\t2.0")
    assert spans(read_everything(written("pair4.annot", text), DataSettings()))[0] == ("pair4.seq", "chase", 90, 150)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("101\t150", "160\t150", "line 20: it ends at 150, before it begins at 159"),
        ("101\t150", "0\t150", "line 20: Start is '0'; it must be a whole number >= 1"),
        ("101\t150", "101\t1e20", "line 20: Stop is '1e20'; it must be a whole number >= 1 and at most 1,000,000,000"),
        ("101\t150", "1.5\t1e20", "line 20: 1.5 to 1e20 s are no times of a video"),
        ("101\t150", "101\t950", "line 20: it ends at frame 950, but the file's last frame is 900"),
        (">chase\n", "", "line 19: '101.t150.t50' stands under no >class"),
    ],
)
def test_annot_files_that_are_wrong(written, before, after, said):
    with pytest.raises(LabelError, match=said):
        read_everything(written("pair4.annot", ANNOT.replace(before, after)), DataSettings())


def test_activitynet_segments_and_splits(written):
    videos = {
        "k1": {"duration": 9.5, "subset": "training", "annotations": [{"label": "Long jump", "segment": [1.5, 12.0]}]},
        "k2": {"duration": 9.5, "subset": "testing", "annotations": []},
    }
    table = read_everything(written("a.json", {"version": "1.3", "database": videos}), DataSettings())
    assert spans(table) == [("k1", "Long jump", 1.5, 9.5)] and table.rows[0].split == "train"
    assert understood(table) == "ActivityNet, 2 videos, 1 clip, 1 class; 1 overlong tail left out"


@pytest.mark.parametrize(
    ("video", "said"),
    [
        (
            {"annotations": [{"label": "a", "segment": [5, 2]}]},
            "a.json video 'k1': it ends at 2, before it begins at 5",
        ),
        ({"annotations": [{"label": "a", "segment": ["5", 9]}]}, "video 'k1': .* must have a label and a segment"),
        ({"annotations": {}}, "video 'k1': annotations are not a list"),
        ({"subset": "dev", "annotations": []}, "video 'k1': subset is 'dev'"),
    ],
)
def test_activitynet_files_that_are_wrong(written, video, said):
    with pytest.raises(LabelError, match=said):
        read_everything(written("a.json", {"database": {"k1": video}}), DataSettings())
