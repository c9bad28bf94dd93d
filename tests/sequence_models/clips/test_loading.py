import re
import unicodedata

import numpy as np
import pytest
from label_examples import joined, write_labels, write_store

from extract.errors import ClipError, LabelError, StoreError, UsageError
from extract.records import Source, VideoTruth
from extract.store.lazy_rows import LazyRows
from extract.store.pack import pack
from extract.store.writer import StoreWriter
from sequence_models.clips.loading import load_clips, load_unlabelled
from sequence_models.labels.clip_names import ClipNames
from sequence_models.labels.targets import look_alikes
from sequence_models.records import Clip
from sequence_models.settings import DataSettings

WHOLE, FRAMES = "many-to-one", "many-to-many"
TRUTH = VideoTruth("test 1", "h264", 8, 8, decoded_frames=10, average_rate=10.0, duration_seconds=1.0)


@pytest.fixture
def store(tmp_path):
    """A function that writes a store of clips of 2-wide embeddings: clip_id -> timesteps, 10 frames/s."""

    def write(clips, *, name="features", **how):
        return write_store(tmp_path / name, clips, **how)

    return write


@pytest.fixture
def labels(tmp_path):
    return lambda *lines: write_labels(tmp_path / "labels.csv", *lines)


def test_without_a_label_file_the_first_folder_is_the_class(store):
    data = load_clips([store({"hug/b/1.avi": 3, "kick/2.avi": 5, "3.avi": 2})], None, task=WHOLE)
    assert data.vocabulary == ("hug", "kick")
    assert [(c.clip_id, int(c.labels), len(c)) for c in data.clips] == [("hug/b/1.avi", 0, 3), ("kick/2.avi", 1, 5)]
    assert data.unlabelled == ("3.avi",)
    assert data.recipes == ({"backbone": "features"},)


def test_the_class_of_a_clip_that_a_list_named_is_its_own_folder(tmp_path):
    """The first part of a long path was one class for all."""
    clips = ("data/set1/hug/1.avi", "data/set1/kick/2.avi", "more/hug/3.avi")
    with StoreWriter(tmp_path / "s", {"backbone": "b"}, engine="none", clips_from="list") as writer:
        for clip_id in clips:
            writer.append(clip_id, np.ones((2, 3)), np.arange(2), np.arange(2) / 8, Source(clip_id, 1, 1))
            writer.finish(clip_id, TRUTH)
    pack(tmp_path / "s", tmp_path / "s.h5")
    for path in (tmp_path / "s", tmp_path / "s.h5"):
        data = load_clips([path], None, task=WHOLE)
        assert data.vocabulary == ("hug", "kick") and [int(clip.labels) for clip in data.clips] == [0, 1, 0]


def test_labels_carry_group_and_split(store, labels):
    path = labels("clip_id,label,group,split", "a.avi,x,g1,train", "b.avi,y,g2,test")
    data = load_clips([store({"a.avi": 3, "b.avi": 4})], path, task=WHOLE)
    assert [(c.group, c.split) for c in data.clips] == [("g1", "train"), ("g2", "test")]


@pytest.mark.parametrize(
    "name",
    ["hug/1.avi", "1.avi", "1", "hug/1", "1.mp4", "videos/hug/1.avi", "/data/videos/hug/1.avi", "hug\\1.avi", "./1"],
)
def test_a_clip_may_be_named_by_file_name_or_stem(store, labels, name):
    data = load_clips([store({"hug/1.avi": 3, "hug/11.avi": 3})], labels("clip_id,label", f"{name},x"), task=WHOLE)
    assert [clip.clip_id for clip in data.clips] == ["hug/1.avi"]
    assert data.unlabelled == ("hug/11.avi",)


def test_names_with_dots_are_no_extensions(store, labels):
    data = load_clips([store({"rec1.5": 3, "rec1.7": 3})], labels("clip_id,label", "rec1.7.npz,x"), task=WHOLE)
    assert [clip.clip_id for clip in data.clips] == ["rec1.7"]


def test_a_span_is_found_however_its_numbers_are_written(store, labels):
    clips = {"a.avi": 3, "a.avi#t=1.0,2.5": 3, "a.avi#t=2.5,4.0": 3}
    path = labels("path,start_seconds,end_seconds,label", "a.avi,1,2.50,x")
    assert [clip.clip_id for clip in load_clips([store(clips)], path, task=WHOLE).clips] == ["a.avi#t=1.0,2.5"]


def test_a_name_that_fits_two_clips_is_refused(store, labels):
    path = labels("clip_id,label", "1,x")
    with pytest.raises(LabelError) as caught:
        load_clips([store({"hug/1.avi": 3, "kick/1.avi": 3})], path, task=WHOLE)
    expected = f"{path} line 2: clip_id '1' matches 'hug/1.avi', 'kick/1.avi'; write the full clip_id."
    assert str(caught.value) == expected


def test_a_clip_of_another_folder_does_not_take_the_label(store, labels):
    path = labels("clip_id,label", "hug/1.avi,x", "kick/1.avi,y")
    with pytest.raises(LabelError) as caught:
        load_clips([store({"hug/1.avi": 3})], path, task=WHOLE)
    assert str(caught.value) == (
        f"{path} labels 1 clip without features: 'kick/1.avi'; "
        "extract them, or leave their labels out with --missing skip."
    )


def test_two_names_for_one_clip_are_refused(store, labels):
    with pytest.raises(LabelError, match=r"line 3: '1' and 'hug/1.avi' both mean clip 'hug/1.avi'; keep one"):
        load_clips([store({"hug/1.avi": 3})], labels("clip_id,label", "hug/1.avi,x", "1,x"), task=WHOLE)


def test_labels_of_failed_clips_become_a_note(store, labels):
    path = labels("clip_id,label", "a.avi,x", "b.avi,y", "broken,y")
    data = load_clips([store({"a.avi": 3, "b.avi": 3}, failed=["broken.avi"])], path, task=WHOLE)
    assert data.notes == ("1 labelled clip failed at extraction, left out: 'broken.avi'",)


def test_failed_clips_are_noted_without_a_label_file(store):
    data = load_clips([store({"x/a.avi": 3}, failed=["x/b.avi", "y/c.avi"])], None, task=WHOLE)
    assert data.notes == ("2 clips failed at extraction, left out: 'x/b.avi', 'y/c.avi'",)


def test_labels_of_unknown_clips_are_refused_or_skipped(store, labels):
    features, path = store({"a.avi": 3}), labels("clip_id,label", "a.avi,x", *(f"no{i},x" for i in range(5)))
    with pytest.raises(LabelError, match="labels 5 clips without features: 'no0', 'no1', 'no2' and 2 more; extract"):
        load_clips([features], path, task=WHOLE)
    data = load_clips([features], path, task=WHOLE, data=DataSettings(missing="skip"))
    assert data.notes == (f"{path} labels 5 clips without features, left out: 'no0', 'no1', 'no2' and 2 more",)


@pytest.mark.parametrize(
    ("task", "lines", "message"),
    [
        (
            WHOLE,
            ("clip_id,start_seconds,end_seconds,label", "a.avi,0,1,x"),
            "holds labelled intervals, for --task many-to-many, not many-to-one; "
            "use that task or a label file with clip_id,label.",
        ),
        (
            FRAMES,
            ("clip_id,label", "a.avi,x"),
            "holds one label per clip, for --task many-to-one, not many-to-many; "
            "use that task or a label file with clip_id,start_seconds,end_seconds,label.",
        ),
    ],
)
def test_labels_of_the_other_task_name_the_task_that_fits(store, labels, task, lines, message):
    path = labels(*lines)
    with pytest.raises(LabelError) as caught:
        load_clips([store({"a.avi": 3})], path, task=task)
    assert str(caught.value) == f"{path} {message}"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "one"}, UsageError, "--task is 'one'; it must be many-to-one or many-to-many."),
        ({"task": FRAMES}, LabelError, "needs labelled intervals; give them with --labels FILE."),
        ({"task": WHOLE, "labels_fps": 5.0}, UsageError, "--labels-fps is the rate of start_frame,end_frame labels"),
        ({"task": WHOLE, "background": "x"}, UsageError, "needs --task many-to-many."),
        (
            {"task": WHOLE, "classes": ("x", "q")},
            LabelError,
            "--classes names 'q', which no label uses; there are x",
        ),
        ({"task": WHOLE, "classes": ("x", "x")}, LabelError, "--classes x,x names a class twice"),
        ({"task": WHOLE, "keep": ("x/a.avi", "q")}, LabelError, "--clips names 1 clip without features: 'q'"),
        ({"task": WHOLE, "group_from": r"z(\d)"}, LabelError, r"--group-from 'z(\d)' finds no group in 2 of 2"),
        ({"task": WHOLE, "group_from": "("}, UsageError, "is not a regular expression"),
        ({"task": WHOLE, "group_from": "x"}, UsageError, "has no capture groups; it must have one"),
        ({"task": WHOLE, "group_from": "(b)"}, LabelError, "finds no group in 1 of 2 clip ids ('x/a.avi')"),
        ({"task": WHOLE, "group_from": "2"}, LabelError, "finds no group in 2 of 2 clip ids"),
        ({"task": WHOLE, "group_from": "0"}, UsageError, "0 is not a folder level; 1 is the first folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(store, options, error, message):
    with pytest.raises(error) as caught:
        joined([store({"x/a.avi": 3, "y/b.avi": 3})], None, **options)
    assert message in str(caught.value)


def test_classes_restrict_and_order_the_vocabulary(store):
    data = load_clips([store({"x/1": 2, "y/2": 2, "z/3": 2})], None, task=WHOLE, data=DataSettings(classes=("z", "x")))
    assert data.vocabulary == ("z", "x")
    assert [(clip.clip_id, int(clip.labels)) for clip in data.clips] == [("x/1", 1), ("z/3", 0)]
    assert data.notes == ("1 clip of other classes left out: 'y/2'",)


def test_keep_chooses_clips(store):
    data = load_clips([store({"x/1": 2, "y/2": 2, "z/3": 2})], None, task=WHOLE, data=DataSettings(keep=("2", "x/1")))
    assert [clip.clip_id for clip in data.clips] == ["x/1", "y/2"]
    assert data.vocabulary == ("x", "y")


@pytest.mark.parametrize(
    ("clip_id", "group_from", "group"),
    [
        ("YoYo/v_YoYo_g07_c02.avi", "ucf101", "07"),
        ("YoYo/v_YoYo_g07_c02.avi", r"v_.*_g(\d+)", "07"),
        ("clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", "hmdb51", "#20_Rhythm"),
        ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "hmdb51", "April_09"),
        ("site1/clap/a.avi", "1", "site1"),
        ("site1/clap/a.avi", "2", "clap"),
    ],
)
def test_the_group_comes_from_the_clip_id(store, clip_id, group_from, group):
    data = load_clips([store({clip_id: 2})], None, task=WHOLE, data=DataSettings(group_from=group_from))
    assert data.clips[0].group == group


def test_the_group_column_goes_before_the_clip_id(store, labels):
    path = labels("clip_id,label,group", "u1/a.avi,x,g1", "u2/b.avi,x,")
    data = load_clips([store({"u1/a.avi": 2, "u2/b.avi": 2})], path, task=WHOLE, data=DataSettings(group_from="1"))
    assert [clip.group for clip in data.clips] == ["g1", "u2"]


def test_seconds_are_joined_by_time_and_half_open(store, labels):
    path = labels("clip_id,start_seconds,end_seconds,label", "a.avi,0.1,0.3,x", "a.avi,0.3,0.55,y")
    data = load_clips([store({"a.avi": 8})], path, task=FRAMES)  # at 0.0, 0.1, ... 0.7 s
    assert data.clips[0].labels.tolist() == [-1, 0, 0, 1, 1, 1, -1, -1]
    [note] = data.notes
    assert note.startswith("without a label, so not trained on or scored: 3 of 8 timesteps (37.5 %); ")


def test_gaps_get_the_background_class(store, labels):
    path = labels("clip_id,start_seconds,end_seconds,label", "a.avi,0.1,0.3,x")
    data = load_clips([store({"a.avi": 4})], path, task=FRAMES, data=DataSettings(background="none"))
    assert data.vocabulary == ("none", "x")
    assert data.clips[0].labels.tolist() == [0, 1, 1, 0]
    assert data.notes == ()


def test_a_background_that_nothing_has_is_refused(store, labels):
    path = labels("clip_id,start_seconds,end_seconds,label", "a.avi,0,0.4,x")
    with pytest.raises(LabelError, match="--background 'base' is not a label, and no timestep is unlabelled"):
        load_clips([store({"a.avi": 4})], path, task=FRAMES, data=DataSettings(background="base"))


def test_classes_left_out_are_unlabelled_and_not_background(store, labels):
    path = labels("clip_id,start_frame,end_frame,label", "a.avi,0,2,x", "a.avi,2,3,y", "a.avi,4,5,z")
    data = load_clips([store({"a.avi": 5})], path, task=FRAMES, data=DataSettings(classes=("x", "z"), background="z"))
    assert data.clips[0].labels.tolist() == [0, 0, -1, 1, 1]


def test_frames_are_joined_by_frame_index(store, labels):
    path = labels("clip_id,start_frame,end_frame,label", "a.avi,0,4,x", "a.avi,4,9,y")
    data = load_clips([store({"a.avi": 3}, every=3)], path, task=FRAMES)  # frames 0, 3, 6
    assert data.clips[0].labels.tolist() == [0, 0, 1]


def test_frames_of_another_rate_are_joined_by_time(store, labels):
    path = labels("clip_id,start_frame,end_frame,label", "a.avi,0,2,x", "a.avi,2,4,y")  # at 5 frames/s
    data = load_clips([store({"a.avi": 8})], path, task=FRAMES, data=DataSettings(labels_fps=5))
    assert data.clips[0].labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_times_rounded_to_milliseconds_stay_in_their_frame(tmp_path, labels):
    index = np.arange(30)
    with StoreWriter(tmp_path / "mkv", {"backbone": "b"}, engine="none") as writer:
        writer.append("a.mkv", np.zeros((30, 2)), index, np.round(index / 30, 3), Source("a", 1, 1))
        writer.finish("a.mkv", None)
    path = labels("clip_id,start_frame,end_frame,label", *(f"a.mkv,{i},{i + 1},{i:02d}" for i in range(30)))
    data = load_clips([tmp_path / "mkv"], path, task=FRAMES, data=DataSettings(labels_fps=30))
    clip = data.clips[0]
    assert clip.labels.tolist() == clip.label_steps.tolist() == clip.frame_labels.tolist() == index.tolist()


def test_labels_may_run_one_sampling_interval_past_the_last_timestep(store, labels):
    path = labels("clip_id,start_frame,end_frame,label", "a.avi,0,12,x")
    assert load_clips([store({"a.avi": 4}, every=3)], path, task=FRAMES).notes == ()  # frames 0, 3, 6, 9


def test_the_end_that_the_decoder_saw_counts(store, labels):
    path = labels("clip_id,start_seconds,end_seconds,label", "a.avi,0,1.0,x")
    assert load_clips([store({"a.avi": 1}, truth=TRUTH)], path, task=FRAMES).notes == ()


def test_two_stores_are_joined_per_timestep(store):
    first, second = store({"x/1": 3, "y/2": 4}), store({"y/2": 4, "x/1": 3}, name="flow", shape=(3,))
    data = load_clips([first, second], None, task=WHOLE)
    assert data.clips[0].embeddings.tolist() == [[0, 0, 1, 1, 1]] * 3
    assert [recipe["backbone"] for recipe in data.recipes] == ["features", "flow"]


@pytest.mark.parametrize(
    ("steps", "fps", "first_time"),
    [(3, 5.0, "0.100"), (5, 10.0, "0.300"), (2, 10.0, "0.200")],
)
def test_stores_with_other_timestamps_are_refused(store, steps, fps, first_time):
    first, second = store({"x/1": 3}), store({"x/1": steps}, name="flow", fps=fps)
    with pytest.raises(LabelError) as caught:
        load_clips([first, second], None, task=WHOLE)
    assert str(caught.value) == (
        f"clip 'x/1' has other timestamps in {second} ({steps} timesteps) than in {first} (3 timesteps), "
        f"first at {first_time} s; extract both with the same sampling."
    )


def test_a_clip_that_one_store_lacks_is_refused_or_skipped(store):
    stores = [store({"x/1": 3, "x/2": 3, "y/3": 3}, failed=[]), store({"x/1": 3}, name="flow", failed=["x/2"])]
    with pytest.raises(LabelError, match="flow lacks 1 clip of the other stores: 'y/3'; extract them there too"):
        load_clips(stores, None, task=WHOLE)
    data = load_clips(stores, None, task=WHOLE, data=DataSettings(missing="skip"))
    assert [clip.clip_id for clip in data.clips] == ["x/1"]
    assert data.notes[1] == "1 clip failed at extraction, left out: 'x/2'"


def test_stores_that_give_no_clip_say_so(store, labels, tmp_path):
    with pytest.raises(LabelError, match="no clip is in a folder that could be its class"):
        load_clips([store({"1.avi": 2})], None, task=WHOLE)
    with pytest.raises(StoreError, match="empty holds no clips; extract some with clipseq extract"):
        load_clips([store({}, name="empty")], None, task=WHOLE)
    with pytest.raises(LabelError, match=r"no clip of .*features has a label in .*labels.csv; check the clip ids"):
        load_clips(
            [tmp_path / "features"], labels("clip_id,label", "2.avi,x"), task=WHOLE, data=DataSettings(missing="skip")
        )


def test_raw_frames_stay_in_their_stores_and_join_in_the_channels(store):
    colour = store({"x/1": 2, "x/2": 3}, name="raw", shape=(4, 5, 3), dtype="uint8")
    flow = store({"x/1": 2, "x/2": 3}, name="flow", shape=(4, 5, 3), dtype="uint8")
    (one, _), (both, _) = (load_clips(stores, None, task=WHOLE).clips for stores in ([colour], [colour, flow]))
    assert isinstance(one.embeddings, LazyRows)
    assert (one.embeddings.dtype, one.embedding_dim, both.embedding_dim) == (np.uint8, (4, 5, 3), (4, 5, 6))
    np.testing.assert_array_equal(np.asarray(both.embeddings)[..., 3:], np.asarray(one.embeddings))


def test_raw_frames_and_embeddings_cannot_be_joined(store):
    raw = store({"x/1": 2}, name="raw", shape=(4, 4, 3), dtype="uint8")
    message = (
        "features holds embeddings of 2 numbers and .*raw raw frames of 4 x 4 x 3, which cannot be joined; "
        "give stores of embeddings, or stores of raw frames of one size"
    )
    with pytest.raises(StoreError, match=message):
        load_clips([raw, store({"x/1": 2})], None, task=WHOLE)


def test_unlabelled_clips_have_labels_of_the_shape_of_the_task(store):
    features = store({"b.avi": 3, "a.avi": 2})
    assert [(c.clip_id, c.labels.tolist()) for c in load_unlabelled([features])] == [("a.avi", -1), ("b.avi", -1)]
    assert [c.labels.tolist() for c in load_unlabelled([features], task=FRAMES)] == [[-1, -1], [-1, -1, -1]]
    many = load_unlabelled([features], task=FRAMES, num_classes=2)
    assert [(c.labels.tolist(), c.labels.dtype) for c in many] == [([[-1, -1]] * 2, "int8"), ([[-1, -1]] * 3, "int8")]


def test_a_video_that_changed_and_then_failed_is_not_trained_on_its_old_embeddings(tmp_path):
    from extract.errors import NoFramesError

    def rows(*, first):
        return np.ones((2, 3), np.float32), np.arange(first, first + 2), np.arange(first, first + 2) / 8.0

    with StoreWriter(tmp_path / "features", {"backbone": "tiny"}, engine="test") as writer:
        for clip_id in ("a/1.mp4", "a/2.mp4", "b/1.mp4"):
            writer.append(clip_id, *rows(first=0), Source(f"/{clip_id}", 5, 6))
            writer.finish(clip_id, None)
    with StoreWriter(tmp_path / "features", {"backbone": "tiny"}, engine="test") as writer:
        writer.fail("a/2.mp4", NoFramesError("nothing decodes"), Source("/a/2.mp4", 7, 8))
    loaded = load_clips([tmp_path / "features"], None, task="many-to-one")
    assert [clip.clip_id for clip in loaded.clips] == ["a/1.mp4", "b/1.mp4"]
    assert any("a/2.mp4" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("labels", "label_steps", "frame_labels", "message"),
    [
        (np.zeros(4, int), None, None, "labels (), (T,) or (T, K), got (3, 2) and (4,)"),
        (np.zeros((3, 2, 1), int), None, None, "labels (), (T,) or (T, K), got (3, 2) and (3, 2, 1)"),
        (np.zeros(3, int), np.zeros(5, int), None, "label_steps and frame_labels must both be given, or neither"),
        (np.zeros(3, int), np.zeros(5, int), np.zeros(6, int), "got (5,) and (6,)"),
        (np.zeros((3, 2), int), np.zeros(5, int), np.zeros(5, int), "like the labels, (F, K), got (5,) and (5,)"),
        (np.zeros((3, 2), int), np.zeros(5, int), np.zeros((5, 3), int), "got (5,) and (5, 3)"),
    ],
)
def test_a_clip_checks_its_shapes(labels, label_steps, frame_labels, message):
    rows = np.zeros((3, 2)), np.arange(3) / 8, np.arange(3)
    with pytest.raises(ValueError, match=re.escape(message)):
        Clip("a", *rows, labels, label_steps=label_steps, frame_labels=frame_labels)


@pytest.mark.parametrize("value", [-3.4e38, 1e30])
def test_a_finite_number_that_is_no_feature_is_named_before_anything_is_fitted(tmp_path, value):
    """Baselines ended in "SVD did not converge"."""
    with StoreWriter(tmp_path / "s", {"source": "imported"}, engine="", dtype="float32") as writer:
        for clip_id in ("hug/a", "kick/b"):
            rows = np.ones((4, 3), np.float32)
            rows[2, 1] = value if clip_id == "kick/b" else 2
            writer.append(clip_id, rows, np.arange(4), np.arange(4) / 8, Source("a", 1, 1))
            writer.finish(clip_id, None)
    with pytest.raises(ClipError) as error:
        load_clips([tmp_path / "s"], None, task="many-to-one")
    assert str(error.value) == (
        f"kick/b holds {np.float32(value):g} in column 1 of timestep 2, which cannot be a feature; if it marks a "
        "missing value, write NaN instead and import again with --nan"
    )


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("Walk", "walk", "'Walk' and 'walk'"),
        ("caf\u00e9", "cafe\u0301", r"'cafe\u0301') and 'café' ('caf\xe9')"),
        ("wal\u200bk", "walk", r"('wal\u200bk')"),
        ("go  left", "go left", "'go  left' and 'go left'"),
    ],
)
def test_class_names_that_look_alike_are_named(first, second, shown):
    (note,) = look_alikes(sorted([first, second, "other"]))
    assert shown in note and "look alike and are trained as 2 classes; if they are the same, use one spelling" in note
    assert look_alikes(["Walk", "walks", "other"]) == []


def test_a_warning_names_classes_that_look_alike(store, labels):
    clips = load_clips(
        [store({"a.avi": 3, "b.avi": 3})], labels("clip_id,label", "a.avi,Walk", "b.avi,walk"), task=WHOLE
    )
    assert any("'Walk' and 'walk' look alike" in note for note in clips.notes)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_match_however_unicode_writes_them(form):
    names = ClipNames([unicodedata.normalize("NFD", "hug/späße.mp4"), "hug/a.mp4"])
    assert names.find(unicodedata.normalize(form, "späße"), where="x") == unicodedata.normalize("NFD", "hug/späße.mp4")
