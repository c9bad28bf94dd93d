"""The report of a feature store: what is odd, what failed, what looks alike, what it waited for."""

import numpy as np
import pytest
from page_reading import Tags, text_of
from video_files import grey_frames, write_video

import pipeline
from extract.records import Source, VideoItem, VideoTruth
from extract.store.failures import Failure, append_failure
from extract.store.pack import pack
from extract.store.reader import open_store
from extract.store.verify import verify
from extract.store.writer import StoreWriter
from extract.videos.sources import source_of
from sequence_models.report import store_sample
from sequence_models.report.store import store_content, write_store_report
from sequence_models.report.store_sample import channel_facts, map_content, near_duplicates, read_sample, unmoving

RECIPE = {"backbone": "tiny", "sampling": "every=3", "image_size": 8}
EVIL = '"><img src=x onerror=alert(1)><script>'
LENGTH, WIDTH = 24, 8


def truth_of(**more):
    return VideoTruth("pyav", "h264", 64, 48, declared_frames=72, decoded_frames=72, duration_seconds=3.0, **more)


def write_store(path, clips, *, recipe=RECIPE, seconds=None):
    """A store of clip_id -> (rows, truth, source)."""
    rows = next(iter(clips.values()))[0]
    with StoreWriter(path, recipe, engine="keras", dtype=rows.dtype.name) as writer:
        for clip_id, (values, truth, source) in clips.items():
            places = 3 * np.arange(len(values))
            writer.append(clip_id, values, places, places / 24, source or Source("/nowhere/a.mp4", 1, 1))
            writer.finish(clip_id, truth)
        for stage, value in (seconds or {}).items():
            writer.add_seconds(stage, value)
    return path


@pytest.fixture(scope="module")
def rows():
    """Clips of two folders around different means; the last is the first again, with a little noise."""
    rng = np.random.default_rng(0)
    walks = [rng.normal(0, 1, (LENGTH, WIDTH)).cumsum(axis=0) + 9 * (k % 2) for k in range(15)]
    walks.append(walks[0] + rng.normal(0, 0.01, (LENGTH, WIDTH)))
    values = [walk.astype(np.float32) for walk in walks]
    for each in values:
        each[:, 5] = 1.0  # a dead channel
    return {f"{'even' if k % 2 == 0 else 'odd'}/{k:02d}.mp4": each for k, each in enumerate(values)}


@pytest.fixture(scope="module")
def store(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("stores")
    video = folder / "lost.mp4"
    write_video(video, grey_frames(72, height=48, width=64), rate=24)
    source = source_of(VideoItem("even/00.mp4", video), with_digest=True)
    clips = {name: (values, truth_of(), None) for name, values in rows.items()}
    clips["even/00.mp4"] = (rows["even/00.mp4"], truth_of(lost_spans=((1.0, 1.5),)), source)
    clips["odd/01.mp4"] = (rows["odd/01.mp4"], truth_of(rotation_degrees=90), None)
    path = write_store(folder / "store", clips)
    append_failure(
        path / "failures-x.jsonl", Failure(f"{EVIL}.mp4", "UnreadableVideoError", f"no {EVIL}", 1, 1, 10**18)
    )
    return path


@pytest.fixture(scope="module")
def content(store):
    return store_content(open_store(store))


def test_an_odd_clip_is_named_with_frames_of_its_video(content):
    assert content["odd_lines"] == [
        "1 clip (even/00.mp4): lost frames at 1.00-1.50 s",
        "1 clip (odd/01.mp4): rotated by 90 degrees",
    ]
    lost, rotated = content["strips"]["rows"]
    assert [round(frame["seconds"], 3) for frame in lost["frames"]] == [0.0, 0.75, 1.5, 2.125, 2.875]
    assert lost["link"].endswith("/lost.mp4") and lost["said"] == "lost frames at 1.00-1.50 s"
    assert not rotated["frames"] and "nowhere/a.mp4" in rotated["why"]


def test_a_copy_and_a_dead_channel_are_found(content):
    (pair,) = content["pairs"]
    assert {pair.clip_id, pair.other_id} == {"even/00.mp4", "odd/15.mp4"}
    assert content["channels"]["dead"] == [5]
    warned = [caution.topic for caution in content["cautions"] if caution.is_warning]
    assert {"Near-duplicates", "Dead channels", "Failures"} <= set(warned)


def test_the_map_has_a_dot_per_clip_coloured_by_folder_and_joins_copies(content):
    found = content["map"]
    assert [(name, count) for name, _, count in found["legend"]] == [("even", 8), ("odd", 8)]
    colours = {point["name"].partition("/")[0]: point["colour"] for point in found["points"]}
    assert len(found["points"]) == 16 and len(set(colours.values())) == 2
    assert {point["name"] for point in found["points"] if point["twin"]} == {"even/00.mp4", "odd/15.mp4"}
    assert len(found["lines"]) == 1
    assert all(0 <= point["x"] <= 640 and 0 <= point["y"] <= 400 for point in found["points"])


def test_similar_clips_lie_together_on_the_map(tmp_path):
    rng = np.random.default_rng(1)
    clips = {
        f"{name}/{k}.mp4": (rng.normal(mean, 1, (6, WIDTH)).astype(np.float32), None, None)
        for name, mean in (("low", 0), ("high", 20))
        for k in range(20)
    }
    sample = read_sample(open_store(write_store(tmp_path / "s", clips)))
    places = {point["name"]: np.array([point["x"], point["y"]]) for point in map_content(sample, [])["points"]}
    low, high = (np.array([at for name, at in places.items() if name.startswith(folder)]) for folder in ("low", "high"))
    apart = np.linalg.norm(low.mean(axis=0) - high.mean(axis=0))
    assert apart > 2 * max(np.linalg.norm(each - each.mean(axis=0), axis=1).mean() for each in (low, high))


def test_the_same_store_gives_the_same_page(store, tmp_path):
    first, second = (write_store_report(store, tmp_path / f"{k}.html").read_bytes() for k in range(2))
    assert first == second


def test_a_stranger_s_names_stay_text(store, tmp_path):
    page = write_store_report(store, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "<script" not in page
    assert f"{EVIL}.mp4" in text_of(page)
    assert not Tags(page).open


def test_a_report_inside_a_store_leaves_it_sound(store):
    assert write_store_report(store) == store / "report.html"
    assert verify(store).is_sound and len(open_store(store)) == 16
    (store / "report.html").unlink()


def test_a_packed_store_has_its_report_beside_it(store, tmp_path, capsys):
    pack(store, tmp_path / "all.h5")
    assert pipeline.main(["report", str(tmp_path / "all.h5")]) == 0
    assert (tmp_path / "all.report.html").exists()
    assert "all.report.html" in capsys.readouterr().out


def test_flags_of_runs_are_refused_for_a_store(store, capsys):
    assert pipeline.main(["report", str(store), "--against", str(store)]) == 2
    assert "is a feature store; --against and --figures go with a run" in capsys.readouterr().err


def test_a_store_without_clips_has_a_report(tmp_path):
    with StoreWriter(tmp_path / "s", RECIPE, engine="keras", dtype="float32"):
        pass
    text = text_of(write_store_report(tmp_path / "s").read_text(encoding="utf-8"))
    assert "0 clips" in text and "holds no complete clip yet" in text


def test_a_single_clip_of_one_timestep_has_a_report(tmp_path):
    store = write_store(tmp_path / "s", {"a.mp4": (np.ones((1, WIDTH), np.float32), truth_of(), None)})
    assert "1 clip: 1 timestep" in text_of(write_store_report(store).read_text(encoding="utf-8"))


def test_a_store_of_frames_shows_them_and_has_no_map(tmp_path):
    frames = np.full((6, 8, 8, 3), 90, np.uint8)
    recipe = {**RECIPE, "backbone": "pixels", "channels": 3}
    store = write_store(tmp_path / "s", {"a.mp4": (frames, truth_of(interlaced=True), None)}, recipe=recipe)
    content = store_content(open_store(store))
    assert content["map"] is None and content["channels"] is None
    assert content["strips"]["rows"][0]["said"] == "interlaced" and content["strips"]["rows"][0]["frames"]


def test_imported_features_have_a_map_but_no_pictures(tmp_path):
    rng = np.random.default_rng(0)
    clips = {f"{k}.npy": (rng.normal(size=(5, WIDTH)).astype(np.float32), None, None) for k in range(12)}
    clips["12.npy"] = (np.ones((5, WIDTH), np.float32), None, None)
    content = store_content(open_store(write_store(tmp_path / "s", clips, recipe={"source": "imported", "fps": 8.0})))
    assert len(content["map"]["points"]) == 13
    assert content["odd_lines"] == ["1 clip (12.npy): every timestep has the same numbers: a still picture?"]
    assert "imported" in content["strips"]["rows"][0]["why"]


def test_a_large_store_is_sampled_and_the_page_says_so(store, tmp_path, monkeypatch):
    monkeypatch.setattr(store_sample, "MOST_CLIPS", 12)
    monkeypatch.setattr(store_sample, "MOST_ROWS", 100)
    monkeypatch.setattr(store_sample, "FEWEST_ON_MAP", 8)
    text = text_of(write_store_report(store, tmp_path / "p.html").read_text(encoding="utf-8"))
    assert "8 of 16 clips, evenly spread over the names. Of their timesteps, one in 2 was read." in text


def test_the_bottleneck_is_what_the_backbone_waited_for():
    from sequence_models.report.store import speed_content

    def slowest(**seconds):
        return speed_content({"seconds": seconds, "frames": 100})["sentence"]

    assert "the backbone was the bottleneck" in slowest(backbone=9.5, backbone_waited=0.4, backbone_held=0.1)
    assert "decoding was the bottleneck" in slowest(backbone=5, backbone_waited=4, backbone_held=1)
    assert "writing was the bottleneck" in slowest(backbone=5, backbone_waited=1, backbone_held=4)
    assert "100 timesteps in 0:10 min of work, 10.0 a second" in slowest(backbone=5, backbone_waited=4, backbone_held=1)
    assert speed_content({"seconds": {}, "frames": 0}) is None


def ramp(length):
    return np.tile(np.arange(length, dtype=np.float32)[:, None], (1, WIDTH))


def test_a_clip_much_longer_than_the_others_is_odd(tmp_path):
    clips = {f"{k}": (ramp(4), None, None) for k in range(4)}
    clips["long"] = (ramp(90), None, None)
    content = store_content(open_store(write_store(tmp_path / "s", clips)))
    assert content["odd_lines"] == ["1 clip (long): 90 timesteps, the median clip has 4"]


def test_facts_of_a_sample_are_of_all_its_rows(store):
    sample = read_sample(open_store(store))
    facts = channel_facts(sample)
    rows = np.concatenate([clip.embeddings for clip in sample.clips]).astype(np.float64)
    np.testing.assert_allclose(facts["spread"], rows.std(axis=0), atol=1e-6)
    assert unmoving(sample) == [] and len(near_duplicates(sample)) == 1
