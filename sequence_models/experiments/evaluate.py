"""Opens the test split: predictions of every fold, averaged over seeds, pooled, and scored along with the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sequence_models.clips.windows import select_steps
from sequence_models.experiments.prepare import reload_clips
from sequence_models.experiments.split_checks import split_checks
from sequence_models.models.baselines import ADDED_LATER, baseline_names
from sequence_models.prediction.bouts import write_bouts
from sequence_models.prediction.postprocess import CRITERION, MACRO_F1_CRITERION
from sequence_models.prediction.predict import average, predict
from sequence_models.prediction.tables import write_predictions
from sequence_models.records import Clip, Prediction, has_groups
from sequence_models.runs.checks import refuse_comparison
from sequence_models.runs.files import write_arrays, write_record
from sequence_models.runs.fitted import load_baseline, load_fitted, post_process, prediction_arrays, read_decision
from sequence_models.runs.outputs import clip_tables
from sequence_models.runs.results import read_validation, refuse_unfinished
from sequence_models.runs.run import MODEL, OFFICIAL, POSTPROCESSED, Run, note_test_opened, read_run
from sequence_models.scoring.predictions import compare_predictions, score_predictions
from sequence_models.settings import MANY_TO_MANY, MANY_TO_ONE
from sequence_models.splits.folds import Fold

PER_SEED = ("accuracy", "frame_accuracy", "mean_average_precision", "macro_f1")


def evaluate(path: str | Path, *, memory: float | None = None) -> dict[str, Any]:
    """Score a trained run on its test split and write metrics.json, predictions.npz and .csv, and bouts.csv.

    Args:
        path: The run directory.
        memory: What embeddings may take in memory, in 10^9 bytes; None for what is free.

    Returns:
        The content of metrics.json.

    Raises:
        RunError: Training has not finished.
    """
    run = read_run(path)
    refuse_comparison(run, "evaluate")
    refuse_unfinished(run)
    clips = reload_clips(run, memory=memory)
    run = note_test_opened(run)
    truth = [clips[clip_id] for fold in run.folds for clip_id in fold.test]
    seeds: list[list[Prediction]] = [[] for _ in range(run.fits)]
    said: dict[str, list[Prediction]] = {}
    for fold in run.folds:
        for name, predictions in _test_predictions(run, fold, [clips[clip_id] for clip_id in fold.test], seeds).items():
            said.setdefault(name, []).extend(predictions)
    record = _record(run, truth, said, seeds)
    final = said.get(f"{MODEL}{POSTPROCESSED}", said[MODEL])
    write_arrays(run.path / "predictions.npz", prediction_arrays(run, truth, final), run_id=run.run_id)
    write_predictions(run.path / "predictions.csv", clip_tables(run, truth, final, with_truth=True))
    if run.settings.task == MANY_TO_MANY:
        write_bouts(run.path / "bouts.csv", truth, final, run.vocabulary, with_truth=True, unit=run.time_unit)
    if run.cv == OFFICIAL:
        record["mean_over_folds"] = {name: _mean_over_folds(run, truth, each) for name, each in said.items()}
    record |= split_checks(run, clips, truth, said)
    write_record(run.path / "metrics.json", record, run_id=run.run_id)
    return record


def _test_predictions(
    run: Run, fold: Fold, test: Sequence[Clip], seeds: Sequence[list[Prediction]]
) -> dict[str, list[Prediction]]:
    """Predictions of one fold's test clips by the model and every baseline; `seeds` collects those of each seed."""
    of_seeds = [predict(load_fitted(run, fold.name, seed), test) for seed in range(run.fits)]
    for collected, predictions in zip(seeds, of_seeds, strict=True):
        collected += predictions
    said = {MODEL: average(of_seeds)}
    for name in baseline_names(run.settings.task, causal=run.settings.causal):
        if name in ADDED_LATER and not run.baseline_path(fold.name, name).exists():
            continue
        said[name] = load_baseline(run, fold, name)[0].predict(test)
    if run.settings.task == MANY_TO_ONE:
        return said | {MODEL: post_process(run, fold, MODEL, said[MODEL])}
    decided = {name: post_process(run, fold, name, said[name]) for name in said if name != "majority"}
    return said | {f"{name}{POSTPROCESSED}": predictions for name, predictions in decided.items()}


def _record(
    run: Run, truth: Sequence[Clip], said: dict[str, list[Prediction]], seeds: Sequence[Sequence[Prediction]]
) -> dict[str, Any]:
    """The content of metrics.json; `said` has the pooled predictions of model and baselines by name."""

    def score(predictions: Sequence[Prediction]) -> dict[str, Any]:
        return score_predictions(truth, predictions, run.vocabulary, background=run.background)

    per_seed = [score(predictions) for predictions in seeds]
    scores = {name: score(predictions) for name, predictions in said.items()}
    final = f"{MODEL}{POSTPROCESSED}" if f"{MODEL}{POSTPROCESSED}" in said else MODEL
    before = {}
    if final != MODEL:
        gaps = np.concatenate([np.diff(clip.pts_seconds) for clip in truth])
        step = float(np.median(gaps)) if len(gaps) and run.time_unit == "seconds" else None
        ways = {fold.name: read_decision(run, fold, MODEL).describe(step) for fold in run.folds}
        criterion = MACRO_F1_CRITERION if run.settings.multi_label else CRITERION
        before = {"before_postprocessing": scores[MODEL], "postprocessing": {"criterion": criterion, "folds": ways}}
    baselines = {name: value for name, value in scores.items() if not name.startswith(MODEL)}
    return {
        "task": run.settings.task,
        "model": run.settings.model,
        "vocabulary": list(run.vocabulary),
        "test": scores[final],
        **before,
        **_at_label_frames(run, truth, said[final]),
        "per_seed": {name: [each[name]["value"] for each in per_seed] for name in PER_SEED if name in per_seed[0]},
        "against": {name: compare_predictions(truth, said[final], said[name]) for name in baselines},
        "validation": read_validation(run),
        "baselines": baselines,
        "test_clips": len(truth),
        "test_groups": len({clip.group or clip.clip_id for clip in truth}) if has_groups(truth) else 0,
        "test_opened": run.test_opened,
    }


def _at_label_frames(run: Run, clips: Sequence[Clip], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The same scores on every original label frame, each with the label of its timestep."""
    if any(clip.label_steps is None for clip in clips):
        return {}
    original = [replace(select_steps(clip, clip.label_steps), labels=clip.frame_labels) for clip in clips]  # type: ignore[arg-type]
    said = [
        replace(each, probabilities=each.probabilities[clip.label_steps], decided=each.labels[clip.label_steps])
        for clip, each in zip(clips, predictions, strict=True)
    ]
    return {"at_label_frames": score_predictions(original, said, run.vocabulary, background=run.background)}


def _mean_over_folds(run: Run, truth: Sequence[Clip], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """As papers report official splits, whose test parts may overlap: each split scored alone, then the mean."""
    ends = np.cumsum([len(fold.test) for fold in run.folds]).tolist()
    parts = [slice(end - len(fold.test), end) for fold, end in zip(run.folds, ends, strict=True)]
    scores = [
        score_predictions(truth[part], predictions[part], run.vocabulary, background=run.background) for part in parts
    ]
    names = [name for name, score in scores[0].items() if "value" in score and all(name in each for each in scores)]
    return {
        name: {
            "value": float(np.mean([each[name]["value"] for each in scores])),
            "per_fold": {fold.name: each[name]["value"] for fold, each in zip(run.folds, scores, strict=True)},
            "protocol": f"mean over {len(scores)} official splits, each scored by itself",
        }
        for name in names
    }
