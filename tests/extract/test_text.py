"""Numbers, times and spans as they are said."""

from __future__ import annotations

from extract.text import counted, lost_frames_text, readable, span_text, when_text


def test_one_is_not_several():
    assert [counted(n, "clip") for n in (0, 1, 1200)] == ["0 clips", "1 clip", "1,200 clips"]
    assert counted(2, "clip or part", "clips or parts") == "2 clips or parts"


def test_times_and_spans_are_short():
    assert span_text((4.8333, 5.8667)) == "4.83-5.87 s"
    assert when_text(1_700_000_000_000_000_000) == "2023-11-14T22:13:20+00:00"


def test_the_first_clip_with_lost_frames_is_named():
    lost = [("a.mp4", [(1.0, 2.0), (3.0, 4.0)]), ("b.mp4", [(0.0, 1.0)])]
    assert lost_frames_text(lost) == "2 clips have lost frames, the first is a.mp4 at 1.00-2.00 s and 1 more"
    assert lost_frames_text(lost[1:], store="my f") == (
        "1 clip has lost frames: b.mp4 at 0.00-1.00 s; see `clipseq info 'my f' --clip b.mp4`"
    )


def test_a_record_is_readable():
    record = {
        "clips": 1200,
        "row_shape": [112, 112, 3],
        "damaged": {},
        "versions": [{"keras": "3.15", "numpy": "2.4"}],
        "warnings": ["one", "two"],
        "source": {"size": 12, "mtime_ns": 1_700_000_000_000_000_000, "digest": ""},
        "truth": {"rate": 29.97002997, "variable_rate": False, "lost_spans": ((4.8333, 5.8667), (7.0, 8.0))},
    }
    assert readable(record).splitlines() == [
        "clips      1,200",
        "row_shape  112 x 112 x 3",
        "damaged    not checked; clipseq verify reads everything",
        "versions   keras 3.15, numpy 2.4",
        "warnings   one",
        "           two",
        "source",
        "  size      12",
        "  modified  2023-11-14T22:13:20+00:00",
        "  digest    none",
        "truth",
        "  rate           29.97",
        "  variable_rate  no",
        "  lost_spans     4.83-5.87 s, 7.00-8.00 s",
    ]
