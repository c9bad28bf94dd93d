import numpy as np
import pytest

from sequence_models.clips.augmentation import FrameAugmentation, augment_frames

RNG = np.random.default_rng(0)
FRAMES = np.repeat(RNG.integers(60, 200, (1, 12, 16, 3), dtype=np.uint8), 4, axis=0)  # nothing moves
KINDS = [{"flip": True}, {"shift": 0.3}, {"zoom": 0.3}, {"rotation": 0.1}, {"brightness": 0.3}, {"contrast": 0.5}]
ALL = FrameAugmentation(flip=True, shift=0.2, zoom=0.2, rotation=0.05, brightness=0.2, contrast=0.3)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: next(iter(kind)))
def test_every_kind_changes_the_pictures_and_all_frames_alike(kind):
    varied = [augment_frames(FRAMES, FrameAugmentation(**kind), seed) for seed in range(4)]
    assert any(np.abs(each - FRAMES).mean() > 1 for each in varied)
    for each in varied:
        assert (each.shape, each.dtype) == ((4, 12, 16, 3), np.float32)
        np.testing.assert_allclose(each, np.repeat(each[:1], 4, axis=0), rtol=1e-5)
        assert each.min() >= 0 and each.max() <= 255


def test_frames_stay_in_their_order_and_channels_in_theirs():
    frames = np.zeros((3, 6, 8, 6), np.uint8)
    for step in range(3):
        for channel in range(6):
            frames[step, ..., channel] = 20 * step + channel
    varied = augment_frames(frames, FrameAugmentation(flip=True, shift=0.2, rotation=0.1), 5)
    np.testing.assert_allclose(varied, frames, atol=1e-3)


def test_a_flip_mirrors_left_to_right_or_leaves_the_clip_alone():
    varied = [augment_frames(FRAMES, FrameAugmentation(flip=True), seed) for seed in range(12)]
    mirrored = [np.array_equal(each, FRAMES[:, :, ::-1]) for each in varied]
    untouched = [np.array_equal(each, FRAMES) for each in varied]
    assert any(mirrored) and any(untouched)
    assert all(one != other for one, other in zip(mirrored, untouched, strict=True))


def test_shifts_in_height_and_width_are_drawn_apart():
    dot = np.zeros((1, 21, 21, 1), np.uint8)
    dot[0, 10, 10] = 255
    places = [np.argwhere(augment_frames(dot, FrameAugmentation(shift=0.3), seed)[0, ..., 0] > 60) for seed in range(6)]
    moved = np.array([place.mean(axis=0) - 10 for place in places])
    assert np.abs(moved[:, 0] - moved[:, 1]).max() > 1


def test_the_same_seed_gives_the_same_pictures():
    first, again, other = (augment_frames(FRAMES, ALL, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_all_off_means_not_at_all():
    assert not FrameAugmentation()
    np.testing.assert_array_equal(augment_frames(FRAMES, FrameAugmentation(), 0), FRAMES.astype(np.float32))
