"""What show-labels prints, and convert-labels on the command line."""

from __future__ import annotations

import csv
import json

import pytest
from label_examples import write_store

import pipeline
from extract.records import VideoTruth

TRUTH = VideoTruth("pyav", "h264", 64, 48, decoded_frames=300, average_rate=30.0, duration_seconds=10.0)
EVENTS = """Observation id,Subject,Behavior,Behavior type,Start (s),Stop (s),Media file name,FPS (frame/s)
o,A,run,STATE,0,5.5,D:\\old\\rig.mp4,30
o,B,dig,STATE,3,9.5,rig.mp4,30
o,,bite,POINT,3,3,rig.mp4,30
p,A,run,STATE,1,2,yard.mp4,30
p,A,run,STATE,4,8,yard.mp4,30
"""


@pytest.fixture
def events(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(EVENTS, encoding="utf-8")
    return path


def run(capsys, *words):
    code = pipeline.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_show_labels_counts_measures_and_finds_overlaps_and_gaps(events, capsys):
    code, out, _ = run(capsys, "show-labels", events)
    assert code == 0 and out.splitlines() == [
        f"{events}: BORIS aggregated, 2 observations, 2 clips, 3 classes, 2 subjects, 30 fps",
        "class  intervals  clips  total s  mean s  shortest s  longest s  points",
        "run    3          2      10.500   3.500   1.000       5.500      0",
        "bite   0          1      -        -       -           -          1",
        "dig    1          1      6.500    6.500   6.500       6.500      0",
        "labels per subject: A (3), B (1), no subject (1)",
        "overlaps of different classes: 2.500 s in 1 clip; the first: 'rig.mp4' is 'dig' and 'run' from 3 to 5.5",
        "gaps between labels: 1, 2.000 s in 1 clip; the longest: 2.000 s from 2 in 'yard.mp4'",
    ]


def test_labels_of_whole_clips_are_counted(tmp_path, capsys):
    (tmp_path / "l.csv").write_text("clip_id,label\na,x\nb,y\nc,x\n", encoding="utf-8")
    _, out, _ = run(capsys, "show-labels", tmp_path / "l.csv")
    assert out.splitlines()[1:] == ["class  clips", "x      2", "y      1"]


def test_convert_labels_there_and_against_itself(events, tmp_path, capsys):
    code, out, _ = run(capsys, "convert-labels", events, tmp_path / "eaf", "--to", "elan")
    assert (
        code == 0 and out.splitlines()[1] == f"wrote {tmp_path / 'eaf'}: 2 files, 4 intervals; 1 point event left out"
    )
    code, out, _ = run(capsys, "show-labels", events, "--against", tmp_path / "eaf")
    assert code == 0 and "run    1.000  263         263  263   3             3    100.0" in out
    code, _, err = run(capsys, "convert-labels", events, tmp_path / "eaf", "--to", "elan")
    assert code == 2 and "eaf exists already: choose another name or remove it." in err


def test_convert_labels_writes_a_row_for_every_frame_that_the_store_knows(events, tmp_path, capsys):
    store = write_store(tmp_path / "store", {"day/rig.mp4": 3, "day/yard.mp4": 3}, truth=TRUTH)
    told = "--to", "deepethogram", "--features", store, "--background", "none"
    assert run(capsys, "convert-labels", events, tmp_path / "DATA", *told)[0] == 0
    with (tmp_path / "DATA" / "rig_labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["", "background", "run", "dig"] and len(rows) == 301
    assert (
        rows[1] == ["0", "0", "1", "0"] and rows[165] == ["164", "0", "1", "1"] and rows[166] == ["165", "0", "0", "1"]
    )
    assert rows[300] == ["299", "1", "0", "0"]


def test_what_a_format_cannot_hold_is_counted(events, tmp_path, capsys):
    given = EVENTS.replace("Behavior type", "Modifier #1,Behavior type").replace(",STATE", ",floor,STATE")
    events.write_text(given.replace(",POINT", ",,POINT"), encoding="utf-8")
    code, out, _ = run(capsys, "convert-labels", events, tmp_path / "tracks", "--to", "audacity")
    assert code == 0 and out.splitlines()[1:] == [
        "columns that are not used: Modifier #1",
        f"wrote {tmp_path / 'tracks'}: 2 files, 5 intervals; 2 subjects left out",
    ]


def test_labels_of_two_people_are_not_mixed(tmp_path, capsys):
    spans = [{"value": {"ranges": [{"start": 1, "end": n}], "timelinelabels": ["x"]}} for n in (10, 12)]
    people = [{"completed_by": n, "result": [span]} for n, span in enumerate(spans)]
    (tmp_path / "ls.json").write_text(json.dumps([{"id": 1, "data": {"video": "v.mp4"}, "annotations": people}]))
    told = tmp_path / "ls.json", "--labels-fps", "25"
    code, _, err = run(capsys, "convert-labels", told[0], tmp_path / "o.csv", "--to", "intervals", *told[1:])
    assert code == 2 and "'v.mp4' was labelled by '0' and by '1'; choose one with --annotator" in err
    code, out, _ = run(capsys, "show-labels", *told)
    assert code == 0 and "labels per annotator: 0 (1), 1 (1)" in out and "0 against 1: 1 clip, 12 frames" in out


def test_one_class_per_frame_is_refused_for_two_at_once(events, tmp_path, capsys):
    code, _, err = run(capsys, "convert-labels", events, tmp_path / "set", "--to", "mstcn")
    assert code == 1 and "frame 90 of 'rig.mp4' is both 'dig' and 'run'" in err and err.count("\n") == 1
    code, _, err = run(capsys, "convert-labels", events, tmp_path / "set", "--to", "mstcn", "--subject", "A")
    assert code == 1 and "frame 0 of 'yard.mp4' has no label" in err and "--background NAME" in err
    assert not (tmp_path / "set").exists()
    chosen = "--subject", "A", "--background", "none"
    assert run(capsys, "convert-labels", events, tmp_path / "set", "--to", "mstcn", *chosen)[0] == 0
    assert (tmp_path / "set" / "mapping.txt").read_text() == "0 none\n1 run\n"


def test_tiers_of_one_elan_file_and_a_tier_against_a_csv_can_be_compared(tmp_path, capsys):
    """--tier was refused as soon as one of the two was no ELAN file, and two tiers could not be compared."""
    tier = '<TIER TIER_ID="{0}" LINGUISTIC_TYPE_REF="t"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{0}1" '
    tier += (
        'TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE>groom</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>'
    )
    tier += "</ANNOTATION></TIER>"
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="ts{n}" TIME_VALUE="{1000 * n}"/>' for n in (1, 2))
    media = '<HEADER TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///a.mp4"/></HEADER>'
    tiers = tier.format("Ann") + tier.format("Ben")
    document = f"<ANNOTATION_DOCUMENT>{media}<TIME_ORDER>{slots}</TIME_ORDER>{tiers}</ANNOTATION_DOCUMENT>"
    (tmp_path / "a.eaf").write_text(document)
    (tmp_path / "l.csv").write_text("clip_id,start_seconds,end_seconds,label\na.mp4,1,2,groom\n")
    for other, more in (("a.eaf", ["--against-tier", "Ben"]), ("l.csv", [])):
        words = ["show-labels", tmp_path / "a.eaf", "--tier", "Ann", "--against", tmp_path / other, *more]
        code, out, _ = run(capsys, *words)
        assert code == 0 and "kappa" in out
    code, _, err = run(capsys, "show-labels", tmp_path / "l.csv", "--tier", "Ann", "--against", tmp_path / "l.csv")
    assert code == 2 and "--tier and --tiers-as-classes are for ELAN files" in err
