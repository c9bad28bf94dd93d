"""Intervals become labels of timesteps and of every original frame, each with the timestep that speaks for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_examples import joined, write_labels, write_store

from extract.errors import LabelError
from extract.records import VideoTruth
from sequence_models.labels.intervals import IntervalPiece, label_positions, pieces_of
from sequence_models.labels.table import LabelRow

BY_FRAME, BY_SECOND = "clip_id,start_frame,end_frame,label", "clip_id,start_seconds,end_seconds,label"


def truth(frames, rate=10.0):
    return VideoTruth("t", "h264", 8, 8, decoded_frames=frames, average_rate=rate, duration_seconds=frames / rate)


@pytest.fixture
def load(tmp_path):
    """A function that writes one clip and its intervals and joins them."""

    def join(steps, *lines, header=BY_FRAME, clip_id="a.avi", how=None, **options):
        features = write_store(tmp_path / "features", {clip_id: steps}, **(how or {}))
        path = write_labels(tmp_path / "labels.csv", header, *(f'"{clip_id}",{line}' for line in lines))
        (clip,) = joined([features], path, task="many-to-many", **options).clips
        return clip

    return join


def test_overlapping_intervals_are_cut_into_pieces():
    rows = [LabelRow("a", label, 2, start=start, end=end) for label, start, end in [("x", 0, 4), ("y", 2, 6)]]
    rows += [LabelRow("a", "x", 4, start=3, end=5), LabelRow("a", "z", 5, start=8, end=9)]
    assert pieces_of(rows) == [
        IntervalPiece(0, 2, frozenset("x")),
        IntervalPiece(2, 3, frozenset("xy")),
        IntervalPiece(3, 4, frozenset("xy")),
        IntervalPiece(4, 5, frozenset("xy")),
        IntervalPiece(5, 6, frozenset("y")),
        IntervalPiece(8, 9, frozenset("z")),
    ]


def test_every_third_frame_speaks_for_itself_and_the_two_after_it(load):
    clip = load(3, "0,4,x", "4,9,y", how={"every": 3})  # frames 0, 3, 6; the label changes inside the second step
    assert clip.labels.tolist() == [0, 0, 1]
    assert clip.label_steps.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert clip.frame_labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert (clip.label_steps.dtype, clip.frame_labels.dtype) == (np.int32, np.int32)


def test_frames_reach_to_the_end_of_the_video(load):
    clip = load(3, "0,4,x", how={"every": 3, "truth": truth(8)})
    assert clip.label_steps.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert clip.frame_labels.tolist() == [0, 0, 0, 0, -1, -1, -1, -1]


def test_frames_before_and_past_the_features_take_the_nearest_timestep(load):
    clip = load(3, "0,3,x", "5,8,y", how={"first": 2}, alignment="tolerant", background="none")  # frames 2, 3, 4
    assert clip.labels.tolist() == [1, 0, 0]
    assert clip.label_steps.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]


def test_the_background_fills_gaps_inside_the_features_only(load):
    clip = load(4, "3,5,x", "8,9,y", how={"first": 2}, alignment="tolerant", background="none")  # frames 2 to 5
    assert clip.labels.tolist() == [0, 1, 1, 0]
    assert clip.frame_labels.tolist() == [-1, 0, 0, 1, 1, 0, -1, -1, 2]


def test_frames_of_another_rate_are_those_of_the_label_file(load):
    clip = load(8, "0,2,x", "2,4,y", labels_fps=5)  # features at 10 frames/s
    assert clip.label_steps.tolist() == [0, 2, 4, 6]
    assert clip.frame_labels.tolist() == [0, 0, 1, 1]


def test_frames_of_a_higher_rate_repeat_their_timestep(load):
    clip = load(3, "0,4,x", "4,9,y", labels_fps=30)
    assert clip.label_steps.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert clip.frame_labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_labels_in_seconds_are_scored_at_the_frames_of_the_video(load):
    clip = load(3, "0,0.4,x", "0.4,0.8,y", header=BY_SECOND, how={"every": 3, "truth": truth(8)})
    assert clip.labels.tolist() == [0, 0, 1]
    assert clip.label_steps.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert clip.frame_labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_labels_in_seconds_past_the_video_add_frames(load):
    how = {"every": 3, "truth": truth(8)}
    clip = load(3, "0,1.15,x", header=BY_SECOND, how=how, alignment="tolerant")
    assert clip.label_steps.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    assert clip.frame_labels.tolist() == [0] * 12


def test_imported_features_with_labels_in_seconds_stand_for_themselves(load):
    clip = load(4, "0,0.2,x", "0.2,0.4,y", header=BY_SECOND)
    assert clip.label_steps.tolist() == [0, 1, 2, 3]
    assert clip.frame_labels.tolist() == clip.labels.tolist() == [0, 0, 1, 1]


def test_frames_outside_a_span_are_unlabelled(load):
    how = {"first": 20, "truth": truth(60)}
    clip = load(10, "2,2.5,x", "2.5,3,y", header=BY_SECOND, clip_id="a.avi#t=2,3", how=how)
    assert clip.frame_labels.tolist() == [-1] * 20 + [0] * 5 + [1] * 5
    assert clip.label_steps.tolist() == [0] * 20 + list(range(10))


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("header", [BY_FRAME, BY_SECOND])
def test_at_its_own_frame_a_timestep_and_the_frame_agree(load, every, header):
    clip = load(6, "0,7,x", "9,11,y", "11,12,x", header=header, how={"every": every, "fps": 1}, alignment="tolerant")
    frames = clip.frame_indices if header == BY_FRAME else np.arange(6)
    assert clip.frame_labels[frames].tolist() == clip.labels.tolist()
    assert clip.label_steps[frames].tolist() == list(range(6))


def test_labels_that_end_absurdly_far_out_are_refused(load):
    with pytest.raises(LabelError) as caught:
        load(4, "0,4000000000,x", alignment="tolerant")
    assert str(caught.value) == (
        "the labels of clip 'a.avi' end at 4e+09 frames, but its features end at 4; "
        "at most 10,000,000 frames are kept per clip, so correct the label file."
    )


def test_overlapping_classes_hold_at_once_with_multi_label(load):
    clip = load(6, "0,3,x", "2,5,y", "1,2,x", multi_label=True)
    assert clip.labels.tolist() == [[1, 0], [1, 0], [1, 1], [0, 1], [0, 1], [0, 0]]
    assert clip.frame_labels.tolist() == clip.labels.tolist()
    assert (clip.labels.dtype, clip.frame_labels.dtype) == (np.int8, np.int8)


def test_multi_label_frames_between_and_past_the_features(load):
    clip = load(2, "0,2,x", "1,4,y", "6,7,x", how={"every": 2}, multi_label=True, alignment="tolerant")  # frames 0, 2
    assert clip.labels.tolist() == [[1, 0], [0, 1]]
    assert clip.frame_labels.tolist() == [[1, 0], [1, 1], [0, 1], [0, 1], [-1, -1], [-1, -1], [1, 0]]
    assert clip.label_steps.tolist() == [0, 0, 1, 1, 1, 1, 1]


def test_with_multi_label_a_left_out_class_does_not_hold(load):
    clip = load(4, "0,2,x", "1,3,y", "3,4,z", multi_label=True, classes=["z", "x"])
    assert clip.labels.tolist() == [[0, 1], [0, 1], [0, 0], [1, 0]]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6), st.sampled_from("xyz")), max_size=8))
def test_pieces_label_like_asking_every_interval_at_every_position(intervals):
    rows = [LabelRow("a", label, 2, start=start, end=start + length) for start, length, label in intervals]
    positions, index = np.arange(16.0), {"x": 0, "y": 1}
    holds = [{row.label for row in rows if row.start <= at < row.end} for at in positions]
    many = label_positions(pieces_of(rows), positions, index, empty=np.zeros((16, 2), np.int8))
    assert many.tolist() == [["x" in names, "y" in names] for names in holds]
    one = label_positions(pieces_of(rows), positions, index, empty=np.full(16, 7))
    expected = {(True, False): 0, (False, True): 1}
    assert one.tolist() == [expected.get(("x" in names, "y" in names), -1) if names else 7 for names in holds]
