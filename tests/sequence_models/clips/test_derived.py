"""Channels that tell where in its recording a timestep is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from clip_factory import make_clip

from sequence_models.clips.derived import derived_width, position_channels, with_derived
from sequence_models.settings import TrainSettings

FRAMES = TrainSettings("many-to-many", derived="position")
CAUSAL = replace(FRAMES, model="lstm", causal=True)


@pytest.mark.parametrize("settings", [FRAMES, CAUSAL])
def test_a_clip_gets_as_many_channels_as_the_model_expects(settings):
    clip = make_clip(7)
    (wider,) = with_derived([clip], settings)
    assert (
        wider.embeddings.shape == (7, 5 + derived_width(settings, 5))
        and wider.embeddings.dtype == clip.embeddings.dtype
    )
    assert np.array_equal(wider.embeddings[:, :5], clip.embeddings)


def test_without_asking_there_is_none():
    clip = make_clip(3)
    assert derived_width(TrainSettings(), 5) == 0 and with_derived([clip], TrainSettings())[0] is clip


def test_each_place_is_shared_by_its_two_nearest_hats():
    channels = position_channels(np.array([0.0, 1.0, 3.0, 5.0, 1e9]), causal=True)
    assert channels.sum(axis=1) == pytest.approx(1)
    assert channels[:3, :3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert 0 < channels[3, 2] < 1 and 0 < channels[3, 3] < 1 and channels[4, -1] == 1


def test_what_is_causal_knows_no_end():
    times = np.arange(100) / 8
    whole = position_channels(times, causal=True)
    assert np.array_equal(position_channels(times[:30], causal=True), whole[:30])
    assert not np.array_equal(position_channels(times[:30], causal=False), position_channels(times, causal=False)[:30])


def test_the_middle_and_the_end_are_known():
    channels = position_channels(np.arange(31.0), causal=False)
    assert channels[0, 15:30].argmax() == 5  # 30 s left, nearest to 2 ** 5 - 1
    assert channels[30, 15] == 1  # nothing left
    assert channels[:, 30:].argmax(axis=1).tolist()[::2] == list(range(16))


def test_one_timestep_is_start_and_end():
    assert np.isfinite(position_channels(np.array([4.0]), causal=False)).all()
