"""How many updates a fit gets, how large they are, and how often validation is looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from clip_factory import make_clip

from sequence_models.settings import TrainSettings
from sequence_models.training.budget import LearningRate, budget_for

CLIPS, FRAMES = TrainSettings("many-to-one"), TrainSettings("many-to-many")


def clips_of(count, steps, task="many-to-one"):
    clip = make_clip(steps, 0, dim=1)
    labels = np.zeros(steps, np.int64) if task == "many-to-many" else clip.labels
    return [replace(clip, labels=labels)] * count


@pytest.mark.parametrize(
    ("count", "batch_size", "pass_updates", "updates"),
    [(1, 4, 1, 1200), (5, 4, 2, 1200), (45, 8, 6, 1200), (600, 16, 38, 1200), (50_000, 64, 782, 9384)],
)
def test_a_pass_has_several_updates_and_every_clip_is_seen_a_dozen_times(count, batch_size, pass_updates, updates):
    budget = budget_for(clips_of(count, 40), clips_of(10, 40), CLIPS)
    assert (budget.batch_size, budget.pass_updates, budget.updates) == (batch_size, pass_updates, updates)
    assert budget.updates * budget.batch_size >= 12 * count


@pytest.mark.parametrize(("count", "steps", "chunk"), [(1, 1000, 64), (10, 2250, 351), (40, 6000, 512)])
def test_chunks_of_few_recordings_are_shorter(count, steps, chunk):
    budget = budget_for(clips_of(count, steps, "many-to-many"), [], FRAMES)
    assert budget.chunk == chunk and budget.pass_updates >= 4


def test_what_is_given_is_what_counts():
    given = replace(FRAMES, updates=50, patience_updates=7, batch_size=3, chunk=100)
    budget = budget_for(clips_of(2, 300, "many-to-many"), [], given)
    assert (budget.updates, budget.patience, budget.batch_size, budget.chunk) == (50, 7, 3, 100)
    assert budget_for(clips_of(2, 300, "many-to-many"), [], replace(FRAMES, chunk=0)).chunk == 0


def test_epochs_bound_the_updates():
    clips = clips_of(45, 40)
    assert budget_for(clips, [], replace(CLIPS, epochs=2)).updates == 12
    assert budget_for(clips, [], replace(CLIPS, epochs=100)).updates == 600
    assert budget_for(clips, [], replace(CLIPS, epochs=100, updates=30)).updates == 30


def test_validation_is_looked_at_less_often_where_it_would_cost_more_than_training():
    train = clips_of(45, 40)
    assert budget_for(train, clips_of(10, 40), CLIPS).check_every == 10
    assert budget_for(train, clips_of(4500, 40), CLIPS).check_every == 200
    assert budget_for(clips_of(50_000, 40), clips_of(10, 40), CLIPS).check_every == 50


def test_an_update_of_long_clips_has_fewer_of_them():
    assert budget_for(clips_of(600, 20_000), [], CLIPS).batch_size == 1
    assert budget_for(clips_of(600, 20_000), [], replace(CLIPS, stride=4)).batch_size == 4


def test_windows_count_as_examples():
    clips = clips_of(10, 800)  # 8 a second
    budget = budget_for(clips, [], replace(CLIPS, window=10.0, hop=5.0))
    assert budget.batch_size == 16 and budget.pass_updates == pytest.approx(10 * 19 / 16, abs=1)


def rates_of(settings, progress=(), updates=100):
    budget = budget_for(clips_of(5, 10), [], replace(settings, updates=updates))
    rates, said = LearningRate(settings, budget), []
    for update in range(1, updates + 1):
        said.append(rates.at(update))
        rates.note(update, max((p for p in progress if p <= update), default=0))
    return np.array(said) / settings.learning_rate


def test_a_constant_rate_stays():
    assert set(rates_of(CLIPS)) == {1.0}


def test_a_cosine_falls_from_the_rate_to_nearly_0():
    rates = rates_of(replace(CLIPS, schedule="cosine"))
    assert rates[0] == 1 and rates[50] == pytest.approx(0.5) and 0 < rates[-1] < 0.001
    assert np.all(np.diff(rates) < 0)


def test_a_plateau_halves_it_where_nothing_gets_better_and_not_while_something_does():
    plateau = replace(CLIPS, schedule="plateau", patience_updates=33)  # so 11 updates
    assert set(rates_of(plateau, progress=range(0, 101, 5))) == {1.0}
    rates = rates_of(plateau, progress=(0, 5, 10))
    assert rates[20] == 1 and rates[21] == 0.5 and rates[31] == 0.5 and rates[32] == 0.25
    assert rates.min() >= 0.01


def test_a_warm_up_rises_from_0():
    rates = rates_of(replace(CLIPS, warmup_updates=10))
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10) and set(rates[10:]) == {1.0}
