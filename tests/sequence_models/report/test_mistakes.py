"""The surest mistakes and their film strips: the right stretches, pictures of the right frames, or words why not."""

import base64
import io
import re

import numpy as np
import pytest
from page_reading import page_of, text_of
from run_factory import one_hot
from video_files import grey_frames, write_video
from video_run import LENGTH, STORE, clip, made_run

from sequence_models.report.mistakes import MOST_STRIPS, strips_content, surest_mistakes
from sequence_models.report.pictures import STRIP_FRAMES, small_jpeg
from sequence_models.report.run import read_evaluated_run


def strips(run):
    return strips_content(read_evaluated_run(run))


def pictures(strip):
    from PIL import Image

    data = [base64.b64decode(frame["src"].partition(",")[2]) for frame in strip["frames"]]
    return [np.asarray(Image.open(io.BytesIO(each))) for each in data]


def test_wrong_clips_are_ordered_by_their_probability():
    clips = [
        clip("right", [0], [0], one_hot(0, sure=0.99)),
        clip("sure", [0], [1], one_hot(1, sure=0.9)),
        clip("unsure", [0], [2], one_hot(2, sure=0.5)),
        clip("unlabelled", [-1], [2], one_hot(2, sure=0.99)),
    ]
    found = surest_mistakes(clips, "abc")
    assert [(each.clip.clip_id, each.truth, each.predicted) for each in found] == [
        ("sure", "a", "b"),
        ("unsure", "a", "c"),
    ]
    assert found[0].probability == pytest.approx(0.9)


def test_stretches_of_one_recording_do_not_fill_the_list():
    truth, predicted = np.tile([0, 0], 20), np.tile([0, 1], 20)
    clips = [clip("many", truth, predicted, one_hot(*predicted)), clip("one", [0, 0], [0, 1], one_hot(0, 1, sure=0.5))]
    assert [each.clip.clip_id for each in surest_mistakes(clips, "abc")] == ["many"] * 3 + ["one"]


def test_a_wrong_clip_has_five_frames_of_its_video_with_their_times(tmp_path):
    run = made_run(tmp_path)
    (strip,) = strips(run)["rows"]
    assert (strip["truth"], strip["predicted"], round(strip["probability"], 6)) == ("a", "b", 0.8)
    assert [round(frame["seconds"], 3) for frame in strip["frames"]] == [0.0, 0.9, 1.8, 2.4, 3.3]
    found = pictures(strip)
    assert {picture.shape for picture in found} == {(120, 240, 3)}
    np.testing.assert_allclose([picture.mean() for picture in found], [10, 64, 118, 154, 208], atol=5)
    assert strip["link"] == (tmp_path / "videos" / "a.mp4").as_uri()
    assert f'<a href="{strip["link"]}"><bdi>a.mp4</bdi></a>' in page_of(run)


def test_a_wrong_stretch_shows_frames_inside_it(tmp_path):
    (strip,) = strips(made_run(tmp_path, task="many-to-many"))["rows"]
    assert [round(frame["seconds"], 3) for frame in strip["frames"]] == [1.2, 1.5, 1.8, 2.1]
    assert strip["span"] == pytest.approx((1.2, 2.4))
    assert strip["link"].endswith("/videos/a.mp4#t=1.200,2.400")  # where a browser starts to play it


def test_a_video_that_is_gone_leaves_words_and_a_report(tmp_path):
    run = made_run(tmp_path)
    (tmp_path / "videos" / "a.mp4").unlink()
    (strip,) = strips(run)["rows"]
    assert not strip["frames"] and not strip["link"]
    assert re.search(r"No pictures: \S*a\.mp4 cannot be read \(No such file or directory\)", text_of(page_of(run)))


def test_a_video_that_has_changed_leaves_words(tmp_path):
    run = made_run(tmp_path)
    write_video(tmp_path / "videos" / "a.mp4", grey_frames(50), rate=10)
    assert "a.mp4 has changed since the extraction" in text_of(page_of(run))


def test_a_store_that_is_gone_leaves_words(tmp_path):
    run = made_run(tmp_path)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    assert f"No pictures: the feature store {tmp_path / 'store'} is not here" in text_of(page_of(run))


def test_imported_features_have_no_pictures(tmp_path):
    run = made_run(tmp_path, recipe={"source": "imported", "fps": 10.0})
    assert "No pictures: the features were imported, so clipseq does not know the video" in text_of(page_of(run))


def test_a_store_of_frames_shows_its_own_without_the_video(tmp_path):
    frames = np.repeat(np.arange(0, 240, 20, dtype=np.uint8), 16 * 16 * 3).reshape(LENGTH, 16, 16, 3)
    run = made_run(tmp_path, recipe={**STORE, "backbone": "pixels"}, rows=frames)
    (tmp_path / "videos" / "a.mp4").unlink()
    (strip,) = strips(run)["rows"]
    np.testing.assert_allclose([each.mean() for each in pictures(strip)], [0, 60, 120, 160, 220], atol=2)


def test_sixty_pictures_of_noise_stay_below_four_megabytes():
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    large = small_jpeg(np.random.default_rng(0).integers(0, 256, (200, 320, 3), np.uint8))
    assert len(small_jpeg(noise)) < len(large)
    assert MOST_STRIPS * STRIP_FRAMES * len(large) < 4_000_000


def test_a_video_name_from_a_stranger_stays_text(tmp_path):
    name = '"><img src=x onerror=alert(1)>.mp4'
    page = page_of(made_run(tmp_path, name=name))
    assert "<img src=x" not in page
    assert "%3Cimg" in page and "&lt;img src=x onerror=alert(1)&gt;.mp4" in page
