"""Trains one model on clips, keeps the weights of its best epoch, and writes checkpoint and log.

The best epoch is that of the best macro-F1 (multi-label: mean average precision) over all validation examples together,
averaged with the few epochs before it (of six clips one right by luck is much), ties going to the lower loss. Both are
computed by NumPy on unpadded predictions, because Keras' own averages depend on how batches were padded.
"""

from __future__ import annotations

import csv
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from extract.errors import LabelError, RunError, UsageError
from extract.system.files import MALFORMED, make_folder, reason_of, sealed_file, writing
from extract.system.terminal import plain, progress_bar
from sequence_models.clips.augmentation import FrameAugmentation
from sequence_models.clips.batches import Augmentation, check_clips, class_weights, make_batches
from sequence_models.clips.loading import Clip, EmbeddingDim
from sequence_models.clips.windows import training_pieces
from sequence_models.models.build import Architecture, build_model
from sequence_models.models.compiled import CompiledModel, compiled, copy_variables
from sequence_models.models.on_frames import start_training
from sequence_models.prediction.predict import Prediction, forward
from sequence_models.scoring.multilabel import mean_average_precision
from sequence_models.settings import FRAME_VARIATIONS, MANY_TO_ONE, TrainSettings

LOG_COLUMNS = ("epoch", "loss", "validation_loss", "validation_score", "learning_rate", "seconds")
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
        weights = class_weights(_labels(train), num_classes=num_classes, power=settings.class_weight_power)
    best = _Best(model, checkpoint)
    job = _Job(twin, train, validation, weights, seed)
    history = _train_epochs(job, best, log=log, epochs=epochs or settings.epochs, quiet=quiet)
    best.save()
    if tensorboard is not None:
        write_events(tensorboard, history)
    return FitResult(model, best.epoch, best.score, len(history), time.perf_counter() - started, tuple(history))


def load_model(settings: TrainSettings, weights: Path, *, embedding_dim: EmbeddingDim, num_classes: int) -> keras.Model:
    """Build a model and load what `fit_model` saved, the standardisation with it.

    Args:
        settings: Those it was trained with.
        weights: The `.weights.h5` file.
        embedding_dim: D, or (H, W, C) of raw frames.
        num_classes: K.

    Returns:
        The trained model; it gives logits, see `predict` for probabilities.

    Raises:
        RunError: The file is missing, damaged, or holds the weights of another model.
    """
    model = build_model(settings, embedding_dim=embedding_dim, num_classes=num_classes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns where it leaves a layer untrained
            model.load_weights(weights)
    except (*MALFORMED, UserWarning) as error:
        raise RunError(
            f"{weights} does not fit model {settings.model} ({reason_of(error)}); train the run again."
        ) from error
    return model


def embedding_statistics(clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every channel over all timesteps of all clips, each float64 (D,)."""
    steps = sum(map(len, clips))
    mean = sum(clip.embeddings.sum(axis=0, dtype=np.float64) for clip in clips) / steps
    squares = sum(np.square(clip.embeddings - mean).sum(axis=0) for clip in clips)
    return mean, np.sqrt(squares / steps)


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 of the classes that occur in the truth.

    Args:
        truth: int (n,) class indices.
        predicted: int (n,) class indices.

    Returns:
        Between 0 and 1.
    """
    scores = []
    for label in np.unique(truth):
        hits = np.sum((truth == label) & (predicted == label))
        scores.append(2 * hits / (np.sum(truth == label) + np.sum(predicted == label)))
    return float(np.mean(scores))


def validation_score(pairs: Sequence[tuple[Clip, Prediction]]) -> dict[str, float]:
    """How good probabilities are on labelled examples.

    Args:
        pairs: Clips, at least one of them with a label, and what was said about them.

    Returns:
        "loss", the mean cross-entropy; "score", macro-F1, of multi-label the mean average precision; pooled.
    """
    truth = _labels([clip for clip, _ in pairs])
    probabilities = np.concatenate([np.atleast_2d(said.probabilities) for _, said in pairs])  # (n, K)
    known = truth.min(axis=1) >= 0 if truth.ndim == 2 else truth >= 0
    truth, probabilities = truth[known], np.clip(probabilities[known], 1e-7, 1 - 1e-7)
    if truth.ndim == 2:
        loss = -np.log(np.where(truth > 0, probabilities, 1 - probabilities)).mean()
        return {"loss": float(loss), "score": mean_average_precision(truth > 0, probabilities)}
    loss = -np.log(probabilities[np.arange(len(truth)), truth]).mean()
    return {"loss": float(loss), "score": macro_f1(truth, probabilities.argmax(axis=1))}


def write_events(folder: Path, history: Sequence[dict]) -> None:
    """Write the epochs of one fit as TensorBoard scalars; an event file of an earlier fit is replaced.

    Args:
        folder: Made if need be.
        history: Records as in `FitResult.history`.

    Raises:
        UsageError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs the package tensorboardX; pip install 'clipseq[tensorboard]'.") from None
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with writing(folder), SummaryWriter(str(folder)) as writer:
        for record in history:
            for name in LOG_COLUMNS[1:]:
                if record[name] is not None:
                    writer.add_scalar(name, record[name], record["epoch"])


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
        with sealed_file(self.checkpoint) as temporary:
            self.model.save_weights(temporary)
        self._saved = time.perf_counter()


def _train_epochs(job: _Job, best: _Best, *, log: Path, epochs: int, quiet: bool) -> list[dict]:
    history: list[dict] = []
    _log_line(log, LOG_COLUMNS, mode="w")
    with progress_bar(total=epochs, desc=plain(log.stem), disable=quiet or None, leave=False) as bar:
        for epoch in range(1, epochs + 1):
            history.append(_run_epoch(job, epoch))
            best.offer(job.twin, history[-1])
            _log_line(log, [history[-1][name] for name in LOG_COLUMNS], mode="a")
            bar.update()
            if job.validation and epoch - best.epoch >= job.twin.settings.patience:
                break
    return history


def _log_line(log: Path, cells: Sequence[object], *, mode: str) -> None:
    """One line of the log, which can be read while a fit goes on."""
    make_folder(log.parent)
    with writing(log), log.open(mode, newline="") as file:
        csv.writer(file).writerow(cells)


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


def _labels(clips: Sequence[Clip]) -> np.ndarray:
    return np.concatenate([np.atleast_1d(clip.labels) for clip in clips])
