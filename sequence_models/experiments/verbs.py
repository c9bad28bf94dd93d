"""What `train` and `compare` do from their arguments to their results, for the command line and for Python alike."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from extract.system.quiet_start import import_keras_quietly
from extract.system.terminal import counted_bar
from extract.text import counted
from sequence_models.catalogue import RAW_MODEL_NAMES, TRAITS, TWO_STREAM
from sequence_models.clips.buffers import where_text
from sequence_models.clips.loading import ClipSet
from sequence_models.experiments.grid import fitting, grid_points, models_for, parse_grid
from sequence_models.experiments.pool import threads_per_task
from sequence_models.experiments.prepare import (
    DataSource,
    check_input,
    data_source_of,
    frame_sources,
    holds_frames,
    prepare,
)
from sequence_models.experiments.summary import (
    choosing_score,
    data_text,
    fit_text,
    near_duplicate_lines,
    overfitting_lines,
    score_table,
)
from sequence_models.runs.checks import refuse_training_into_comparison
from sequence_models.runs.results import begin_comparison
from sequence_models.runs.run import Run
from sequence_models.settings import TrainSettings

log = logging.getLogger(__name__)


def train_run(
    stores: Sequence[str | Path],
    labels: Path | None,
    settings: TrainSettings,
    *,
    run: Path,
    say: Callable[[str], None],
    tensorboard: bool = False,
    jobs: int | None = None,
    ray: str = "",
    **data: Any,
) -> Run:
    """Prepare and train a run, with a progress bar over its fits.

    Args:
        stores, labels, settings, run: As for `prepare`.
        say: Called with the notes on the data, the forecast and the validation scores, as text.
        tensorboard, jobs, ray: As for `train`.
        data: The rest of what `prepare` takes.
    """
    refuse_training_into_comparison(run)
    prepared, clips = prepare(stores, labels, settings, run=run, **data)
    say(data_text(prepared, clips.notes, clips.unlabelled))
    import_keras_quietly(threads=None if settings.on_frames else threads_per_task(len(prepared.folds) * prepared.fits))
    from sequence_models.experiments.train import forecast_run, train

    say(forecast_run(prepared, clips))
    with counted_bar(total=len(prepared.all_fits), unit=" fits") as bar:

        def on_fit(fold: str, seed: int, result: Any) -> None:
            bar.set_postfix_str(f"{fold} seed {seed}: {fit_text(result, choosing_score(settings))}", refresh=False)
            _log_cost(f"{fold} seed {seed}", result)
            bar.update()

        scores = train(prepared, clips, on_fit=on_fit, tensorboard=tensorboard, jobs=jobs, ray=ray)
    say(score_table("validation", {name.replace("model", settings.model, 1): value for name, value in scores.items()}))
    for line in overfitting_lines(prepared):
        say(line)
    return prepared


def compare_models(
    stores: Sequence[str | Path],
    labels: Path | None,
    given: Mapping[str, Any],
    *,
    say: Callable[[str], None],
    models: Sequence[str] = (),
    grid: Sequence[str] = (),
    frame_stores: Sequence[str | Path] = (),
    jobs: int | None = None,
    ray: str = "",
    **data: Any,
) -> Run:
    """Train many models, open the test split once, and write the table and the verdict.

    Args:
        stores, labels: As for `prepare`.
        given: Settings of all models; see `grid_points`.
        say: Called with the notes on the data and with the verdict, as text.
        models: Names; none: one of each kind.
        grid: As `parse_grid` takes it.
        frame_stores: As for `frame_sources`.
        jobs, ray: As for `compare`.
        data: The rest of what `prepare` takes.
    """
    if frame_stores and data["inner"] is None:
        data["inner"] = 1  # a fit on raw frames takes minutes
    default = _default_models(stores, frame_stores, given)
    points = grid_points(models or default, given, parse_grid(grid))
    whole = prepare(stores, labels, settings_of_comparison(stores, given, frame_stores=frame_stores), **data)
    begin_comparison(whole[0])
    sources = [DataSource(*whole), *(frame_sources(*whole, frame_stores) if frame_stores else [])]
    wanted = [settings for of_model in points.values() for settings in of_model.values()]
    for settings in wanted:
        seen = data_source_of(settings, sources)
        check_input(settings, seen.data, seen.run.stores)
    run, clips = whole
    say(data_text(run, clips.notes, clips.unlabelled))
    on_frames = any(settings.on_frames for settings in wanted)
    import_keras_quietly(threads=None if on_frames else threads_per_task(len(wanted) * len(run.folds) * run.fits))
    from sequence_models.experiments.compare import compare, sub_runs
    from sequence_models.experiments.train import forecast_minutes
    from sequence_models.experiments.verdict import comparison_text

    needed = max(_check_fit(settings, data_source_of(settings, sources).data, run) for settings in wanted)
    runs = sub_runs(sources, points)
    fits = sum(map(len, runs.values())) * len(run.folds) * run.fits + bool(run.cv) * len(runs) * run.seeds
    score = choosing_score(run.settings)
    parts = [(each, data_source_of(each.settings, sources).data) for many in runs.values() for each in many]
    took = "" if ray else f" {forecast_minutes(parts, jobs=jobs)};"
    held = f"the largest takes about {needed / 1e9:.1f} GB; {where_text(clips.clips)}"
    say(f"{counted(points, 'model')}, {counted(fits, 'fit')}:{took} {held}")
    with counted_bar(total=fits, unit=" fits") as bar:

        def on_fit(name: str, fold: str, seed: int, result: Any) -> None:
            bar.set_postfix_str(f"{name} {fold} seed {seed}: {fit_text(result, score)}", refresh=False)
            _log_cost(f"{name} {fold} seed {seed}", result)
            bar.update()

        record = compare(sources, runs, on_fit=on_fit, jobs=jobs, ray=ray)
    say("\n".join([comparison_text(record), *near_duplicate_lines(record)]))
    return run


def settings_of_comparison(
    stores: Sequence[str | Path], given: Mapping[str, Any], *, frame_stores: Sequence[str | Path] = ()
) -> TrainSettings:
    """The settings of the run that holds a comparison: those of the first default model; raises like `models_for`."""
    first = _default_models(stores, frame_stores, given)[0]
    return TrainSettings(**fitting(first, given), model=first)


def _default_models(
    stores: Sequence[str | Path], frame_stores: Sequence[str | Path], given: Mapping[str, Any]
) -> list[str]:
    """What is compared where no models are named: one of each kind on embeddings, and all that the frames allow."""
    raw = [name for name in RAW_MODEL_NAMES if name != TWO_STREAM or len(frame_stores or stores) > 1]
    on_embeddings = [name for name, traits in TRAITS.items() if given["task"] in traits.compared]
    possible = models_for(given, among=raw if holds_frames(stores) else on_embeddings)
    return possible + (models_for(given, among=raw) if frame_stores else [])


def _check_fit(settings: TrainSettings, data: ClipSet, run: Run) -> int:
    """Refuse what this backend or the memory cannot do; returns the bytes that fits with these settings take."""
    from sequence_models.training.budget import budget_for
    from sequence_models.training.fine_tuning import check_backend
    from sequence_models.training.forecast import refuse_too_large

    check_backend(settings)
    budget = budget_for(data.clips, (), settings)
    return refuse_too_large(data.clips, settings, budget, num_classes=run.num_classes)


def _log_cost(name: str, result: Any) -> None:
    """With -v: what a fit cost, and how often it called the backend."""
    if result is not None:
        updates, calls = counted(result.updates, "update"), counted(result.counts["calls"], "call")
        compiled = counted(result.counts.get("compilations", 0), "compilation")
        log.info("%s: %.1f s, %s in %s with validation, %s", name, result.seconds, updates, calls, compiled)
