import cv2
import numpy as np
import pytest
from clip_factory import make_clip
from sheet_reading import thumbnail
from video_files import moving_frames, odd_video, write_video

import pipeline
from extract.decode.settings import DecodeSettings
from extract.jobs.job import extract
from extract.jobs.settings import ExtractSettings
from extract.preview.drawing import SheetRow, write_sheet
from extract.preview.rows import Picking, RowPlan, Window, WindowCut, spread
from extract.preview.sheet import PictureChange, View, _rows_of_video, sheet_of_store, sheet_of_videos
from extract.store.reader import open_store
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule
from sequence_models.clips.windows import prediction_pieces
from sequence_models.settings import TrainSettings

EVERY = SamplingRule("every", 1)


def cut_by(window, hop=0.0):
    return pipeline._window_cut(TrainSettings(window=window, hop=hop))


@pytest.fixture
def videos(tmp_path):
    """Two clips of 20 and 11 moving frames, 10 frames/s: at 0.8 s every 0.4 s windows begin at 0, 0.4, ..."""
    for name, count in (("hug/a.mp4", 20), ("hug/b.mp4", 11)):
        write_video(tmp_path / "videos" / name, moving_frames(count))
    return tmp_path / "videos"


def test_a_clip_is_one_row_without_windows():
    assert Picking(max_frames=3).plan(np.arange(9) / 8) == [RowPlan((0, 4, 8), 9)]


def test_a_window_is_one_row_with_its_number_and_its_times():
    """8 timesteps a second: half a second is 4 of them; the last window ends where the last timestep ends."""
    assert Picking(2, cut_by(0.5, 0.25), 9).plan(np.arange(9) / 8) == [
        RowPlan((0, 3), 4, Window(1, 4, 0.0, 0.5)),
        RowPlan((2, 5), 4, Window(2, 4, 0.25, 0.75)),
        RowPlan((4, 7), 4, Window(3, 4, 0.5, 1.0)),
        RowPlan((5, 8), 4, Window(4, 4, 0.625, 1.125)),
    ]


@pytest.mark.parametrize(("window", "hop"), [(0.5, 0.0), (0.5, 0.2), (1.0, 1.0), (99.0, 0.0)])
@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_the_windows_are_those_of_a_prediction(window, hop, steps):
    clip = make_clip(steps)
    clip.pts_seconds[steps // 2 :] += 0.7
    pieces = prediction_pieces([clip], TrainSettings(window=window, hop=hop))
    plans = Picking(999, cut_by(window, hop), 999).plan(clip.pts_seconds)
    assert [plan.shown for plan in plans] == [tuple(piece.steps) for piece in pieces]


def test_of_many_windows_some_are_shown_with_the_first_and_the_last():
    plans = Picking(1, cut_by(1.0, 1.0), 3).plan(np.arange(80_000) / 8)
    assert [plan.window.number for plan in plans] == [1, 5001, 10000]
    assert {plan.window.count for plan in plans} == {10000}


def test_positions_are_spread_over_all():
    assert [spread(*sizes) for sizes in ((0, 3), (3, 3), (9, 3), (9, 1))] == [[], [0, 1, 2], [0, 4, 8], [0]]


def test_a_row_is_named_after_its_clip_and_window():
    row = SheetRow("hug/a.avi", (), 8, window=Window(3, 57, 1.0, 2.0))
    assert (row.name, row.class_name) == ("hug/a.avi  1.00-2.00 s  (window 3 of 57)", "hug")
    assert SheetRow("hug/a.avi", (), 8).name == "hug/a.avi"


def test_the_sheet_is_as_wide_as_what_is_said_about_it(tmp_path):
    for name, facts in (("short.png", ["x"]), ("long.png", ["windows of 1 s every 0.5 s"] * 9)):
        write_sheet([], tmp_path / name, title="x", facts=facts)
    short, long = (cv2.imread(str(tmp_path / name)).shape[1] for name in ("short.png", "long.png"))
    assert short == 838 and long > 1500


@pytest.mark.parametrize("kind", ["videos", "pixels", "tiny"])
@pytest.mark.parametrize("motion", ["rgb", "diff"])
def test_every_window_shows_its_frames_wherever_they_come_from(videos, tmp_path, kind, motion):
    items, settings = find_videos(videos), DecodeSettings(EVERY, image_size=32, input=motion)
    sheet_of_videos(items, settings, tmp_path / "whole.png", title="x", view=View(max_frames=99))
    if kind == "videos":
        given = {"title": "x", "view": View(windows=cut_by(0.8, 0.4))}
        sheet = sheet_of_videos(items, settings, tmp_path / "s.png", **given)
    else:
        list(extract(items, ExtractSettings(tmp_path / "f", kind, image_size=32, sampling=EVERY, input=motion)))
        sheet = sheet_of_store(open_store(tmp_path / "f"), tmp_path / "s.png", view=View(windows=cut_by(0.8, 0.4)))
    assert (sheet.clips, sheet.windows, sheet.windows_left_out, sheet.frames) == (2, 6, 0, 48)
    assert (sheet.frames_left_out, sheet.problems) == (0, ())
    for row, (clip, first) in enumerate([(0, 0), (0, 4), (0, 8), (0, 12), (1, 0), (1, 3)]):
        for column in (0, 7):
            whole = thumbnail(tmp_path / "whole.png", row=clip, column=first + column)
            assert np.array_equal(thumbnail(tmp_path / "s.png", row=row, column=column), whole)


def test_windows_clips_and_frames_that_are_left_out_are_counted(videos, tmp_path):
    items, cut = find_videos(videos), cut_by(0.8, 0.1)
    view = View(windows=cut, max_clips=1, max_windows=3, max_frames=2)
    sheet = sheet_of_videos(items, DecodeSettings(EVERY, 16), tmp_path / "s.png", title="x", view=view)
    assert (sheet.clips, sheet.clips_left_out, sheet.windows, sheet.windows_left_out) == (1, 1, 3, 10)
    assert (sheet.frames, sheet.frames_left_out) == (6, 18)


def test_clips_share_the_windows_and_each_has_two(videos, tmp_path):
    items, cut = find_videos(videos), cut_by(0.8, 0.1)
    sheets = [
        sheet_of_videos(items, DecodeSettings(EVERY, 16), tmp_path / "s.png", title="x", view=view)
        for view in (View(windows=cut, max_windows=6), View(windows=cut, max_windows=1))
    ]
    assert [sheet.windows for sheet in sheets] == [6, 4]


def test_each_window_is_changed_on_its_own(videos, tmp_path):
    seen = []

    def note(frames):
        seen.append(frames.shape)
        return frames

    given = {"title": "x", "view": View([PictureChange(note, "noted")], cut_by(0.8, 0.4))}
    sheet_of_videos(find_videos(videos / "hug" / "a.mp4"), DecodeSettings(EVERY, 16), tmp_path / "s.png", **given)
    assert seen == [(8, 16, 16, 3)] * 4


def test_a_shown_frame_keeps_no_other_in_memory(videos):
    (item,) = find_videos(videos / "hug" / "a.mp4")
    picking = Picking(2, cut_by(0.8, 0.4), 2)
    rows = _rows_of_video(item, DecodeSettings(EVERY, 16), picking)
    assert [frame.index for row in rows for frame in row.frames] == [0, 7, 12, 19]
    assert all(frame.picture.base is None for row in rows for frame in row.frames)


def test_windows_of_a_damaged_file_hold_the_frames_that_come(tmp_path):
    items = find_videos(odd_video("made__corrupt.mp4"))
    cut = WindowCut(lambda pts_seconds: [(0, len(pts_seconds))], "all")
    (whole, *_), (row, *_) = (
        _rows_of_video(items[0], DecodeSettings(EVERY, 16), Picking(999, by, 9)) for by in (None, cut)
    )
    assert row.remark.startswith("lost ") and row.remark == whole.remark
    assert row.sampled_frames == whole.sampled_frames == len(row.frames) > 9


def test_a_file_that_is_no_video_is_one_row_among_windows(videos, tmp_path):
    (videos / "hug" / "c.mp4").write_bytes(b"")
    given = {"title": "x", "view": View(windows=cut_by(0.8, 0.4))}
    sheet = sheet_of_videos(find_videos(videos), DecodeSettings(EVERY, 16), tmp_path / "s.png", **given)
    assert (sheet.clips, sheet.windows, [name for name, _ in sheet.problems]) == (3, 6, ["hug/c.mp4"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--every 1 --window 0.8 --hop 0.4", "48 frames of 6 windows of 2 clips"),
        ("--every 1 --window 0.8", "48 frames of 6 windows of 2 clips"),
        ("--fps 5 --window 0.8", "24 frames of 6 windows of 2 clips"),
        ("--num-frames 5 --window 0.8", "16 frames of 6 windows of 2 clips"),
        ("--skip-frames 4 --first-frames 10 --window 0.5 --hop 0.5", "20 frames of 4 windows of 2 clips"),
        ("--every 1 --window 0.1", "31 frames of 31 windows of 2 clips"),
        ("--every 1 --window 9", "20 frames of 2 windows of 2 clips"),
        ("--every 1 --window 0.2 --hop 0.01", "58 frames of 29 windows of 2 clips"),
        ("--every 1 --window 0", "20 frames of 2 clips"),
        ("--every 1 --window 0.8 --backbone pixels --flip --augment 3", "48 frames of 6 windows of 2 clips"),
    ],
)
def test_the_summary_counts_windows(videos, tmp_path, capsys, flags, said):
    assert pipeline.main(["show", str(videos), "--output", str(tmp_path / "s.png"), *flags.split()]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 's.png'}: {said}\n"


def test_the_summary_counts_what_is_left_out(tmp_path, capsys):
    write_video(tmp_path / "videos" / "000.mp4", moving_frames(12, height=32, width=32))
    for number in range(1, 22):
        (tmp_path / "videos" / f"{number:03}.mp4").write_bytes((tmp_path / "videos" / "000.mp4").read_bytes())
    command = ["show", tmp_path / "videos", "--output", tmp_path / "s.png", "--every", 1, "--window", 0.1, "--hop", 0.1]
    assert pipeline.main([str(word) for word in command]) == 0
    assert capsys.readouterr().out == (
        f"wrote {tmp_path / 's.png'}: 80 frames of 80 windows of 20 clips "
        "(not on it: 160 more windows of these and 2 more clips)\n"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--window -1", "window must be at least 0, got -1.0; choose another --window."),
        ("--window nan", "window must be at least 0, got nan; choose another --window."),
        (
            "--window 1 --hop 2",
            "hop 2 s must not be longer than the window, 1 s, or timesteps are missed; give a longer --window, or a "
            "smaller --hop.",
        ),
        ("--hop 2", "--hop needs --window; hop 2 s is the step from one window to the next."),
    ],
)
def test_windows_that_training_refuses_are_refused(tmp_path, capsys, flags, message):
    assert pipeline.main(["show", str(tmp_path), "--output", str(tmp_path / "s.png"), *flags.split()]) == 2
    assert capsys.readouterr().err == f"clipseq show: {message}\n"
