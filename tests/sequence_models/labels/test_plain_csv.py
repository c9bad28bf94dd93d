import pickle

import pytest

from extract.errors import LabelError
from sequence_models.labels.formats.plain_csv import HEADERS, read_clip_ids, read_labels, read_split_file
from sequence_models.labels.reading import read_label_source
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS, PER_CLIP, LabelRow
from sequence_models.settings import DataSettings


@pytest.fixture
def written(tmp_path):
    def write(content, name="labels.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("header", "row", "kind", "expected"),
    [
        ("clip_id,label", "a.avi,hug", PER_CLIP, LabelRow("a.avi", "hug", 2)),
        (
            "clip_id,label,group,split",
            "a.avi,hug,g1,val",
            PER_CLIP,
            LabelRow("a.avi", "hug", 2, group="g1", split="validation"),
        ),
        (
            "label , Clip_ID",
            " hug , a.avi",
            PER_CLIP,
            LabelRow("a.avi", "hug", 2),
        ),
        (
            "clip_id,start_seconds,end_seconds,label",
            "a,0.5,2,cut",
            BY_SECONDS,
            LabelRow("a", "cut", 2, start=0.5, end=2.0),
        ),
        ("clip_id,start_frame,end_frame,label", "a,0,535,base", BY_FRAMES, LabelRow("a", "base", 2, start=0, end=535)),
        ("path,label", "hug/a.avi,hug", PER_CLIP, LabelRow("hug/a.avi", "hug", 2)),
        ("path,clip_id,label", "hug/a.avi,first,hug", PER_CLIP, LabelRow("first", "hug", 2)),
        (
            "path,start_seconds,end_seconds,label",
            "a.avi,1,2.5,hug",
            PER_CLIP,
            LabelRow("a.avi#t=1.000000,2.500000", "hug", 2),
        ),
        ("path,label", "./x/../a.avi,", PER_CLIP, LabelRow("a.avi", "", 2)),
    ],
)
def test_the_header_says_what_the_labels_are(written, header, row, kind, expected):
    table = read_labels(written(f"{header}\n{row}\n"))
    assert table.kind == kind
    assert table.rows == (expected,)


def test_byte_order_mark_crlf_blank_lines_and_quoted_names_are_fine(written):
    path = written('\ufeffclip_id,label\r\n"clap/a, b ""c"".avi",clap\r\n\r\nwave/#20_\u00e9.avi,wave\r\n')
    assert [(row.clip_id, row.label, row.line) for row in read_labels(path).rows] == [
        ('clap/a, b "c".avi', "clap", 2),
        ("wave/#20_\u00e9.avi", "wave", 4),
    ]


def test_cells_that_predict_guarded_against_spreadsheets_are_read_as_they_were(written):
    assert read_labels(written("clip_id,label\n'=a.avi,'+1\n'b.avi,c\n")).rows == (
        LabelRow("=a.avi", "+1", 2),
        LabelRow("'b.avi", "c", 3),
    )


def test_columns_that_mean_nothing_are_named(written):
    assert read_labels(written("clip_id,label,gruop\na,b,c\n")).ignored == ("gruop",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; the first line must be its header: " + HEADERS + "."),
        ("\n \n", "is empty; the first line must be its header: " + HEADERS + "."),
        ("clip_id,label\n", "has a header but no rows; add a line per clip or interval."),
        (",,,\n,,,\n", "is empty; the first line must be its header: " + HEADERS + "."),
        (";;\r\n", "is empty; the first line must be its header: " + HEADERS + "."),
        ("a.avi,hug\n", "has the header 'a.avi,hug'; it must be " + HEADERS + "."),
        ("clip_id,class\na,b\n", "has no column 'label', its header is 'clip_id,class'; it must have clip_id,label."),
        (
            "clip_id;start_seconds;end_seconds;label\na;0,5;1,5;b\n",
            "has decimal commas, such as 0,5; write decimal numbers with a point.",
        ),
        (
            "sep=,\nclip_id,label\na,b\n",
            "begins with 'sep=,', which is for spreadsheets; remove the line.",
        ),
        (
            "# of today\nclip_id,label\na,b\n",
            "begins with a comment (#); remove it, the first line must be the header.",
        ),
        (
            "clip_id,start_seconds,label\na,0,b\n",
            "has no column 'end_seconds', its header is 'clip_id,start_seconds,label'; "
            "it must have clip_id,start_seconds,end_seconds,label.",
        ),
        (
            "clip_id,start_seconds,end_frame,label\na,0,1,b\n",
            "has both start_seconds and end_frame; keep the seconds or the frames.",
        ),
        ("path\na.avi\n", "has no column 'label', its header is 'path'; it must have path,label."),
        ("clip_id,label,label\na,b,c\n", "line 1 names the column 'label' twice; keep one."),
        ("clip_id,label\na,b\na,c\n", "line 3: clip_id 'a' is also on line 2; keep one."),
        ("clip_id,label\na,\n", "line 2: label is empty; fill it in or remove the line."),
        ("clip_id,label\n,b\n", "line 2: clip_id is empty; fill it in or remove the line."),
        (
            "clip_id,label\na,b,c\n",
            "line 2 has 3 cells but the header has 2; put names that contain the separator in double quotes, and write "
            "decimal numbers with a point (the line starts with 'a').",
        ),
        ("clip_id,label,split\na,b,tets\n", "line 2: split is 'tets'; it must be train, validation or test."),
        ('clip_id,label\n"a,b\n', "line 2 is not valid CSV (unexpected end of data); check its quotes."),
        (b"clip_id,label\n\xffa,b\n", "line 2 is not UTF-8 text (byte 0xff); save it as CSV in UTF-8."),
        (b"clip_id,label\na\0,b\n", "line 2 contains a zero byte, so it is not text; give a CSV file in UTF-8."),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(written, content, message):
    path = written(content)
    with pytest.raises(LabelError) as caught:
        read_labels(path)
    assert str(caught.value) == f"{path} {message}"


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("seconds", "a,2,2,b", "start_seconds 2 is not before end_seconds 2; intervals are half-open, [start, end)."),
        ("seconds", "a,-1,2,b", "start_seconds is '-1'; it must be a number of seconds >= 0."),
        ("seconds", "a,0,1:30,b", "end_seconds is '1:30'; it must be a number of seconds >= 0."),
        ("seconds", "a,0,inf,b", "end_seconds is 'inf'; it must be a number of seconds >= 0."),
        ("seconds", "a,nan,1,b", "start_seconds is 'nan'; it must be a number of seconds >= 0."),
        ("seconds", "a,,1,b", "start_seconds is empty; fill it in or remove the line."),
        ("frame", "a,0,1.5,b", "end_frame is '1.5'; it must be a whole number >= 0."),
        ("frame", "a,9,3,b", "start_frame 9 is not before end_frame 3; intervals are half-open, [start, end)."),
    ],
)
def test_a_bad_interval_is_refused_with_its_line_and_value(written, kind, row, message):
    path = written(f"clip_id,start_{kind},end_{kind},label\na,0,1,x\n{row}\n")
    with pytest.raises(LabelError) as caught:
        read_labels(path)
    assert str(caught.value) == f"{path} line 3: {message}"


def test_intervals_of_one_clip_must_agree_on_its_group(written):
    path = written("clip_id,start_frame,end_frame,label,group\na,0,1,x,g1\na,1,2,x,g2\n")
    with pytest.raises(LabelError, match="line 3: group of clip_id 'a' is 'g2', on line 2 it is 'g1'; write one group"):
        read_labels(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LabelError, match=r"none\.csv cannot be read \(No such file or directory\); give an existing"):
        read_labels(tmp_path / "none.csv")


def test_an_absolute_path_below_the_list_is_named_like_the_extraction_names_it(written, tmp_path):
    path = written(f"path,label\n{tmp_path / 'hug' / 'a.avi'},hug\n")
    assert read_labels(path).rows[0].clip_id == "hug/a.avi"


def test_a_split_file_gives_the_part_of_each_clip(written):
    rows = read_split_file(written("clip_id,split\na,train\nb,Testing\nc,val\n"))
    assert [(row.clip_id, row.split) for row in rows] == [("a", "train"), ("b", "test"), ("c", "validation")]


def test_a_split_file_without_split_is_refused(written):
    with pytest.raises(LabelError, match="has no column 'split', its header is 'clip_id,label'"):
        read_split_file(written("clip_id,label\na,b\n"))


@pytest.mark.parametrize("content", ["a.avi\nb, c.avi\n", 'clip_id,label\na.avi,x\n"b, c.avi",y\n'])
def test_clip_ids_come_from_lines_or_from_a_column(written, content):
    assert read_clip_ids(written(content)) == ["a.avi", "b, c.avi"]


@pytest.mark.parametrize(
    ("content", "tool"),
    [
        ('<?xml version="1.0"?>\n<ANNOTATION_DOCUMENT AUTHOR="" FORMAT="3.0">\n', "an ELAN file"),
        ('{"time_format": "hh:mm:ss", "project_format_version": "7.0", "observations": {}}', "a BORIS project"),
        (
            "Observation id,Observation date,Media file name,Behavior,Behavior type,Start (s),Stop (s)\n",
            "a BORIS table of aggregated events",
        ),
        ("Observation id,o1\n\nTime,Subject,Behavior,Behavior type\n", "a BORIS table of events"),
        (
            "Time\tMedia file path\tSubject\tBehavior\tStatus\n1.5\ta.mp4\t\tgroom\tSTART\n",
            "a BORIS table of events",
        ),
        (",background,groom\n0,1,0\n", "a DeepEthogram label file"),
        ('File type = "ooTextFile"\nObject class = "TextGrid"\n', "a Praat TextGrid"),
        ("# CSV_HEADER = metadata_id,file_list\n", "a VGG Image Annotator file"),
        ("<?xml version='1.0'?>\n<annotations><version>1.1</version>", "a CVAT file"),
        (
            '[{"id": 7, "annotations": [{"result": [{"value": {"timelinelabels": ["x"]}}]}]}]',
            "a Label Studio export",
        ),
        ('{"a.mp4": ["groom", 1, 2]}', "JSON"),
        ("Bento annotation file\nMovie file(s):\n", "a Bento or MARS file"),
        ("scorer,DLC_x,DLC_x\nbodyparts,nose,nose\ncoords,x,y\n", "a DeepLabCut key point file"),
        ("12.480000\t15.920000\tgroom\n", "an Audacity label track"),
        ("Caltech Behavior Annotator - Annotation File\n", "a Bento or MARS file of the old kind"),
        (
            ",Nose_x,Nose_y,Nose_p,Tail_x,Tail_y,Tail_p,attack\n0,1,2,1,3,4,1,0\n",
            "a SimBA table of features and classes",
        ),
        ("narration_id,video_id,start_timestamp,verb\n", "an EPIC-KITCHENS list"),
    ],
)
def test_files_of_annotation_tools_are_named_and_not_asked_for_clip_id_and_label(written, content, tool):
    with pytest.raises(LabelError) as caught:
        read_labels(written(content))
    said = str(caught.value).partition(".csv ")[2]
    assert said.startswith(f"is {tool}; ")
    assert said.endswith(".")


def test_a_file_of_empty_quotes_is_refused(written):
    with pytest.raises(LabelError, match="has only empty cells; the first line must be its header"):
        read_labels(written('""\n'))


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "labels.pickle"
    path.write_bytes(pickle.dumps({"a": [[0, 3]]}))
    with pytest.raises(LabelError, match="is a Python pickle, such as DLC2Action writes; pickles can run code"):
        read_labels(path)


def test_a_label_file_of_ours_is_taken_for_no_other(written):
    assert len(read_labels(written("clip_id,label,behavior,time,status\na,b,c,d,e\n")).rows) == 1


def test_an_empty_list_of_clips_is_refused(written):
    with pytest.raises(LabelError, match="is empty"):
        read_clip_ids(written(""))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_our_own_csv_with_other_separators_is_read(tmp_path, separator):
    for content in ("clip_id,label\na b,hug\n", "clip_id,frame,label\na b,0,hug\na b,1,hug\n"):
        (tmp_path / "l.csv").write_text(content.replace(",", separator))
        table = read_label_source(tmp_path / "l.csv", DataSettings())
        assert {(row.clip_id, row.label) for row in table.rows} == {("a b", "hug")}
    (tmp_path / "s.csv").write_text("clip_id,split\na,test\n".replace(",", separator))
    assert read_split_file(tmp_path / "s.csv")[0].split == "test"
    assert read_clip_ids(tmp_path / "s.csv") == ["a"]
