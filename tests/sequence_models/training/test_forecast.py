"""What training will take is said before it begins, and what would not fit is refused with the flag that helps."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from clip_factory import make_clip, ordered_clips

from extract.errors import UsageError
from sequence_models.settings import TrainSettings
from sequence_models.training.budget import budget_for
from sequence_models.training.fit import fit_model
from sequence_models.training.forecast import forecast, refuse_too_large

SMALL = TrainSettings(model="lstm", hidden=6, projection=4, updates=20)


def long_clip(steps, task="many-to-one"):
    clip = make_clip(1, 0, dim=1)
    labels = np.int64(0) if task == "many-to-one" else np.zeros(steps, np.int64)
    rows = np.broadcast_to(np.float32(0), (steps, 1280))
    return replace(
        clip,
        clip_id="long",
        embeddings=rows,
        pts_seconds=np.arange(steps) / 8,
        frame_indices=np.arange(steps),
        labels=np.asarray(labels),
    )


def refused(clip, settings, room=4 * 10**9):
    with pytest.raises(UsageError) as error:
        refuse_too_large([clip], settings, budget_for([clip], [], settings), num_classes=4, room=room)
    return str(error.value)


def test_a_line_says_clips_updates_time_and_memory():
    told = forecast(ordered_clips(8, "many-to-one"), ordered_clips(4, "many-to-one"), SMALL, num_classes=2)
    assert re.fullmatch(
        r"a fit: 8 clips, \d+ timesteps a pass, 2 updates of 4; at most 20 updates, about \d+ (s|min), and 0\.7 GB; "
        r"embeddings in memory",
        told,
    )


def test_a_forecast_leaves_no_trace_in_the_fits(tmp_path):
    clips, losses = ordered_clips(12, "many-to-one"), []
    for number in range(2):
        if number:
            forecast(clips[:8], clips[8:], SMALL, num_classes=2)
        paths = {"checkpoint": tmp_path / "a.weights.h5", "log": tmp_path / "a.csv"}
        result = fit_model(clips[:8], clips[8:], SMALL, num_classes=2, seed=0, quiet=True, **paths)
        losses.append([record["loss"] for record in result.history])
    assert losses[0] == losses[1]


def test_a_clip_of_ten_hours_is_refused_and_windows_or_a_stride_help():
    clip = long_clip(10 * 3600 * 8)
    assert refused(clip, TrainSettings(batch_size=4)).startswith(
        "long has 288,000 timesteps, for which bilstm would need"
    )
    assert "give --window SECONDS, or --stride N." in refused(clip, TrainSettings())
    for helped in (TrainSettings(window=10.0), TrainSettings(stride=40)):
        assert refuse_too_large([clip], helped, budget_for([clip], [], helped), num_classes=4, room=4 * 10**9) > 0


def test_a_batch_of_many_long_clips_is_refused_and_a_smaller_one_helps():
    clip, settings = long_clip(20_000), TrainSettings(batch_size=16)
    assert "give a --batch-size below 16, --stride N, or --window SECONDS." in refused(clip, settings)
    helped = replace(settings, batch_size=1)
    assert refuse_too_large([clip], helped, budget_for([clip], [], helped), num_classes=4, room=4 * 10**9) > 0


def test_where_free_memory_is_unknown_nothing_is_refused(monkeypatch):
    monkeypatch.setattr("sequence_models.training.forecast.available_bytes", lambda: None)
    clip = long_clip(10 * 3600 * 8)
    assert refuse_too_large([clip], TrainSettings(), budget_for([clip], [], TrainSettings()), num_classes=4) > 4 * 10**9
