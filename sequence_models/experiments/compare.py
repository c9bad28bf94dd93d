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
from functools import partial
from typing import Any

import numpy as np

from extract.errors import RunError, SplitError
from extract.store.reader import open_store
from sequence_models.catalogue import TRAITS
from sequence_models.clips.loading import ClipSet
from sequence_models.experiments.evaluate import doctor_record
from sequence_models.experiments.prepare import DataSource, data_source_of
from sequence_models.experiments.train import note_validation, read_choices, train_baselines, train_final, train_models
from sequence_models.experiments.verdict import ORDERED_BASELINES, Entry, comparison_record, mean_rank, rank
from sequence_models.models.baselines import Baseline, baseline_names
from sequence_models.prediction.predict import average, predict
from sequence_models.records import Clip, Prediction, has_groups
from sequence_models.runs.files import write_arrays, write_record
from sequence_models.runs.fitted import load_baseline, load_fitted, post_process, prediction_arrays
from sequence_models.runs.results import begin_comparison, read_comparison, read_fit, read_validation
from sequence_models.runs.run import CHOICES, COMPARISON, MODEL, Run, create_run, note_test_opened, read_run
from sequence_models.settings import TrainSettings
from sequence_models.training.fit import FitResult
from sequence_models.training.step import forget_compiled

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
) -> dict[str, Any]:
    """Train everything that is not trained yet, open the test split once, and write metrics.json and predictions.npz.

    Args:
        sources: As for `sub_runs`.
        runs: From `sub_runs`.
        on_fit: Called after each fit with (folder, fold, seed, result); result None = it was already done.

    Returns:
        The content of metrics.json.
    """
    (run, data), validation = sources[0], {}
    for model, of_model in runs.items():
        for each in of_model:
            validation[each.path.name] = _train(
                each, data_source_of(each.settings, sources).data, partial(on_fit, each.path.name)
            )
            _note_done(run, model, each.path.name)
        best = max(of_model, key=lambda each: mean_rank(read_choices(each)[MODEL].values()))
        train_final(best, data_source_of(best.settings, sources).data, on_fit=partial(on_fit, best.path.name))
        forget_compiled()  # so that the next model's memory is measured alone
    if not read_choices(run):
        (run.path / CHOICES).unlink(missing_ok=True)
        note_validation(run, list(train_baselines(run, data).values()))
    validation |= read_validation(run)
    run = note_test_opened(run)
    extraction = {source.run.stores: _extraction_seconds(source.run) for source in sources}
    entries = [
        _model_entry(model, of_model, data_source_of(of_model[0].settings, sources).data, extraction)
        for model, of_model in runs.items()
    ]
    entries += [
        _baseline_entry(name, run, data, extraction)
        for name in baseline_names(run.settings.task, causal=run.settings.causal)
    ]
    clips = {clip.clip_id: clip for clip in data.clips}
    truth = [clips[clip_id] for fold in run.folds for clip_id in fold.test]
    record, final = comparison_record(run, entries, truth, validation=validation)
    if not has_groups(data.clips) and isinstance(run.embedding_dim, int):
        record["doctor"] = doctor_record(run, clips, truth, {MODEL: final})
    write_arrays(run.path / "predictions.npz", prediction_arrays(run, truth, final), run_id=run.run_id)
    write_record(run.path / "metrics.json", record, run_id=run.run_id)
    return record


def shuffle_steps(clip: Clip, seed: int) -> tuple[Clip, np.ndarray]:
    """The clip with its embeddings in random order, but unchanged timestamps.

    Args:
        clip: A clip of T timesteps.
        seed: The same seed gives the same order.

    Returns:
        The clip, and int64 (T,): where each original timestep went.
    """
    order = np.random.default_rng((seed, len(clip))).permutation(len(clip))
    return replace(clip, embeddings=clip.embeddings[order]), np.argsort(order)


def _train(run: Run, data: ClipSet, on_fit: Callable[[str, int, FitResult | None], None]) -> dict[str, Any]:
    """Train a sub-run if necessary; returns its validation scores."""
    if not read_choices(run):
        (run.path / CHOICES).unlink(missing_ok=True)  # from another number of seeds; its decisions are overwritten now
        return note_validation(run, [train_models(run, data, on_fit=on_fit)])[MODEL]
    for fold in run.folds:
        for seed in range(run.seeds):
            on_fit(fold.name, seed, None)
    return read_validation(run)[MODEL]


def _note_done(run: Run, model: str, name: str) -> None:
    """List a sub-run as finished; one that cannot be trained is never listed."""
    done = read_comparison(run.path)
    if name not in done.setdefault(model, []):
        done[model].append(name)
        write_record(run.path / COMPARISON, done)


def _model_entry(model: str, runs: Sequence[Run], data: ClipSet, extraction: Seconds) -> Entry:
    """Test predictions of a model, in each fold from the grid point that was best on validation."""
    for run in runs:
        note_test_opened(run)
    ordered = any(not TRAITS[run.settings.sequence_model].order_free for run in runs)
    entry = Entry(model, ordered, extraction=extraction[runs[0].stores], seeds=[[] for _ in range(runs[0].seeds)])
    clips = {clip.clip_id: clip for clip in data.clips}
    choices = [read_choices(run)[MODEL] for run in runs]
    sizes = []
    for fold in runs[0].folds:
        best = max(range(len(runs)), key=lambda number: rank(choices[number].get(fold.name)))
        run = runs[best]
        entry.points[fold.name] = run.path.name
        if fold.name in choices[best]:
            entry.choices[fold.name] = choices[best][fold.name]
        models = [load_fitted(run, fold.name, seed) for seed in range(run.seeds)]
        sizes.append(sum(int(np.prod(variable.shape)) for variable in models[0].trainable_variables))
        of_seeds = _add_predictions(entry, fold.name, [clips[clip_id] for clip_id in fold.test], models)
        for collected, predictions in zip(entry.seeds, of_seeds, strict=True):
            collected += predictions
        entry.said[fold.name] = post_process(run, fold, MODEL, entry.plain[fold.name])
    entry.parameters = float(np.mean(sizes))
    fits = [read_fit(run, fold.name, seed) for run in runs for fold in run.folds for seed in range(run.seeds)]
    entry.seconds = float(sum(fit["seconds"] for fit in fits))
    entry.peak_mb = max((fit["peak_mb"] for fit in fits if fit.get("peak_mb")), default=None)
    return entry


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
        _add_predictions(entry, fold.name, [clips[clip_id] for clip_id in fold.test], [baseline])
        entry.said[fold.name] = post_process(run, fold, name, entry.plain[fold.name])
        entry.seconds += seconds
        entry.parameters = float(baseline.weights.size + baseline.bias.size)
    return entry


def _add_predictions(entry: Entry, fold: str, test: Sequence[Clip], models: Sequence[Any]) -> list[list[Prediction]]:
    """Predict a fold's test clips as they are and with shuffled timesteps; returns each model's predictions."""
    shuffled = [shuffle_steps(clip, row) for row, clip in enumerate(test)]
    of_models, of_shuffled = (
        [model.predict(given) if isinstance(model, Baseline) else predict(model, given) for model in models]
        for given in (test, [clip for clip, _ in shuffled])
    )
    entry.plain[fold] = average(of_models)
    entry.shuffled[fold] = [
        replace(said, probabilities=said.probabilities[place]) if said.probabilities.ndim == 2 else said
        for said, (_, place) in zip(average(of_shuffled), shuffled, strict=True)
    ]
    return of_models
