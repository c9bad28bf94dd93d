import json
import math
from pathlib import Path

import pytest

from extract.preview.scan import ScanResult, ScanTotals
from extract.preview.scan_text import (
    clip_columns,
    clip_line,
    estimate_cost,
    header_line,
    scan_record,
    scanned_clip,
    summary_text,
)
from extract.records import VideoItem, VideoTruth

TRUTH = VideoTruth("pyav 1", "h264", 640, 480, 90, declared_frames=302, decoded_frames=300, average_rate=29.97)
GOOD = ScanResult("hug/1.mp4", "/v/hug/1.mp4", 1_500_000, TRUTH, 10.01, 80, 300, ("declared frames differ", "rotated"))
BAD = ScanResult("2.mp4", "/v/2.mp4", error="/v/2.mp4 is empty (0 bytes); replace it", flags=("unreadable",))


def totals(*results):
    sums = ScanTotals()
    for result in results:
        sums.add(result)
    return sums


def test_the_table_is_aligned():
    assert [header_line(10), clip_line(GOOD, 10), clip_line(BAD, 10)] == [
        "clip        codec           pixels  frames/s     frames   sampled   seconds      size  remarks",
        "hug/1.mp4   h264           640x480     29.97        300        80      10.0    1.5 MB  "
        "declares 302 frames; rotated 90",
        "2.mp4       -                    -         -          -         -         -       0 B  "
        "FAILS is empty (0 bytes); replace it",
    ]


@pytest.mark.parametrize(
    ("clip_id", "shown"),
    [
        ("long/" * 20 + "end.mp4", "...g/long/long/end.mp4"),
        ("手手手手手手手手手手手手手.mp4", "...手手手手手手手.mp4 "),
        ("line\nbreak.mp4", "line\\nbreak.mp4       "),
        ("späße.mp4", "späße.mp4             "),
    ],
)
def test_names_take_the_width_of_the_column(clip_id, shown):
    assert clip_line(ScanResult(clip_id, "x"), 22).startswith(f"{shown}  -")


def test_the_first_column_is_as_wide_as_names_are_but_not_wider_than_48():
    assert clip_columns([VideoItem("a.mp4", Path("a")), VideoItem("手.mp4", Path("a"))]) == 7
    assert clip_columns([VideoItem("a" * 99, Path("a"))]) == 48


def test_long_remarks_are_cut():
    line = clip_line(ScanResult("a", "/v/a", error="x" * 500, flags=("unreadable",)), 5)
    assert line.endswith("xxx...") and len(line) < 190


def test_the_estimate_takes_the_slower_of_embedding_and_decoding():
    many = estimate_cost(totals(GOOD), row_bytes=2560, threads=2, frames_per_second=20)
    assert (many.frames, many.seconds, many.bytes) == (80, 4.0, 80 * (2560 + 16))
    assert "20 frames/s embedded" in many.assumption and "embedding is the slower" in many.assumption
    few = estimate_cost(totals(GOOD), row_bytes=2560, threads=2, frames_per_second=20000)
    assert few.seconds == 300 * 640 * 480 / 6e8 / 2 and "decoding is the slower" in few.assumption


def test_frames_that_are_only_stored_cost_decoding_and_room():
    frames = estimate_cost(totals(GOOD), row_bytes=112 * 112 * 3, threads=2, frames_per_second=math.inf)
    assert (frames.seconds, frames.bytes) == (300 * 640 * 480 / 6e8 / 2, 80 * (37632 + 16))
    assert frames.assumption == "600 million pixels/s decoded by each of 2 threads; 37,632 + 16 bytes per frame"


def test_the_summary_names_counts_oddities_and_cost():
    sums = totals(GOOD, BAD)
    estimate = estimate_cost(sums, row_bytes=2560, threads=2)
    assert summary_text(sums, estimate).splitlines()[:4] == [
        "clips 2  readable 1  failing 1  frames 300  length 10.0 s  size 1.5 MB",
        "codecs: h264 1",
        "odd: declared frames differ 1, rotated 1, unreadable 1",
        "extraction: 80 frames, about 0.4 s, 206 kB on disk",
    ]


def test_records_are_json():
    sums = totals(GOOD, BAD)
    record = {"clips": [scanned_clip(GOOD)], **scan_record(sums, estimate_cost(sums, row_bytes=16, threads=1))}
    read = json.loads(json.dumps(record, allow_nan=False))
    assert read["clips"][0]["truth"]["declared_frames"] == 302
    assert (read["totals"]["failed"], read["totals"]["flags"]["rotated"]) == (1, 1)
    assert read["estimate"]["frames"] == 80
