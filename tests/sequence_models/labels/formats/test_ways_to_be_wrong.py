"""Ten ways and more for a file of each format to be wrong: one sentence each, that names the file and the place."""

import json

import pytest

from extract.errors import ClipseqError
from sequence_models.labels.reading import read_label_source
from sequence_models.settings import DataSettings

VIA = "# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata\n"
ANNOT = (
    "Bento annotation file\nMovie file(s):\npair4.seq\n\nStimulus name:\nAnnotation start frame: 1\n"
    "Annotation stop frame: 900\nAnnotation framerate: 30\n\nList of channels:\nCh1\n\nList of annotations:\nchase\n\n"
    "Ch1----------\n>chase\nStart\tStop\tDuration\n101\t150\t50\n"
)
SLOTS = '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2000"/>'
MEDIA = '<HEADER TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///a.mp4"/></HEADER>'
DEEP = "[" * 100_000


def via(start, end, metadata='{"A":"x"}', files='["r.mp4"]'):
    quoted = (f'"{text.replace(chr(34), 2 * chr(34))}"' for text in (files, metadata))
    names, said = quoted
    return f"{VIA}1,{names},{start},{end},{said}\n"


def studio(*, annotations=None, data=None, **value):
    held = {"ranges": [{"start": 1, "end": 5}], "timelinelabels": ["x"], **value}
    told = [{"completed_by": 1, "result": [{"id": "k", "type": "timelinelabels", "value": held}]}]
    video = {"video": "/data/upload/1/00ff12ab-r.mp4"} if data is None else data
    return json.dumps([{"id": 4, "data": video, "annotations": told if annotations is None else annotations}])


def activity(*annotations, **more):
    return json.dumps({"database": {"k": {"duration": 9.0, "subset": "training", "annotations": annotations, **more}}})


def segment(*times, label="a"):
    return {"label": label, "segment": times}


def tier(text="x", first="ts1", last="ts2", name="T"):
    return (
        f'<TIER TIER_ID="{name}"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{name}" TIME_SLOT_REF1="{first}" '
        f'TIME_SLOT_REF2="{last}"><ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>'
    )


def elan(body, *, media=MEDIA, slots=SLOTS, before=""):
    order = f"<TIME_ORDER>{slots}</TIME_ORDER>"
    return f"{before}<ANNOTATION_DOCUMENT>\n{media}\n{order}\n{body}\n</ANNOTATION_DOCUMENT>"


WRONG = {
    "via.csv": {
        via("x", "2"): "line 2: '[x,2]' is not valid JSON",
        via("3", "2"): "line 2: it ends at 2, before it begins at 3",
        via("-1", "2"): "line 2: the times are [-1, 2]; they must be one or two numbers of seconds",
        via("1", "nan"): "line 2: '[1,nan]' is not valid JSON",
        via("1", "1e400"): "line 2: '[1,1e400]' is not valid JSON (1e400 is too large a number)",
        via("1", "2", '{"A":"_DEFAULT"}'): "line 2: the segment from 1 s has no class yet",
        via("1", "2", "{}"): "line 2: the segment from 1 s has no class yet",
        via("1", "2", "{"): "line 2: '{' is not valid JSON",
        via("1", "2", files='["a","b"]'): "line 2: it is about 2 files",
        via("1", "2", files="[]"): "line 2: it is about 0 files",
        VIA + "a,b\n": "line 2 has 2 cells but the header has 5",
        VIA + '"a,b\n': "line 2 is not a valid table row",
        VIA: "holds no labels",
    },
    "pair.annot": {
        ANNOT.replace("101\t150", "160\t150"): "line 19: it ends at 150, before it begins at 159",
        ANNOT.replace("101\t150", "0\t150"): "line 19: Start is '0'; it must be a whole number >= 1",
        ANNOT.replace("101\t150", "-1\t150"): "line 19: Start is '-1'",
        ANNOT.replace("101\t150", "a\t150"): "line 19: Start is 'a'",
        ANNOT.replace("101\t150", "101\t1e20"): "line 19: Stop is '1e20'",
        ANNOT.replace("101\t150", "1.5\t1e20"): "line 19: 1.5 to 1e20 s are no times of a video",
        ANNOT.replace("101\t150", "101\t950"): "line 19: it ends at frame 950, but the file's last frame is 900",
        ANNOT.replace(">chase\n", ""): "line 18: '101\\t150\\t50' stands under no >class",
        ANNOT.replace("framerate: 30", "framerate: x"): "Annotation framerate is 'x'; it must be a number of frames",
        ANNOT.replace("framerate: 30", "framerate: 0"): "Annotation framerate is '0'",
        ANNOT.partition("\n")[0]: "holds no labels",
    },
    "studio.json": {
        studio(ranges=[{"start": 0, "end": 5}]): "task 4, result 'k': the range 0 to 5 is not two frames from 1 on",
        studio(ranges=[{"start": 9, "end": 5}]): "task 4, result 'k': the range 9 to 5 is not two frames",
        studio(ranges=[{"start": "a", "end": 5}]): "task 4, result 'k': the range a to 5 is not two frames",
        studio(timelinelabels=[]): "task 4, result 'k': timelinelabels is []; it must be a list of names",
        studio(timelinelabels="x"): "task 4, result 'k': timelinelabels is 'x'",
        studio(timelinelabels=[3]): "task 4, result 'k': timelinelabels is [3]",
        studio(data={}): "task 4 names no video",
        studio(data={"video": 5}): "task 4 names no video",
        studio(annotations={}): "task 4: annotations is not a list of objects",
        studio(annotations=[5]): "task 4: annotations is not a list of objects",
        studio()[:-5]: "is not valid JSON (Expecting ',' delimiter: line 1",
    },
    "activity.json": {
        activity(5): "video 'k': 5 must have a label and a segment of two times >= 0",
        activity({"label": "a"}): "video 'k': {'label': 'a'} must have a label and a segment",
        activity(segment(2, 1)): "video 'k': it ends at 1, before it begins at 2",
        activity(segment(1)): "video 'k': {'label': 'a', 'segment': [1]} must have",
        activity(segment(1, 2, label=5)): "video 'k': {'label': 5,",
        activity(segment(1, 2, label="")): "video 'k': {'label': '',",
        activity(segment(-1, 2)): "video 'k': {'label': 'a', 'segment': [-1, 2]} must have",
        activity(segment("1", 2)): "video 'k': {'label': 'a', 'segment': ['1', 2]} must have",
        activity(segment(1, 2)).replace("[1, 2]", "[1, 1e999]"): "1e999 is too large a number",
        activity(segment(1, 2), subset="dev"): "video 'k': subset is 'dev'",
        '{"database": []}': "has no database of videos",
        '{"database": {"k": 5}}': "video 'k': annotations are not a list",
        activity(segment(20, 30)): "holds no labels",
        '{"database": ' + DEEP: "is not valid JSON (it is nested too deeply)",
    },
    "day.eaf": {
        elan(tier(first="ts9")): "line 4: time slot 'ts9' does not exist",
        elan(tier(first="ts2", last="ts1")): "line 4: it ends at 1000, before it begins at 2000",
        elan(tier(" ")): "line 4: an annotation of tier 'T' has no text",
        elan('<TIER TIER_ID="T"/>'): "has no annotations (1 empty tiers)",
        elan(tier() + tier(name="U")): "has 2 tiers (T, U); give --tier NAME",
        elan(tier(), slots=SLOTS.replace("1000", "-5")): "line 3: TIME_VALUE is '-5'; it must be whole milliseconds",
        elan(tier(), slots=SLOTS.replace("1000", "x")): "line 3: TIME_VALUE is 'x'",
        elan(tier(), slots=SLOTS.replace(' TIME_VALUE="1000"', "")): "line 4: time slot 'ts1' does not exist",
        elan(tier()).replace("</TIER>", ""): "line 5 is not well-formed XML",
        elan(tier(), before='<!DOCTYPE a [<!ENTITY b "c">]>'): "line 1 declares a document type",
        elan(tier("&b;")): "line 4 is not well-formed XML (undefined entity)",
        elan(tier(), media='<HEADER TIME_UNITS="PAL-frames"/>'): "counts time in 'PAL-frames'",
        "<ANNOTATION_DOCUMENT>" * 20_000: "line 1 is not well-formed XML",
    },
    "rig.txt": {
        "1.0\t2.0\tx\n3\t2\ty\n": "line 2: it ends at 2, before it begins at 3",
        "1.0\t2.0\tx\n-3\t2\ty\n": "line 2: it starts at -3 s",
        "1.0\t2.0\tx\n3,5\t4\ty\n": "line 2: start is '3,5'",
        "1.0\t2.0\tx\nnan\t4\ty\n": "line 2: start is 'nan'",
        "1.0\t2.0\tx\n1e400\t4\ty\n": "line 2: start is '1e400'",
        "1.0\t2.0\tx\n5\tinf\ty\n": "line 2: end is 'inf'",
        "1.0\t2.0\tx\n3\ty\n": "line 2: it has 2 cells",
        "1.0\t2.0\tx\n3\n": "line 2: it has 1 cells",
        "1.0\t2.0\tx\n3\t4\t\n": "line 2: the label from 3 to 4 s has no name",
        "1.0\t2.0\n": "line 1: it has 2 cells",
        "1.0\t1.0\tx\n": "holds only point events (1), which have no length",
    },
    "rig_labels.csv": {
        ",background,x\n0,1\n": "line 2 has 2 cells but the header has 3",
        ",background,x\n0,1,1\n": "line 2: background is 1; it must be 1 exactly where all others are 0",
        ",background,x\n0,0,0\n": "line 2: background is 0",
        ",background,x\n0,1,2\n": "line 2: x is '2'; it must be 0, 1, or -1",
        ",background,x\n0,a,1\n": "line 2: background is 'a'",
        ",background,x\n1,1,0\n": "line 2: its frame is '1', after 0 frames",
        ",background,x\n0,1,0\n0,1,0\n": "line 3: its frame is '0', after 1 frame",
        ",background,x\n0,-1,1\n": "line 2: only some classes are -1",
        ",background,x,x\n0,1,0,0\n": "line 1 names a class twice",
        ",background,\n0,1,0\n": "line 1 names a class twice, or not at all",
        ",background,x\n": "holds no labels",
    },
    "frames.csv": {
        "clip_id,frame,label\na,0.5,x\n": "line 2: frame is '0.5'",
        "clip_id,frame,label\na,-1,x\n": "line 2: frame is '-1'",
        "clip_id,frame,label\na,1e12,x\n": "line 2: frame is '1e12'",
        "clip_id,frame,label\na,0,x\na,0,x\n": "line 3: frame 0 of 'a' is 'x' on line 2 already",
        "clip_id,frame,label\n,0,x\n": "line 2: clip_id is empty",
        "clip_id,frame,label\na,0\n": "line 2 has 2 cells but the header has 3",
        "clip_id,frame,label\na,0,\n": "labels no frame",
        'clip_id,frame,label\n"a,0,x\n': "line 2 is not a valid table row",
        "clip_id,frame,x\na,0,2\n": "line 2: x is '2'; it must be 0 or 1",
        "clip_id,frame,x,y\na,0,1,\n": "line 2: only some classes are empty",
        "clip_id,frame\na,0\n": "has no column label, nor one per class",
        "clip_id,frame,label,label\na,0,x,y\n": "line 1 names the column 'label' twice",
    },
}
CASES = [(name, content, said) for name, wrong in WRONG.items() for content, said in wrong.items()]


def test_every_format_has_ten_ways():
    assert min(map(len, WRONG.values())) >= 10


@pytest.mark.parametrize(("name", "content", "said"), CASES, ids=[f"{n}-{k}" for k, (n, _, _) in enumerate(CASES)])
def test_a_wrong_file_gives_one_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(ClipseqError) as caught:
        read_label_source(tmp_path / name, DataSettings(labels_fps=25 if name == "studio.json" else None))
    told = str(caught.value)
    assert told.startswith(str(tmp_path / name)) and said in told and "\n" not in told
