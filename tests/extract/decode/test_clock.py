import math
from dataclasses import replace

import numpy as np
import pytest
from video_files import grey_frames, write_video

from extract.decode.clock import FrameClock
from extract.decode.packets import scan_packets


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Ten packets, one each 0.1 s."""
    path = write_video(tmp_path_factory.mktemp("clock") / "a.mp4", grey_frames(10))
    return scan_packets(path, lambda: None)


def times(index, claimed):
    clock = FrameClock(index)
    return clock, [round(clock.next_time(time), 6) for time in claimed]


def test_claimed_times_become_those_of_the_packets(index):
    clock, given = times(index, [1e-6, 0.1000004, 0.2])
    assert given == [0.0, 0.1, 0.2]
    assert clock.moved == 0
    assert clock.next_time(0.3) == index.pts_seconds[3]


def test_a_time_that_goes_back_or_is_missing_becomes_the_next_packets(index):
    clock, given = times(index, [0.0, 0.4, 0.1, math.nan, 0.7])
    assert given == [0.0, 0.4, 0.5, 0.6, 0.7]
    assert clock.moved == 2


def test_frames_beyond_the_last_packet_go_on_at_the_average_rate(index):
    assert times(index, [0.9, 0.9, 0.9])[1] == [0.9, 1.0, 1.1]


def test_rebuilt_times_are_index_over_rate(index):
    _, given = times(replace(index, timestamps="rebuilt"), [0.3, 0.1, math.nan])
    assert given == [0.0, 0.1, 0.2]


@pytest.mark.parametrize(
    ("decoded", "lost"),
    [
        (range(10), []),
        ([0, 1, 2, 6, 7, 8, 9], [(0.3, 0.6)]),
        ([0, 1, 3, 4, 6, 7, 8, 9], [(0.2, 0.3), (0.5, 0.6)]),
        ([2, 3, 4, 5, 6, 7, 8, 9], [(0.0, 0.2)]),
        (range(8), [(0.8, 1.0)]),
        ([0, 2, 4, 6, 8, 9], []),  # two fields of a frame in packets of their own: no time is missing
        ([0, 2, 4, 6, 8], []),  # nor where the last packet is a second field
        (range(9), [(0.9, 1.0)]),
    ],
)
def test_lost_spans_are_packets_without_frames_where_time_is_missing(index, decoded, lost):
    clock, _ = times(index, [n / 10 for n in decoded])
    assert np.round(clock.lost_spans(), 6).tolist() == np.reshape(lost, (-1, 2) if lost else (0,)).tolist()


def test_what_lies_behind_the_end_of_a_span_is_not_lost(index):
    clock, _ = times(index, [0.0, 0.1, 0.2])
    assert clock.lost_spans(0.3) == ()


def test_wanted_frames_that_did_not_come(index):
    clock, _ = times(index, [0.2, 0.6])
    assert np.round(clock.lost_among(index.pts_seconds[[2, 5, 9]]), 6).tolist() == [[0.5, 0.6], [0.9, 1.0]]
