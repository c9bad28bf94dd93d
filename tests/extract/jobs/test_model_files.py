"""Stores made with a model file of the user's own: the right rows, their recipe, resumed, and made again from a run."""

from __future__ import annotations

import os

import numpy as np
import pytest
from model_files import PLAIN, SIDE, SPEC, onnx_file, window_file
from video_files import moving_frames, write_video

from extract.decode.reader import open_clip
from extract.errors import RecipeMismatchError, UsageError
from extract.jobs.job import extract
from extract.jobs.recipe import settings_from_recipe
from extract.jobs.settings import ExtractSettings
from extract.store.pack import pack
from extract.store.reader import open_store
from extract.store.verify import verify
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule
from pipeline import main

LENGTHS = {"long": 23, "one": 7, "short": 3}


@pytest.fixture
def videos(tmp_path):
    for name, count in LENGTHS.items():
        write_video(tmp_path / "videos" / f"{name}.mp4", moving_frames(count))
    return tmp_path / "videos"


def settings(tmp_path, model, spec, output="features"):
    return ExtractSettings(
        output=tmp_path / output, backbone=f"file:{model}", spec=spec, sampling=SamplingRule("every", 1)
    )


def means(videos):
    """Mean of each channel of each frame, times and frame indices, per clip, as they are decoded."""
    found = {}
    for item in find_videos(videos):
        decode = ExtractSettings(output=videos, sampling=SamplingRule("every", 1)).decode_settings(SIDE)
        with open_clip(item, decode, chunk_frames=5) as reader:
            chunks = list(reader)
        frames, times, indices = (
            np.concatenate([getattr(chunk, name) for chunk in chunks])
            for name in ("frames", "pts_seconds", "frame_indices")
        )
        found[item.clip_id] = frames.mean(axis=(1, 2)), times, indices
    return found


def test_windows_are_embedded_at_the_middle_of_their_time(videos, tmp_path):
    """Ends, a clip of one window, and a clip shorter than that."""
    model = window_file(tmp_path / "m.onnx", frames=4)  # the mean of the window and of its last frame, per channel
    made = settings(tmp_path, model, (*PLAIN, "stride=2", "hop=4"))
    assert {result.status for result in extract(find_videos(videos), made)} == {"done"}
    store = open_store(made.output)
    for clip_id, (values, times, indices) in means(videos).items():
        clip = store.read(clip_id)
        starts = range(0, max(1, len(values) - 6), 4)
        places = [np.minimum(start + np.arange(0, 8, 2), len(values) - 1) for start in starts]
        wanted = [np.concatenate([values[place].mean(axis=0), values[place[-1]]]) for place in places]
        np.testing.assert_allclose(clip.embeddings, wanted, rtol=2e-3)
        np.testing.assert_allclose(clip.pts_seconds, [times[place[[0, -1]]].mean() for place in places])
        assert clip.frame_indices.tolist() == [indices[place[[0, -1]]].sum() // 2 for place in places]
    assert [len(store.read(clip_id)) for clip_id in sorted(means(videos))] == [5, 1, 1]
    pack(made.output, tmp_path / "packed.h5")
    assert verify(made.output).is_sound and verify(tmp_path / "packed.h5").is_sound
    assert {result.status for result in extract(find_videos(videos), made)} == {"skipped"}


def test_a_job_of_windows_that_was_stopped_goes_on_with_the_same_rows(videos, tmp_path):
    model, spec = window_file(tmp_path / "m.onnx", frames=4), (*PLAIN, "hop=2")
    whole, begun = settings(tmp_path, model, spec, "whole"), settings(tmp_path, model, spec, "begun")
    list(extract(find_videos(videos), whole))
    results = extract(find_videos(videos), begun)
    next(results)
    results.close()
    list(extract(find_videos(videos), begun))
    one, other = open_store(whole.output), open_store(begun.output)
    for clip_id in means(videos):
        np.testing.assert_array_equal(one.read(clip_id).embeddings, other.read(clip_id).embeddings)


def test_another_spec_or_file_is_another_recipe(videos, tmp_path):
    model = onnx_file(tmp_path / "m.onnx")
    list(extract(find_videos(videos), settings(tmp_path, model, SPEC)))
    with pytest.raises(RecipeMismatchError, match="spec="):
        list(extract(find_videos(videos), settings(tmp_path, model, (*SPEC[:-1], "channel_order=bgr"))))
    onnx_file(model, inside=True)
    with pytest.raises(RecipeMismatchError, match="weights_digest="):
        list(extract(find_videos(videos), settings(tmp_path, model, SPEC)))


def test_a_recipe_finds_its_file_wherever_it_is_and_names_it_where_it_is_not_given(videos, tmp_path):
    model = onnx_file(tmp_path / "m.onnx")
    made = settings(tmp_path, model, SPEC)
    list(extract(find_videos(videos), made))
    recipe = open_store(made.output).recipe
    assert recipe["backbone"] == "file:m.onnx"
    moved = tmp_path / "elsewhere.onnx"
    os.rename(model, moved)
    other = onnx_file(tmp_path / "other.onnx", inside=True)
    again = settings_from_recipe(recipe, tmp_path / "again", weights=[other, moved])
    assert again.backbone == f"file:{moved}" and "mean=0.4,0.5,0.6" in again.spec
    with pytest.raises(UsageError, match=r"your model file m.onnx .* which .*other.onnx is not; give it"):
        settings_from_recipe(recipe, tmp_path / "again", weights=[other])


def test_from_a_model_file_to_predictions_on_new_videos(tmp_path, capsys):
    """inspect, extract, train, and predict from videos with the run and the file."""
    model, folder = onnx_file(tmp_path / "m.onnx"), tmp_path / "videos"
    rows = ["clip_id,label,group"]
    for k in range(12):
        frames = moving_frames(6 + k % 3)
        write_video(folder / f"{k}.mp4", frames if k % 2 else [255 - frame for frame in frames])
        rows.append(f"{k},{'light' if k % 2 else 'dark'},{k // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    assert main(["inspect-backbone", str(model)]) == 1
    assert "range          ?" in capsys.readouterr().out
    spec = [word for text in SPEC for word in ("--spec", text)]
    store, run = str(tmp_path / "features"), str(tmp_path / "run")
    assert main(["extract", str(folder), "--output", store, "--backbone", f"file:{model}", *spec]) == 0
    labels = ["--labels", str(tmp_path / "labels.csv"), "--cv", "3", "--run", run]
    assert main(["train", store, *labels, "--model", "meanpool", "--updates", "3", "--task", "many-to-one"]) == 0
    capsys.readouterr()
    output = tmp_path / "predictions.csv"
    new = ["predict", run, str(folder), "--output", str(output)]
    assert main(new) == 2
    assert "give it with --weights PATH" in capsys.readouterr().err
    assert main([*new, "--weights", str(model)]) == 0
    assert len(output.read_text().splitlines()) == 13
