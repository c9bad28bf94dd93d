"""BORIS exports as its versions write them, and as people break them."""

from __future__ import annotations

import pytest

from extract.errors import LabelError
from sequence_models.labels.reading import read_everything, read_label_source, understood
from sequence_models.settings import DataSettings

HEAD = (
    "Observation id,Observation date,Description,Observation type,Source,Time offset (s),Coding duration,"
    "Media duration (s),FPS (frame/s)"
)
TAIL = (
    "Observation duration by subject by observation,Behavior,Behavioral category,Modifier #1,Behavior type,Start (s),"
    "Stop (s),Duration (s),Media file name,Image index start,Image index stop,Image file path start,"
    "Image file path stop,Comment start,Comment stop"
)
AGGREGATED = f"{HEAD},Subject,{TAIL}\n"
TABULAR = (
    "Observation id,Observation date,Description,Coding duration,Observation type,Source,Time offset (s),"
    "Media duration (s),FPS (frame/s),Subject,Behavior,Behavioral category,Modifier #1,Behavior type,Time,"
    "Media file name,Image index,Image file path,Comment\n"
)


def aggregated(behavior, start, stop, *, kind="STATE", observation="dawn 3", source="player #1:/lab/rig2.avi",
               offset="0.0", duration="90.120", fps="30.000", subject="No focal subject", media="/lab/rig2.avi",
               observed="Media file"):  # fmt: skip
    return (
        f"{observation},2024-11-05 06:30:00,,{observed},{source},{offset},88,{duration},{fps},{subject},3.1,{behavior},"
        f",,{kind},{start},{stop},1,{media},1,2,NA,NA,,\n"
    )


def tabular(behavior, what, time, *, subject="rat 1", modifier="", observation="dawn 3"):
    return (
        f"{observation},2024-11-05,,88,Media file(s),player #1:rig2.avi,0,90.120,30.000,{subject},{behavior},,"
        f"{modifier},{what},{time},rig2.avi,12,NA,\n"
    )


@pytest.fixture
def written(tmp_path):
    def write(*lines, encoding="utf-8", name="events.csv"):
        path = tmp_path / name
        path.write_text("".join(lines), encoding=encoding, newline="")
        return path

    return write


def spans(table):
    return [(row.clip_id, row.label, row.subject, row.start, row.end) for row in table.rows]


def test_boris_aggregated_events(written):
    path = written(
        AGGREGATED,
        aggregated("sniff", "3.200", "7.467", subject="rat 1"),
        aggregated("dig", "8.000", "8.000", kind="POINT"),
    )
    table = read_everything(path, DataSettings())
    assert spans(table) == [("rig2.avi", "sniff", "rat 1", 3.2, 7.467), ("rig2.avi", "dig", "", 8.0, 8.0)]
    chosen = read_label_source(path, DataSettings())
    assert understood(chosen) == (
        "BORIS aggregated, 1 observation, 1 clip, 1 class, 1 subject, 30 fps; 1 point event left out"
    )
    wide = read_label_source(path, DataSettings(point_width=0.5))
    assert spans(wide)[1] == ("rig2.avi", "dig", "", 7.75, 8.25)
    assert table.ignored == ("Modifier #1",) and table.rows[1].line == 3


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", ["\t", ";"])
def test_boris_other_separators_and_encodings(written, encoding, separator):
    text = (AGGREGATED + aggregated("grün", "1.0", "2.0")).replace(",", separator).replace("\n", "\r\n")
    assert spans(read_everything(written(text, encoding=encoding), DataSettings())) == [
        ("rig2.avi", "grün", "", 1.0, 2.0)
    ]


def test_boris_state_over_two_files_is_split(written):
    two = {"source": "player #1:C:\\lab\\a.avi;C:\\lab\\b.avi|player #2:side.avi", "duration": "60.040;30.000|90.000",
           "fps": "25.000;30.000|25.000", "media": "C:\\lab\\a.avi"}  # fmt: skip
    path = written(
        AGGREGATED,
        aggregated("sleep", "50.000", "70.040", **two),
        aggregated("bite", "60.040", "60.040", kind="POINT", **two),
        aggregated("bite", "90.040", "90.040", kind="POINT", **two),
    )
    table = read_everything(path, DataSettings())
    assert spans(table) == [
        ("a.avi", "sleep", "", 50.0, 60.04),
        ("b.avi", "sleep", "", 0.0, 10.0),
        ("b.avi", "bite", "", 0.0, 0.0),
        ("b.avi", "bite", "", 30.0, 30.0),
    ]
    assert table.tool.rates == {25.0, 30.0}


def test_boris_user_variable_named_subject(written):
    header = f"{HEAD},Subject,Source,Subject,{TAIL}\n"
    line = aggregated("sniff", "1.0", "2.0", subject="variable,not a file,rat 2")
    (row,) = read_everything(written(header, line), DataSettings()).rows
    assert (row.subject, row.clip_id, row.label) == ("rat 2", "rig2.avi", "sniff")


def test_boris_time_offset_is_not_time_of_the_video(written):
    path = written(AGGREGATED, aggregated("sniff", "103.2", "107.4", offset="100.0"))
    assert spans(read_everything(path, DataSettings())) == [("rig2.avi", "sniff", "", 3.2, 7.4)]


def test_boris_dates_as_times_are_refused(written):
    path = written(AGGREGATED, aggregated("sniff", "1730788203.2", "1730788207.4"))
    with pytest.raises(LabelError, match=r"line 2: times are dates .* switch off the creation date"):
        read_everything(path, DataSettings())


def test_boris_old_header_after_metadata(written):
    meta = "Observation id\tdawn 3\n\nMedia file(s)\n\nPlayer #1\trig2.avi\n\nTime offset (s)\t2\n\n"
    head = "Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\tComment\tStatus\n"
    lines = [f"{t}\trig2.avi\t90.1\t30\t\tsniff\t\t\t{what}\n" for t, what in ((5.2, "START"), (9.4, "STOP"))]
    lines.append("10.5\trig2.avi\t90.1\t30\t\tdig\t\t\tPOINT\n")
    table = read_everything(written(meta, head, *lines, name="old.tsv"), DataSettings())
    assert spans(table) == [("rig2.avi", "sniff", "", 3.2, 7.4), ("rig2.avi", "dig", "", 8.5, 8.5)]
    assert understood(table).startswith("BORIS tabular, before version 8, 1 observation") and table.rows[0].line == 10


def test_boris_tabular_pairs_per_subject_and_modifier(written):
    path = written(
        TABULAR,
        tabular("sniff", "START", "1.0"),
        tabular("sniff", "START", "2.0", subject="rat 2"),
        tabular("sniff", "START", "2.5", modifier="floor"),
        tabular("sniff", "STOP", "3.0", modifier="floor"),
        tabular("sniff", "STOP", "4.0"),
        tabular("sniff", "STOP", "5.0", subject="rat 2"),
    )
    table = read_everything(path, DataSettings())
    assert spans(table) == [
        ("rig2.avi", "sniff", "rat 1", 1.0, 4.0),
        ("rig2.avi", "sniff", "rat 2", 2.0, 5.0),
        ("rig2.avi", "sniff", "rat 1", 2.5, 3.0),
    ]


def test_boris_unpaired_start_names_the_observation(written):
    path = written(
        TABULAR, tabular("sniff", "START", "1.0"), tabular("dig", "START", "2.0"), tabular("dig", "STOP", "3")
    )
    with pytest.raises(
        LabelError, match=r"events.csv line 2: observation 'dawn 3' has a START or STOP of 'sniff' at 1 s"
    ):
        read_everything(path, DataSettings())
    path = written(AGGREGATED, aggregated("sniff", "1.0", "NA"))
    with pytest.raises(LabelError, match=r"line 2: 'sniff' of observation 'dawn 3' starts at 1.0 s and never stops"):
        read_everything(path, DataSettings())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (aggregated("sniff", "9.0", "7.0"), "line 2: it ends at 7, before it begins at 9"),
        (aggregated("sniff", "NaN", "7.0"), r"line 2: Start \(s\) is 'NaN'; it must be a number of seconds"),
        (aggregated("sniff", "3,5", "7.0"), "line 2 has 26 cells but the header has 25"),
        (
            aggregated("sniff", "80.0", "95.0"),
            "'sniff' of observation 'dawn 3' ends at 95 s, but its media end at 90.12 s",
        ),
        (aggregated("sniff", "1", "2", kind="STAT"), "Behavior type is 'STAT'; it must be STATE or POINT"),
        (aggregated("", "1", "2"), "line 2: Behavior is empty"),
        (aggregated("sniff", "1", "2", offset="5"), "line 2: it starts at 1 s, before the time offset of 5 s"),
        (
            aggregated("a", "1", "2") + aggregated("b", "3", "4", fps="25.000"),
            "line 3: '/lab/rig2.avi' has 25 frames/s, on line 2 it has 30; keep one",
        ),
        (
            aggregated("a", "1", "4") + aggregated("a", "3", "5", observation="dawn 3 bis"),
            "the observations 'dawn 3' and 'dawn 3 bis' both have 'a' in '/lab/rig2.avi' at 3 s, as of two observers",
        ),
        (
            aggregated("a", "1", "2", duration="60.0;30.0", source="player #1:a;b;c.avi"),
            r"Source names 3 files but Media duration \(s\) has 2 numbers",
        ),
        (aggregated("a", "1", "2", observed="Live observation"), "holds only live observations"),
    ],
)
def test_boris_files_that_are_wrong(written, line, said):
    with pytest.raises(LabelError, match=said):
        read_everything(written(AGGREGATED, line), DataSettings())


def test_boris_live_observations_are_left_out_and_counted(written):
    path = written(
        AGGREGATED, aggregated("a", "1", "2"), aggregated("b", "1", "2", observation="x", observed="Live observation")
    )
    table = read_everything(path, DataSettings())
    assert [row.label for row in table.rows] == ["a"] and understood(table).endswith("; 1 live observation left out")


def test_the_duration_of_the_observation_is_known_and_not_reported_as_unused(written):
    """Real exports gave "columns that are not used: Observation duration"."""
    path = written(AGGREGATED.replace("Observation duration by subject by observation", "Observation duration"))
    with path.open("a") as file:
        file.write(aggregated("groom", "1.0", "2.0"))
    assert read_everything(path, DataSettings()).ignored == ("Modifier #1",)
