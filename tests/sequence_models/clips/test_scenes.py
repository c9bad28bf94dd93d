"""Places: found where they stand out, offered where there are no groups, and never made up."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import pipeline
from extract.errors import SplitError
from sequence_models.clips.scenes import MOST_CLIPS, find_scenes, grouped_by_scene
from sequence_models.experiments.prepare import plan_run
from sequence_models.experiments.split_checks import scenes_record
from sequence_models.records import Clip
from sequence_models.settings import TrainSettings

RECIPE = [{"input": "rgb", "embedding_dim": 20}]


def clips_of(places, *, spread=0.3, per_place=4, dim=20, seed=0):
    """Clips of several places, each with its own picture; their classes, 0 and 1 by turns, show in none of it."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=dim) * 5
    pictures = rng.normal(size=(places, dim))
    return [
        Clip(
            f"p{place}/{number}",
            (common + pictures[place] + spread * rng.normal(size=dim) + rng.normal(size=(8, dim))).astype(np.float32),
            np.arange(8) / 8, np.arange(8), np.array(number % 2),
        )
        for place in range(places)
        for number in range(per_place)
    ]  # fmt: skip


def parts(scenes):
    """The clips of each place."""
    return sorted(
        sorted(key for key in scenes.places if scenes.places[key] == each) for each in set(scenes.places.values())
    )


def test_clips_of_one_place_are_found_together_whatever_happens_in_them():
    clips = clips_of(7)
    scenes = find_scenes(clips, RECIPE)
    assert parts(scenes) == [[f"p{place}/{number}" for number in range(4)] for place in range(7)]
    assert scenes.silhouette > 0.5
    assert scenes_record(clips, RECIPE) == {
        "clips": 28, "places": 7, "with_several_classes": 7,
        "silhouette": round(scenes.silhouette, 3), "is_clear": True,
        "protocol": "average linkage of the angles between mean embeddings, number of places by silhouette",
    }  # fmt: skip


def test_a_place_of_one_class_holds_no_several():
    clips = [replace(clip, labels=np.array(int(clip.clip_id[1]) > 2)) for clip in clips_of(7)]
    assert find_scenes(clips, RECIPE).with_several_classes(clips) == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_place_is_made_up_where_every_clip_has_its_own(seed):
    clips = clips_of(40, per_place=1, seed=seed)
    assert find_scenes(clips, RECIPE) is None and scenes_record(clips, RECIPE) == {}


def test_only_plain_pictures_show_a_place():
    """Differences and flow of a place look like those of any other."""
    clips = clips_of(7)
    rng = np.random.default_rng(1)
    joined = [
        replace(clip, embeddings=np.hstack([50 * rng.normal(size=(8, 30)), clip.embeddings]).astype(np.float32))
        for clip in clips
    ]
    recipes = [{"input": "diff", "embedding_dim": 30}, *RECIPE]
    assert parts(find_scenes(joined, recipes)) == parts(find_scenes(clips, RECIPE))


def test_too_few_and_too_many_clips_have_no_places():
    few = clips_of(2, per_place=2)
    assert find_scenes(few, RECIPE) is None
    many = few * (MOST_CLIPS // len(few) + 1)
    assert find_scenes(many, RECIPE) is None


def test_clips_that_are_all_alike_have_no_places():
    same = [replace(clips_of(1)[0], clip_id=str(number)) for number in range(8)]
    assert find_scenes(same, RECIPE) is None


def test_a_group_that_is_known_wins_over_a_place():
    clips = clips_of(7)
    clips[0] = replace(clips[0], group="known")
    groups = [clip.group for clip in grouped_by_scene(clips, RECIPE)]
    assert groups[0] == "known" and len(set(groups[1:4])) == 1 and re.fullmatch(r"scene\d", groups[1])


def test_where_none_stand_out_the_rule_says_so():
    with pytest.raises(SplitError) as error:
        grouped_by_scene(clips_of(40, per_place=1), RECIPE)
    assert str(error.value) == (
        "--group-from scenes finds no places that stand out in the mean embeddings of 40 clips; give a group column or "
        "another --group-from"
    )
    with pytest.raises(SplitError, match="of 4 clips; it takes 6 to 2,000 clips; give"):
        grouped_by_scene(clips_of(1), RECIPE)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of 28 clips of 7 places, and labels without groups."""
    folder = tmp_path_factory.mktemp("places")
    rows = ["clip_id,label"]
    for clip in clips_of(7):
        path = folder / "features" / f"{clip.clip_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, clip.embeddings)
        rows.append(f"{clip.clip_id},{'xy'[int(clip.labels)]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    command = ["import-features", str(folder / "features"), "--output", str(folder / "store"), "--fps", "8"]
    assert pipeline.main(command) == 0
    return folder


def test_places_are_offered_as_groups_where_there_are_none(store, tmp_path):
    _, clips = plan_run([store / "store"], store / "labels.csv", TrainSettings(), run=tmp_path / "run", cv="3")
    assert re.fullmatch(
        r"by their mean embeddings, 28 clips are of 7 places \(silhouette 0\.\d\d of 1\), 7 of which hold several "
        "classes; --group-from scenes keeps the clips of a place on one side of every split",
        clips.notes[-1],
    )


@pytest.mark.slow
def test_places_keep_to_one_side_of_the_split_and_are_counted_in_the_scores(store, tmp_path, capsys):
    train = ["train", str(store / "store"), "--labels", str(store / "labels.csv"), "--task", "many-to-one"]
    train += ["--model", "meanpool", "--updates", "2", "--run", str(tmp_path / "run"), "--group-from", "scenes"]
    assert pipeline.main(train) == 0
    said = capsys.readouterr().out
    assert "28 clips, 2 classes (x, y), 7 groups" in said and "--group-from scenes" not in said
    for fold in json.loads((tmp_path / "run" / "run.json").read_text())["folds"]:
        places = [{clip_id[:2] for clip_id in fold[part]} for part in ("train", "validation", "test")]
        assert not (places[0] & places[1] or places[0] & places[2] or places[1] & places[2])
    assert pipeline.main(["evaluate", str(tmp_path / "run")]) == 0
    scenes = json.loads((tmp_path / "run" / "metrics.json").read_text())["scenes"]
    assert (scenes["places"], scenes["with_several_classes"]) == (7, 7)


def test_raw_frames_show_no_places(tmp_path, make_video, capsys):
    for name in ("x", "y"):
        make_video(tmp_path / "videos" / name / "1.avi")
    frames = str(tmp_path / "frames")
    command = ["extract", str(tmp_path / "videos"), "--output", frames, "--backbone", "pixels", "--image-size", "8"]
    assert pipeline.main(command) == 0
    told = ["train", frames, "--task", "many-to-one", "--run", str(tmp_path / "run"), "--group-from", "scenes"]
    assert pipeline.main([*told, "--model", "td_cnn_avgpool"]) == 2
    assert "--group-from scenes compares embeddings, but " in capsys.readouterr().err
