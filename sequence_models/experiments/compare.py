"""Compares models on the same clips, folds and seeds, and tells whether using the order of the timesteps pays off.

The best model is chosen inside each fold, on its validation clips, so the score of the chosen models is a test score.

runs/NAME/              a run directory: the baselines, and the predictions of the models that the folds chose
  compare.json          the folders of each model
  bilstm,hidden=96/     a run directory for each model and grid point; after cross-validation, only the best point of
                        each model has models fitted on all clips
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from extract.errors import RunError, SplitError
from extract.store.reader import open_store
from sequence_models.catalogue import TRAITS
from sequence_models.clips.loading import ClipSet
from sequence_models.experiments.pool import Pool
from sequence_models.experiments.prepare import DataSource, data_source_of
from sequence_models.experiments.split_checks import split_checks
from sequence_models.experiments.tasks import (
    BaselineTask,
    FitTask,
    TestPredictions,
    TestTask,
    predict_also_shuffled,
    without_clips,
)
from sequence_models.experiments.train import (
    Collected,
    baseline_tasks,
    final_tasks,
    fit_tasks,
    note_validation,
    open_pool,
    read_choices,
)
from sequence_models.experiments.verdict import Entry, comparison_record, mean_rank, motion_hint, rank
from sequence_models.models.baselines import ORDERED_BASELINES, baseline_names
from sequence_models.records import Prediction
from sequence_models.runs.files import write_arrays, write_record
from sequence_models.runs.fitted import load_baseline, post_process, prediction_arrays
from sequence_models.runs.results import begin_comparison, read_comparison, read_fit, read_validation
from sequence_models.runs.run import CHOICES, COMPARISON, MODEL, Run, create_run, note_test_opened, read_run
from sequence_models.settings import TrainSettings
from sequence_models.splits.folds import Fold
from sequence_models.training.fit import FitResult

Seconds = Mapping[tuple[str, ...], float]  # of extraction, by stores
WALL_STAGES = ("backbone", "backbone_waited", "backbone_held")  # at any time, extraction is in one of them


def sub_runs(sources: Sequence[DataSource], points: Mapping[str, Mapping[str, TrainSettings]]) -> dict[str, list[Run]]:
    """Create the run directories of a comparison, or continue existing ones.

    Args:
        sources: From `prepare`, then from `frame_sources` for raw-frame models; each sub-run has the data, folds and
            seeds of its source.
        points: From `grid_points`.

    Returns:
        Model -> its runs, including those that earlier calls finished.

    Raises:
        RunError: A folder holds another experiment, or models on raw frames for which there is no source.
        SplitError: A fold has no validation part to choose on.
    """
    run = sources[0].run
    unchosen = [fold.name for fold in run.folds if not fold.validation]
    if unchosen:
        raise SplitError(
            f"fold {unchosen[0]} has no validation part, which a comparison needs to choose models; add groups."
        )
    begin_comparison(run)
    done = read_comparison(run.path)
    wanted = {name: settings for of_model in points.values() for name, settings in of_model.items()}
    runs: dict[str, list[Run]] = {}
    for model in dict.fromkeys([*done, *points]):
        for name in dict.fromkeys([*done.get(model, []), *points.get(model, {})]):
            settings = wanted[name] if name in wanted else read_run(run.path / name).settings
            seen = data_source_of(settings, sources).run
            if settings.on_frames and isinstance(seen.embedding_dim, int):
                raise RunError(f"{run.path} has {name} on raw frames; give --frames-store again, or use another --run.")
            runs.setdefault(model, []).append(create_run(replace(seen, path=run.path / name, settings=settings)))
    return runs


def compare(
    sources: Sequence[DataSource],
    runs: Mapping[str, Sequence[Run]],
    *,
    on_fit: Callable[[str, str, int, FitResult | None], None],
    jobs: int | None = 1,
    ray: str = "",
) -> dict[str, Any]:
    """Train everything that is not trained yet, open the test split once, and write metrics.json and predictions.npz.

    Args:
        sources: As for `sub_runs`.
        runs: From `sub_runs`.
        on_fit: Called after each fit with (folder, fold, seed, result); result None = it was already done.
        jobs, ray: As for `train`.

    Returns:
        The content of metrics.json.
    """
    run, data = sources[0]
    each_run = [each for of_model in runs.values() for each in of_model]
    parts = [(each, data_source_of(each.settings, sources).data) for each in each_run]
    with open_pool(parts, jobs=jobs, ray=ray, sources=[source.data for source in sources]) as pool:
        spent = {"updates": 0.0, "validation": 0.0}

        def note_fit(name: str, fold: str, seed: int, result: FitResult | None) -> None:
            if result is not None:
                spent["updates"] += result.update_seconds
                spent["validation"] += result.look_seconds
            on_fit(name, fold, seed, result)

        validation = _train(sources, runs, pool, note_fit)
        for task, result in pool.each(_final_tasks(sources, runs)):
            note_fit(task.run.path.name, task.fold, task.seed, result.result)
        validation |= read_validation(run)
        run = note_test_opened(run)
        extraction = {source.run.stores: _extraction_seconds(source.run) for source in sources}
        entries = _model_entries(sources, runs, pool, extraction)
        time_spent = {"wall": pool.seconds, "processes": pool.jobs, **pool.busy_seconds, **spent}
    entries += [
        _baseline_entry(name, run, data, extraction)
        for name in baseline_names(run.settings.task, causal=run.settings.causal)
    ]
    clips = {clip.clip_id: clip for clip in data.clips}
    truth = [clips[clip_id] for fold in run.folds for clip_id in fold.test]
    record, final = comparison_record(run, entries, truth, validation=validation)
    record |= split_checks(run, clips, truth, {MODEL: final})
    record["hint"] = motion_hint(record, (recipe.get("input") for each in sources for recipe in each.run.recipes))
    record["time"] = time_spent
    write_arrays(run.path / "predictions.npz", prediction_arrays(run, truth, final), run_id=run.run_id)
    write_record(run.path / "metrics.json", record, run_id=run.run_id)
    return record


def _train(
    sources: Sequence[DataSource],
    runs: Mapping[str, Sequence[Run]],
    pool: Pool,
    on_fit: Callable[[str, str, int, FitResult | None], None],
) -> dict[str, Any]:
    """Train the sub-runs and baselines that are not done yet; returns the validation scores of each sub-run."""
    run, data = sources[0]
    tasks: list[FitTask | BaselineTask] = []
    open_runs: dict[str, tuple[str, Run, Collected]] = {}
    for model, of_model in runs.items():
        for each in of_model:
            if read_choices(each):
                for fold, seed in product(each.folds, range(each.fits)):
                    on_fit(each.path.name, fold.name, seed, None)
                _note_done(run, model, each.path.name)
                continue
            (each.path / CHOICES).unlink(missing_ok=True)  # from another number of seeds; its decisions are overwritten
            source = data_source_of(each.settings, sources)
            tasks += fit_tasks(each, source=_number_of(source, sources), quiet=pool.jobs > 1)
            open_runs[str(each.path)] = (model, each, Collected(each, source.data))
    baselines = Collected(run, data)
    if not read_choices(run).keys() >= set(baseline_names(run.settings.task, causal=run.settings.causal)):
        (run.path / CHOICES).unlink(missing_ok=True)
        tasks += baseline_tasks(run)
    for task, result in pool.each(tasks):
        if isinstance(task, BaselineTask):
            baselines.add(task, result)
            continue
        model, each, collected = open_runs[task.key]
        collected.add(task, result)
        on_fit(each.path.name, task.fold, task.seed, result.result)
        if collected.is_whole():
            note_validation(each, collected.validations())
            _note_done(run, model, each.path.name)
    if found := baselines.validations():
        note_validation(run, found)
    return {each.path.name: read_validation(each)[MODEL] for of_model in runs.values() for each in of_model}


def _final_tasks(sources: Sequence[DataSource], runs: Mapping[str, Sequence[Run]]) -> list[FitTask]:
    """The fits on all clips, of the best grid point of each model."""
    tasks = []
    for of_model in runs.values():
        best = max(of_model, key=lambda each: mean_rank(read_choices(each)[MODEL].values()))
        source = data_source_of(best.settings, sources)
        tasks += final_tasks(best, source.data, source=_number_of(source, sources))
    return tasks


def _number_of(source: DataSource, sources: Sequence[DataSource]) -> int:
    return next(number for number, each in enumerate(sources) if each is source)


def _note_done(run: Run, model: str, name: str) -> None:
    """List a sub-run as finished; one that cannot be trained is never listed."""
    done = read_comparison(run.path)
    if name not in done.setdefault(model, []):
        done[model].append(name)
        write_record(run.path / COMPARISON, done)


def _model_entries(
    sources: Sequence[DataSource], runs: Mapping[str, Sequence[Run]], pool: Pool, extraction: Seconds
) -> list[Entry]:
    """Test predictions of every model, in each fold from the grid point that was best on validation."""
    entries: dict[str, Entry] = {}
    tasks, belongs = [], {}
    for model, of_model in runs.items():
        of_model = [note_test_opened(each) for each in of_model]
        ordered = any(not TRAITS[each.settings.sequence_model].order_free for each in of_model)
        seeds: list[list[Prediction]] = [[] for _ in range(of_model[0].fits)]
        entry = entries[model] = Entry(model, ordered, extraction=extraction[of_model[0].stores], seeds=seeds)
        choices = [read_choices(each)[MODEL] for each in of_model]
        source = _number_of(data_source_of(of_model[0].settings, sources), sources)
        for fold in of_model[0].folds:
            best = max(range(len(of_model)), key=lambda number: rank(choices[number].get(fold.name)))
            run = of_model[best]
            entry.points[fold.name] = run.path.name
            if fold.name in choices[best]:
                entry.choices[fold.name] = choices[best][fold.name]
            tasks.append(TestTask(without_clips(run), fold.name, fold.test, source=source))
            belongs[run.path, fold.name] = model
        fits = [read_fit(each, f.name, s) for each in of_model for f in each.folds for s in range(each.fits)]
        entry.seconds = float(sum(fit["seconds"] for fit in fits))
        entry.peak_mb = max((fit["peak_mb"] for fit in fits if fit.get("peak_mb")), default=None)
    found = {(belongs[task.run.path, task.fold], task.fold): (task.run, said) for task, said in pool.each(tasks)}
    for model, entry in entries.items():
        sizes = []
        for fold in runs[model][0].folds:
            run, said = found[model, fold.name]
            _add_predictions(entry, run, fold, said)
            sizes.append(said.parameters)
        entry.parameters = float(np.mean(sizes))
    return list(entries.values())


def _add_predictions(entry: Entry, run: Run, fold: Fold, said: TestPredictions) -> None:
    entry.plain[fold.name], entry.shuffled[fold.name] = said.mean, said.shuffled
    entry.said[fold.name] = post_process(run, fold, MODEL if entry.seeds else entry.name, said.mean)
    if entry.seeds:  # baselines have none
        for collected, predictions in zip(entry.seeds, said.of_seeds, strict=True):
            collected += predictions


def _extraction_seconds(run: Run) -> float:
    """Wall-clock time of extracting the stores; 0 for imported features."""
    stages = [open_store(store).stage_seconds() for store in run.stores]
    return float(sum(each.get(stage, 0.0) for each in stages for stage in WALL_STAGES))


def _baseline_entry(name: str, run: Run, data: ClipSet, extraction: Seconds) -> Entry:
    choices = read_choices(run)[name]
    entry = Entry(name, name in ORDERED_BASELINES, extraction=extraction[run.stores], choices=choices)
    clips = {clip.clip_id: clip for clip in data.clips}
    for fold in run.folds:
        baseline, seconds = load_baseline(run, fold, name)
        test = [clips[clip_id] for clip_id in fold.test]
        _add_predictions(entry, run, fold, predict_also_shuffled([baseline.predict], test))
        entry.seconds += seconds
        entry.parameters = float(baseline.classifier.size)
    return entry
