"""Two annotators of the same videos: kappa frame by frame, segments, and what is not comparable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from extract.errors import LabelError, UsageError
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS, PER_CLIP, LabelRow, LabelTable
from sequence_models.scoring.agreement import agreement, agreement_text, by_annotator


def table(*spans, kind=BY_FRAMES, name="a.csv"):
    """Spans of (clip, class, start, end)."""
    rows = tuple(LabelRow(clip, label, n, start=s, end=e) for n, (clip, label, s, e) in enumerate(spans, 2))
    return LabelTable(Path(name), kind, rows)


def test_kappa_is_that_of_scikit_learn():
    first = table(("v", "run", 0, 40), ("v", "dig", 50, 90), ("w", "run", 5, 20))
    second = table(("v.mp4", "run", 4, 46), ("v.mp4", "dig", 50, 100), ("w", "dig", 5, 10), ("w", "run", 10, 20))
    found = agreement(first, second)
    said = [np.full(120, "none", object) for _ in range(2)]
    for side, labels in zip(said, (first, second), strict=True):
        for row in labels.rows:
            offset = 0 if row.clip_id.startswith("v") else 100
            side[offset + row.start : offset + row.end] = row.label
    assert found.frames == 120 and found.clips == 2
    assert found.kappa == pytest.approx(cohen_kappa_score(*[side.astype(str) for side in said]))
    for each in found.classes:
        assert each.kappa == pytest.approx(cohen_kappa_score(*[side == each.name for side in said]))
    dig, run = found.classes
    assert (dig.frames, dig.segments, round(dig.f1, 1)) == ((40, 55, 40), (1, 2), 66.7)
    assert (run.frames, run.segments, run.f1) == ((55, 52, 46), (2, 2), 100.0)


def test_seconds_and_frames_meet_at_the_rate_given():
    seconds, frames = table(("v", "run", 0.48, 1.0), kind=BY_SECONDS, name="s.csv"), table(("v", "run", 12, 25))
    with pytest.raises(UsageError, match=r"s.csv counts seconds and a.csv frames: .* --labels-fps"):
        agreement(seconds, frames)
    assert agreement(seconds, frames, rate=25).classes[0].frames == (13, 13, 13)


def test_classes_that_overlap_have_a_kappa_each_but_none_together():
    both = table(("v", "run", 0, 10), ("v", "dig", 5, 20))
    found = agreement(both, both)
    assert found.kappa is None and [each.kappa for each in found.classes] == [1.0, 1.0]
    assert "not defined, since classes overlap" in agreement_text(found, names=("a", "b"))


def test_a_class_that_always_holds_has_no_kappa():
    always = table(("v", "run", 0, 10))
    assert agreement(always, always).classes[0].kappa is None


def test_clips_of_one_annotator_and_points_are_named():
    first = table(("v", "run", 0, 10), ("x", "run", 0, 10))
    second = table(("v", "run", 2, 10), ("y", "run", 0, 10), ("v", "bite", 5, 5))
    assert agreement_text(agreement(first, second), names=("ann", "bob")).splitlines() == [
        "ann against bob: 1 clip, 10 frames",
        "only in ann, left out: 1 clip ('x')",
        "only in bob, left out: 1 clip ('y')",
        "1 point event left out: they have no length; give one with --point-width",
        "class  kappa  frames 1st  2nd  both  segments 1st  2nd  F1@50",
        "run    0.000  10          8    8     1             1    100.0",
        "Cohen's kappa over all classes and none, frame by frame: 0.000",
    ]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (table(("z", "run", 0, 1)), "have no clip in common"),
        (table(("v", "run", 0, 1), kind=PER_CLIP), "has one label per clip"),
        (table(("v", "run", 0, 10**8)), "at most 10,000,000 frames are compared"),
    ],
)
def test_what_cannot_be_compared(other, said):
    with pytest.raises(LabelError, match=said):
        agreement(table(("v", "run", 0, 1)), other)


def test_several_annotators_of_one_file_are_taken_apart():
    rows = [LabelRow("v", "run", 2, end=5, annotator=name) for name in ("ann", "bob", "ann")]
    parts = by_annotator(LabelTable(Path("x"), BY_FRAMES, tuple(rows)))
    assert {name: len(part.rows) for name, part in parts.items()} == {"ann": 2, "bob": 1}
    assert by_annotator(LabelTable(Path("x"), BY_FRAMES, tuple(rows[:1]))) == {}
