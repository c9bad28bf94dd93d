"""The rendered example: complete, deterministic, and only the order of the frames is the label."""

import csv
from collections import Counter
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from extract import demo
from extract.errors import ClipseqError, UsageError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    demo.render_demo(folder)
    return folder


@pytest.fixture
def small(monkeypatch):
    """Five clips, one per class, and one short montage."""
    monkeypatch.setattr(demo, "TAKES_PER_MOVE", 1)
    monkeypatch.setattr(demo, "MONTAGES_PER_GROUP", 1)
    monkeypatch.setattr(demo, "REGIONS", {"roof": demo.REGIONS["roof"]})
    monkeypatch.setattr(demo, "SEGMENT_STEPS", (2, 4))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]).astype(int)


def test_labels_name_every_clip_once_and_the_classes_are_balanced(folder):
    rows = rows_of(folder / "labels.csv")
    on_disk = {path.relative_to(folder / "clips").as_posix() for path in folder.glob("clips/*/*.mp4")}
    assert sorted(row["clip_id"] for row in rows) == sorted(on_disk)
    assert Counter(row["label"] for row in rows) == dict.fromkeys(demo.LABELS, 24)
    assert all(row["clip_id"].startswith(row["label"] + "/") for row in rows)


def test_every_group_has_every_move(folder):
    pairs = {(row["group"], row["label"]) for row in rows_of(folder / "labels.csv")}
    assert len(pairs) == 8 * 5


def test_file_names_differ_even_without_their_folders(folder):
    names = [path.name for path in folder.rglob("*.mp4")]
    assert len(names) == 120 + 32
    assert len(set(names)) == 120 + 32


def test_the_regions_do_not_overlap():
    width, height = demo.REGION_SIZE
    regions = list(demo.REGIONS.values())
    for index, (photo, left, top) in enumerate(regions):
        for other_photo, other_left, other_top in regions[:index]:
            assert photo != other_photo or abs(left - other_left) >= width or abs(top - other_top) >= height


def test_the_whole_example_is_under_3500_sampled_frames_of_clips_of_many_lengths(folder):
    seconds = [cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) / 24 for path in folder.rglob("*.mp4")]
    assert sum(seconds) * 8 < 3500
    assert 1.5 <= min(seconds) < 1.7
    assert len(set(seconds)) > 8


@pytest.mark.parametrize(("forward", "backward"), [("zoom_in", "zoom_out"), ("fade_in", "fade_out")])
def test_twins_hold_the_same_sampled_frames_in_opposite_order(folder, forward, backward):
    ids = {
        label: next(row["clip_id"] for row in rows_of(folder / "labels.csv") if row["label"] == label)
        for label in (forward, backward)
    }
    there, back = (frames_of(folder / "clips" / ids[label])[::3] for label in (forward, backward))
    assert there.shape == back.shape
    assert np.abs(there - back[::-1]).mean() < 4
    assert np.abs(there - back).mean() > 10


def test_opencv_and_pyav_read_the_same_frames(folder):
    path = folder / "segments" / "montage_lake_1.mp4"
    capture, frames = cv2.VideoCapture(str(path)), []
    while (answer := capture.read())[0]:
        frames.append(answer[1][:, :, ::-1].astype(int))
    assert np.stack(frames).shape == frames_of(path).shape
    assert np.abs(np.stack(frames) - frames_of(path)).max() <= 3


def test_segments_cover_each_montage_without_gaps(folder):
    rows = rows_of(folder / "segments.csv")
    for clip_id in {row["clip_id"] for row in rows}:
        spans = [(float(r["start_seconds"]), float(r["end_seconds"])) for r in rows if r["clip_id"] == clip_id]
        assert len(spans) == 5  # one of each class
        assert spans[0][0] == 0
        assert all(end == start for (_, end), (start, _) in pairwise(spans))
        assert spans[-1][1] * 24 == len(frames_of(folder / "segments" / clip_id))


def test_neighbouring_segments_have_different_labels(folder):
    rows = rows_of(folder / "segments.csv")
    assert not any(a["clip_id"] == b["clip_id"] and a["label"] == b["label"] for a, b in pairwise(rows))


def test_the_same_bytes_come_out_twice(small, tmp_path):
    demo.render_demo(tmp_path / "one")
    demo.render_demo(tmp_path / "two")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 9
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_a_complete_folder_is_left_alone(small, tmp_path):
    demo.render_demo(tmp_path)
    (tmp_path / "labels.csv").write_text("mine", encoding="utf-8")
    demo.render_demo(tmp_path)
    assert (tmp_path / "labels.csv").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_lost_a_video_is_rendered_again(small, tmp_path):
    demo.render_demo(tmp_path)
    video = next(tmp_path.glob("clips/still/*.mp4"))
    video.unlink()
    demo.render_demo(tmp_path)
    assert video.is_file()


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "demo").write_text("")
    with pytest.raises(UsageError, match=r"demo is a file, but the demo needs a folder for its videos: choose another"):
        demo.render_demo(tmp_path / "demo")


def test_a_video_that_cannot_be_written_is_named(small, tmp_path):
    (tmp_path / "clips" / "zoom_in" / "roof_01.mp4").mkdir(parents=True)
    with pytest.raises(
        ClipseqError, match=r"roof_01\.mp4 is a folder, but a file must be written there: choose another name"
    ):
        demo.render_demo(tmp_path)
