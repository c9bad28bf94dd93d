"""Trains one experiment: every fold with every seed, the baselines, and the models for later use.

Finished fits are recorded in the run directory, so an interrupted cross-validation can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from extract.errors import RunError
from extract.text import counted, duration_text
from sequence_models.clips.loading import ClipSet
from sequence_models.experiments.cluster import ClusterWorkers
from sequence_models.experiments.pool import Pool, processes_for, threads_per_task
from sequence_models.experiments.tasks import BaselineTask, FitTask, without_clips
from sequence_models.models.baselines import baseline_names
from sequence_models.prediction.postprocess import choose_decision
from sequence_models.prediction.predict import average
from sequence_models.records import Clip, Prediction
from sequence_models.runs.files import read_record, write_record
from sequence_models.runs.results import read_fit
from sequence_models.runs.run import CHOICES, FINAL, MODEL, POSTPROCESSED, Run
from sequence_models.scoring.predictions import score_predictions, validation_score
from sequence_models.settings import MANY_TO_ONE
from sequence_models.splits.folds import Fold
from sequence_models.training.budget import budget_for, expected_seconds
from sequence_models.training.fit import FitResult
from sequence_models.training.forecast import bytes_needed, forecast

Validated = list[tuple[Clip, Prediction]]


@dataclass
class Validation:
    """The predictions of one model or baseline for validation clips.

    Args:
        name: MODEL, or the name of the baseline.
        folds: Fold -> its validation clips, each with the mean prediction of the fits that were not trained on it.
        decided: The same after post-processing; empty for clips with one label each.
    """

    name: str
    folds: dict[str, Validated] = field(default_factory=dict)
    decided: dict[str, Validated] = field(default_factory=dict)


def train(
    run: Run,
    data: ClipSet,
    *,
    on_fit: Callable[[str, int, FitResult | None], None],
    tensorboard: bool = False,
    jobs: int | None = 1,
    ray: str = "",
) -> dict[str, dict]:
    """Run all fits of a run that are not done yet.

    Args:
        run: From `prepare`.
        data: From `prepare`.
        on_fit: Called after each fit with (fold, seed, result); result None = it was already done.
        tensorboard: Also write TensorBoard events.
        jobs: How many processes; None = as many as pay off.
        ray: The address of a Ray cluster whose machines train, see `ClusterWorkers`; "" = this one does.

    Returns:
        Validation scores, pooled over folds: of "model", and of each baseline fitted on the same training clips; for
        per-frame labels also of each after post-processing.
    """
    with open_pool([(run, data)], jobs=jobs, ray=ray) as pool:
        tasks = fit_tasks(run, tensorboard=tensorboard, quiet=pool.jobs > 1)
        collected = Collected(run, data)
        for task, result in pool.each([*tasks, *baseline_tasks(run)]):
            collected.add(task, result)
            if isinstance(task, FitTask):
                on_fit(task.fold, task.seed, result.result)
        scores = note_validation(run, collected.validations())
        for task, result in pool.each(final_tasks(run, data, tensorboard=tensorboard, quiet=pool.jobs > 1)):
            on_fit(task.fold, task.seed, result.result)
    return scores


def open_pool(
    parts: Sequence[tuple[Run, ClipSet]], *, jobs: int | None, ray: str, sources: Sequence[ClipSet] = ()
) -> Pool:
    """Processes for the open fits of some runs.

    Args:
        parts: Each run with its clips.
        jobs, ray: As for `train`.
        sources: The clips that tasks refer to by number, if not those of the parts.
    """
    _, fits, seconds, needed = _work_of(parts)
    held = [source.clips for source in sources or [data for _, data in parts]]
    threads = threads_per_task(fits)
    if ray:
        return Pool(
            held,
            threads=threads,
            cluster=ClusterWorkers(ray, jobs=jobs, tasks=fits, threads=threads, bytes_each=needed),
        )
    processes = processes_for(jobs, tasks=fits, seconds=seconds, bytes_each=needed)
    return Pool(held, jobs=processes, threads=threads)


def forecast_minutes(parts: Sequence[tuple[Run, ClipSet]], *, jobs: int | None) -> str:
    """How long the open fits of some runs take at most, very roughly, as text; arguments as for `open_pool`."""
    _, fits, seconds, needed = _work_of(parts)
    processes = processes_for(jobs, tasks=fits, seconds=seconds, bytes_each=needed)
    on = f" on {processes} processes" if processes > 1 else ""
    return f"up to roughly {duration_text(seconds / processes)}{on}, and more for the baselines"


def _work_of(parts: Sequence[tuple[Run, ClipSet]]) -> tuple[int, int, float, int]:
    """Open fits, fits of all folds, seconds of the open ones on one core, and the bytes that the largest needs."""
    open_fits, fits, seconds, needed = 0, 0, 0.0, 0
    for run, data in parts:
        still = sum(not run.fit_path(*fit).exists() for fit in run.all_fits)
        open_fits, fits = open_fits + still, fits + len(run.folds) * run.fits
        budget = budget_for(data.clips, (), run.settings)
        seconds += still * expected_seconds(data.clips, run.settings, budget)
        needed = max(needed, bytes_needed(data.clips, run.settings, budget, num_classes=run.num_classes))
    return open_fits, fits, seconds, needed


def forecast_run(run: Run, data: ClipSet) -> str:
    """The cost of the remaining fits of a run, in one line.

    Raises:
        UsageError: They would not fit in memory.
    """
    open_fits = sum(not run.fit_path(*fit).exists() for fit in run.all_fits)
    if not open_fits:
        return "all fits are already done"
    clips = {clip.clip_id: clip for clip in data.clips}
    largest = max(run.folds, key=lambda fold: len(fold.train))
    training, choosing = ([clips[clip_id] for clip_id in part] for part in (largest.train, largest.validation))
    told = forecast(training, choosing, run.settings, num_classes=run.num_classes)
    return f"{counted(open_fits, 'fit')} to do; {told}"


def fit_tasks(run: Run, *, source: int = 0, tensorboard: bool = False, quiet: bool = True) -> list[FitTask]:
    """The fits of every fold and seed."""
    slim = without_clips(run)
    return [
        FitTask(
            slim,
            fold.name,
            seed,
            fold.of_seed(seed).train,
            fold.of_seed(seed).validation,
            tensorboard=tensorboard,
            quiet=quiet,
            source=source,
        )
        for fold in run.folds
        for seed in range(run.fits)
    ]


def final_tasks(
    run: Run, data: ClipSet, *, source: int = 0, tensorboard: bool = False, quiet: bool = True
) -> list[FitTask]:
    """After cross-validation: the fits for later use, on all clips, as long as the usual best update of the folds."""
    seeds = range(run.seeds if run.cv else 0)
    is_new = any(not run.fit_path(FINAL, seed).exists() for seed in seeds)
    everything, stop_after = tuple(clip.clip_id for clip in data.clips), _median_updates(run) if is_new else None
    slim, how = without_clips(run), (tensorboard, quiet, source)
    return [FitTask(slim, FINAL, seed, everything, (), stop_after, *how) for seed in seeds]


def baseline_tasks(run: Run) -> list[BaselineTask]:
    """The baselines of every fold.

    A baseline chooses nothing on validation clips, so the one that is kept is fitted on them too: a higher floor.
    """
    names = baseline_names(run.settings.task, causal=run.settings.causal)
    return [BaselineTask(without_clips(run), fold, name) for name in names for fold in run.folds]


class Collected:
    """Gathers what models and baselines say about the clips that they were not fitted on.

    Args:
        run: The run that they belong to.
        data: Its clips.
    """

    def __init__(self, run: Run, data: ClipSet):
        self._run, self._clips = run, {clip.clip_id: clip for clip in data.clips}
        self._of_model: dict[str, dict[int, list[Prediction]]] = {}  # fold -> seed -> predictions
        self._of_baselines: dict[str, dict[str, dict[str, Prediction]]] = {}  # baseline -> fold -> clip_id ->

    def add(self, task: FitTask | BaselineTask, result: Any) -> None:
        """Take the result of a task."""
        if isinstance(task, FitTask):
            self._of_model.setdefault(task.fold, {})[task.seed] = result.predictions
        else:
            self._of_baselines.setdefault(task.name, {})[task.fold.name] = result

    def is_whole(self) -> bool:
        """Whether every fold and seed of the model is there."""
        return sum(map(len, self._of_model.values())) == len(self._run.folds) * self._run.fits

    def validations(self) -> list[Validation]:
        """The predictions of the model, if it was fitted, and of each baseline, with post-processing chosen."""
        found = []
        if self._of_model:
            said = Validation(MODEL)
            for fold in self._run.folds:
                several: dict[str, list[Prediction]] = {}
                for _, predictions in sorted(self._of_model[fold.name].items()):
                    for each in predictions:
                        several.setdefault(each.clip_id, []).append(each)
                mean = {clip_id: average([[each] for each in they])[0] for clip_id, they in several.items()}
                self._take(said, fold, mean)
            found.append(said)
        for name, folds in self._of_baselines.items():
            said = Validation(name)
            for fold in self._run.folds:
                self._take(said, fold, folds[fold.name])
            found.append(said)
        return found

    def _take(self, said: Validation, fold: Fold, predictions: Mapping[str, Prediction]) -> None:
        said.folds[fold.name] = [(clip, predictions[c]) for c, clip in self._clips.items() if c in predictions]
        _post_process(self._run, fold, said, self._clips)


def note_validation(run: Run, validations: Sequence[Validation]) -> dict[str, dict]:
    """Write validation.json (scores pooled over folds) and choices.json (scores of each model per fold).

    Args:
        run: The run to write to.
        validations: From `Collected`.

    Returns:
        The content of validation.json.
    """
    scores, choices = {}, {}
    for said in validations:
        for name, folds in ((said.name, said.folds), (f"{said.name}{POSTPROCESSED}", said.decided)):
            pooled = [pair for pairs in folds.values() for pair in pairs]
            if pooled:
                truth, predictions = zip(*pooled, strict=True)
                scores[name] = score_predictions(truth, predictions, run.vocabulary, background=run.background)
        comparable = {fold.name: _comparable(run, fold, said.folds[fold.name]) for fold in run.folds}
        choices[said.name] = {fold: validation_score(pairs) for fold, pairs in comparable.items() if pairs}
    write_record(run.path / "validation.json", scores, run_id=run.run_id)
    write_record(run.path / CHOICES, {"seeds": run.fits, "choices": choices}, run_id=run.run_id)
    return scores


def read_choices(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """The content of choices.json from `note_validation`: model or baseline -> fold -> "score" and "loss"; {} if none.

    A file written with another number of seeds is ignored.
    """
    path = run.path / CHOICES
    record = (
        read_record(path, again="delete it and run the same command again", run_id=run.run_id) if path.exists() else {}
    )
    return record["choices"] if record.get("seeds") == run.fits else {}


def _comparable(run: Run, fold: Fold, pairs: Validated) -> Validated:
    """The labelled validation clips that all models and baselines predicted; without rotation of the first part."""
    asked = set(fold.known if run.rotates else fold.validation)
    return [(clip, said) for clip, said in pairs if clip.clip_id in asked and clip.labels.max() >= 0]


def _post_process(run: Run, fold: Fold, said: Validation, clips: dict[str, Clip]) -> None:
    """Choose the post-processing on the fold's validation clips, save it, and per frame apply it to them."""
    pairs = said.folds[fold.name]
    is_whole = run.settings.task == MANY_TO_ONE
    if said.name == "majority" or (is_whole and said.name != MODEL):
        return
    choosing, predictions = [clip for clip, _ in pairs], [prediction for _, prediction in pairs]
    training = [clips[clip_id] for clip_id in fold.train]
    decision = choose_decision(
        choosing,
        predictions,
        training=training,
        causal=run.settings.causal,
        lag=run.settings.lag,
        background=None if run.background is None else run.vocabulary.index(run.background),
        threshold=run.settings.threshold,
    )
    write_record(run.decision_path(fold.name, said.name), decision.to_record(), run_id=run.run_id)
    if not is_whole:
        said.decided[fold.name] = list(zip(choosing, decision.apply(predictions), strict=True))


def _median_updates(run: Run) -> int:
    notes = [read_fit(run, fold.name, seed) for fold in run.folds for seed in range(run.fits)]
    if any("best_update" not in note for note in notes):
        raise RunError(
            f"{run.path} was trained by an older clipseq that counted epochs; train again into another --run"
        )
    return max(1, int(np.median([note["best_update"] for note in notes])))
