"""Opens the test split: predictions of every fold, averaged over seeds, pooled, scored beside the baselines."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import RunError
from extract.store.reader import Store, open_store
from extract.store.schema import kind_of_features, recipe_differences
from extract.text import counted, first_few
from sequence_models.clips.loading import Clip, load_unlabelled
from sequence_models.clips.windows import select_steps
from sequence_models.experiments.prepare import reload_clips
from sequence_models.models.baselines import Baseline, baseline_names
from sequence_models.prediction.bouts import write_bouts
from sequence_models.prediction.postprocess import Decision, typical_decision
from sequence_models.prediction.predict import Prediction, average, predict
from sequence_models.runs.files import read_arrays, read_record, write_arrays, write_record
from sequence_models.runs.run import (
    MODEL,
    OFFICIAL,
    POSTPROCESSED,
    Run,
    note_test_opened,
    read_run,
    read_validation,
    refuse_changed_weights,
    refuse_comparison,
    refuse_missing_weights,
    refuse_unfinished,
)
from sequence_models.scoring.metrics import clip_metrics, frame_metrics, over_clips
from sequence_models.scoring.multilabel import multilabel_metrics
from sequence_models.scoring.paired import paired_difference
from sequence_models.settings import MANY_TO_MANY, MANY_TO_ONE, TrainSettings
from sequence_models.splits.folds import Fold
from sequence_models.splits.near_duplicates import pairs_across
from sequence_models.training.fit import load_model

log = logging.getLogger(__name__)

PER_SEED = ("accuracy", "frame_accuracy", "mean_average_precision", "macro_f1")


def score_predictions(
    clips: Sequence[Clip], predictions: Sequence[Prediction], vocabulary: Sequence[str], *, background: str | None
) -> dict[str, Any]:
    """Score predictions of labelled clips.

    Args:
        clips: The truth, in the order of the predictions.
        predictions: Probabilities (K,) or (T, K).
        vocabulary: K class names.
        background: Class that the segment metrics leave out.

    Returns:
        Name -> {"value", "protocol", "ci95"}, as `clip_metrics`, `frame_metrics` or `multilabel_metrics` give them.
    """
    groups = [clip.group or clip.clip_id for clip in clips]
    if clips[0].labels.ndim == 0:
        truth = np.array([int(clip.labels) for clip in clips])
        scores = clip_metrics(truth, np.stack([p.probabilities for p in predictions]), vocabulary, groups)
    else:
        truths, decided = [clip.labels for clip in clips], [each.labels for each in predictions]
        if truths[0].ndim == 2:
            probabilities = [each.probabilities for each in predictions]
            scores = multilabel_metrics(truths, probabilities, decided, vocabulary, groups)
        else:
            named = () if background is None else (background,)
            scores = frame_metrics(truths, decided, vocabulary, groups, background=named)
    return scores if has_groups(clips) else over_clips(scores)


def has_groups(clips: Iterable[Clip]) -> bool:
    """Whether any clip has a group; otherwise each stands for itself."""
    return any(clip.group for clip in clips)


def evaluate(path: str | Path) -> dict[str, Any]:
    """Score a trained run on its test split and write predictions.npz and metrics.json.

    Args:
        path: The run directory.

    Returns:
        What metrics.json holds.

    Raises:
        RunError: training did not come to its end.
    """
    run = read_run(path)
    refuse_comparison(run, "evaluate")
    refuse_unfinished(run)
    clips = reload_clips(run)
    run = note_test_opened(run)
    truth = [clips[clip_id] for fold in run.folds for clip_id in fold.test]
    seeds: list[list[Prediction]] = [[] for _ in range(run.seeds)]
    said: dict[str, list[Prediction]] = {}
    for fold in run.folds:
        for name, predictions in _test_predictions(run, fold, [clips[clip_id] for clip_id in fold.test], seeds).items():
            said.setdefault(name, []).extend(predictions)
    record = _record(run, truth, said, seeds)
    final = said.get(f"{MODEL}{POSTPROCESSED}", said[MODEL])
    write_arrays(run.path / "predictions.npz", prediction_arrays(run, truth, final))
    if run.settings.task == MANY_TO_MANY:
        write_bouts(run.path / "bouts.csv", truth, final, run.vocabulary, with_truth=True, unit=run.time_unit)
    if run.cv == OFFICIAL:
        record["mean_over_folds"] = {name: _mean_over_folds(run, truth, each) for name, each in said.items()}
    if not has_groups(clips.values()) and not run.settings.on_frames:  # it compares embeddings
        record["doctor"] = doctor_record(run, clips, truth, said)
    write_record(run.path / "metrics.json", record)
    return record


def _test_predictions(
    run: Run, fold: Fold, test: Sequence[Clip], seeds: Sequence[list[Prediction]]
) -> dict[str, list[Prediction]]:
    """Predictions of one fold's test clips by the model and every baseline; `seeds` collects those of single seeds."""
    of_seeds = [predict(load_fitted(run, fold.name, seed), test) for seed in range(run.seeds)]
    for collected, predictions in zip(seeds, of_seeds, strict=True):
        collected += predictions
    said = {MODEL: average(of_seeds)}
    for name in baseline_names(run.settings.task):
        said[name] = load_baseline(run, fold, name)[0].predict(test)
    if run.settings.task == MANY_TO_ONE:
        return said
    decided = {name: decide(run, fold, name, said[name]) for name in said if name != "majority"}
    return said | {f"{name}{POSTPROCESSED}": predictions for name, predictions in decided.items()}


def decide(run: Run, fold: Fold, name: str, predictions: Sequence[Prediction]) -> list[Prediction]:
    """Apply the post-processing that a fold chose on validation, where there is any.

    Args:
        run: A trained run.
        fold: One of its folds.
        name: MODEL or a baseline.
        predictions: Of the fold's clips.
    """
    if run.settings.task == MANY_TO_ONE or name == "majority":
        return list(predictions)
    decision = read_decision(run, fold, name)
    return [decision.apply(prediction) for prediction in predictions]


def read_decision(run: Run, fold: Fold, name: str) -> Decision:
    """The post-processing that a fold chose for the model or a baseline; RunError where it is missing or damaged."""
    path = run.decision_path(fold.name, name)
    return Decision.from_record(read_record(path, again="run the same clipseq train again"))


def load_baseline(run: Run, fold: Fold, name: str) -> tuple[Baseline, float]:
    """A fitted baseline of one fold, and the seconds that fitting took."""
    path = run.baseline_path(fold.name, name)
    arrays = read_arrays(path, again="delete it and run the same clipseq train again")
    return Baseline.from_arrays(arrays), float(arrays["seconds"])


def predict_clips(run: Run, stores: Sequence[str | Path]) -> tuple[list[Clip], list[Prediction]]:
    """Predict every clip of a store with the run's models, averaged over seeds.

    Args:
        run: A trained run; after a cross-validation the models fitted on all clips are used.
        stores: Stores of the run's recipes, in the run's order.

    Raises:
        RunError: the stores were not made like those that the run was trained on.
    """
    refuse_comparison(run, "predict with")
    opened = [open_store(store) for store in stores]
    fingerprints = tuple(store.fingerprint for store in opened)
    if fingerprints != run.fingerprints:
        raise RunError(
            f"{', '.join(map(str, stores))} was made with another recipe than the features that {run.path} was "
            f"trained on ({_recipes_apart(opened, run)}); extract again with what the run has, or predict straight "
            "from the videos"
        )
    num_classes = run.num_classes if run.settings.multi_label else None
    clips = load_unlabelled(stores, task=run.settings.task, num_classes=num_classes)
    known = {clip_id: record.get("rows") for clip_id, record in run.clips.items()}
    others = [clip.clip_id for clip in clips if known.get(clip.clip_id) not in (None, clip.rows_digest)]
    if others:
        log.warning(
            "%s of this run (%s): other features than it was trained on; another processor embeds with other last "
            "bits, or other videos have these names now",
            counted(others, "clip"),
            first_few(others),
        )
    models = [load_fitted(run, run.predicting_fold, seed) for seed in range(run.seeds)]
    predictions = average([predict(model, clips) for model in models])
    if run.settings.task == MANY_TO_MANY:
        decision = typical_decision([read_decision(run, each, MODEL) for each in run.folds])
        predictions = [decision.apply(each) for each in predictions]
    return clips, predictions


def _recipes_apart(stores: Sequence[Store], run: Run) -> str:
    """Which settings of the recipes differ, such as "sampling=every=5, the run has every=3"."""
    if len(stores) != len(run.recipes):
        return f"{counted(stores, 'store')}, the run has {len(run.recipes)}"
    pairs = list(zip(stores, run.recipes, strict=True))
    for store, recipe in pairs:
        here, there = kind_of_features(store.recipe), kind_of_features(recipe)
        if here != there:
            return f"{store.path} holds {here}, the run was trained on {there}"
    apart = [each for store, recipe in pairs for each in recipe_differences(store.recipe, recipe)]
    return "; ".join(f"{key}={here}, the run has {there}" for key, here, there in apart)


def load_fitted(run: Run, fold: str, seed: int) -> Any:
    """The model of one fold and seed, with its best weights."""
    refuse_missing_weights(run, fold, seed)
    refuse_changed_weights(run, fold, seed)
    return load_model(
        run.settings, run.model_path(fold, seed), embedding_dim=run.embedding_dim, num_classes=run.num_classes
    )


def _record(
    run: Run, truth: Sequence[Clip], said: dict[str, list[Prediction]], seeds: Sequence[Sequence[Prediction]]
) -> dict[str, Any]:
    """What metrics.json holds; `said` has the pooled predictions of the model and the baselines by name."""

    def score(predictions: Sequence[Prediction]) -> dict[str, Any]:
        return score_predictions(truth, predictions, run.vocabulary, background=run.background)

    per_seed = [score(predictions) for predictions in seeds]
    scores = {name: score(predictions) for name, predictions in said.items()}
    final = f"{MODEL}{POSTPROCESSED}" if f"{MODEL}{POSTPROCESSED}" in said else MODEL
    before = {"before_postprocessing": scores[MODEL]} if final != MODEL else {}
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
    """The same scores on every original frame of the labels, each as its timestep was decided."""
    if any(clip.label_steps is None for clip in clips):
        return {}
    original = [replace(select_steps(clip, clip.label_steps), labels=clip.frame_labels) for clip in clips]  # type: ignore[arg-type]
    said = [
        replace(each, probabilities=each.probabilities[clip.label_steps], decided=each.labels[clip.label_steps])
        for clip, each in zip(clips, predictions, strict=True)
    ]
    return {"at_label_frames": score_predictions(original, said, run.vocabulary, background=run.background)}


def _mean_over_folds(run: Run, truth: Sequence[Clip], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """What papers report on official splits, whose test parts may overlap: each split by itself, then the mean."""
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


def doctor_record(
    run: Run, clips: Mapping[str, Clip], truth: Sequence[Clip], said: Mapping[str, Sequence[Prediction]]
) -> dict[str, Any]:
    """Near-duplicates across the parts of each fold, and the scores without the test clips that have one.

    Args:
        run: A trained run on embeddings.
        clips: clip_id -> clip, all of the run.
        truth: The test clips, pooled over the folds.
        said: Name -> predictions of them.
    """
    across = pairs_across(run.folds, list(clips.values()))
    copies = {(fold, pair.clip_id) for fold, pairs in across.items() for pair in pairs}
    tested = [(fold.name, clip_id) for fold in run.folds for clip_id in fold.test]
    kept = [row for row, key in enumerate(tested) if key not in copies]
    record: dict[str, Any] = {
        "pairs": [{"fold": fold, **asdict(pair)} for fold, pairs in across.items() for pair in pairs],
        "test_clips": len(tested),
        "test_clips_without": len(kept),
        "protocol": "near-duplicates of training or validation clips in the embeddings, by alignment in time",
    }
    if copies and kept:
        rest = [truth[row] for row in kept]
        record["without"] = {
            name: score_predictions(rest, [each[row] for row in kept], run.vocabulary, background=run.background)
            for name, each in said.items()
        }
    return record


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns are as wide as they must be; later rows may be shorter than the first."""
    widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def opened_text(record: Mapping[str, Any]) -> str:
    """How much was tested, and how often, from what metrics.json holds."""
    opened = record["test_opened"]
    times = "once" if opened == 1 else f"{opened} times"
    of = f" of {counted(record['test_groups'], 'group')}" if record["test_groups"] else ""
    clips = counted(record["test_clips"], "test clip") + of
    return f"{clips}; the test split was opened {times}"


def answers_name(settings: TrainSettings) -> str:
    """What the share of right answers is called that `compare_predictions` compares."""
    if settings.multi_label:
        return "share of right yes or no answers"
    return "accuracy" if settings.task == MANY_TO_ONE else "frame accuracy"


def compare_predictions(
    clips: Sequence[Clip], ours: Sequence[Prediction], theirs: Sequence[Prediction]
) -> dict[str, Any]:
    """How much more of the answers of one prediction are right than of another of the same labelled clips.

    Answers are clips, labelled timesteps, or for multi-label each class of a labelled timestep; clips without a group
    are a group each.

    Returns:
        What `paired_difference` gives, and the share that is right of "ours" and "theirs".
    """
    right: dict[str, np.ndarray] = {}  # group -> right of ours, right of theirs, answers
    for clip, mine, other in zip(clips, ours, theirs, strict=True):
        known = np.atleast_1d(clip.labels) >= 0
        hits = [(np.atleast_1d(each.labels) == clip.labels)[known].sum() for each in (mine, other)]
        group = clip.group or clip.clip_id
        right[group] = right.get(group, np.zeros(3, np.int64)) + np.array([*hits, known.sum()])
    counts = np.array([row for row in right.values() if row[2]])
    total = counts.sum(axis=0)
    shares = {"ours": float(total[0] / total[2]), "theirs": float(total[1] / total[2])}
    unit = "group" if has_groups(clips) else "clip"
    return paired_difference(counts[:, 0] - counts[:, 1], counts[:, 2], unit=unit) | shares


def prediction_arrays(run: Run, truth: Sequence[Clip], predictions: Sequence[Prediction]) -> dict[str, np.ndarray]:
    """What predictions.npz holds: the rows of all clips one after the other, and how many each clip has."""
    per_clip = [np.atleast_2d(prediction.probabilities) for prediction in predictions]  # (1 or T, K)
    times = [clip.pts_seconds if clip.labels.ndim else clip.pts_seconds[:1] for clip in truth]
    return {
        "clip_ids": np.array([clip.clip_id for clip in truth]),
        "lengths": np.array([len(rows) for rows in per_clip], np.int64),
        "probabilities": np.concatenate(per_clip).astype(np.float32),
        "truth": np.concatenate([np.atleast_1d(clip.labels) for clip in truth]).astype(np.int64),
        "decided": np.concatenate([np.atleast_1d(each.labels) for each in predictions]).astype(np.int64),
        run.times_name: np.concatenate(times).astype(np.float64),
    }
