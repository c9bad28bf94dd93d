import shutil

import numpy as np
import pytest
from sheet_reading import thumbnail
from video_files import colour_bars, moving_frames, odd_video, write_video

from extract.backbones.pixels import grey
from extract.decode.settings import DecodeSettings
from extract.errors import UsageError
from extract.jobs.job import extract
from extract.jobs.settings import ExtractSettings
from extract.preview.drawing import SheetRow
from extract.preview.sheet import PictureChange, View, sheet_of_store, sheet_of_videos
from extract.store.reader import open_store
from extract.system.lettering import legible
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule

FPS_5 = SamplingRule("fps", 5)


@pytest.fixture
def videos(tmp_path):
    """Two classes with two clips of 20 frames (10 frames/s), and one file that is no video."""
    for name in ("hug/a.mp4", "hug/b.mp4", "kick/a.mp4", "kick/b.mp4"):
        write_video(tmp_path / "videos" / name, moving_frames(20))
    (tmp_path / "videos" / "kick" / "c.mp4").write_bytes(b"")
    return tmp_path / "videos"


def test_the_sheet_says_what_it_shows_and_leaves_out(videos, tmp_path):
    settings = DecodeSettings(FPS_5, image_size=32)
    view = View(max_clips=3, max_frames=4)
    sheet = sheet_of_videos(find_videos(videos), settings, tmp_path / "s.png", title="x", view=view)
    assert (sheet.clips, sheet.clips_left_out, sheet.frames, sheet.frames_left_out) == (3, 2, 8, 12)
    assert [(name, text.rpartition("/")[2]) for name, text in sheet.problems] == [
        ("kick/c.mp4", "c.mp4 is empty (0 bytes); replace or remove it")
    ]
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_thumbnails_are_the_frames_in_rgb(tmp_path):
    path = write_video(tmp_path / "bars.mp4", [colour_bars()] * 3, options={"qp": "0"})
    settings = DecodeSettings(SamplingRule("every", 1), image_size=64)
    sheet_of_videos(find_videos(path), settings, tmp_path / "s.png", title="bars")
    colours = thumbnail(tmp_path / "s.png", column=2)[64, [16, 48, 80, 112]].astype(int)
    assert np.abs(colours - [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]).max() < 8


@pytest.mark.parametrize(("name", "first"), [("diff", 0), ("flow", 128)])
def test_the_first_frame_of_a_motion_input_is_still(videos, tmp_path, name, first):
    settings = DecodeSettings(FPS_5, image_size=64, input=name)
    sheet_of_videos(find_videos(videos / "hug"), settings, tmp_path / "s.png", title="x")
    assert (thumbnail(tmp_path / "s.png") == first).all()
    assert (thumbnail(tmp_path / "s.png", column=1) != first).any()


@pytest.mark.parametrize("name", ["rgb", "diff", "flow"])
def test_a_store_shows_the_frames_of_its_videos_at_its_times(videos, tmp_path, name):
    """The clips of a table have names that say nothing of their span: times and recipe come from the store."""
    table = tmp_path / "clips.csv"
    table.write_text("path,clip_id,start_seconds,end_seconds\nvideos/hug/a.mp4,hug/x,0.35,1.5\nvideos/kick/a.mp4,y,,\n")
    items = find_videos(table)
    job = ExtractSettings(tmp_path / "store", backbone="tiny", sampling=FPS_5, input=name)
    assert [result.status for result in extract(items, job)] == ["done", "done"]
    sheet = sheet_of_store(open_store(tmp_path / "store"), tmp_path / "a.png", view=View(max_frames=4))
    assert (sheet.clips, sheet.frames, sheet.frames_left_out, sheet.problems) == (2, 8, 8, ())
    size = int(open_store(tmp_path / "store").recipe["image_size"])
    settings = DecodeSettings(FPS_5, image_size=size, input=name)
    sheet_of_videos(items, settings, tmp_path / "b.png", title="x", view=View(max_frames=4))
    for row in (0, 1):
        for column in range(4):
            a, b = (thumbnail(tmp_path / f, row=row, column=column) for f in ("a.png", "b.png"))
            assert np.array_equal(a, b)


@pytest.mark.parametrize("channels", [3, 1])
def test_a_store_of_frames_shows_what_it_holds_without_its_videos(videos, tmp_path, channels):
    settings = DecodeSettings(FPS_5, image_size=64)
    items = find_videos(videos / "hug")
    shown = [PictureChange(grey, "grey")] if channels == 1 else []
    sheet_of_videos(items, settings, tmp_path / "b.png", title="x", view=View(max_frames=4, changes=shown))
    job = ExtractSettings(tmp_path / "store", "pixels", image_size=64, channels=channels, sampling=FPS_5)
    list(extract(items, job))
    shutil.rmtree(videos)
    sheet = sheet_of_store(open_store(tmp_path / "store"), tmp_path / "a.png", view=View(max_frames=4))
    assert (sheet.clips, sheet.frames, sheet.frames_left_out, sheet.problems) == (2, 8, 12, ())
    for row in (0, 1):
        for column in range(4):
            a, b = (thumbnail(tmp_path / f, row=row, column=column) for f in ("a.png", "b.png"))
            assert a.any() and np.array_equal(a, b)


def test_a_change_is_done_to_all_shown_frames_of_a_clip_at_once(videos, tmp_path):
    list(extract(find_videos(videos / "hug"), ExtractSettings(tmp_path / "store", "pixels", sampling=FPS_5)))
    seen = []

    def flip(frames):
        seen.append(frames.shape)
        return frames[:, :, ::-1]

    store = open_store(tmp_path / "store")
    sheet_of_store(store, tmp_path / "a.png", view=View(max_frames=4))
    sheet_of_store(store, tmp_path / "b.png", view=View(max_frames=4, changes=[PictureChange(flip, "flipped")]))
    assert seen == [(4, 112, 112, 3), (4, 112, 112, 3)]
    a, b = thumbnail(tmp_path / "a.png", row=1, column=2), thumbnail(tmp_path / "b.png", row=1, column=2)
    assert np.abs(a[:, ::-1].astype(int) - b).max() <= 2 and (a != b).any()


def test_only_frames_are_changed(videos, tmp_path):
    list(extract(find_videos(videos / "hug"), ExtractSettings(tmp_path / "store", "tiny", sampling=FPS_5)))
    with pytest.raises(UsageError) as error:
        sheet_of_store(
            open_store(tmp_path / "store"), tmp_path / "s.png", view=View(changes=[PictureChange(grey, "grey")])
        )
    assert str(error.value) == (
        f"{tmp_path / 'store'} holds no frames, but only frames can be augmented; give a store made with extract "
        "--backbone pixels, or leave out --augment"
    )


def test_a_store_whose_videos_are_gone_or_changed_says_so(videos, tmp_path):
    items = find_videos(videos / "hug")
    list(extract(items, ExtractSettings(tmp_path / "store", backbone="tiny", sampling=FPS_5)))
    (videos / "hug" / "a.mp4").unlink()
    shutil.copy(videos / "kick" / "b.mp4", videos / "hug" / "b.mp4")
    sheet = sheet_of_store(open_store(tmp_path / "store"), tmp_path / "s.png")
    ((name, reason),) = sheet.problems
    assert name == "a.mp4" and "a.mp4 cannot be read (No such file or directory)" in reason
    assert (sheet.clips, sheet.frames) == (2, 10)


def test_only_sought_frames_of_a_store_are_decoded(tmp_path):
    write_video(tmp_path / "long.mp4", moving_frames(120), options={"g": "12"})
    items = find_videos(tmp_path / "long.mp4")
    list(extract(items, ExtractSettings(tmp_path / "store", backbone="tiny", sampling=SamplingRule("every", 1))))
    sheet = sheet_of_store(open_store(tmp_path / "store"), tmp_path / "s.png", view=View(max_frames=3))
    assert (sheet.frames, sheet.frames_left_out, sheet.problems) == (3, 117, ())


def test_imported_features_have_no_frames(tmp_path):
    class Imported:
        path, recipe = tmp_path / "store", {"imported": "x"}

    with pytest.raises(UsageError) as error:
        sheet_of_store(Imported(), tmp_path / "s.png")
    assert str(error.value) == (
        f"{tmp_path / 'store'} holds imported features, which have no videos; give the videos instead"
    )


def test_the_output_must_be_a_picture(tmp_path):
    with pytest.raises(UsageError) as error:
        sheet_of_videos([], DecodeSettings(FPS_5), tmp_path / "sheet.txt", title="x")
    assert str(error.value) == (
        f"--output {tmp_path / 'sheet.txt'} must end in .png, .jpg, .jpeg, .webp, such as sheet.png"
    )


def test_letters_that_the_font_lacks_are_spelled_out():
    assert legible("späße файл 手 👍 \n") == "späße файл \\u624b \\U0001f44d \\n"


def test_the_first_folder_is_the_class():
    assert [SheetRow(name, (), 0).class_name for name in ("hug/a.mp4", "a.mp4", "x/y/z.mp4")] == ["hug", "", "x"]


def test_a_damaged_file_is_shown_with_its_gap(tmp_path):
    settings = DecodeSettings(FPS_5, image_size=16)
    items = find_videos(odd_video("made__corrupt.mp4"))
    assert sheet_of_videos(items, settings, tmp_path / "s.png", title="x").frames >= 9
