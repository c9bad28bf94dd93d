"""The tasks of an experiment: one fit, the baselines of one fold, the test predictions of one fold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from extract.system.memory import peak_mb, reset_peak
from sequence_models.experiments.warm_start import start_head
from sequence_models.models.baselines import Baseline, fit_baseline
from sequence_models.models.build import Architecture
from sequence_models.models.compiled import compiled
from sequence_models.prediction.predict import average, predict_loaded
from sequence_models.records import Clip, Prediction
from sequence_models.runs.checks import weights_digest
from sequence_models.runs.files import write_arrays, write_record
from sequence_models.runs.fitted import load_fitted_twin
from sequence_models.runs.run import Run
from sequence_models.settings import POSITION
from sequence_models.splits.folds import Fold
from sequence_models.training.fit import FitResult, fit_model
from sequence_models.training.step import forget_compiled

_measured: list[str] = []  # the run whose memory is being measured in this process


def without_clips(run: Run) -> Run:
    """The run without what grows with its clips, for tasks; all of it if a model starts from another run's folds."""
    return run if run.settings.start_from else replace(run, clips={}, folds=())


@dataclass(frozen=True)
class FitDone:
    """A finished fit.

    Args:
        result: Without its weights; None if it was already done.
        predictions: For its validation clips.
    """

    result: FitResult | None
    predictions: list[Prediction]


@dataclass(frozen=True)
class FitTask:
    """Fit the model of a run with one fold and seed, unless that is done already.

    Args:
        run: The run; its files for this fold and seed are written.
        fold: Name of the fold, or `FINAL`.
        seed: The seed.
        training: clip_ids.
        validation: clip_ids.
        stop_after: As for `fit_model`.
        tensorboard: Also write TensorBoard events.
        quiet: No progress bar.
        source: Which of the pool's clips are meant.
    """

    run: Run
    fold: str
    seed: int
    training: tuple[str, ...]
    validation: tuple[str, ...]
    stop_after: int | None = None
    tensorboard: bool = False
    quiet: bool = False
    source: int = 0

    @property
    def key(self) -> str:
        """Fits of one run share what is compiled."""
        return str(self.run.path)

    def do(self, clips: Mapping[str, Clip]) -> FitDone:
        """Fit, write weights, log and note, and predict the validation clips."""
        if _measured and _measured != [self.key]:
            forget_compiled()  # so that the next model's memory is measured alone
        _measured[:] = [self.key]
        run, choosing = self.run, [clips[clip_id] for clip_id in self.validation]
        weights, note = run.model_path(self.fold, self.seed), run.fit_path(self.fold, self.seed)
        if note.exists() and weights.exists():
            return FitDone(None, predict_loaded(load_fitted_twin(run, self.fold, self.seed), choosing))
        reset_peak()
        result = fit_model(
            [clips[clip_id] for clip_id in self.training],
            choosing,
            run.settings,
            num_classes=run.num_classes,
            seed=self.seed,
            checkpoint=weights,
            log=run.log_path(self.fold, self.seed),
            stop_after=self.stop_after,
            head=start_head(run, self.fold, self.seed),
            tensorboard=run.events_path(self.fold, self.seed) if self.tensorboard else None,
            quiet=self.quiet,
        )
        told = {"best_update": result.best_update, "best_score": result.best_score, "seconds": result.seconds}
        told["overfits_from"] = result.overfits_from
        write_record(note, told | {"peak_mb": peak_mb(), "weights_digest": weights_digest(weights)}, run_id=run.run_id)
        return FitDone(replace(result, values=()), predict_loaded(compiled(result.architecture), choosing))


@dataclass(frozen=True)
class BaselineTask:
    """Fit one baseline on one fold.

    Args:
        run: The run whose file for this fold and baseline is written, unless there is one.
        fold: The fold.
        name: Of the baseline.
        source: Which of the pool's clips are meant.
    """

    run: Run
    fold: Fold
    name: str
    source: int = 0

    @property
    def key(self) -> str:
        """Baselines share nothing."""
        return f"{self.run.path}-{self.name}"

    def do(self, clips: Mapping[str, Clip]) -> dict[str, Prediction]:
        """Write the baseline, fitted on all clips but those for testing.

        Returns:
            clip_id -> the prediction of one fitted without it; per frame, where fits take long, only for the first
            validation part unless inner cross-validation is asked for.
        """
        run, fold = self.run, self.fold
        path = run.baseline_path(fold.name, self.name)
        if not path.exists():
            began = time.perf_counter()
            fitted = self._fitted([clips[clip_id] for clip_id in fold.known])
            arrays = fitted.to_arrays() | {"seconds": np.array(time.perf_counter() - began)}
            write_arrays(path, arrays, run_id=run.run_id)
        turns = range(min(run.fits, 1 + len(fold.rotation)) if run.rotates else 1)
        validated: dict[str, Prediction] = {}
        for mine in map(fold.of_seed, turns):
            fitted = self._fitted([clips[c] for c in mine.train])
            validated |= {p.clip_id: p for p in fitted.predict([clips[c] for c in mine.validation])}
        return validated

    def _fitted(self, known: Sequence[Clip]) -> Baseline:
        settings = self.run.settings
        seen = {"causal": settings.causal, "position": POSITION in settings.derived_names}
        return fit_baseline(self.name, known, self.run.num_classes, seed=0, **seen)


@dataclass(frozen=True)
class TestPredictions:
    """What the models of a run say about the test clips of one fold.

    Args:
        of_seeds: The predictions of each seed.
        mean: Their mean.
        shuffled: The same with the timesteps in random order, each prediction at its original timestep.
        parameters: Trainable weights of each.
    """

    of_seeds: list[list[Prediction]]
    mean: list[Prediction]
    shuffled: list[Prediction]
    parameters: int = 0


@dataclass(frozen=True)
class TestTask:
    """Predict the test clips of one fold with the models of all seeds.

    Args:
        run: A trained run.
        fold: The name of the fold.
        test: clip_ids.
        source: Which of the pool's clips are meant.
    """

    run: Run
    fold: str
    test: tuple[str, ...]
    source: int = 0

    @property
    def key(self) -> str:
        """Models of one run share what is compiled."""
        return str(self.run.path)

    def do(self, clips: Mapping[str, Clip]) -> TestPredictions:
        """Load the models, and predict."""
        test = [clips[clip_id] for clip_id in self.test]
        twins = (load_fitted_twin(self.run, self.fold, seed) for seed in range(self.run.fits))
        said = predict_also_shuffled((partial(predict_loaded, twin) for twin in twins), test)
        twin = compiled(Architecture(self.run.settings, self.run.embedding_dim, self.run.num_classes))
        parameters = sum(int(np.prod(variable.shape)) for variable in twin.model.trainable_variables)
        return replace(said, parameters=parameters)


def predict_also_shuffled(
    models: Iterable[Callable[[Sequence[Clip]], list[Prediction]]], test: Sequence[Clip]
) -> TestPredictions:
    """Predict clips as they are and with shuffled timesteps, with each model in turn."""
    shuffled = [shuffle_steps(clip, row) for row, clip in enumerate(test)]
    of_models, of_shuffled = [], []
    for model in models:
        of_models.append(model(test))
        of_shuffled.append(model([clip for clip, _ in shuffled]))
    back = [
        replace(said, probabilities=said.probabilities[place]) if said.probabilities.ndim == 2 else said
        for said, (_, place) in zip(average(of_shuffled), shuffled, strict=True)
    ]
    return TestPredictions(of_models, average(of_models), back)


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
