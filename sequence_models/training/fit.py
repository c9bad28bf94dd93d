"""Trains one model on clips, keeps its best weights, and writes a checkpoint and a log.

The validation clips are predicted every few updates. The best weights are those with the best macro-F1 (multi-label:
mean average precision) over all validation examples together, averaged with the last few validations (with six clips,
one lucky hit counts for much); ties go to the lower loss. NumPy computes both on unpadded predictions, because Keras'
own averages depend on the padding of the batches. A fit ends when its budget of updates is used up, or when neither
that score nor the loss has improved for long.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

import keras
import numpy as np

from extract.errors import LabelError
from extract.system.files import make_folder, write_bytes
from extract.system.terminal import plain, progress_bar
from sequence_models.catalogue import FRAME_VARIATIONS
from sequence_models.clips.augmentation import Augmentation, FrameAugmentation
from sequence_models.clips.batches import check_clips, class_weights, make_batches
from sequence_models.clips.buffers import BUFFER_VALUES, make_buffers, read_buffers, stays_in_store
from sequence_models.clips.windows import training_pieces
from sequence_models.models.build import Architecture, build_model
from sequence_models.models.compiled import CompiledModel, assign_values, fresh_values, values_of
from sequence_models.prediction.predict import PredictionBatch, forward, prediction_batches
from sequence_models.records import Clip, PaddedBatch
from sequence_models.scoring.predictions import labelled_steps, validation_score
from sequence_models.settings import MANY_TO_ONE, TrainSettings
from sequence_models.training.budget import Budget, LearningRate, budget_for
from sequence_models.training.fine_tuning import start_training
from sequence_models.training.log import LOG_COLUMNS, log_line, write_events
from sequence_models.training.statistics import embedding_statistics
from sequence_models.training.step import Trainer, numbered, trainer

SECONDS_PER_CHECKPOINT = 10.0
SMOOTHED_LOOKS = 5
STACKED_VALUES = 1 << 24  # of the targets of updates that are one call
MOST_ROWS = 1 << 24  # float32 numbers them exactly
HELD_BYTES = 1 << 28  # of clips that are prepared once for all passes, as float32
OVERFIT_SHARE, OVERFIT_RISE = 2 / 3, 1.1  # the lowest loss comes that early, and the last one is that much higher
PIECES, BUFFERS = 1, 2  # separate the random draws of windows and chunks, and of buffers, from those of the batches
LABEL_KINDS = ("one label per clip", "one label per timestep", "any number of labels per timestep")


@dataclass(frozen=True)
class FitResult:
    """The result of `fit_model`.

    Args:
        architecture: What was trained.
        values: The best weights, with statistics and dropout state.
        best_update: The update with the best weights; without validation clips the last.
        best_score: Validation score at that update, or None without validation clips.
        updates: Number of updates made.
        overfits_from: The update with the lowest validation loss, if the loss rose clearly afterwards; else None.
        seconds: Total wall-clock time.
        update_seconds: Of these, for updates and their batches.
        look_seconds: Of these, for predicting and scoring the validation clips.
        history: One record per validation, with the keys `LOG_COLUMNS`.
        counts: Calls into the backend, and functions that it compiled.
    """

    architecture: Architecture
    values: tuple[np.ndarray, ...]
    best_update: int
    best_score: float | None
    updates: int
    overfits_from: int | None
    seconds: float
    update_seconds: float
    look_seconds: float
    history: tuple[dict[str, float | int | None], ...]
    counts: dict[str, int] = field(default_factory=dict)

    @cached_property
    def model(self) -> keras.Model:
        """The trained model, of its own; see `predict`."""
        parts = self.architecture
        model = build_model(parts.settings, embedding_dim=parts.embedding_dim, num_classes=parts.num_classes)
        assign_values(model, self.values)
        return model


def fit_model(
    train: Sequence[Clip],
    validation: Sequence[Clip],
    settings: TrainSettings,
    *,
    num_classes: int,
    seed: int,
    checkpoint: Path,
    log: Path,
    stop_after: int | None = None,
    head: keras.Model | None = None,
    tensorboard: Path | None = None,
    quiet: bool = False,
) -> FitResult:
    """Train one model.

    Args:
        train: Clips to train on, also for standardisation and class weights; unlabelled ones are left out.
        validation: Clips for choosing the best weights; none = keep the last.
        settings: How the model is built and trained.
        num_classes: K.
        seed: For weights, dropout and order; the same seed gives the same numbers.
        checkpoint: File for the best weights, ending in `.weights.h5`; its folder is created.
        log: CSV file, one line per validation, columns `LOG_COLUMNS`; its folder is created.
        stop_after: Stop after fewer updates than the budget; the learning-rate schedule stays the same.
        head: A model on embeddings, the initial weights of what follows the backbone in td_backbone_rnn.
        tensorboard: Folder for an event file with the columns of the log; None = none. Needs tensorboardX.
        quiet: No progress bar.

    Returns:
        The trained model and a record of its training.

    Raises:
        ClipError: A clip has no timesteps, a different width from the rest, or non-finite values.
        LabelError: A class index is out of range, labels do not fit the task, or no training clip has a label.
    """
    started = time.perf_counter()
    train, validation = _labelled(train, settings), _labelled(validation, settings)
    if not train:
        raise LabelError("No training clip has a label; label some, or use another split.")
    embedding_dim = check_clips([*train, *validation], num_classes=num_classes)
    architecture = Architecture(settings, embedding_dim, num_classes)
    steps = trainer(architecture)
    steps.reset()
    steps.twin.counts.clear()
    if settings.on_frames:
        model = build_model(settings, embedding_dim=embedding_dim, num_classes=num_classes, seed=seed)
        start_training(model, settings, train, head=head)
        steps.twin.load(model)
    else:
        steps.twin.assign(fresh_values(architecture, seed))
        steps.twin.fit_reduction(train)
        train, validation = steps.twin.derived(train), steps.twin.derived(validation)
        steps.twin.set_statistics(*embedding_statistics(train))
    weights = None
    if not settings.multi_label:
        weights = class_weights(labelled_steps(train), num_classes=num_classes, power=settings.class_weight_power)
    best = _Best(steps.twin, checkpoint)
    job = _Job(steps, train, validation, weights, seed, budget_for(train, validation, settings))
    history, spent = _train(job, best, log=log, stop_after=stop_after or job.budget.updates, quiet=quiet)
    best.save()
    if tensorboard is not None:
        write_events(tensorboard, history)
    seconds = time.perf_counter() - started
    told = (best.update, best.score, history[-1]["update"], _overfits_from(history))
    return FitResult(architecture, best.values, *told, seconds, *spent, tuple(history), dict(steps.twin.counts))


def _overfits_from(history: Sequence[dict]) -> int | None:
    if history[-1]["validation_loss"] is None:
        return None
    lowest, last = min(history, key=lambda record: record["validation_loss"]), history[-1]
    is_early = lowest["update"] <= OVERFIT_SHARE * last["update"]
    return lowest["update"] if is_early and last["validation_loss"] > OVERFIT_RISE * lowest["validation_loss"] else None


@dataclass(frozen=True, eq=False)
class _Part:
    """Training clips that are in memory together.

    Args:
        clips: The clips; with a table, row numbers take the place of their embeddings.
        table: Their timesteps, standardised once, from `Trainer.hold`; None = batches hold embeddings.
    """

    clips: Sequence[Clip]
    table: Any


@dataclass(frozen=True)
class _Job:
    trainer: Trainer
    train: Sequence[Clip]
    validation: Sequence[Clip]
    class_weights: np.ndarray | None
    seed: int
    budget: Budget

    @cached_property
    def whole(self) -> _Part:
        """All training clips, if they are in memory."""
        return self._part(self.train)

    def parts(self, number: int) -> Iterator[_Part]:
        """The training clips for one pass, as many at a time as fit in memory."""
        if not stays_in_store(self.train):
            yield self.whole
            return
        buffers = make_buffers(self.train, rng=np.random.default_rng((self.seed, number, BUFFERS)))
        yield from map(self._part, read_buffers(self.train, buffers))

    def _part(self, clips: Sequence[Clip]) -> _Part:
        """With a table, unless it would be too large to hold, or its rows vary."""
        if self.varies or stays_in_store(clips) or not _is_small(clips):
            return _Part(clips, None)
        return _Part(numbered(clips), self.trainer.hold(self.trainer.twin.standardised_rows(clips)))

    @cached_property
    def together(self) -> int:
        """How many updates may be one call."""
        longest = self.budget.chunk or max(map(len, self.train))
        values = self.budget.batch_size * longest * self.trainer.twin.num_classes
        has_tables = stays_in_store(self.train) or self.whole.table is not None
        return max(1, STACKED_VALUES // values) if has_tables and not self.varies else 1

    @property
    def varies(self) -> bool:
        """Whether embeddings change from pass to pass."""
        settings = self.trainer.twin.settings
        return Augmentation(settings.crop, settings.speed, settings.frame_drop) != Augmentation()

    @cached_property
    def looks(self) -> Sequence[PredictionBatch] | None:
        """The validation clips, padded once; None if they are too large to hold twice."""
        twin = self.trainer.twin
        return list(prediction_batches(twin, self.validation)) if _is_small(self.validation) else None


class _Best:
    """Keeps the best weights so far, and writes them to the checkpoint."""

    def __init__(self, twin: CompiledModel, checkpoint: Path):
        self._twin, self._checkpoint = twin, checkpoint
        self.values: tuple[np.ndarray, ...] = ()
        self.update, self.score = 0, None
        self.last_progress = 0  # the update with the best score or the lowest loss, whichever is later
        self._rank: tuple[float, ...] | None = None
        self._lowest = float("inf")
        self._recent: list[float] = []
        self._saved = time.perf_counter()

    def offer(self, record: dict) -> None:
        """Take the weights of the twin if they are better; without a score, later ones are."""
        score = record["validation_score"]
        if score is None:
            rank: tuple[float, ...] = (record["update"],)
        else:
            self._recent = [*self._recent, score][-SMOOTHED_LOOKS:]
            rank = (round(sum(self._recent) / SMOOTHED_LOOKS, 6), -record["validation_loss"])
            if record["validation_loss"] < self._lowest:
                self._lowest, self.last_progress = record["validation_loss"], record["update"]
        if self._rank is not None and rank <= self._rank:
            return
        self.update, self.score, self._rank = record["update"], score, rank
        self.last_progress = record["update"]
        self.values = values_of(self._twin.model)
        if time.perf_counter() - self._saved > SECONDS_PER_CHECKPOINT:
            self._write()

    def save(self) -> None:
        """Load the best weights into the twin, and write the checkpoint atomically."""
        self._twin.assign(self.values)
        self._write()

    def _write(self) -> None:
        make_folder(self._checkpoint.parent)
        whole = _WeightsInMemory()
        self._twin.model.save_weights(whole)
        write_bytes(self._checkpoint, whole.getvalue())
        self._saved = time.perf_counter()


class _WeightsInMemory(io.BytesIO):
    """A weights file for Keras to write to; on a full disk, HDF5 prints a traceback for each open object."""

    def __str__(self) -> str:
        return "in memory.weights.h5"  # Keras requires that ending


def _train(
    job: _Job, best: _Best, *, log: Path, stop_after: int, quiet: bool
) -> tuple[list[dict], tuple[float, float]]:
    """The history, and the seconds spent on updates and on validation."""
    history: list[dict] = []
    updating, looking = 0.0, 0.0
    rates, began, update = LearningRate(job.trainer.twin.settings, job.budget), time.perf_counter(), 0
    log_line(log, LOG_COLUMNS, mode="w")
    batches = _batches(job)
    with progress_bar(
        total=stop_after, unit=" updates", desc=plain(log.stem), disable=quiet or None, leave=False
    ) as bar:
        while update < stop_after:
            losses, sizes, number = [], [], 0
            until = min(stop_after, update + job.budget.check_every)
            while update < until:
                together = min(until - update, job.together)
                for _, taken in groupby(islice(batches, together), key=_call_of):
                    numbers, (part, *_), some = zip(*taken, strict=True)
                    at = [rates.at(each) for each in range(update + 1, update + len(some) + 1)]
                    losses += _updated(job.trainer, part, some, at)
                    sizes += [batch.sample_weight.sum() for batch in some]
                    update, number, rate = update + len(some), numbers[-1], at[-1]
                    bar.update(len(some))
            updated = time.perf_counter()
            validation_loss, score = _validate(job)
            loss, now = float(np.average(losses, weights=sizes)), time.perf_counter()
            record = (update, number, loss, validation_loss, score, rate, now - began)
            history.append(dict(zip(LOG_COLUMNS, record, strict=True)))
            updating, looking = updating + updated - began, looking + now - updated
            best.offer(history[-1])
            rates.note(update, best.last_progress)
            log_line(log, history[-1].values(), mode="a")
            if job.validation and update - best.last_progress >= job.budget.patience:
                break
            began = time.perf_counter()
    return history, (updating, looking)


def _call_of(each: tuple[int, _Part, PaddedBatch]) -> object:
    """Batches of one table may be one call; others hold embeddings, so they come one by one."""
    return each[1] if each[1].table is not None else object()


def _updated(trainer: Trainer, part: _Part, some: Sequence[PaddedBatch], at: Sequence[float]) -> list[float]:
    """The losses of updates on batches of one part."""
    if part.table is not None:
        return trainer.updates(part.table, some, at)
    ready = map(trainer.twin.standardised, some)
    return [trainer.update(batch, learning_rate=rate) for batch, rate in zip(ready, at, strict=True)]


def _batches(job: _Job) -> Iterator[tuple[int, _Part, PaddedBatch]]:
    """The batches of pass after pass, each with the number of its pass and the part that it is from."""
    settings = job.trainer.twin.settings
    for number in count(1):
        rng = np.random.default_rng((job.seed, number, PIECES))
        for place, part in enumerate(job.parts(number)):
            batches = make_batches(
                training_pieces(part.clips, settings, rng, chunk=job.budget.chunk),
                batch_size=job.budget.batch_size,
                seed=(job.seed, number, BUFFERS, place) if place else (job.seed, number),
                class_weights=job.class_weights,
                augmentation=Augmentation(settings.crop, settings.speed, settings.frame_drop) if job.varies else None,
                frame_augmentation=FrameAugmentation(**{name: getattr(settings, name) for name in FRAME_VARIATIONS}),
            )
            for batch in batches:
                yield number, part, batch


def _validate(job: _Job) -> tuple[float | None, float | None]:
    """Cross-entropy and score over all labelled validation examples."""
    if not job.validation:
        return None, None
    twin = job.trainer.twin
    predictions = forward(twin, job.validation, job.looks)
    scored = validation_score(list(zip(job.validation, predictions, strict=True)))
    return scored["loss"], scored["score"]


def _is_small(clips: Sequence[Clip]) -> bool:
    """Whether all embeddings fit in HELD_BYTES; raw frames stay in their stores."""
    if clips[0].embeddings.ndim > 2:
        return False
    most = BUFFER_VALUES if stays_in_store(clips) else HELD_BYTES // 4
    rows = sum(map(len, clips))
    return rows < MOST_ROWS and rows * clips[0].embeddings.shape[1] <= most


def _labelled(clips: Sequence[Clip], settings: TrainSettings) -> list[Clip]:
    """The clips that have a label, after checking that labels fit the task."""
    wanted = 0 if settings.task == MANY_TO_ONE else 1 + settings.multi_label
    for clip in clips:
        if clip.labels.ndim != wanted:
            needs = f"task {settings.task}{', multi-label,' if settings.multi_label else ''} needs"
            raise LabelError(
                f"{clip.clip_id} has {LABEL_KINDS[clip.labels.ndim]}, which is not what {needs}; "
                "choose the other --task, or labels of that kind."
            )
    return [clip for clip in clips if not clip.labels.size or clip.labels.max() >= 0]
