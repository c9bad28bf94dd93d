from dataclasses import replace

import numpy as np
import pytest
from video_files import grey_frames, write_video

from extract.decode.packets import scan_packets
from extract.decode.truth import make_truth
from extract.records import VideoTruth


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("truth") / "a.mp4", grey_frames(10))
    return scan_packets(path, lambda: None)


def truth(index, **found):
    return make_truth(index, **{"decoder": "pyav", "decoded_frames": 10, **found})


def test_the_record_survives_json(index):
    record = truth(index, lost_spans=[(0.1, 0.2)], notes=["odd"])
    assert VideoTruth.from_json(record.to_json()) == record


def test_thousands_of_lost_spans_are_cut_short_and_counted(index):
    record = truth(index, lost_spans=[(n, n + 0.5) for n in range(130)])
    assert (len(record.lost_spans), record.notes) == (100, ("30 more lost spans",))


@pytest.mark.parametrize("curve", ["PQ", "HLG"])
def test_hdr_is_named(index, curve):
    assert truth(replace(index, hdr=curve)).notes == (f"HDR colours ({curve}), used as they are",)


@pytest.mark.parametrize(
    ("times", "varies"),
    [
        ([0.0, 0.1, 0.2, 0.3], False),
        ([0.0, 0.033, 0.067, 0.1], False),  # 30 frames/s in whole milliseconds
        ([0.0, 0.1, 0.3], True),
        ([0.0, 0.1], False),
    ],
)
def test_the_rate_varies_by_more_than_rounding(index, times, varies):

    assert truth(replace(index, pts_seconds=np.array(times))).variable_rate is varies
