import numpy as np
import pytest
from clip_factory import make_clip, make_clips

from extract.errors import ClipError, LabelError
from sequence_models.clips.augmentation import Augmentation, augment_clip
from sequence_models.clips.batches import check_clips, class_weights, make_batches, pad_clips, padded_length
from sequence_models.records import Clip, PaddedBatch


@pytest.mark.parametrize(
    ("steps", "length"),
    [(1, 8), (8, 8), (9, 12), (12, 12), (13, 16), (17, 24), (25, 32), (33, 48), (49, 64), (65, 96), (13_000, 16_384)],
)
def test_lengths_are_rounded_up_to_few_values(steps, length):
    assert padded_length(steps) == length


def test_padding_goes_to_the_right_and_is_masked():
    batch = pad_clips([make_clip(2, 1), make_clip(4, 2)], rows=2, steps=5)
    assert batch.mask.tolist() == [[True, True, False, False, False], [True, True, True, True, False]]
    assert batch.embeddings.dtype == np.float32
    assert not batch.embeddings[~batch.mask].any()
    assert batch.labels.tolist() == [1, 2]
    assert batch.sample_weight.tolist() == [1, 1]


def test_unlabelled_steps_and_padding_weigh_nothing():
    clip = make_clip(3)
    batch = pad_clips([clip], rows=1, steps=4)
    assert clip.labels[0] == -1
    assert batch.sample_weight.tolist() == [[0, 1, 1, 0]]
    assert batch.labels.tolist() == [[0, clip.labels[1], clip.labels[2], 0]]


def test_rows_beyond_the_last_clip_have_one_real_step_and_no_weight():
    batch = pad_clips([make_clip(3, 2)], rows=3, steps=4)
    assert batch.mask.sum(axis=1).tolist() == [3, 1, 1]
    assert batch.sample_weight.tolist() == [1, 0, 0]


def test_class_weights_go_into_the_sample_weight():
    weights = np.array([0.5, 2.0, 3.0], np.float32)
    batch = pad_clips([make_clip(2, 1), make_clip(2, 0)], rows=3, steps=2, class_weights=weights)
    assert batch.sample_weight.tolist() == [2.0, 0.5, 0]


def test_class_weights_are_a_power_of_the_count_and_one_on_average():
    labels = np.array([0] * 16 + [1] + [-1] * 5)
    weights = class_weights(labels, num_classes=3, power=0.25)
    assert weights[1] / weights[0] == pytest.approx(2.0)
    assert (16 * weights[0] + weights[1]) / 17 == pytest.approx(1.0)
    assert weights[2] == 1.0
    assert class_weights(labels, num_classes=3, power=0).tolist() == [1.0, 1.0, 1.0]


def test_every_clip_is_in_one_batch_and_batches_have_one_size():
    clips = make_clips((3, 9, 40, 5, 11, 38, 4), "many-to-one")
    batches = list(make_batches(clips, batch_size=3, seed=1))
    assert [len(batch.mask) for batch in batches] == [3, 3, 3]
    lengths = np.concatenate([batch.mask.sum(axis=1)[batch.sample_weight > 0] for batch in batches])
    assert sorted(lengths) == [3, 4, 5, 9, 11, 38, 40]


def test_clips_of_like_length_share_a_batch():
    rng = np.random.default_rng(0)
    clips = [make_clip(int(n), 0, dim=1) for n in np.clip(rng.lognormal(3.5, 0.9, 200), 4, 600)]
    real = sum(map(len, clips))
    padded = sum(batch.mask.size for batch in make_batches(clips, batch_size=16, seed=0))
    assert padded < 2 * real < 208 * max(map(len, clips)) / 2


def test_without_a_seed_the_order_is_kept():
    clips = make_clips((3, 9, 4, 5), "many-to-one")
    batches = list(make_batches(clips, batch_size=2))
    assert [batch.mask.sum(axis=1).tolist() for batch in batches] == [[3, 9], [4, 5]]
    assert [batch.mask.shape for batch in batches] == [(2, 12), (2, 8)]


def test_the_seed_decides_the_order():
    clips = make_clips(tuple(range(4, 24)), "many-to-one")

    def order(seed):
        return [batch.mask.sum(axis=1).tolist() for batch in make_batches(clips, batch_size=4, seed=seed)]

    assert order(3) == order(3)
    assert order(3) != order(4)


def test_pad_to_sets_the_length():
    batches = list(make_batches(make_clips((3, 9), "many-to-many"), batch_size=1, pad_to=20))
    assert [batch.labels.shape for batch in batches] == [(1, 20), (1, 20)]


def test_a_batch_says_its_shapes():
    batch = pad_clips([make_clip(3, 2)], rows=2, steps=4)
    assert repr(batch) == "PaddedBatch(embeddings=(2, 4, 5), mask=(2, 4), labels=(2,))"


def test_a_batch_that_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="has inconsistent shapes"):
        PaddedBatch(np.zeros((2, 4, 5)), np.zeros((2, 3), bool), np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match=r"sample_weight \(2, 4\) must have the shape of labels \(2,\)"):
        PaddedBatch(np.zeros((2, 4, 5)), np.zeros((2, 4), bool), np.zeros(2), np.zeros((2, 4)))


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_augmentation_chooses_among_the_steps_in_order(steps):
    clip = make_clip(steps)
    rng = np.random.default_rng(0)
    for _ in range(50):
        varied = augment_clip(clip, Augmentation(crop=0.5, speed=0.5, frame_drop=0.3), rng)
        chosen = varied.frame_indices
        assert 1 <= len(varied) <= 2 * steps
        assert (np.diff(chosen) >= 0).all()
        np.testing.assert_array_equal(varied.embeddings, clip.embeddings[chosen])
        np.testing.assert_array_equal(varied.labels, clip.labels[chosen])
        np.testing.assert_array_equal(varied.pts_seconds, clip.pts_seconds[chosen])


@pytest.mark.parametrize(
    ("augmentation", "shortest", "longest"),
    [
        (Augmentation(), 40, 40),
        (Augmentation(crop=0.25), 30, 40),
        (Augmentation(speed=0.25), 32, 53),
        (Augmentation(frame_drop=0.25), 20, 39),
    ],
)
def test_each_augmentation_changes_the_length_as_told(augmentation, shortest, longest):
    rng = np.random.default_rng(0)
    lengths = [len(augment_clip(make_clip(40, 1), augmentation, rng)) for _ in range(200)]
    assert shortest <= min(lengths) <= shortest + 4
    assert longest - 4 <= max(lengths) <= longest


def test_augmentation_follows_the_seed():
    clips = make_clips((20, 30), "many-to-one")

    def lengths(seed):
        batches = make_batches(clips, batch_size=2, seed=seed, augmentation=Augmentation(crop=0.5))
        return [batch.mask.sum(axis=1).tolist() for batch in batches]

    assert lengths(1) == lengths(1)
    assert lengths(1) != lengths(2)


def bad_clip(embeddings, label=0):
    steps = len(embeddings)
    return Clip("bad.mp4", embeddings, np.arange(steps) / 8, np.arange(steps), np.array(label))


@pytest.mark.parametrize(
    ("clip", "error", "message"),
    [
        (bad_clip(np.zeros((0, 5))), ClipError, "bad.mp4 has no timesteps; leave it out or extract it again."),
        (bad_clip(np.full((2, 5), np.nan)), ClipError, "bad.mp4 has non-finite embeddings; extract"),
        (bad_clip(np.full((2, 5), np.inf, np.float16)), ClipError, "bad.mp4 has non-finite embeddings"),
        (bad_clip(np.zeros((2, 6))), ClipError, "bad.mp4 has embeddings of width 6, but 5 is expected; use clips of"),
        (bad_clip(np.zeros((2, 5)), 3), LabelError, "bad.mp4 has class index 3, outside -1..2; label it with"),
        (bad_clip(np.zeros((2, 5)), -2), LabelError, "bad.mp4 has class index -2, outside -1..2"),
    ],
)
def test_a_clip_that_cannot_be_batched_is_named(clip, error, message):
    with pytest.raises(error) as caught:
        check_clips([make_clip(4, 1), clip], num_classes=3)
    assert message in str(caught.value)


def test_no_clips_are_an_error():
    with pytest.raises(ClipError, match="There are no clips to batch; give at least one"):
        check_clips([], num_classes=3)
