from pathlib import Path

import numpy as np
import pytest
from clip_factory import make_clip
from video_files import moving_frames, write_video

import pipeline
from extract.decode.redraw import VideoFacts
from extract.errors import LabelError
from extract.system.lettering import class_palette
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS, PER_CLIP, LabelRow, LabelTable
from sequence_models.prediction.annotate import Panel, Track, prediction_track
from sequence_models.prediction.label_track import label_track
from sequence_models.records import Prediction

FACTS = VideoFacts(np.arange(20) / 10, 2.0, (320, 240))
NOBODY = (np.zeros(0, np.int64), np.zeros((0, 0), np.float32))


def colours_at(track, frame, facts=FACTS):
    """The colours on the ribbon, without paper, ink and what is unlabelled."""
    canvas = Panel(track, facts).on(np.zeros((240, 320, 3), np.uint8), frame, float(facts.pts_seconds[frame]))
    assert canvas.shape[0] % 2 == canvas.shape[1] % 2 == 0
    known = {tuple(int(name[n : n + 2], 16) for n in (1, 3, 5)): k for k, name in enumerate(class_palette(9))}
    return [known[colour] for colour in map(tuple, canvas[240 + 26].tolist()) if colour in known], canvas


def table(*spans, kind=BY_SECONDS, clip_id="a.mp4"):
    rows = [LabelRow(clip_id, label, n + 2, start=start, end=end) for n, (label, start, end) in enumerate(spans)]
    return LabelTable("labels.csv", kind, tuple(rows))


def test_a_frame_has_the_label_and_probability_of_the_last_timestep_at_or_before_it():
    clip = make_clip(3)
    object.__setattr__(clip, "frame_indices", np.array([2, 6, 9]))
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], np.float32)
    track = prediction_track(clip, Prediction(clip.clip_id, probabilities), ("rest", "späße"), 12)
    assert track.spans == ((0, 0, 6), (1, 6, 12))
    said = ["rest 0.90"] * 6 + ["späße 0.80"] * 3 + ["späße 0.70"] * 3
    assert [track.said(n) for n in range(12)] == said


def test_a_label_of_the_whole_clip_holds_on_every_frame():
    clip = make_clip(3, 1)
    track = prediction_track(clip, Prediction(clip.clip_id, np.array([0.1, 0.9], np.float32)), ("a", "b"), 20)
    assert track.spans == ((1, 0, 20),) and track.said(19) == "b 0.90"


def test_overlapping_classes_get_a_lane_each_and_the_ribbon_runs():
    alone = Track(("a", "b"), ((0, 0, 5), (1, 5, 20)), *NOBODY)
    both = Track(("a", "b", "c"), ((0, 0, 5), (1, 3, 20)), *NOBODY)
    assert (alone.lanes, both.lanes) == (((0, 1),), ((1,), (0,)))
    assert both.said(4) == "a   b" and both.said(6) == "b"
    early, late = (colours_at(alone, frame)[0] for frame in (0, 10))
    assert set(early) == {0, 1} == set(late)
    long = VideoFacts(np.arange(400) / 10, 40.0, (320, 240))
    assert set(colours_at(Track(("a", "b"), ((0, 0, 5), (1, 390, 400)), *NOBODY), 200, long)[0]) == set()


def test_a_span_that_leaves_the_ribbon_is_drawn_to_its_last_pixel():
    """The last part of a pixel at the left edge ended in "x1 must be greater than or equal to x0"."""
    facts = VideoFacts(np.arange(4000) / 100, 40.0, (320, 240))
    panel = Panel(Track(("a",), ((0, 0, 500), (0, 3500, 4000)), *NOBODY), facts)
    for frame in range(1485, 1502):
        ribbon = panel.on(np.zeros((240, 320, 3), np.uint8), frame, frame / 100)[240 + 26].tolist()
        assert ([0, 114, 178] in ribbon) == (frame < 1500)


def test_a_span_inside_a_longer_one_of_its_class_hides_nothing():
    track = Track(("a",), ((0, 0, 10), (0, 2, 4)), *NOBODY)
    assert [track.said(n) for n in (3, 5, 9, 10)] == ["a", "a", "a", ""]


def test_tiny_pictures_are_enlarged_and_long_names_are_cut():
    facts = VideoFacts(np.arange(5) / 10, 0.5, (33, 17))
    track = Track(("x" * 500 + "<手>",), ((0, 0, 5),), *NOBODY)
    canvas = Panel(track, facts).on(np.full((17, 33, 3), 200, np.uint8), 0, 0.0)
    assert canvas.shape[1] == 330 and (canvas[:170, :330] == 200).all()


def test_labels_mean_the_nearest_frame():
    track, remark = label_track(table(("a", 0.26, 0.54), ("b", 0.94, 1.06)), Path("v/a.mp4"), FACTS, fps=None)
    assert (track.spans, remark) == (((0, 3, 5), (1, 9, 11)), "")
    counted, _ = label_track(table(("a", 3, 5), kind=BY_FRAMES), Path("a.mp4"), FACTS, fps=None)
    slower, _ = label_track(table(("a", 3, 5), kind=BY_FRAMES), Path("a.mp4"), FACTS, fps=5)
    assert (counted.spans, slower.spans) == (((0, 3, 5),), ((0, 6, 10),))
    whole, _ = label_track(table(("a", 0, np.inf), kind=PER_CLIP), Path("a.mp4"), FACTS, fps=None)
    assert whole.spans == ((0, 0, 20),)


def test_labels_past_the_end_are_told_and_labels_of_other_videos_refused():
    track, remark = label_track(table(("a", 1, 3)), Path("a.mp4"), FACTS, fps=None)
    assert track.spans == ((0, 10, 20),) and remark == "; 1 label reaching past the end of the video"
    with pytest.raises(LabelError, match=r"line 2: no label of a.mp4 lies inside the video, which is 2.000 s long and"):
        label_track(table(("a", 7, 9)), Path("a.mp4"), FACTS, fps=None)
    with pytest.raises(LabelError, match=r"has no label of b.mp4; it labels 'a.mp4'"):
        label_track(table(("a", 0, 1)), Path("b.mp4"), FACTS, fps=None)


def test_draw_labels_from_the_command_line(tmp_path, capsys):
    write_video(tmp_path / "a.mp4", moving_frames(10))
    (tmp_path / "l.csv").write_text("clip_id,start_seconds,end_seconds,label\na.mp4,0,0.5,späße\n")
    command = [
        "draw-labels",
        *(str(tmp_path / name) for name in ("l.csv", "a.mp4")),
        "--output",
        str(tmp_path / "b.mp4"),
    ]
    assert pipeline.main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {tmp_path / 'b.mp4'}: 10 frames"
    assert pipeline.main(command) == 2 and "exists already" in capsys.readouterr().err
