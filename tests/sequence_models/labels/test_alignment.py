"""Labels that do not lie on the features are measured and said: strict refuses them, tolerant reports them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_examples import joined, write_labels, write_store

from extract.errors import LabelError, UsageError
from extract.records import VideoTruth
from sequence_models.clips.loading import load_clips
from sequence_models.labels.alignment import ClipAlignment, alignment_rows, diagnosis
from sequence_models.labels.table import LabelTable
from sequence_models.labels.targets import check_task
from sequence_models.settings import DataSettings

MISMATCHED = {"rec01": 1, "rec07": 1, "rec10": 1, "rec13": 10, "rec17": 1, "rec25": 15}
RULE = (
    "labels must lie inside the features, so correct --labels-fps or the videos, leave clips out with --clips, "
    "or keep what fits with --alignment tolerant."
)


@pytest.fixture
def load(tmp_path):
    """A function that writes clips and frame intervals and joins them."""

    def join(clips, *lines, how=None, header="clip_id,start_frame,end_frame,label", **options):
        features = write_store(tmp_path / "features", clips, **(how or {}))
        path = write_labels(tmp_path / "labels.csv", header, *lines)
        return joined([features], path, task="many-to-many", **options)

    return join


def record(clip_id, features, labels, *, unit="frames", rate=25.0):
    (start, end), (first, last) = features, labels
    return ClipAlignment(clip_id, unit, rate, start, end, first, last, 0.0, 0.0, 0.0, 0.0, 0, 0, 0)


def test_labels_past_the_features_are_refused_or_noted(load, tmp_path):
    lines = {"a.avi": 10, "b.avi": 10}, "a.avi,0,11,x", "b.avi,0,25,x"
    text = (
        f"{tmp_path / 'labels.csv'}: labels run past the end of the features in 2 clips: "
        "'b.avi' by 15 frames (the features end at 10), 'a.avi' by 1 frame (the features end at 10)"
    )
    with pytest.raises(LabelError) as caught:
        load(*lines)
    assert str(caught.value) == f"{text}; {RULE}"
    data = load(*lines, alignment="tolerant")
    assert data.notes == (text,)
    assert [clip.labels.tolist() for clip in data.clips] == [[0] * 10, [0] * 10]
    assert [clip.excess for clip in data.alignment] == [1, 15]


def test_skipping_unknown_clips_does_not_accept_labels_past_the_features(load):
    with pytest.raises(LabelError, match="run past the end of the features in 1 clip"):
        load({"a.avi": 10}, "a.avi,0,12,x", "unknown,0,3,x", missing="skip")


@pytest.mark.parametrize(("first", "line"), [(0, "a.avi,0,11,x"), (20, "a.avi,18,30,x")])
def test_one_timestep_of_overhang_is_a_remark(load, first, line):
    (note,) = load({"a.avi": 10}, line, how={"first": first}).notes
    assert "'a.avi' by 1 frame (the features " in note


def test_labels_before_the_first_timestep_are_refused_or_noted(load, tmp_path):
    lines = {"a.avi": 10}, "a.avi,2,30,x"
    text = "labels begin before the features in 1 clip: 'a.avi' by 17 frames (the features start at 19)"
    with pytest.raises(LabelError) as caught:
        load(*lines, how={"first": 20})
    assert str(caught.value) == f"{tmp_path / 'labels.csv'}: {text}; {RULE}"
    data = load(*lines, how={"first": 20}, alignment="tolerant")
    assert data.notes == (f"{tmp_path / 'labels.csv'}: {text}",)
    assert data.alignment[0].before == 17


@pytest.mark.parametrize(("end", "excess", "frames"), [("3.334", 0, 100), ("3.36", 0, 100), ("3.5", 0.167, 105)])
def test_times_that_miss_the_end_of_the_video_by_less_than_a_frame_are_no_mismatch(load, end, excess, frames):
    truth = VideoTruth("test 1", "h264", 8, 8, decoded_frames=100, average_rate=30.0, duration_seconds=3.333)
    header, how = "clip_id,start_seconds,end_seconds,label", {"every": 30, "fps": 30, "truth": truth}
    data = load({"a.avi": 4}, f"a.avi,0,{end},x", header=header, how=how, alignment="tolerant")
    assert data.alignment[0].excess == pytest.approx(excess)
    assert len(data.clips[0].label_steps) == frames


def test_times_rounded_to_milliseconds_lie_inside_imported_features(load):
    header = "clip_id,start_seconds,end_seconds,label"
    assert load({"a": 100}, "a,0,3.334,x", header=header, how={"fps": 30}).notes == ()


def test_the_frames_of_the_video_count_and_not_the_sampling_interval(load):
    truth = VideoTruth("test 1", "h264", 8, 8, decoded_frames=100, average_rate=30.0, duration_seconds=3.333)
    how = {"every": 30, "fps": 30, "truth": truth}
    (note,) = load({"a.avi": 4}, "a.avi,0,101,x", how=how).notes
    assert "'a.avi' by 1 frame (the features end at 100)" in note
    with pytest.raises(LabelError, match=r"'a\.avi' by 31 frames \(the features end at 100\)"):
        load({"a.avi": 4}, "a.avi,0,131,x", how=how)


def test_a_span_ends_where_it_says_though_its_video_goes_on(load):
    truth = VideoTruth("test 1", "h264", 8, 8, decoded_frames=100, average_rate=10.0, duration_seconds=10.0)
    header = "clip_id,start_seconds,end_seconds,label"
    with pytest.raises(LabelError, match=r"'a.avi#t=2,3' by 5 s \(the features end at 3\); .*correct the label times"):
        load({"a.avi#t=2,3": 10}, '"a.avi#t=2,3",2,8,x', header=header, how={"first": 20, "truth": truth})


def test_overlapping_labels_are_refused_with_clip_and_times(load, tmp_path):
    with pytest.raises(LabelError) as caught:
        load({"a.avi": 5}, "a.avi,0,4,x", "a.avi,1,2,x", "a.avi,3,5,y")
    assert str(caught.value) == (
        f"{tmp_path / 'labels.csv'} lines 2 and 4: clip 'a.avi' is both 'x' and 'y' from 3 to 4 frames; "
        "a timestep has only one label, so shorten one of the two, give --multi-label, "
        "or leave such timesteps unlabelled with --alignment tolerant."
    )


def test_tolerant_leaves_overlaps_of_different_classes_unlabelled(load):
    lines = "a.avi,0,4,x", "a.avi,1,2,x", "a.avi,3,5,y"
    data = load({"a.avi": 6}, *lines, alignment="tolerant", background="none")
    assert data.vocabulary == ("none", "x", "y")
    assert data.clips[0].labels.tolist() == [1, 1, 1, -1, 2, 0]
    assert data.notes == (
        "labels of different classes overlap in 1 clip: 'a.avi' for 1 frame; 1 timestep therefore without a label",
        "without a label, so not trained on or scored: 1 of 6 timesteps (16.7 %); if nothing happens there, "
        "--background NAME makes it a class",
    )


def test_classes_that_are_left_out_are_measured(load):
    data = load({"a.avi": 8, "b.avi": 4}, "a.avi,0,2,x", "a.avi,2,5,y", "b.avi,0,4,x", classes=["x"])
    assert data.clips[0].labels.tolist() == [0, 0, -1, -1, -1, -1, -1, -1]
    assert data.notes[0] == "classes not in --classes are left out in 1 clip: 'a.avi' for 3 frames"
    first = data.alignment[0]
    assert (first.labelled, first.excluded, first.unlabelled, first.overlapping) == (2, 3, 3, 0)
    assert first.share == 0.25


def test_the_table_has_a_header_and_a_row_per_clip(load):
    data = load({"a.avi": 8}, "a.avi,0,4,x", "a.avi,3,9,y", alignment="tolerant")
    header, row = alignment_rows(data.alignment)
    assert dict(zip(header, row, strict=True)) == {
        **{"clip_id": "a.avi", "unit": "frames", "features_start": "0", "features_end": "8"},
        **{"label_start": "0", "label_end": "9", "excess": "1", "before": "0", "labelled": "7", "unlabelled": "0"},
        **{"overlapping": "1", "excluded": "0", "share": "0.8750"},
        **{"timesteps": 8, "unlabelled_steps": 1, "overlapping_steps": 1},
    }


def test_another_frame_rate_is_recognised_where_the_labels_end_too_late(load):
    """Labels count 30 frames/s, the videos have 25."""
    clips = {"a.avi": 100, "b.avi": 150, "c.avi": 253}
    lines = [f"{clip_id},0,{round(steps * 1.2)},x" for clip_id, steps in clips.items()]
    with pytest.raises(LabelError) as caught:
        load(clips, *lines, how={"fps": 25})
    assert str(caught.value).count("the labels end at 1.2 times the end of the features in most of 3 clips") == 1
    assert "they look like 30 frames/s, not 25, so --labels-fps 30 would fit; " in str(caught.value)
    assert load(clips, *lines, how={"fps": 25}, labels_fps=30).notes == ()


def test_another_frame_rate_is_recognised_where_the_labels_end_too_early(load):
    clips = {"a.avi": 120, "b.avi": 180, "c.avi": 300}
    lines = [f"{clip_id},0,{round(steps / 1.2)},x" for clip_id, steps in clips.items()]
    with pytest.raises(LabelError, match=r"the labels end at 0\.833 times .* look like 25 frames/s, not 30, so"):
        load(clips, *lines, how={"fps": 30})
    assert "so --labels-fps 25 would fit" in load(clips, *lines, how={"fps": 30}, alignment="tolerant").notes[0]


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_half_and_double_rate_are_recognised_on_short_clips_where_rounding_spreads_the_ratios(load, ratio):
    clips = {f"{steps}.avi": steps for steps in (9, 11, 14, 15, 17, 23)}
    lines = [f"{name},0,{int(steps * ratio)},x" for name, steps in clips.items()]
    with pytest.raises(LabelError) as caught:
        load(clips, *lines, how={"fps": 25})
    assert f"so --labels-fps {25 * ratio:g} would fit" in str(caught.value)


def test_half_rate_is_a_remark_where_all_clips_are_of_one_length(load):
    clips = {f"{name}.avi": 40 for name in "abc"}
    notes = load(clips, *(f"{clip},0,20,x" for clip in clips)).notes
    assert [note for note in notes if "end at 0.5 times" in note and "was not annotated, this is fine" in note]
    notes = load(clips, *(f"{clip},0,27,x" for clip in clips)).notes
    assert not [note for note in notes if "times the end" in note]


def test_labels_that_stop_early_in_short_clips_are_no_other_rate(load):
    clips = {f"{steps}.avi": steps for steps in (9, 11, 14, 15, 17, 23)}
    lines = [f"{name},0,{end},x" for name, end in zip(clips, (4, 9, 13, 8, 16, 12), strict=True)]
    assert not any("--labels-fps" in note for note in load(clips, *lines, how={"fps": 25}).notes)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([(1, 101), (1, 201)], "begin and end one frame after the features in most of 2 clips, as if the first fr"),
        ([(15, 115), (15, 215)], "begin and end about 15 frames after the features in most of 2 clips, which looks"),
        ([(0, 115), (0, 215)], "end about 15 frames after the features in most of 2 clips, which looks like a shift"),
        ([(0, 101), (0, 215)], None),
        ([(0, 100), (0, 200)], None),
        ([(0, 50), (0, 190)], None),
        ([(0, 50), (0, 100)], None),  # two clips that are half labelled may be meant
    ],
)
def test_a_shift_is_recognised_only_where_clips_agree(labels, expected):
    found = diagnosis([record("a", (0, 100), labels[0]), record("b", (0, 200), labels[1])])
    assert [expected in text for text in found] == ([True] if expected else [])


def test_a_shift_to_before_the_features_is_recognised():
    found = diagnosis([record("a", (40, 140), (10, 110)), record("b", (40, 240), (10, 210))])
    assert "begin and end about 30 frames before the features in most of 2 clips" in found[0]


@pytest.mark.parametrize(
    ("unit", "rate", "expected"),
    [
        ("s", 1.0, "check the frame rate the features were made or imported with (--fps)"),
        (
            "frames",
            0.0,
            "import the features with their rate (--fps) and give the labels' rate with --labels-fps",
        ),
    ],
)
def test_where_no_rate_is_known_the_sentence_says_what_to_check(unit, rate, expected):
    clips = [record(f"{end}", (0, end), (0, end * 1.5), unit=unit, rate=rate) for end in (10, 20)]
    assert diagnosis(clips) == [f"the labels end at 1.5 times the end of the features in most of 2 clips: {expected}"]


def test_an_unknown_alignment_is_refused(load):
    with pytest.raises(UsageError, match="alignment 'loose' is unknown; choose one of strict, tolerant"):
        load({"a.avi": 10}, "a.avi,0,10,x", alignment="loose")


def test_with_multi_label_an_overlap_is_labelled_and_past_the_features_is_refused(load):
    lines = "a.avi,0,4,x", "a.avi,2,5,y"
    data = load({"a.avi": 8}, *lines, multi_label=True)
    assert data.notes == ()
    first = data.alignment[0]
    assert (first.labelled, first.overlapping, first.unlabelled, first.unlabelled_steps) == (5, 0, 3, 0)
    with pytest.raises(LabelError, match=r"run past the end of the features in 1 clip: 'a\.avi' by 2 frames"):
        load({"a.avi": 3}, *lines, multi_label=True)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            "many-to-many",
            {"background": "none"},
            "--multi-label and --background 'none' exclude each other: a timestep outside all intervals "
            "already has none of the classes; leave --background out.",
        ),
        (
            "many-to-one",
            {},
            "--multi-label gives a timestep several classes at once and needs --task many-to-many.",
        ),
    ],
)
def test_multi_label_fits_frames_without_a_background_only(task, options, message):
    with pytest.raises(UsageError) as caught:
        check_task(
            LabelTable(Path("labels.csv"), "frames" if task == "many-to-many" else "per clip", ()),
            task=task,
            multi_label=True,
            data=DataSettings(**options),
        )
    assert str(caught.value) == message


def rat_store(shared, path):
    lengths = {}
    for recording in sorted((shared / "rat_behaviour").glob("*.npz")):
        with np.load(recording) as arrays:
            lengths[recording.stem] = len(arrays["pose"])
    return write_store(path, lengths, shape=(1,), fps=30), sorted(set(lengths) - set(MISMATCHED))


def test_rat_labels_that_run_past_the_features_are_refused_and_all_named(shared, tmp_path):
    (features, good), segments = rat_store(shared, tmp_path / "rat"), shared / "rat_behaviour" / "segments.csv"
    with pytest.raises(LabelError) as caught:
        load_clips([features], segments, task="many-to-many")
    assert f"{segments}: labels run past the end of the features in 6 clips: 'rec25' by 15" in str(caught.value)
    assert all(f"{name!r} by {excess} frame" in str(caught.value) for name, excess in MISMATCHED.items())
    data = load_clips([features], segments, task="many-to-many", data=DataSettings(keep=good))
    assert (len(data.clips), data.notes) == (10, ())
    assert data.vocabulary == ("aggression", "base", "nonsocial", "social")


def test_rat_labels_that_run_past_the_features_are_reported_by_tolerant_alignment(shared, tmp_path):
    (features, _), segments = rat_store(shared, tmp_path / "rat"), shared / "rat_behaviour" / "segments.csv"
    data = load_clips([features], segments, task="many-to-many", data=DataSettings(alignment="tolerant"))
    assert {clip.clip_id: clip.excess for clip in data.alignment if clip.excess} == MISMATCHED
    assert (len(data.clips), len(data.notes)) == (16, 1)
    last = data.clips[-1]  # rec25
    assert (len(last), len(last.label_steps), last.label_steps[-16:].tolist()) == (14255, 14270, [14254] * 16)


def test_labels_that_stop_a_moment_before_recordings_of_similar_length_are_no_other_rate():
    """Coding "all but the last half second" looked like a rate of 0.977 times the true one."""
    rng = np.random.default_rng(0)
    ends = [15.1, 15.6, 16.0, 16.4, 16.9, 17.3, 15.8]
    labels = [end - 0.4 + rng.uniform(-0.1, 0.1) for end in ends]
    clips = [
        record(f"r{k}", (0, end), (1, label), unit="s", rate=1)
        for k, (end, label) in enumerate(zip(ends, labels, strict=True))
    ]
    assert diagnosis(clips) == []


def test_another_rate_is_still_seen_where_lengths_tell_it_from_a_margin():
    ends = (20.0, 45.0, 80.0, 120.0)
    clips = [record(f"r{k}", (0, end), (0, end * 0.96), unit="s", rate=1) for k, end in enumerate(ends)]
    [said] = diagnosis(clips)
    assert said.startswith("the labels end at 0.96 times the end of the features")
