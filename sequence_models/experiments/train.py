"""Trains one experiment: every fold with every seed, the baselines, and the models for later use.

Finished fits are recorded in the run directory, so an interrupted cross-validation can be resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from extract.errors import RunError
from extract.system.memory import peak_mb, reset_peak
from extract.text import counted
from sequence_models.clips.loading import ClipSet
from sequence_models.experiments.warm_start import start_head
from sequence_models.models.baselines import baseline_names, fit_baseline
from sequence_models.models.build import load_model
from sequence_models.prediction.postprocess import choose_decision
from sequence_models.prediction.predict import average, predict
from sequence_models.records import Clip, Prediction
from sequence_models.runs.checks import refuse_changed_weights, weights_digest
from sequence_models.runs.files import read_record, write_arrays, write_record
from sequence_models.runs.results import read_fit
from sequence_models.runs.run import CHOICES, FINAL, MODEL, POSTPROCESSED, Run
from sequence_models.scoring.predictions import score_predictions, validation_score
from sequence_models.settings import MANY_TO_ONE
from sequence_models.splits.folds import Fold
from sequence_models.training.fit import FitResult, fit_model
from sequence_models.training.forecast import forecast

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
    run: Run, data: ClipSet, *, on_fit: Callable[[str, int, FitResult | None], None], tensorboard: bool = False
) -> dict[str, dict]:
    """Run all fits of a run that are not done yet.

    Args:
        run: From `prepare`.
        data: From `prepare`.
        on_fit: Called after each fit with (fold, seed, result); result None = it was already done.
        tensorboard: Also write TensorBoard events.

    Returns:
        Validation scores, pooled over folds: of "model", and of each baseline fitted on the same training clips; for
        per-frame labels also of each after post-processing.
    """
    models = train_models(run, data, on_fit=on_fit, tensorboard=tensorboard)
    train_final(run, data, on_fit=on_fit, tensorboard=tensorboard)
    return note_validation(run, [models, *train_baselines(run, data).values()])


def forecast_run(run: Run, data: ClipSet) -> str:
    """The cost of the remaining fits of a run, in one line.

    Raises:
        UsageError: They would not fit in memory.
    """
    names = [fold.name for fold in run.folds] + ([FINAL] if run.cv else [])
    open_fits = sum(not run.fit_path(name, seed).exists() for name in names for seed in range(run.seeds))
    if not open_fits:
        return "all fits are already done"
    clips = {clip.clip_id: clip for clip in data.clips}
    largest = max(run.folds, key=lambda fold: len(fold.train))
    training, choosing = ([clips[clip_id] for clip_id in part] for part in (largest.train, largest.validation))
    told = forecast(training, choosing, run.settings, num_classes=run.num_classes)
    return f"{counted(open_fits, 'fit')} to do; {told}"


def train_models(
    run: Run, data: ClipSet, *, on_fit: Callable[[str, int, FitResult | None], None], tensorboard: bool = False
) -> Validation:
    """Fit the model of a run with every fold and seed; as `train`.

    Returns:
        The models' predictions for the clips that they were not trained on.
    """
    clips = {clip.clip_id: clip for clip in data.clips}
    said = Validation(MODEL)
    for fold in run.folds:
        collected: dict[str, list[Prediction]] = {}
        for seed in range(run.seeds):
            mine = fold.of_seed(seed)
            choosing = [clips[c] for c in mine.validation]
            model = _fit(
                run, fold.name, seed, [clips[c] for c in mine.train], choosing, on_fit, tensorboard=tensorboard
            )
            for prediction in predict(model, choosing):
                collected.setdefault(prediction.clip_id, []).append(prediction)
        averaged = [(clips[c], average([[each] for each in collected[c]])[0]) for c in clips if c in collected]
        said.folds[fold.name] = averaged
        _post_process(run, fold, said, clips)
    return said


def train_final(
    run: Run, data: ClipSet, *, on_fit: Callable[[str, int, FitResult | None], None], tensorboard: bool = False
) -> None:
    """After cross-validation: fit the models for later use on all clips; as `train`."""
    seeds = range(run.seeds if run.cv else 0)
    is_new = any(not run.fit_path(FINAL, seed).exists() for seed in seeds)
    stop_after = _median_updates(run) if is_new else None
    for seed in seeds:
        _fit(run, FINAL, seed, list(data.clips), [], on_fit, stop_after=stop_after, tensorboard=tensorboard)


def train_baselines(run: Run, data: ClipSet) -> dict[str, Validation]:
    """Fit the baselines of a run on every fold.

    A baseline chooses nothing on validation clips, so the one that is kept is fitted on them too: a higher floor.

    Returns:
        Baseline -> its predictions for clips that it was not fitted on; for per-frame labels only for the first
        validation part, since fitting on many frames is slow.
    """
    clips = {clip.clip_id: clip for clip in data.clips}
    validations = {name: Validation(name) for name in baseline_names(run.settings.task, causal=run.settings.causal)}
    for fold in run.folds:
        turns = range(min(run.seeds, 1 + len(fold.rotation))) if run.settings.task == MANY_TO_ONE else range(1)
        for name, said in validations.items():
            _fit_baseline(run, fold, name, clips)
            validated: dict[str, Prediction] = {}
            for mine in map(fold.of_seed, turns):
                fitted = fit_baseline(name, [clips[c] for c in mine.train], run.num_classes, seed=0)
                validated |= {p.clip_id: p for p in fitted.predict([clips[c] for c in mine.validation])}
            said.folds[fold.name] = [(clips[c], validated[c]) for c in clips if c in validated]
            _post_process(run, fold, said, clips)
    return validations


def note_validation(run: Run, validations: Sequence[Validation]) -> dict[str, dict]:
    """Write validation.json (scores pooled over folds) and choices.json (scores of each model per fold).

    Args:
        run: The run to write to.
        validations: From `train_models` and `train_baselines`.

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
    write_record(run.path / CHOICES, {"seeds": run.seeds, "choices": choices}, run_id=run.run_id)
    return scores


def read_choices(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """The content of choices.json from `note_validation`: model or baseline -> fold -> "score" and "loss"; {} if none.

    A file written with another number of seeds is ignored.
    """
    path = run.path / CHOICES
    record = (
        read_record(path, again="delete it and run the same command again", run_id=run.run_id) if path.exists() else {}
    )
    return record["choices"] if record.get("seeds") == run.seeds else {}


def _comparable(run: Run, fold: Fold, pairs: Validated) -> Validated:
    """The labelled validation clips that all models and baselines predicted; for frames only the first part."""
    asked = set(fold.known if run.settings.task == MANY_TO_ONE else fold.validation)
    return [(clip, said) for clip, said in pairs if clip.clip_id in asked and clip.labels.max() >= 0]


def _fit(
    run: Run,
    fold: str,
    seed: int,
    training: Sequence[Clip],
    validation: Sequence[Clip],
    on_fit: Callable[[str, int, FitResult | None], None],
    *,
    stop_after: int | None = None,
    tensorboard: bool,
) -> Any:
    weights, note = run.model_path(fold, seed), run.fit_path(fold, seed)
    if note.exists() and weights.exists():
        refuse_changed_weights(run, fold, seed)
        on_fit(fold, seed, None)
        return load_model(run.settings, weights, embedding_dim=run.embedding_dim, num_classes=run.num_classes)
    reset_peak()
    result = fit_model(
        training,
        validation,
        run.settings,
        num_classes=run.num_classes,
        seed=seed,
        checkpoint=weights,
        log=run.log_path(fold, seed),
        stop_after=stop_after,
        head=start_head(run, fold, seed),
        tensorboard=run.events_path(fold, seed) if tensorboard else None,
    )
    told = {"best_update": result.best_update, "best_score": result.best_score, "seconds": result.seconds}
    told["overfits_from"] = result.overfits_from
    write_record(note, told | {"peak_mb": peak_mb(), "weights_digest": weights_digest(weights)}, run_id=run.run_id)
    on_fit(fold, seed, result)
    return result.model


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


def _fit_baseline(run: Run, fold: Fold, name: str, clips: dict[str, Clip]) -> None:
    path = run.baseline_path(fold.name, name)
    if not path.exists():
        began = time.perf_counter()
        fitted = fit_baseline(name, [clips[clip_id] for clip_id in fold.known], run.num_classes, seed=0)
        arrays = fitted.to_arrays() | {"seconds": np.array(time.perf_counter() - began)}
        write_arrays(path, arrays, run_id=run.run_id)


def _median_updates(run: Run) -> int:
    notes = [read_fit(run, fold.name, seed) for fold in run.folds for seed in range(run.seeds)]
    if any("best_update" not in note for note in notes):
        raise RunError(
            f"{run.path} was trained by an older clipseq that counted epochs; train again into another --run"
        )
    return max(1, int(np.median([note["best_update"] for note in notes])))
