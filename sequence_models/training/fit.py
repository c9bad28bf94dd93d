"""Trains one model on clips, keeps the weights of its best epoch, and writes checkpoint and log.

The best epoch is that of the best macro-F1 (multi-label: mean average precision) over all validation examples together,
averaged with the few epochs before it (of six clips one right by luck is much), ties going to the lower loss. Both are
computed by NumPy on unpadded predictions, because Keras' own averages depend on how batches were padded.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from extract.errors import LabelError
from extract.system.files import make_folder, write_bytes
from extract.system.terminal import plain, progress_bar
from sequence_models.catalogue import FRAME_VARIATIONS
from sequence_models.clips.augmentation import Augmentation, FrameAugmentation
from sequence_models.clips.batches import check_clips, class_weights, make_batches
from sequence_models.clips.windows import training_pieces
from sequence_models.models.build import Architecture, build_model
from sequence_models.models.compiled import CompiledModel, compiled, copy_variables
from sequence_models.prediction.predict import forward
from sequence_models.records import Clip
from sequence_models.scoring.predictions import labelled_steps, validation_score
from sequence_models.settings import MANY_TO_ONE, TrainSettings
from sequence_models.training.fine_tuning import start_training
from sequence_models.training.log import LOG_COLUMNS, log_line, write_events

SECONDS_PER_CHECKPOINT = 10.0
SMOOTHED_EPOCHS = 5
PIECES = 1  # keeps the draws of windows and chunks apart from those of the batches
LABEL_KINDS = ("one label in all", "one label per timestep", "any number of labels per timestep")


@dataclass(frozen=True)
class FitResult:
    """What `fit_model` gives back.

    Args:
        model: The model with the weights of its best epoch; later fits do not touch it.
        best_epoch: Counted from 1; without validation clips the last.
        best_score: Validation macro-F1 at that epoch, or None without validation clips.
        epochs_run: Epochs trained.
        seconds: Wall-clock time of it all.
        history: One record per epoch, keys as in `LOG_COLUMNS`.
    """

    model: keras.Model
    best_epoch: int
    best_score: float | None
    epochs_run: int
    seconds: float
    history: tuple[dict[str, float | int | None], ...]


def fit_model(
    train: Sequence[Clip],
    validation: Sequence[Clip],
    settings: TrainSettings,
    *,
    num_classes: int,
    seed: int,
    checkpoint: Path,
    log: Path,
    epochs: int | None = None,
    head: keras.Model | None = None,
    tensorboard: Path | None = None,
    quiet: bool = False,
) -> FitResult:
    """Train one model.

    Args:
        train: Clips to train on, which also give standardisation and class weights; unlabelled ones are left out.
        validation: Clips that choose the epoch; none = train `epochs` epochs and keep the last.
        settings: How the model is built and trained.
        num_classes: K.
        seed: Decides weights, dropout and order; the same seed gives the same numbers.
        checkpoint: Where the best weights go, ending in `.weights.h5`; its folder is made.
        log: CSV file, one line per epoch, columns `LOG_COLUMNS`; its folder is made.
        epochs: Overrides `settings.epochs`.
        head: A model on embeddings, where what follows the backbone in td_backbone_rnn begins.
        tensorboard: A folder for an event file with the columns of the log; None = none. Needs tensorboardX.
        quiet: No progress bar.

    Returns:
        The trained model and how it went.

    Raises:
        ClipError: A clip has no timestep, another width than the rest, or values that are not finite.
        LabelError: A class index is out of range, labels do not fit the task, or no training clip has a label.
    """
    started = time.perf_counter()
    train, validation = _labelled(train, settings), _labelled(validation, settings)
    if not train:
        raise LabelError("No training clip has a label; label some, or use another split.")
    embedding_dim = check_clips([*train, *validation], num_classes=num_classes)
    model = build_model(settings, embedding_dim=embedding_dim, num_classes=num_classes, seed=seed)
    if settings.on_frames:
        start_training(model, settings, train, head=head)
    else:
        model.get_layer("standardise").set_statistics(*embedding_statistics(train))
    twin = compiled(Architecture(settings, embedding_dim, num_classes))
    twin.load(model)
    weights = None
    if not settings.multi_label:
        weights = class_weights(labelled_steps(train), num_classes=num_classes, power=settings.class_weight_power)
    best = _Best(model, checkpoint)
    job = _Job(twin, train, validation, weights, seed)
    history = _train_epochs(job, best, log=log, epochs=epochs or settings.epochs, quiet=quiet)
    best.save()
    if tensorboard is not None:
        write_events(tensorboard, history)
    return FitResult(model, best.epoch, best.score, len(history), time.perf_counter() - started, tuple(history))


def embedding_statistics(clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every channel over all timesteps of all clips, each float64 (D,)."""
    steps = sum(map(len, clips))
    mean = sum(clip.embeddings.sum(axis=0, dtype=np.float64) for clip in clips) / steps
    squares = sum(np.square(clip.embeddings - mean).sum(axis=0) for clip in clips)
    return mean, np.sqrt(squares / steps)


@dataclass(frozen=True)
class _Job:
    twin: CompiledModel
    train: Sequence[Clip]
    validation: Sequence[Clip]
    class_weights: np.ndarray | None
    seed: int


class _Best:
    """Holds the best weights so far, in the model that the caller gets, and writes them to the checkpoint."""

    def __init__(self, model: keras.Model, checkpoint: Path):
        self.model, self.checkpoint = model, checkpoint
        self.epoch, self.score = 0, None
        self._rank: tuple[float, ...] | None = None
        self._recent: list[float] = []
        self._saved = time.perf_counter()

    def offer(self, twin: CompiledModel, record: dict) -> None:
        """Take the weights of the twin if this epoch is better; without a score the later one is."""
        score = record["validation_score"]
        if score is None:
            rank: tuple[float, ...] = (record["epoch"],)
        else:
            self._recent = [*self._recent, score][-SMOOTHED_EPOCHS:]
            rank = (round(sum(self._recent) / SMOOTHED_EPOCHS, 6), -record["validation_loss"])
        if self._rank is not None and rank <= self._rank:
            return
        self.epoch, self.score, self._rank = record["epoch"], score, rank
        copy_variables(twin.model, self.model)
        if time.perf_counter() - self._saved > SECONDS_PER_CHECKPOINT:
            self.save()

    def save(self) -> None:
        """Write the checkpoint: a file of that name is whole."""
        make_folder(self.checkpoint.parent)
        whole = _WeightsInMemory()
        self.model.save_weights(whole)
        write_bytes(self.checkpoint, whole.getvalue())
        self._saved = time.perf_counter()


class _WeightsInMemory(io.BytesIO):
    """A weights file for Keras to write to; on a full disk HDF5 prints a traceback for each thing it holds open."""

    def __str__(self) -> str:
        return "in memory.weights.h5"  # Keras wants that ending


def _train_epochs(job: _Job, best: _Best, *, log: Path, epochs: int, quiet: bool) -> list[dict]:
    history: list[dict] = []
    log_line(log, LOG_COLUMNS, mode="w")
    with progress_bar(total=epochs, desc=plain(log.stem), disable=quiet or None, leave=False) as bar:
        for epoch in range(1, epochs + 1):
            history.append(_run_epoch(job, epoch))
            best.offer(job.twin, history[-1])
            log_line(log, [history[-1][name] for name in LOG_COLUMNS], mode="a")
            bar.update()
            if job.validation and epoch - best.epoch >= job.twin.settings.patience:
                break
    return history


def _run_epoch(job: _Job, epoch: int) -> dict:
    started = time.perf_counter()
    settings = job.twin.settings
    varied = Augmentation(settings.crop, settings.speed, settings.frame_drop)
    batches = make_batches(
        training_pieces(job.train, settings, np.random.default_rng((job.seed, epoch, PIECES))),
        batch_size=settings.batch_size,
        seed=(job.seed, epoch),
        class_weights=job.class_weights,
        augmentation=None if varied == Augmentation() else varied,
        frame_augmentation=FrameAugmentation(**{name: getattr(settings, name) for name in FRAME_VARIATIONS}),
    )
    losses, sizes = zip(*((job.twin.train(batch), batch.sample_weight.sum()) for batch in batches), strict=True)
    validation_loss, score = _validate(job)
    return {
        "epoch": epoch,
        "loss": float(np.average(losses, weights=sizes)),
        "validation_loss": validation_loss,
        "validation_score": score,
        "learning_rate": float(job.twin.trainer.optimizer.learning_rate),
        "seconds": time.perf_counter() - started,
    }


def _validate(job: _Job) -> tuple[float | None, float | None]:
    """Cross-entropy and score over all labelled validation examples."""
    if not job.validation:
        return None, None
    predictions = forward(job.twin, job.validation)
    scored = validation_score(list(zip(job.validation, predictions, strict=True)))
    return scored["loss"], scored["score"]


def _labelled(clips: Sequence[Clip], settings: TrainSettings) -> list[Clip]:
    """The clips that have a label, after a look whether labels fit the task."""
    wanted = 0 if settings.task == MANY_TO_ONE else 1 + settings.multi_label
    for clip in clips:
        if clip.labels.ndim != wanted:
            needs = f"task {settings.task}{', multi-label,' if settings.multi_label else ''} needs"
            raise LabelError(
                f"{clip.clip_id} has {LABEL_KINDS[clip.labels.ndim]}, which is not what {needs}; "
                "choose the other --task, or labels of the other kind."
            )
    return [clip for clip in clips if not clip.labels.size or clip.labels.max() >= 0]
