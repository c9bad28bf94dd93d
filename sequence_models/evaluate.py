"""Opens the test split: predictions of every fold, averaged over seeds, pooled, scored beside the baselines."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import RunError
from extract.store_read import open_store
from extract.store_schema import fingerprint
from sequence_models.baselines import Baseline, baseline_names
from sequence_models.clips import Clip, load_clips, load_unlabelled
from sequence_models.metrics import clip_metrics, frame_metrics, sign_flip_test
from sequence_models.predict import Prediction, average, predict
from sequence_models.runs import FINAL, OFFICIAL, Run, note_test_opened, read_arrays, read_run, write_arrays, write_json
from sequence_models.settings import MANY_TO_ONE
from sequence_models.training import load_model

log = logging.getLogger(__name__)


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
        Name -> {"value", "protocol", "ci95"}, as `clip_metrics` or `frame_metrics` give them.
    """
    groups = [clip.group or clip.clip_id for clip in clips]
    if clips[0].labels.ndim == 0:
        truth = np.array([int(clip.labels) for clip in clips])
        return clip_metrics(truth, np.stack([p.probabilities for p in predictions]), vocabulary, groups)
    truths = [clip.labels for clip in clips]
    named = () if background is None else (background,)
    return frame_metrics(truths, [p.probabilities for p in predictions], vocabulary, groups, background=named)


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
    _check_complete(run)
    clips = _reload(run)
    run = note_test_opened(run)
    truth: list[Clip] = []
    seeds: list[list[Prediction]] = [[] for _ in range(run.seeds)]
    baselines: dict[str, list[Prediction]] = {name: [] for name in baseline_names(run.settings.task)}
    for fold in run.folds:
        test = [clips[clip_id] for clip_id in fold.test]
        truth += test
        for seed in range(run.seeds):
            seeds[seed] += predict(load_fitted(run, fold.name, seed), test)
        for name in baselines:
            baselines[name] += Baseline.from_arrays(read_arrays(run.baseline_path(fold.name, name))).predict(test)
    pooled = average(seeds)
    write_arrays(run.path / "predictions.npz", _prediction_arrays(truth, pooled))
    record = _record(run, truth, pooled, seeds, baselines)
    if run.cv == OFFICIAL:
        scored = {"model": pooled, **baselines}
        record["mean_over_folds"] = {name: _mean_over_folds(run, truth, each) for name, each in scored.items()}
    write_json(run.path / "metrics.json", record)
    return record


def predict_clips(run: Run, stores: Sequence[str | Path]) -> tuple[list[Clip], list[Prediction]]:
    """Predict every clip of a store with the run's models, averaged over seeds.

    Args:
        run: A trained run; after a cross-validation the models fitted on all clips are used.
        stores: Stores of the run's recipes, in the run's order.

    Raises:
        RunError: the stores were not made like those that the run was trained on.
    """
    fingerprints = tuple(open_store(store).fingerprint for store in stores)
    if fingerprints != run.fingerprints:
        raise RunError(
            f"{', '.join(map(str, stores))} was made with another recipe than the features that {run.path} was "
            f"trained on ({', '.join(fingerprints)} against {', '.join(run.fingerprints)}); compare them with "
            "clipseq info, or predict straight from the videos"
        )
    clips = load_unlabelled(stores, task=run.settings.task)
    fold = FINAL if run.cv else run.folds[0].name
    models = [load_fitted(run, fold, seed) for seed in range(run.seeds)]
    return clips, average([predict(model, clips) for model in models])


def load_fitted(run: Run, fold: str, seed: int) -> Any:
    """The model of one fold and seed, with its best weights."""
    weights = run.model_path(fold, seed)
    if not weights.exists():
        raise RunError(f"{weights} is missing: training has not come to its end. Run the same clipseq train again")
    return load_model(run.settings, weights, embedding_dim=run.embedding_dim, num_classes=run.num_classes)


def _check_complete(run: Run) -> None:
    names = [fold.name for fold in run.folds] + ([FINAL] if run.cv else [])
    missing = [name for name in names for seed in range(run.seeds) if not run.fit_path(name, seed).exists()]
    if missing:
        raise RunError(
            f"{run.path} is not trained to its end ({len(missing)} of {len(names) * run.seeds} fits are missing); "
            "run the same clipseq train again, it goes on where it stopped"
        )


def _reload(run: Run) -> dict[str, Clip]:
    data = load_clips(
        run.stores,
        Path(run.labels) if run.labels else None,
        task=run.settings.task,
        background=run.background,
        **run.load,
    )
    fingerprints = tuple(fingerprint(recipe) for recipe in data.recipes)
    if fingerprints != run.fingerprints or data.vocabulary != run.vocabulary:
        raise RunError(
            f"the features or labels of {run.path} have changed since it was trained; train again into another --run"
        )
    clips = {clip.clip_id: clip for clip in data.clips}
    gone = [clip_id for fold in run.folds for clip_id in fold.test if clip_id not in clips]
    if gone:
        raise RunError(
            f"{len(gone)} test clips of {run.path} are no longer in its store (first: {gone[0]}); extract them again"
        )
    return clips


def _record(
    run: Run,
    truth: Sequence[Clip],
    pooled: Sequence[Prediction],
    seeds: Sequence[Sequence[Prediction]],
    baselines: dict[str, list[Prediction]],
) -> dict[str, Any]:
    def score(predictions: Sequence[Prediction]) -> dict[str, Any]:
        return score_predictions(truth, predictions, run.vocabulary, background=run.background)

    per_seed = [score(predictions) for predictions in seeds]
    headline = "accuracy" if run.settings.task == MANY_TO_ONE else "frame_accuracy"
    return {
        "task": run.settings.task,
        "model": run.settings.model,
        "vocabulary": list(run.vocabulary),
        "test": score(pooled),
        "per_seed": {
            name: [scores[name]["value"] for scores in per_seed]
            for name in (headline, "macro_f1")
            if name in per_seed[0]
        },
        "against": {name: _paired(truth, pooled, theirs) for name, theirs in baselines.items()},
        "validation": _validation(run),
        "baselines": {name: score(predictions) for name, predictions in baselines.items()},
        "test_clips": len(truth),
        "test_groups": len({clip.group or clip.clip_id for clip in truth}),
        "test_opened": run.test_opened,
    }


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


def _paired(clips: Sequence[Clip], ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> dict[str, Any]:
    """The difference in accuracy to a baseline on the same test clips, with a sign-flip test over groups."""
    by_group: dict[str, list[float]] = {}
    for clip, mine, other in zip(clips, ours, theirs, strict=True):
        labels = np.atleast_1d(clip.labels)
        hits = [np.atleast_2d(each.probabilities).argmax(axis=1) == labels for each in (mine, other)]
        known = labels >= 0
        if known.any():
            difference = (hits[0][known].astype(float) - hits[1][known]).mean()
            by_group.setdefault(clip.group or clip.clip_id, []).append(float(difference))
    differences = np.array([np.mean(values) for values in by_group.values()])  # (G,)
    return {
        "difference": float(differences.mean()),
        "groups_better": int((differences > 0).sum()),
        "groups": len(differences),
        "p": sign_flip_test(differences),
        "protocol": "accuracy minus the baseline's, mean over clips, then groups; two-sided sign-flip test over groups",
    }


def _validation(run: Run) -> dict[str, Any]:
    path = run.path / "validation.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _prediction_arrays(truth: Sequence[Clip], predictions: Sequence[Prediction]) -> dict[str, np.ndarray]:
    per_clip = [np.atleast_2d(prediction.probabilities) for prediction in predictions]  # (1 or T, K)
    times = [clip.pts_seconds if clip.labels.ndim else clip.pts_seconds[:1] for clip in truth]
    return {
        "clip_ids": np.array([clip.clip_id for clip in truth]),
        "lengths": np.array([len(rows) for rows in per_clip], np.int64),
        "probabilities": np.concatenate(per_clip).astype(np.float32),
        "truth": np.concatenate([np.atleast_1d(clip.labels) for clip in truth]).astype(np.int64),
        "pts_seconds": np.concatenate(times).astype(np.float64),
    }
