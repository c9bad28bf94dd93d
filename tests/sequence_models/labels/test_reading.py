"""Labels of other tools meet clips: recognised, joined by time or frame, and what is left open is asked for by name."""

from __future__ import annotations

import numpy as np
import pytest
from label_examples import joined, write_store

from extract.errors import ClipseqError, LabelError, UsageError
from extract.records import VideoTruth
from sequence_models.labels.formats.tool_files import video_name
from sequence_models.labels.reading import read_everything, read_label_source, understood
from sequence_models.settings import DataSettings

FRAMES = "many-to-many"
TRUTH = VideoTruth(
    "pyav", "h264", 64, 48, declared_frames=30, decoded_frames=30, average_rate=30.0, duration_seconds=1.0
)
MEDIA = "".join(f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///{name}.mp4"/>' for name in ("side", "rig"))
TWO_CAMERAS = (
    f"<ANNOTATION_DOCUMENT><HEADER>{MEDIA}</HEADER><TIME_ORDER><TIME_SLOT TIME_SLOT_ID='a' TIME_VALUE='0'/>"
    "<TIME_SLOT TIME_SLOT_ID='b' TIME_VALUE='500'/></TIME_ORDER><TIER TIER_ID='t'><ANNOTATION>"
    "<ALIGNABLE_ANNOTATION TIME_SLOT_REF1='a' TIME_SLOT_REF2='b'><ANNOTATION_VALUE>run</ANNOTATION_VALUE>"
    "</ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"
)


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store", {"day/rig.mp4": 30}, truth=TRUTH, fps=30.0)


def audacity(*rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def labels_of(data):
    return [data.vocabulary[k] if k >= 0 else "" for k in data.clips[0].labels]


def test_times_rounded_to_milliseconds_move_no_frame(store, written):
    path = written("rig.txt", audacity(("0.067", "0.333", "b"), ("0.333", "1.000", "a")))  # frames 2, 10 and 30
    data = joined([store], path, task=FRAMES)
    assert labels_of(data) == [""] * 2 + ["b"] * 8 + ["a"] * 20
    assert data.notes[0] == f"{path}: Audacity label track, 1 clip, 2 classes"


def test_our_own_seconds_are_not_rounded(store, written):
    path = written("l.csv", "clip_id,start_seconds,end_seconds,label\nrig,0.067,0.333,b\nrig,0.333,1,a\n")
    assert labels_of(joined([store], path, task=FRAMES)).count("b") == 7  # frame 2 is at 0.0667 s


def test_a_path_of_another_computer_is_the_file_of_that_name(tmp_path, written):
    store = write_store(tmp_path / "s", {"day/rig.mp4": 30, "day/yard.mp4": 30}, truth=TRUTH, fps=30.0)
    path = written(
        "e.csv",
        "Observation id,Subject,Behavior,Behavior type,Start (s),Stop (s),Media file name,FPS (frame/s)\n"
        "o,,a,STATE,0,0.5,D:\\old\\rig.mp4,30\no,,b,STATE,0,0.5,night/yard.mp4,30\n",
    )
    data = joined([store], path, task=FRAMES)
    assert [clip.clip_id for clip in data.clips] == ["day/rig.mp4", "day/yard.mp4"]


def test_a_file_found_in_another_folder_is_said(store, written):
    path = written("e.csv", boris(("raw/rig.mp4", "a", 0, 1)))
    assert (
        f"{path} names 1 video by the name of the file, in another folder: 'raw/rig.mp4' is 'day/rig.mp4'"
        in joined([store], path, task=FRAMES).notes
    )


def test_two_videos_of_one_name_are_both_named(tmp_path, written):
    store = write_store(tmp_path / "s", {"day/rig.mp4": 30, "night/rig.mp4": 30}, truth=TRUTH, fps=30.0)
    with pytest.raises(LabelError, match=r"rig.txt line 1: clip_id 'rig' matches 'day/rig.mp4', 'night/rig.mp4'"):
        joined([store], written("rig.txt", audacity(("0.0", "0.5", "b"))), task=FRAMES)


def test_activitynet_names_lack_the_prefix_of_the_files(tmp_path, written):
    store = write_store(tmp_path / "s", {"v_k1.mp4": 30}, truth=TRUTH, fps=30.0)
    path = written("a.json", '{"database": {"k1": {"annotations": [{"label": "x", "segment": [0, 0.5]}]}}}')
    assert labels_of(joined([store], path, task=FRAMES))[:16] == ["x"] * 15 + [""]


def test_one_of_two_cameras_is_enough(store, written):
    data = joined([store], written("x.eaf", TWO_CAMERAS), task=FRAMES)
    assert labels_of(data) == ["run"] * 15 + [""] * 15


def test_deepethogram_row_count_differs_from_decoder(store, written):
    def labelled(count):
        return written(
            "rig_labels.csv", ",background,x\n" + "".join(f"{k},{k % 2},{1 - k % 2}\n" for k in range(count))
        )

    path = labelled(26)
    with pytest.raises(LabelError, match=r"rig_labels.csv has labels for 26 frames, but 'rig' has 30; .*--labels-fps"):
        joined([store], path, task=FRAMES)
    assert (
        f"{path} has labels for 26 frames, but 'rig' has 30"
        in joined([store], path, task=FRAMES, alignment="tolerant").notes
    )
    assert any("has labels for 29 frames" in note for note in joined([store], labelled(29), task=FRAMES).notes)


def test_frames_without_a_label_are_unknown_in_every_class(store, written):
    rows = ["-1,-1,-1", *["0,1,1"] * 9, *["1,0,0"] * 10, *["0,0,1"] * 10]
    text = "".join(f"{k},{row}\n" for k, row in enumerate(rows))
    path = written("rig_labels.csv", ",background,x,y\n" + text)
    data = joined([store], path, task=FRAMES, multi_label=True)
    assert data.vocabulary == ("x", "y")
    np.testing.assert_array_equal(data.clips[0].labels, [[-1, -1], *[[1, 1]] * 9, *[[0, 0]] * 10, *[[0, 1]] * 10])
    assert not [note for note in data.notes if "--classes" in note]
    with pytest.raises(LabelError, match=r"is both 'x' and 'y' from 1 to 10 frames"):
        joined([store], path, task=FRAMES)


def test_subjects_at_once_are_asked_for_by_name(store, written):
    lines = ["clip_id,start_seconds,end_seconds,label,subject", "rig,0,0.6,run,A", "rig,0.3,0.9,dig,B"]
    path = written("l.csv", "\n".join(lines))
    with pytest.raises(LabelError, match=r"l.csv lines 2 and 3: .* so choose one subject with --subject, shorten"):
        joined([store], path, task=FRAMES)
    assert labels_of(joined([store], path, task=FRAMES, subject="B")) == [""] * 9 + ["dig"] * 18 + [""] * 3
    with pytest.raises(LabelError, match=r"no labels of --subject 'C'; there are A, B"):
        joined([store], path, task=FRAMES, subject="C")


def test_point_events_become_intervals_of_the_width_given(store, written):
    path = written("rig.txt", audacity(("0.5", "0.5", "bite"), ("0.0", "0.2", "run")))
    data = joined([store], path, task=FRAMES)
    assert data.notes[0].endswith("1 clip, 1 class; 1 point event left out") and data.vocabulary == ("run",)
    assert labels_of(joined([store], path, task=FRAMES, point_width=0.2)) == (
        ["run"] * 6 + [""] * 6 + ["bite"] * 6 + [""] * 12
    )
    only = written("only.txt", audacity(("0.5", "0.5", "bite")))
    with pytest.raises(LabelError, match=r"holds only point events \(1\).* --point-width SECONDS"):
        read_label_source(only, DataSettings())


def test_frames_of_another_clock_need_its_rate(store, written):
    path = written(
        "ls.json",
        '[{"id": 1, "data": {"video": "rig.mp4"}, "annotations": [{"result": [{"id": "r", "value": {"ranges": '
        '[{"start": 1, "end": 5}], "timelinelabels": ["x"]}}]}]}]',
    )
    data = joined([store], path, task=FRAMES, labels_fps=10)
    assert labels_of(data) == ["x"] * 15 + [""] * 15


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels_from": 1}, "--labels-from and --labels-end are for our own CSV files; Audacity label track says how"),
        ({"tier": "x"}, "--tier and --tiers-as-classes are for ELAN files, but .*rig.txt is Audacity label track"),
        ({"label_format": "praat"}, "--label-format 'praat' is unknown: there are intervals, frames, boris"),
        ({"label_format": "mstcn"}, "--label-format mstcn is a folder, but .*rig.txt is not one"),
        ({"labels_fps": 25}, "--labels-fps is the rate of start_frame,end_frame labels, but there are none"),
        ({"point_width": -1}, "--point-width is -1; it must be greater than 0"),
    ],
)
def test_options_that_do_not_suit_the_format(store, written, options, said):
    with pytest.raises(UsageError, match=said):
        joined([store], written("rig.txt", audacity(("0.0", "0.5", "b"))), task=FRAMES, **options)


def test_a_folder_of_files_is_one_set_of_labels(written, tmp_path):
    written("set/day/a.txt", audacity(("0.0", "0.5", "x")))
    written("set/b.txt", audacity(("0.0", "0.5", "y"), ("1.0", "1.0", "z")))
    written("set/notes.csv", "nothing we know\n")
    written("set/.hidden.txt", audacity(("0.0", "0.5", "y")))
    table = read_label_source(tmp_path / "set", DataSettings())
    assert [(row.clip_id, row.label) for row in table.rows] == [("b", "y"), ("day/a", "x")]
    assert table.where(table.rows[1]) == f"{tmp_path}/set/day/a.txt line 1"
    assert understood(table) == "Audacity label track, 2 clips, 2 classes; 1 point event, 1 unknown file left out"


def test_a_folder_that_mixes_formats_is_asked_about(written, tmp_path):
    written("set/a.txt", audacity(("0.0", "0.5", "x")))
    written("set/b_labels.csv", ",background,x\n0,1,0\n")
    with pytest.raises(
        UsageError, match=r"several formats \(a.txt is audacity, b_labels.csv is deepethogram\); choose"
    ):
        read_everything(tmp_path / "set", DataSettings())
    table = read_everything(tmp_path / "set", DataSettings(label_format="audacity"))
    assert [row.clip_id for row in table.rows] == ["a"]


def test_a_folder_of_plain_texts_is_not_guessed(written, tmp_path):
    written("set/a.txt", "run\nrun\n")
    with pytest.raises(LabelError, match=r"holds no label file of a known format; .*--label-format mstcn"):
        read_everything(tmp_path / "set", DataSettings())
    assert len(read_everything(tmp_path / "set", DataSettings(label_format="mstcn")).rows) == 1


def test_the_same_video_in_two_files_is_refused(written, tmp_path):
    for coder in ("ann", "bob"):
        written(f"set/{coder}.csv", "clip_id,start_seconds,end_seconds,label\nrig,0,1,x\n")
    with pytest.raises(LabelError, match=r"ann.csv and .*bob.csv both label 'rig'; keep one .* --against OTHER"):
        read_everything(tmp_path / "set", DataSettings())


def test_a_missing_file_is_named_as_before(tmp_path):
    with pytest.raises(
        LabelError, match=r"nowhere.csv cannot be read \(No such file or directory\); give an existing CSV"
    ):
        read_everything(tmp_path / "nowhere.csv", DataSettings())


def test_textgrid_utf16(tmp_path):
    path = tmp_path / "x.TextGrid"
    path.write_text('File type = "ooTextFile"\nObject class = "TextGrid"\n', encoding="utf-16")
    with pytest.raises(LabelError, match=r"is a Praat TextGrid; open it in ELAN"):
        read_everything(path, DataSettings())


def test_a_textgrid_is_refused_by_name(written):
    with pytest.raises(ClipseqError, match=r"is a Praat TextGrid; open it in ELAN"):
        read_everything(written("x.TextGrid", 'File type = "ooTextFile"\nObject class = "TextGrid"\n'), DataSettings())


def boris(*spans):
    lines = [f"o {media},,{label},STATE,{start},{end},{media},30\n" for media, label, start, end in spans]
    return "".join(
        ["Observation id,Subject,Behavior,Behavior type,Start (s),Stop (s),Media file name,FPS (frame/s)\n", *lines]
    )


def test_files_of_one_name_in_two_folders_stay_two_clips(tmp_path, written):
    two = written(
        "e.csv", boris(("/lab/d1/cam.mp4", "a", 0, 1), ("/lab/d2/cam.mp4", "b", 0, 1), ("C:\\x\\y.mp4", "a", 0, 1))
    )
    table = read_everything(two, DataSettings())
    assert [row.clip_id for row in table.rows] == ["d1/cam.mp4", "d2/cam.mp4", "y.mp4"]
    store = write_store(
        tmp_path / "s", {"all/d1/cam.mp4": 30, "all/d2/cam.mp4": 30, "all/y.mp4": 30}, truth=TRUTH, fps=30.0
    )
    data = joined([store], two, task=FRAMES)
    assert [data.vocabulary[clip.labels[0]] for clip in data.clips] == ["a", "b", "a"]


def test_two_cameras_of_one_scene_belong_in_one_group(tmp_path, written):
    store = write_store(tmp_path / "s", {"side.mp4": 30, "rig.mp4": 30}, truth=TRUTH, fps=30.0)
    path = written("x.eaf", TWO_CAMERAS)
    notes = joined([store], path, task=FRAMES).notes
    assert "'rig.mp4', 'side.mp4' show one scene and have the same labels: put such videos in one group" in notes


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rig.mp4", "rig.mp4"),
        ("./day/rig.mp4", "day/rig.mp4"),
        ("C:\\lab\\rig 1.mp4", "/lab/rig 1.mp4"),
        ("file:///D:/lab/rig%201.mp4", "/lab/rig 1.mp4"),
        ("../videos/rig.mp4", "/videos/rig.mp4"),
        ("https://host/a/rig.mp4", "/host/a/rig.mp4"),
        ("", ""),
        ("/", ""),
    ],
)
def test_what_is_left_of_a_path_of_another_computer(text, name):
    assert video_name(text) == name


def test_gaps_of_one_frame_are_no_sign_of_inclusive_ends_where_the_format_says_how_it_counts(store, written):
    rows = "".join(f"rig,{k},x\n" for k in range(30) if k % 5 != 4)
    data = joined([store], written("l.csv", "clip_id,frame,label\n" + rows), task=FRAMES)
    assert labels_of(data) == ["x", "x", "x", "x", ""] * 6
