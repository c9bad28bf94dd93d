"""Trains one experiment: every fold with every seed, the baselines beside them, and the models for later use.

What is finished is noted in the run directory, so an interrupted cross-validation goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sequence_models.baselines import baseline_names, fit_baseline
from sequence_models.clips import Clip, ClipSet
from sequence_models.evaluate import score_predictions
from sequence_models.head_start import start_head
from sequence_models.postprocess import choose_decision
from sequence_models.predict import Prediction, average, predict
from sequence_models.runs import FINAL, POSTPROCESSED, Run, write_arrays, write_json
from sequence_models.settings import MANY_TO_MANY
from sequence_models.splits import Fold
from sequence_models.training import FitResult, fit_model, load_model

log = logging.getLogger(__name__)


def train(
    run: Run, data: ClipSet, *, on_fit: Callable[[str, int, FitResult | None], None], tensorboard: bool = False
) -> dict[str, dict]:
    """Fit everything of a run that is not fitted yet.

    Args:
        run: From `prepare`.
        data: From `prepare`.
        on_fit: Called after each fit with (fold, seed, result); result None = it was done before.
        tensorboard: Write TensorBoard events beside the logs.

    Returns:
        Validation scores, pooled over folds: of "model", and of each baseline fitted on the same training clips; per
        frame also of each after its post-processing.
    """
    clips = {clip.clip_id: clip for clip in data.clips}
    validation: dict[str, list[Prediction]] = {}
    truth: list[Clip] = []
    for fold in run.folds:
        fitting, choosing = [clips[c] for c in fold.train], [clips[c] for c in fold.validation]
        models = [
            _fit(run, fold.name, seed, fitting, choosing, on_fit, tensorboard=tensorboard) for seed in range(run.seeds)
        ]
        _fit_baselines(run, fold, clips)
        truth += choosing
        said = {"model": average([predict(model, choosing) for model in models])}
        for name in baseline_names(run.settings.task):
            said[name] = fit_baseline(name, fitting, run.num_classes, seed=0).predict(choosing)
        for name, predictions in said.items():
            validation.setdefault(name, []).extend(predictions)
            if run.settings.task == MANY_TO_MANY and name != "majority":
                decided = _decide(run, fold, name, choosing, predictions, fitting)
                validation.setdefault(f"{name}{POSTPROCESSED}", []).extend(decided)
    if run.cv:
        for seed in range(run.seeds):
            _fit(run, FINAL, seed, list(data.clips), [], on_fit, epochs=_median_epochs(run), tensorboard=tensorboard)
    scores = {
        name: score_predictions(truth, predictions, run.vocabulary, background=run.background)
        for name, predictions in validation.items()
        if truth
    }
    write_json(run.path / "validation.json", scores)
    return scores


def _fit(
    run: Run,
    fold: str,
    seed: int,
    training: Sequence[Clip],
    validation: Sequence[Clip],
    on_fit: Callable[[str, int, FitResult | None], None],
    *,
    epochs: int | None = None,
    tensorboard: bool,
) -> Any:
    weights, note = run.model_path(fold, seed), run.fit_path(fold, seed)
    if note.exists() and weights.exists():
        on_fit(fold, seed, None)
        return load_model(run.settings, weights, embedding_dim=run.embedding_dim, num_classes=run.num_classes)
    result = fit_model(
        training,
        validation,
        run.settings,
        num_classes=run.num_classes,
        seed=seed,
        checkpoint=weights,
        log=run.log_path(fold, seed),
        epochs=epochs,
        head=start_head(run, fold, seed),
        tensorboard=run.events_path(fold, seed) if tensorboard else None,
    )
    write_json(note, {"best_epoch": result.best_epoch, "best_score": result.best_score, "seconds": result.seconds})
    on_fit(fold, seed, result)
    return result.model


def _decide(
    run: Run,
    fold: Fold,
    name: str,
    choosing: Sequence[Clip],
    predictions: Sequence[Prediction],
    fitting: Sequence[Clip],
) -> list[Prediction]:
    """Choose the post-processing on the validation clips, note it, and apply it to them."""
    decision = choose_decision(choosing, predictions, training=fitting, causal=run.settings.causal)
    write_json(run.decision_path(fold.name, name), decision.to_record())
    return [decision.apply(each) for each in predictions]


def _fit_baselines(run: Run, fold: Fold, clips: dict[str, Clip]) -> None:
    """A baseline chooses no epoch, so it may learn from the validation clips too: the harder floor."""
    for name in baseline_names(run.settings.task):
        path = run.baseline_path(fold.name, name)
        if not path.exists():
            known = [clips[clip_id] for clip_id in (*fold.train, *fold.validation)]
            write_arrays(path, fit_baseline(name, known, run.num_classes, seed=0).to_arrays())


def _median_epochs(run: Run) -> int:
    chosen = [
        json.loads(run.fit_path(fold.name, seed).read_text())["best_epoch"]
        for fold in run.folds
        for seed in range(run.seeds)
    ]
    return max(1, int(np.median(chosen)))
