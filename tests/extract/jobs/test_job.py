"""The batch job: nothing twice, nothing lost, one bad video costs itself."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from extract.backbones.registry import load_backbone
from extract.decode import reader as decode
from extract.decode.fit import RESIZE
from extract.decode.settings import FrameSettings
from extract.errors import BackboneError, RecipeMismatchError, TooManyFailuresError, UsageError
from extract.jobs import plan
from extract.jobs.job import extract
from extract.jobs.plan import decide_clip, in_part
from extract.jobs.recipe import recipe_of, settings_from_recipe
from extract.jobs.settings import ExtractSettings, failure_limit
from extract.store.reader import open_store
from extract.store.recipe import fingerprint
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule
from pipeline import make_parser


@pytest.fixture
def videos(tmp_path, make_video):
    for k, name in enumerate(("one", "two", "three")):
        make_video(tmp_path / "videos" / f"{name}.avi", frames=6 + k, step=5 + k)
    return tmp_path / "videos"


@pytest.fixture
def settings(tmp_path):
    return ExtractSettings(
        output=tmp_path / "features",
        backbone="tiny",
        sampling=SamplingRule("every", 1),
        engine="keras",
        batch_size=4,
        decode_threads=2,
    )


def statuses(videos, settings, **more):
    return Counter(result.status for result in extract(find_videos(videos), replace(settings, **more)))


@pytest.mark.parametrize(
    ("rule", "digits"),
    [("fps=8", "d1e2499963ff803cefbcf047f0dd2ec5"), ("num_frames=16", "5751261855f02bcbf97ac7404d3940f8")],
)
def test_the_fingerprint_of_a_recipe_stays(rule, digits):
    """Another one makes every store that users have another recipe's."""
    backbone = replace(load_backbone("tiny"), weights_digest="d")
    settings = ExtractSettings(Path("x"), backbone="tiny", sampling=SamplingRule.parse(rule))
    assert fingerprint(recipe_of(settings, backbone)) == digits


def test_grey_pictures_of_motion_mean_nothing():
    with pytest.raises(UsageError) as error:
        ExtractSettings(Path("x"), backbone="pixels", channels=1, input="flow")
    assert str(error.value) == (
        "--channels 1 does not go with --input flow, whose three channels are rightward motion, downward motion "
        "and speed; leave it out"
    )


def test_all_is_done_and_then_all_is_skipped(videos, settings):
    assert statuses(videos, settings) == {"done": 3}
    assert open_store(settings.output).lengths() == {"one.avi": 6, "two.avi": 7, "three.avi": 8}
    assert statuses(videos, settings) == {"skipped": 3}


def test_threads_and_batch_size_change_no_number(videos, settings, tmp_path):
    statuses(videos, settings)
    statuses(videos, settings, output=tmp_path / "other", batch_size=7, decode_threads=1)
    ours, other = open_store(settings.output), open_store(tmp_path / "other")
    for clip_id in ours.clip_ids:
        np.testing.assert_allclose(
            ours.read(clip_id).embeddings.astype(np.float32),
            other.read(clip_id).embeddings.astype(np.float32),
            rtol=2e-3,
            atol=2e-3,  # one rounding of float16
        )


def test_only_the_changed_video_is_done_again(videos, settings, make_video):
    statuses(videos, settings)
    make_video(videos / "two.avi", frames=9)
    assert statuses(videos, settings) == {"done": 1, "skipped": 2}
    assert open_store(settings.output).lengths()["two.avi"] == 9


def test_a_touched_video_of_the_same_content_is_not_done_again(videos, settings):
    statuses(videos, settings)
    os.utime(videos / "two.avi", ns=(1, 1))
    assert statuses(videos, settings) == {"skipped": 3}


def test_same_size_and_time_is_missed_unless_rehashed(videos, settings):
    statuses(videos, settings)
    path = videos / "two.avi"
    then, content = path.stat(), bytearray(path.read_bytes())
    content[-300] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert statuses(videos, settings) == {"skipped": 3}
    assert statuses(videos, settings, rehash=True) == {"done": 1, "skipped": 2}


def test_a_fault_of_ours_that_one_video_brings_to_light_stops_no_other(videos, settings, monkeypatch):
    """PyAV 19 gave another type than PyAV 18, and every job with a phone's video in it ended in a traceback."""
    start = decode._start

    def breaks(item, *others):
        return None.type if item.clip_id == "two.avi" else start(item, *others)

    monkeypatch.setattr(decode, "_start", breaks)
    assert statuses(videos, settings) == {"done": 2, "failed": 1}
    assert open_store(settings.output).failures()["two.avi"].error == "UnexpectedVideoError"
    monkeypatch.undo()  # the next version has no such fault, and nobody has to say so
    assert statuses(videos, settings) == {"done": 1, "skipped": 2}


def test_a_bad_video_costs_itself_and_is_not_tried_again_until_it_changes(videos, settings, make_video):
    (videos / "bad.mp4").write_text("this is no video")
    assert statuses(videos, settings) == {"done": 3, "failed": 1}
    failure = open_store(settings.output).failures()["bad.mp4"]
    assert failure.error == "UnreadableVideoError" and "bad.mp4" in failure.message
    again = {r.clip_id: r for r in extract(find_videos(videos), settings)}
    assert again["bad.mp4"].status == "failed" and "--retry-failed" in again["bad.mp4"].reason
    (videos / "bad.mp4").write_bytes((videos / "one.avi").read_bytes())
    assert statuses(videos, settings) == {"done": 1, "skipped": 3}


def test_a_vanished_video_is_a_failure_not_a_crash(videos, settings):
    items = find_videos(videos)
    (videos / "two.avi").unlink()
    results = {r.clip_id: r for r in extract(items, settings)}
    assert results["two.avi"].status == "failed"
    assert open_store(settings.output).clip_ids == ["one.avi", "three.avi"]


def test_another_recipe_needs_another_output(videos, settings):
    statuses(videos, settings)
    with pytest.raises(RecipeMismatchError, match=r"fit.*stretch.*crop"):
        statuses(videos, settings, fit="crop")


def test_a_store_of_failures_alone_takes_another_recipe_and_tries_them_again(videos, settings):
    for path in videos.iterdir():
        path.write_bytes(b"no video")
    assert statuses(videos, settings) == {"failed": 3}
    assert statuses(videos, settings, fit="crop") == {"failed": 3}
    store = open_store(settings.output)
    assert store.recipe["fit"] == "crop" and len(store.failures()) == 3
    assert len(list(settings.output.glob("failures-*.jsonl"))) == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"fit": "sideways"}, "fit 'sideways' is unknown; choose one of stretch, crop, pad"),
        ({"decode_threads": -3}, "decode_threads must be at least 1, got -3; choose another --decode-threads."),
        ({"flush_seconds": -1.0}, "--flush-seconds -1.0 must be greater than 0"),
        ({"flush_seconds": float("nan")}, "--flush-seconds nan must be greater than 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0; choose another --batch-size."),
        ({"engine": "steam"}, "engine 'steam' is unknown; choose one of auto, keras, litert"),
        ({"precision": "float8"}, "precision 'float8' is unknown"),
        ({"max_failures": "some"}, "--max-failures 'some' must be a count"),
        ({"part": (3, 2)}, "--part 3/2 must be I/N"),
        ({"on_corrupt": "ignore"}, "on_corrupt 'ignore' is unknown"),
    ],
)
def test_settings_out_of_range_are_refused_where_the_record_is_made(settings, setting, message):
    with pytest.raises(UsageError) as error:
        replace(settings, **setting)
    assert message in str(error.value)


def test_two_clips_of_one_name_are_refused_before_anything_is_made(videos, settings):
    item = find_videos(videos)[0]
    with pytest.raises(UsageError, match=r"two clips are named 'one\.avi'"):
        list(extract([item, item], settings))
    assert not settings.output.exists()


def test_a_vanished_video_is_not_written_into_another_ledger_at_every_run(videos, settings):
    items = find_videos(videos)
    (videos / "two.avi").unlink()
    for _ in range(3):
        found = [result for result in extract(items, settings) if result.status == "failed"]
        assert [result.clip_id for result in found] == ["two.avi"] and "No such file" in found[0].reason
    assert len(list(settings.output.glob("failures-*.jsonl"))) == 1


def test_threads_of_opencv_are_the_callers_again(videos, settings):
    before = cv2.getNumThreads()
    cv2.setNumThreads(before + 2)
    try:
        statuses(videos, settings)
        assert cv2.getNumThreads() == before + 2
    finally:
        cv2.setNumThreads(before)


def test_a_wrong_weights_file_leaves_no_empty_store_behind(videos, settings, tmp_path):
    (tmp_path / "wrong.h5").write_bytes(b"no weights")
    with pytest.raises(BackboneError, match=r"wrong\.h5 does not match mobilenet_v2"):
        statuses(videos, settings, backbone="mobilenet_v2", weights=tmp_path / "wrong.h5", image_size=32)
    assert not settings.output.exists()


def test_the_seconds_of_every_stage_are_in_the_store(videos, settings):
    statuses(videos, settings, flush_seconds=1e-9)  # several shards: each records its own share
    seconds = open_store(settings.output).summary()["seconds"]
    assert set(seconds) == {"decode", "backbone", "store", "decoders_waited", "backbone_waited", "backbone_held"}
    assert seconds["decode"] > 0 and seconds["backbone"] > 0 and seconds["store"] > 0


def test_parts_share_the_clips_without_overlap(videos, settings):
    items = find_videos(videos)
    for item in items:
        assert sum(in_part(item.clip_id, (k, 4)) for k in (1, 2, 3, 4)) == 1
    done = sum(statuses(videos, settings, part=(k, 2))["done"] for k in (1, 2))
    assert done == 3 and len(open_store(settings.output)) == 3


def test_max_failures_stops_the_job_and_keeps_what_was_done(videos, settings):
    for k in range(4):
        (videos / f"bad{k}.mp4").write_text("no video")
    with pytest.raises(TooManyFailuresError, match="more than --max-failures 1"):
        statuses(videos, settings, max_failures="1", decode_threads=1)


@pytest.mark.parametrize(("text", "limit"), ((None, float("inf")), ("3", 3), ("5%", 10), ("0", 0)))
def test_failure_limit(text, limit):
    assert failure_limit(text, 200) == limit


def test_failure_limit_names_what_is_wrong():
    with pytest.raises(UsageError, match="--max-failures 'many' must be a count such as 10 or a share such as 5%"):
        failure_limit("many", 200)


def test_closing_the_job_early_keeps_what_it_yielded(videos, settings):
    job = extract(find_videos(videos), replace(settings, decode_threads=1))
    first = next(job)
    job.close()
    assert first.status == "done" and first.clip_id in open_store(settings.output)
    assert statuses(videos, settings) == {"done": 2, "skipped": 1}


def cut_off(videos, settings):
    """A run that ends by an exception after 40 frames."""

    class Cut(Exception):
        pass

    def cut(progress):
        if progress.frames >= 40:
            raise Cut

    with pytest.raises(Cut):
        list(extract(find_videos(videos), settings, on_progress=cut))


def test_a_run_cut_off_inside_a_clip_goes_on_behind_its_last_sealed_part(tmp_path, settings, make_video):
    make_video(tmp_path / "long" / "long.avi", frames=90, step=2)
    whole = replace(settings, output=tmp_path / "whole")
    statuses(tmp_path / "long", whole)

    cut_off(tmp_path / "long", settings)
    item = find_videos(tmp_path / "long")[0]
    decision = decide_clip(item, open_store(settings.output))
    assert decision.partial is not None and 0 < decision.partial.rows <= 40
    assert statuses(tmp_path / "long", settings) == {"done": 1}
    np.testing.assert_allclose(
        open_store(settings.output).read("long.avi").embeddings.astype(np.float32),
        open_store(whole.output).read("long.avi").embeddings.astype(np.float32),
        rtol=2e-3,
        atol=2e-3,
    )


def test_a_video_that_is_replaced_after_the_decision_to_go_on_with_it_is_embedded_from_the_start(
    tmp_path, settings, make_video, monkeypatch
):
    """The job said "done", and the store held two halves that did not fit together, so no clip."""
    path = make_video(tmp_path / "long" / "long.avi", frames=90, step=2)

    cut_off(tmp_path / "long", settings)

    def replaced(*arguments, **options):
        decision = decide_clip(*arguments, **options)
        assert decision.partial is not None and decision.partial.rows
        make_video(path, frames=70, step=3)
        return decision

    monkeypatch.setattr(plan, "decide_clip", replaced)
    (result,) = extract(find_videos(tmp_path / "long"), settings)
    assert (result.status, result.rows) == ("done", 70)
    assert open_store(settings.output).read("long.avi").frame_indices.tolist() == list(range(70))


def test_a_recipe_gives_back_the_settings_that_made_it(videos, settings, tmp_path):
    statuses(videos, settings, fit="pad", sampling=SamplingRule("fps", 4.0))
    recipe = open_store(settings.output).recipe
    same = settings_from_recipe(recipe, tmp_path / "again")
    assert (same.backbone, same.fit, same.sampling, same.image_size) == ("tiny", "pad", SamplingRule("fps", 4.0), 8)


@pytest.mark.parametrize("setting", fields(FrameSettings), ids=lambda setting: setting.name)
def test_a_setting_of_frames_is_flag_recipe_and_way_back_from_one_record(setting, settings, tmp_path):
    """Whoever adds one adds a field, and the code that uses it."""
    for value in setting.metadata["choices"]:
        changed = replace(settings, **{setting.name: value})
        recipe = recipe_of(changed, load_backbone("tiny"))
        assert recipe.get(setting.name, setting.default) == value
        assert getattr(settings_from_recipe(recipe, tmp_path), setting.name) == value
        assert getattr(changed.decode_settings(8), setting.name) == value
    for verb in (("extract", "v", "--output", "f"), ("show", "v", "--output", "f")):
        flag = [f"--{setting.name.replace('_', '-')}", *([] if setting.metadata["choices"][0] == "none" else [value])]
        assert getattr(make_parser().parse_args([*verb, *flag]), setting.name) == value


def test_a_recipe_of_an_earlier_version_cannot_be_followed_and_says_what_to_do(tmp_path):
    old = {"backbone": "tiny", "image_size": 8, "resize": "halves, then area", "decoder": "auto", "sampling": "fps=8"}
    with pytest.raises(UsageError) as error:
        settings_from_recipe(old, tmp_path)
    assert str(error.value) == (
        "these embeddings come from an earlier clipseq, which scaled pictures differently (resize=halves, then area, "
        "now swscale area, full chroma): videos cannot be embedded the same way. Extract and train again, or give a "
        "store of that version instead of videos"
    )


def test_a_forgotten_weights_file_is_asked_for_before_anything_is_extracted(tmp_path):
    paths = [tmp_path / f"{name}.pth" for name in "ab"]
    for path in paths:
        path.write_bytes(path.name.encode())
    recipes = [
        {
            **{"backbone": "efficientnet_lite0", "image_size": 224, "resize": RESIZE, "sampling": "fps=8"},
            **{"fit": "stretch", "input": "rgb", "deinterlace": "none", "on_corrupt": "salvage"},
            **{"precision": "float32", "weights_digest": hashlib.sha256(path.read_bytes()).hexdigest()},
        }
        for path in paths
    ]
    assert [settings_from_recipe(recipe, tmp_path, weights=paths).weights for recipe in recipes] == paths
    for given, said in (((), "weights here"), (paths[:1], r"weights here, and .*a\.pth does not match")):
        with pytest.raises(UsageError, match=rf"made by efficientnet_lite0 with .* {said}.*--weights PATH"):
            settings_from_recipe(recipes[1], tmp_path, weights=given)


def test_imported_features_have_no_videos_to_embed(tmp_path):
    with pytest.raises(UsageError, match="these features were imported"):
        settings_from_recipe({"import": "npy"}, tmp_path)
