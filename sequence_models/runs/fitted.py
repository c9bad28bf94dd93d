"""The models, baselines and decisions of a trained run, and predictions with them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import RunError
from extract.store.reader import Store, open_store
from extract.store.recipe import kind_of_features, recipe_differences
from extract.text import counted, first_few
from sequence_models.clips.loading import load_unlabelled
from sequence_models.models.baselines import Baseline
from sequence_models.models.build import Architecture, load_model
from sequence_models.prediction.postprocess import Decision, typical_decision
from sequence_models.prediction.predict import average, predict
from sequence_models.records import Clip, Prediction
from sequence_models.runs.checks import refuse_changed_weights, refuse_comparison, refuse_missing_weights
from sequence_models.runs.files import read_arrays, read_record
from sequence_models.runs.run import MODEL, Run
from sequence_models.settings import MANY_TO_ONE
from sequence_models.splits.folds import Fold

log = logging.getLogger(__name__)


def post_process(run: Run, fold: Fold, name: str, predictions: Sequence[Prediction]) -> list[Prediction]:
    """Apply the post-processing that a fold chose on validation, if any.

    Args:
        run: A trained run.
        fold: One of its folds.
        name: MODEL or a baseline.
        predictions: For the fold's clips.
    """
    if name == "majority" or (run.settings.task == MANY_TO_ONE and not run.decision_path(fold.name, name).exists()):
        return list(predictions)  # none for baselines on clips, nor in earlier versions
    return read_decision(run, fold, name).apply(predictions)


def read_decision(run: Run, fold: Fold, name: str) -> Decision:
    """The post-processing that a fold chose for the model or a baseline; RunError if it is missing or damaged."""
    path = run.decision_path(fold.name, name)
    return Decision.from_record(read_record(path, again="run the same clipseq train command again", run_id=run.run_id))


def load_baseline(run: Run, fold: Fold, name: str) -> tuple[Baseline, float]:
    """A fitted baseline of one fold, and its fitting time in seconds."""
    path = run.baseline_path(fold.name, name)
    arrays = read_arrays(path, again="delete it and run the same clipseq train command again", run_id=run.run_id)
    return Baseline.from_arrays(arrays), float(arrays["seconds"])


def predict_clips(
    run: Run, stores: Sequence[str | Path], *, memory: float | None = None
) -> tuple[list[Clip], list[Prediction]]:
    """Predict every clip of a store with the run's models, averaged over seeds.

    Args:
        run: A trained run; after cross-validation, the models fitted on all clips are used.
        stores: Stores with the run's recipes, in any order.
        memory: What embeddings may take in memory, in 10^9 bytes; None for what is free.

    Raises:
        RunError: The stores were made with other recipes than those that the run was trained on.
    """
    refuse_comparison(run, "predict with")
    opened = [open_store(store) for store in stores]
    if {store.fingerprint for store in opened} == {*run.fingerprints}:
        opened.sort(key=lambda store: run.fingerprints.index(store.fingerprint))
        stores = [store.path for store in opened]
    fingerprints = tuple(store.fingerprint for store in opened)
    if fingerprints != run.fingerprints:
        raise RunError(
            f"{', '.join(map(str, stores))} was made with another recipe than the features that {run.path} was "
            f"trained on ({_recipes_apart(opened, run)}); extract again with the run's settings, or predict directly "
            "from the videos"
        )
    num_classes = run.num_classes if run.settings.multi_label else None
    settings = run.settings
    clips = load_unlabelled(stores, task=settings.task, num_classes=num_classes, memory=memory, settings=settings)
    known = {clip_id: record.get("rows") for clip_id, record in run.clips.items()}
    others = [clip.clip_id for clip in clips if known.get(clip.clip_id) not in (None, clip.rows_digest)]
    if others:
        log.warning(
            "the features of %s (%s) differ from those this run was trained on: another processor rounds differently, "
            "or these names now belong to other videos",
            counted(others, "clip"),
            first_few(others),
        )
    predictions = average([predict(model, clips) for model in predicting_models(run)])
    decision = predicting_decision(run)
    return clips, predictions if decision is None else decision.apply(predictions)


def predicting_decision(run: Run) -> Decision | None:
    """The post-processing of predictions for new clips, typical of those that the folds chose; None in early runs."""
    if not all(run.decision_path(fold.name, MODEL).exists() for fold in run.folds):
        return None
    return typical_decision([read_decision(run, each, MODEL) for each in run.folds])


def _recipes_apart(stores: Sequence[Store], run: Run) -> str:
    """The settings in which the recipes differ, such as "sampling=every=5, the run has every=3"."""
    if len(stores) != len(run.recipes):
        return f"{counted(stores, 'store')}, the run has {len(run.recipes)}"
    pairs = list(zip(stores, run.recipes, strict=True))
    for store, recipe in pairs:
        here, there = kind_of_features(store.recipe), kind_of_features(recipe)
        if here != there:
            return f"{store.path} holds {here}, the run was trained on {there}"
    apart = [each for store, recipe in pairs for each in recipe_differences(store.recipe, recipe)]
    return "; ".join(f"{key}={here}, the run has {there}" for key, here, there in apart)


def predicting_models(run: Run) -> list[Any]:
    """The models whose mean predicts new clips: those of all seeds, after cross-validation fitted on all clips."""
    return [load_fitted(run, run.predicting_fold, seed) for seed in run.seeds_of(run.predicting_fold)]


def load_fitted(run: Run, fold: str, seed: int) -> Any:
    """The model of one fold and seed, with its best weights."""
    refuse_missing_weights(run, fold, seed)
    refuse_changed_weights(run, fold, seed)
    return load_model(
        run.settings, run.model_path(fold, seed), embedding_dim=run.embedding_dim, num_classes=run.num_classes
    )


def load_fitted_twin(run: Run, fold: str, seed: int) -> Any:
    """The compiled twin of the model of one fold and seed, until it is used for another."""
    from sequence_models.models.compiled import compiled

    refuse_missing_weights(run, fold, seed)
    refuse_changed_weights(run, fold, seed)
    twin = compiled(Architecture(run.settings, run.embedding_dim, run.num_classes))
    twin.load_weights(run.model_path(fold, seed))
    return twin


def prediction_arrays(run: Run, truth: Sequence[Clip], predictions: Sequence[Prediction]) -> dict[str, np.ndarray]:
    """The content of predictions.npz: the rows of all clips in sequence, and the number of rows per clip."""
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
