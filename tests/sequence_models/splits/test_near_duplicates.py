"""The split doctor finds planted near-duplicates in synthetic embeddings and names nothing else."""

import json

import numpy as np
import pytest

import pipeline
from sequence_models.experiments.summary import evaluation_text
from sequence_models.records import Clip
from sequence_models.splits.folds import Fold
from sequence_models.splits.near_duplicates import alignment, find_near_duplicates, pairs_across


def walk(name, seed, *, steps=40, dim=24):
    """A clip that wanders: its own place, and neighbouring frames alike, on a background that all clips share."""
    rng = np.random.default_rng(seed)
    frames = 10 * np.linspace(0, 1, dim) + rng.normal(size=dim) + np.cumsum(rng.normal(0, 0.7, (steps, dim)), axis=0)
    return with_embeddings(name, frames)


def with_embeddings(name, frames):
    steps = len(frames)
    return Clip(name, frames.astype(np.float16), np.arange(steps) / 8, np.arange(steps), np.array(0))


def noisy(clip, name, *, first=0, noise=0.2):
    """A copy under another name: its first frames cut, the rest disturbed."""
    rng = np.random.default_rng(7)
    return with_embeddings(name, clip.embeddings[first:] + rng.normal(0, noise, clip.embeddings[first:].shape))


@pytest.fixture
def train():
    return [walk(f"train/{seed}", seed, steps=30 + seed % 9) for seed in range(40)]


@pytest.fixture
def test():
    return [walk(f"test/{seed}", 100 + seed, steps=30 + seed % 7) for seed in range(12)]


def names(pairs):
    return sorted((pair.clip_id, pair.other_id) for pair in pairs)


def test_clips_that_are_merely_of_one_kind_are_not_named(train, test):
    assert find_near_duplicates(train, test) == []


def test_noisy_and_shifted_copies_are_named_with_their_source(train, test):
    planted = [noisy(train[3], "a"), noisy(train[20], "b", first=12), noisy(train[21], "c", first=5, noise=0.5)]
    pairs = find_near_duplicates(train, [*test, *planted])
    assert names(pairs) == [("a", "train/3"), ("b", "train/20"), ("c", "train/21")]
    assert [pair.similarity for pair in pairs] == sorted((pair.similarity for pair in pairs), reverse=True)
    assert all(0.9 < pair.similarity <= 1.01 for pair in pairs)


def test_two_copies_of_one_clip_are_both_named(train, test):
    more = [*train, noisy(train[8], "train/again")]
    assert names(find_near_duplicates(more, [*test, noisy(train[8], "a")])) == [("a", "train/8"), ("a", "train/again")]


def test_a_test_part_of_nothing_but_copies_is_found_out(train):
    copies = [noisy(clip, f"copy of {clip.clip_id}", first=3) for clip in train]
    assert names(find_near_duplicates(train, copies)) == sorted((f"copy of {c.clip_id}", c.clip_id) for c in train)


def test_a_clip_is_not_its_own_duplicate(train):
    clips = [*train, noisy(train[0], "a")]
    assert names(find_near_duplicates(clips, clips)) == [("a", "train/0"), ("train/0", "a")]


def test_only_pairs_that_a_fold_parts_count(train):
    clips = [*train, noisy(train[0], "a"), noisy(train[1], "b")]
    ids = [clip.clip_id for clip in train]
    together = Fold("together", tuple(ids[2:]), (), ("train/0", "a", "train/1", "b"))
    apart = Fold("apart", tuple(ids[1:]), ("a",), ("train/0", "b"))
    across = pairs_across([together, apart], clips)
    assert across["together"] == []
    assert names(across["apart"]) == [("b", "train/1"), ("train/0", "a")]


def test_nothing_to_compare_gives_no_pair(train):
    assert find_near_duplicates([], train) == find_near_duplicates(train, []) == []
    assert find_near_duplicates(train[:1], train[:1]) == []


def test_constant_embeddings_are_no_error():
    clips = [with_embeddings(f"{n}", np.ones((5, 3))) for n in range(4)]
    assert find_near_duplicates(clips[:2], clips[2:]) == []


def test_alignment_finds_the_shift():
    frames = np.eye(10)
    assert alignment(frames, frames) == 1.0
    assert alignment(frames[3:], frames) == alignment(frames, frames[3:]) == 1.0
    assert alignment(frames[:7], frames[3:]) == 1.0
    assert alignment(frames[:6], frames[4:]) == 0.0  # 2 of 6 meet, which is not half
    assert alignment(frames[::-1], frames) == pytest.approx(1 / 5)  # at an odd shift of 5 frames one meets itself


def test_alignment_of_long_clips_skips_frames_evenly():
    frames = np.random.default_rng(0).normal(size=(2000, 8))
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    assert alignment(frames, frames) == pytest.approx(1.0)
    assert alignment(frames[400:], frames) == pytest.approx(1.0)


def record_of(pairs, **more):
    score = {"accuracy": {"value": 0.9, "ci95": None}, "macro_f1": {"value": 0.9, "ci95": None}}
    doctor = {"pairs": pairs, "test_clips": 4, "test_clips_without": 4 - len(pairs), **more}
    counts = {"per_seed": {}, "test_clips": 4, "test_groups": 4, "test_opened": 1}
    return {"model": "lstm", "test": score, "baselines": {}, "doctor": doctor, **counts}


@pytest.mark.parametrize(
    ("ends", "effect"), [([0.2, 0.7], "so the score is too high"), ([0.2, 0.95], "which is no clear difference")]
)
def test_the_command_names_the_pairs_and_says_what_was_measured_without_them(ends, effect):
    """It said that they can raise the score, whether they did or not."""
    without = {"model": {"accuracy": {"value": 0.5, "ci95": ends, "groups": 8}, "macro_f1": {"value": 0.4}}}
    pair = {"fold": "split", "clip_id": "a.avi", "other_id": "b.avi", "similarity": 0.712}
    text = evaluation_text(record_of([pair], without=without))
    lines = text.splitlines()[-4:]
    assert lines[:2] == [
        "warning: 1 of 4 test clips has a near-duplicate in training: a.avi resembles b.avi (0.71); put the clips of "
        "each pair into one group",
        f"near-duplicates: accuracy is 0.900 with them and 0.500 without, {effect}",
    ]
    assert lines[2].split() == ["without", "them", "accuracy", "macro_f1"]
    assert evaluation_text(record_of([pair])).splitlines()[-1] == (
        "near-duplicates: what they do to the score was not measured, since no other test clips are left"
    )
    assert evaluation_text(record_of([])).splitlines()[-1] == (
        "no near-duplicates of training clips among the test clips (compared 4 test clips against training and "
        "validation, by embeddings)"
    )


@pytest.mark.parametrize("grouped", (False, True))
def test_evaluate_scores_without_near_duplicates_whether_there_are_groups_or_not(tmp_path, capsys, grouped):
    """With groups they were not looked for: two groups may hold copies of one clip."""
    rng = np.random.default_rng(0)
    (tmp_path / "features").mkdir()
    walks = [walk(f"{seed}", seed).embeddings.astype(np.float32) for seed in range(40)]
    copies = [walks[seed] + rng.normal(0, 0.1, walks[seed].shape) for seed in range(4)]
    rows = ["clip_id,label,split,group"]
    for number, frames in enumerate([*walks, *copies]):
        np.save(tmp_path / "features" / f"{number}.npy", frames)
        part = ("train", "validation", "test")[(number >= 24) + (number >= 32)]
        rows.append(f"{number},{'ab'[number % 2]},{part},{f'g{number}' if grouped else ''}")
    (tmp_path / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    store, run = str(tmp_path / "store"), str(tmp_path / "run")
    assert pipeline.main(["import-features", str(tmp_path / "features"), "--output", store, "--fps", "8"]) == 0
    train = ["train", store, "--labels", str(tmp_path / "labels.csv"), "--task", "many-to-one", "--epochs", "1"]
    assert pipeline.main([*train, "--run", run]) == 0
    assert pipeline.main(["evaluate", run]) == 0
    assert "warning: 4 of 12 test clips have a near-duplicate in training" in capsys.readouterr().out
    doctor = json.loads((tmp_path / "run" / "metrics.json").read_text())["doctor"]
    assert sorted((p["clip_id"], p["other_id"]) for p in doctor["pairs"]) == [(f"{40 + n}", f"{n}") for n in range(4)]
    assert doctor["test_clips_without"] == 8
    assert "of 8 clips" in doctor["without"]["model"]["accuracy"]["protocol"]
