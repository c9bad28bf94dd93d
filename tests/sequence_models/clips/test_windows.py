from dataclasses import replace

import numpy as np
import pytest
from clip_factory import make_clip, make_clips

from extract.errors import UsageError
from sequence_models.clips.windows import merge_pieces, prediction_pieces, spread, training_pieces
from sequence_models.settings import TrainSettings

FRAMES = {"task": "many-to-many", "model": "lstm"}


def steps_of(pieces):
    return [piece.steps.tolist() for piece in pieces]


def test_a_clip_is_one_piece_without_stride_and_window():
    (piece,) = prediction_pieces([make_clip(5)], TrainSettings(**FRAMES, chunk=2))
    assert piece.row == 0 and piece.steps.tolist() == [0, 1, 2, 3, 4]


def test_a_prediction_takes_every_phase_of_a_stride():
    pieces = prediction_pieces([make_clip(7), make_clip(2)], TrainSettings(**FRAMES, stride=3))
    assert steps_of(pieces) == [[0, 3, 6], [1, 4], [2, 5], [0], [1]]
    assert [piece.row for piece in pieces] == [0, 0, 0, 1, 1]


def test_windows_start_every_hop_and_the_last_one_ends_at_the_end():
    """8 timesteps a second, so half a second is 4 of them and a quarter 2."""
    pieces = prediction_pieces([make_clip(9)], TrainSettings(**FRAMES, window=0.5, hop=0.25))
    assert steps_of(pieces) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [5, 6, 7, 8]]


def test_a_hop_is_half_a_window_unless_given():
    assert TrainSettings(window=3.0).hop_seconds == 1.5


def test_a_clip_shorter_than_a_window_is_one_piece():
    assert steps_of(prediction_pieces([make_clip(3)], TrainSettings(**FRAMES, window=9.0))) == [[0, 1, 2]]


@pytest.mark.parametrize("settings", [{"stride": 2, "window": 0.5}, {"window": 0.4, "hop": 0.4}, {"stride": 4}])
def test_every_timestep_is_in_a_piece(settings):
    for steps in range(1, 30):
        pieces = prediction_pieces([make_clip(steps)], TrainSettings(**FRAMES, **settings))
        assert set(np.concatenate([piece.steps for piece in pieces]).tolist()) == set(range(steps))


def test_windows_go_by_time_where_timestamps_jump():
    clip = make_clip(6)
    clip.pts_seconds[3:] += 10.0
    pieces = prediction_pieces([clip], TrainSettings(**FRAMES, window=1.0))
    assert steps_of(pieces) == [[0, 1, 2], [3], [3, 4, 5]]


def test_overlapping_windows_are_averaged_per_timestep():
    settings = TrainSettings(**FRAMES, window=0.5, hop=0.25)
    clips = [make_clip(6)]
    pieces = prediction_pieces(clips, settings)
    said = [np.full((len(piece.steps), 2), value) for piece, value in zip(pieces, (1.0, 3.0), strict=True)]
    (merged,) = merge_pieces(clips, pieces, said, task="many-to-many")
    assert merged[:, 0].tolist() == [1, 1, 2, 2, 3, 3]


def test_windows_of_a_clip_are_averaged_to_one_answer():
    clips = make_clips((9, 3), "many-to-one")
    pieces = prediction_pieces(clips, TrainSettings(window=0.5, hop=0.5))
    said = [np.array([value, 1 - value]) for value in (0.2, 0.4, 0.9, 0.5)]
    merged = merge_pieces(clips, pieces, said, task="many-to-one")
    np.testing.assert_allclose([each[0] for each in merged], [0.5, 0.5], atol=1e-6)


def test_training_cuts_long_clips_into_chunks_at_new_places_in_every_pass():
    settings, clip = TrainSettings(**FRAMES), make_clip(14)
    clip.labels[0] = 1
    passes = [training_pieces([clip], settings, np.random.default_rng(seed), chunk=4) for seed in range(8)]
    for pieces in passes:
        assert max(map(len, pieces)) <= 4
        assert np.array_equal(np.concatenate([piece.embeddings for piece in pieces]), clip.embeddings)
    assert len({tuple(map(len, pieces)) for pieces in passes}) > 1


def test_a_chunk_without_a_label_is_left_out():
    clip = make_clip(12)
    clip.labels[:] = -1
    clip.labels[11] = 2
    pieces = training_pieces([clip], TrainSettings(**FRAMES), np.random.default_rng(0), chunk=3)
    assert len(pieces) == 1 and pieces[0].labels[-1] == 2


def test_training_draws_one_phase_per_clip():
    settings, clip = TrainSettings(**FRAMES, stride=3), make_clip(9)
    starts = {training_pieces([clip], settings, np.random.default_rng(seed))[0].frame_indices[0] for seed in range(20)}
    assert starts == {0, 1, 2}


def test_clips_of_one_label_are_not_cut_into_chunks():
    clips = make_clips((20,), "many-to-one")
    assert training_pieces(clips, TrainSettings(chunk=4), np.random.default_rng(0)) == clips


def test_training_windows_keep_the_label_of_the_clip():
    clips = make_clips((20,), "many-to-one")
    pieces = training_pieces(clips, TrainSettings(window=1.0, hop=0.5), np.random.default_rng(0))
    assert {len(piece) for piece in pieces} == {8} and {int(piece.labels) for piece in pieces} == {0}


@pytest.mark.parametrize(("count", "expected"), [(0, list(range(8))), (3, [1, 4, 6]), (8, list(range(8))), (1, [4])])
def test_timesteps_of_a_window_are_spread_over_its_time(count, expected):
    assert spread(np.arange(8), count).tolist() == expected


def test_a_window_has_exactly_as_many_timesteps_as_asked_in_training_and_prediction():
    settings, clip = TrainSettings(window=2.0, hop=1.0, window_frames=3), make_clip(50, 0)
    clip = replace(clip, pts_seconds=np.arange(50) / 8)
    assert {len(piece.steps) for piece in prediction_pieces([clip], settings)} == {3}
    assert {len(piece) for piece in training_pieces([clip], settings, np.random.default_rng(0))} == {3}
    short = replace(make_clip(2, 0), pts_seconds=np.arange(2) / 8)
    assert prediction_pieces([short], settings)[0].steps.tolist() == [0, 1, 1]


@pytest.mark.parametrize("wrong", [{"window_frames": 3}, {"window_frames": 3, "window": 1.0, "task": "many-to-many"}])
def test_exact_windows_are_for_windows_of_clips_with_one_label(wrong):
    with pytest.raises(UsageError, match="window_frames 3 takes so many timesteps of every --window"):
        TrainSettings(**wrong)
