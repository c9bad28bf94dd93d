import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.errors import UsageError
from extract.videos.rule import EXAMPLES, SamplingRule
from extract.videos.sampling import FramePicker, sample_indices


def take(pts, text, **where):
    pts = np.asarray(pts, np.float64)
    duration = where.pop("duration_seconds", float(pts[-1]) + 0.1)
    return sample_indices(pts, SamplingRule.parse(text), duration_seconds=duration, **where).tolist()


TENTHS = np.arange(10) / 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fps=2", [0, 5]),
        ("fps=4", [0, 3, 5, 8]),  # 0.25 s and 0.75 s fall between frames: the next one
        ("fps=10", list(range(10))),
        ("fps=100", list(range(10))),  # none twice
        ("fps=0.5", [0]),
        ("every=1", list(range(10))),
        ("every=4", [0, 4, 8]),
        ("num_frames=1", [5]),
        ("num_frames=2", [2, 7]),
        ("num_frames=5", [1, 3, 5, 7, 9]),
        ("num_frames=10", list(range(10))),
        ("num_frames=99", list(range(10))),  # a shorter clip gives all its frames
        ("every=1,first_frames=3", [0, 1, 2]),
        ("every=4,first_frames=2", [0, 4]),
        ("fps=4,first_frames=3", [0, 3, 5]),
        ("every=4,first_frames=99", [0, 4, 8]),
        ("skip_frames=1,every=4", [1, 5, 9]),
        ("skip_frames=4,every=1,first_frames=3", [4, 5, 6]),
        ("skip_frames=3,fps=4", [3, 6, 8]),  # 0.3 s, 0.55 s, 0.8 s: counted from the first frame that is left
        ("skip_frames=2,num_frames=2", [4, 8]),  # the centres of 0.2-0.6 s and 0.6-1 s
        ("skip_frames=8,num_frames=5", [8, 9]),
        ("skip_frames=10,every=1", []),
        ("skip_frames=99,num_frames=2", []),
    ],
)
def test_frames_of_one_second_at_ten_frames_per_second(text, expected):
    assert take(TENTHS, text) == expected


def test_fps_follows_timestamps_where_the_rate_varies():
    pts = [0.0, 0.1, 0.2, 0.9, 1.0, 1.05, 1.1, 2.0]
    assert take(pts, "fps=2") == [0, 3, 4, 7]


def test_num_frames_takes_the_frame_on_display_where_the_rate_varies():
    pts = [0.0, 0.1, 0.2, 3.0]  # the third frame is shown for most of the time
    assert take(pts, "num_frames=2", duration_seconds=4.0) == [2, 3]


def test_a_span_counts_from_its_own_start():
    assert take(TENTHS, "every=3", start_seconds=0.25, end_seconds=0.85) == [3, 6]
    assert take(TENTHS, "fps=4", start_seconds=0.25, end_seconds=0.85) == [3, 5, 8]
    assert take(TENTHS, "num_frames=2", start_seconds=0.2, end_seconds=0.6) == [3, 5]
    assert take(TENTHS, "skip_frames=2,every=1,first_frames=2", start_seconds=0.25, end_seconds=0.85) == [5, 6]
    assert take(TENTHS, "every=1,first_frames=9", start_seconds=0.25, end_seconds=0.55) == [3, 4, 5]


def test_a_span_behind_the_end_has_no_frames():
    assert take(TENTHS, "every=1", start_seconds=5.0, end_seconds=6.0) == []


def test_timestamps_rounded_to_milliseconds_lose_no_frames_at_their_own_rate():
    pts = np.round(np.arange(90) / 30, 3)
    assert take(pts, "fps=30", rounding_seconds=0.0005) == list(range(90))


RULES = [
    *("fps=8", "fps=12.5", "every=3", "num_frames=16", "every=1,first_frames=16", "fps=8,first_frames=2"),
    *("skip_frames=5,every=3", "skip_frames=5,num_frames=16", "skip_frames=1,fps=2.5,first_frames=4"),
]


@pytest.mark.parametrize("text", RULES)
def test_a_rule_and_its_name_are_one(text):
    assert str(SamplingRule.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fps=0", "sampling fps=0 must be above zero"),
        ("fps=inf", "sampling fps=inf must be above zero"),
        ("every=1.5", "sampling every=1.5 must be a whole number"),
        ("often=3", "sampling 'often' is unknown; choose one of fps, every, num_frames"),
        ("fps", "sampling 'fps' must look like " + EXAMPLES),
        ("every=3,first_frames=1.5", "sampling 'every=3,first_frames=1.5' must look like " + EXAMPLES),
        ("every=3,fps=8", "sampling 'every=3,fps=8' must look like " + EXAMPLES),
        ("first_frames=3", "sampling 'first_frames=3' must look like " + EXAMPLES),
        ("every=3,first_frames=0", "sampling first_frames=0 must be above zero"),
        ("skip_frames=-1,every=3", "sampling skip_frames=-1 must not be below zero"),
        (
            "num_frames=8,first_frames=4",
            "sampling num_frames=8 spreads frames over the clip and first_frames=4 takes them from its start: "
            "use one of them",
        ),
    ],
)
def test_a_rule_that_means_nothing_is_named(text, message):
    with pytest.raises(UsageError) as error:
        SamplingRule.parse(text)
    assert str(error.value) == message


@given(
    intervals=st.lists(st.integers(1, 400), min_size=1, max_size=60),
    rule=st.sampled_from([*RULES, "fps=0.7", "fps=30", "every=1", "num_frames=1", "num_frames=9"]),
    start=st.integers(0, 3000),
    length=st.integers(1, 9000),
)
def test_choosing_frame_by_frame_is_choosing_from_all_timestamps(intervals, rule, start, length):
    pts = np.cumsum(intervals) / 1000 - intervals[0] / 1000
    start, end = start / 1000, (start + length) / 1000
    parsed = SamplingRule.parse(rule)
    expected = sample_indices(pts, parsed, start_seconds=start, end_seconds=end, duration_seconds=float(pts[-1]) + 0.04)
    wanted = pts[expected] if parsed.kind == "num_frames" else None
    picker = FramePicker(parsed, start_seconds=start, wanted_seconds=wanted)
    picked = [n for n, time in enumerate(pts) if start <= time < end and picker.takes(float(time))]
    assert picked == expected.tolist()


def test_the_next_frame_stands_in_for_a_lost_one():
    picker = FramePicker(SamplingRule.parse("num_frames=2"), wanted_seconds=np.array([0.2, 0.7]))
    assert [picker.takes(time) for time in (0.0, 0.1, 0.4, 0.5, 0.7, 0.8)] == [False, False, True, False, True, False]


def test_infinity_is_the_end_of_the_video():
    assert take(TENTHS, "every=5", end_seconds=math.inf) == [0, 5]


def test_a_picker_knows_when_nothing_more_can_be_taken():
    picker = FramePicker(SamplingRule.parse("skip_frames=1,every=2,first_frames=2"))
    told = [(picker.takes(time / 10), picker.has_all) for time in range(5)]
    assert told == [(False, False), (True, False), (False, False), (True, True), (False, True)]


def test_examples_of_rules_are_rules():
    assert [str(SamplingRule.parse(text)) for text in EXAMPLES.replace(" or ", ", ").split(", ")] == [
        *("fps=8", "every=3", "num_frames=16", "skip_frames=5,every=1,first_frames=16"),
    ]


@pytest.mark.parametrize("pause", [0.0, 0.9, 10.0, 60.0, 3600.0])
def test_frames_spread_over_a_clip_do_not_collapse_at_a_pause_in_its_timestamps(pause):
    times = np.arange(100) / 25
    times[50:] += pause
    taken = sample_indices(times, SamplingRule("num_frames", 8), duration_seconds=4 + pause)
    assert len(set(taken.tolist())) == 8
    if pause > 1:  # counted as one frame: as if it were not there
        assert taken.tolist() == [6, 18, 31, 43, 56, 68, 81, 93]


def test_a_frame_that_is_on_display_at_several_centres_is_followed_by_those_behind_it():
    times = np.array([0.0, 0.1, 0.2, 0.9, 1.0])  # 0.7 s are no pause
    taken = sample_indices(times, SamplingRule("num_frames", 4), duration_seconds=1.1)
    assert taken.tolist() == [1, 2, 3, 4]
    late = sample_indices(np.array([0.0, 0.1, 0.2, 0.3]), SamplingRule("num_frames", 3), duration_seconds=1.2)
    assert late.tolist() == [1, 2, 3]
