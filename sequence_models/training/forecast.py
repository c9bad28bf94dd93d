"""Estimates what training will take before it starts, and refuses what would not fit in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from extract.errors import UsageError
from extract.system.memory import available_bytes
from extract.text import counted, duration_text
from sequence_models.clips.batches import make_batches, padded_length
from sequence_models.clips.buffers import BUFFER_VALUES, stays_in_store, where_text
from sequence_models.clips.derived import derived_width
from sequence_models.clips.windows import select_steps, training_pieces
from sequence_models.models.build import Architecture
from sequence_models.prediction.predict import FRAMES_PER_BATCH
from sequence_models.records import Clip, EmbeddingDim
from sequence_models.settings import MANY_TO_ONE, TrainSettings
from sequence_models.training.budget import Budget, budget_for
from sequence_models.training.step import numbered, trainer

LIBRARIES_BYTES = 700_000_000  # TensorFlow's own
COPIES_OF_INPUT = 4  # padded, standardised, after dropout, and its gradient
BUFFERED_BYTES = BUFFER_VALUES * (2 * 4 + 2 * 2)  # a table and its copy, a buffer and the next one
COPIES_OF_UNITS = 3  # kept for the gradient, and the gradient
TIMED_UPDATES = 3


def forecast(train: Sequence[Clip], validation: Sequence[Clip], settings: TrainSettings, *, num_classes: int) -> str:
    """The cost of one fit, in one line; builds and times the model, which is then already compiled for the first fit.

    Args:
        train: Labelled training clips of a fold.
        validation: Its validation clips.
        settings: How the model is built and trained.
        num_classes: K.

    Raises:
        UsageError: An update, or the prediction of the longest clip, would not fit in memory; says what would.
    """
    budget = budget_for(train, validation, settings)
    needed = refuse_too_large([*train, *validation], settings, budget, num_classes=num_classes)
    steps = sum(map(len, train)) // settings.stride
    seconds = _seconds_per_update(train, settings, budget, num_classes=num_classes)
    took = duration_text(budget.updates * seconds)
    return (
        f"a fit: {counted(train, 'clip')}, {steps:,} timesteps a pass, {counted(budget.pass_updates, 'update')} of "
        f"{budget.batch_size}; at most {budget.updates:,} updates, about {took}, and {needed / 1e9:.1f} GB; "
        f"{where_text(train)}"
    )


def refuse_too_large(
    clips: Sequence[Clip], settings: TrainSettings, budget: Budget, *, num_classes: int, room: int | None = None
) -> int:
    """Check that neither an update nor a prediction needs more memory than is available.

    Args:
        clips: All clips that are trained on or predicted.
        settings: How the model is built.
        budget: Of a fit.
        num_classes: K.
        room: Available bytes; None asks the system.

    Returns:
        `bytes_needed`.

    Raises:
        UsageError: Too little memory is available; names the longest clip and the flag that helps.
    """
    longest, update, predicted = _largest(clips, settings, budget, num_classes)
    needed = LIBRARIES_BYTES + max(update, predicted)
    room = available_bytes() if room is None else room
    if room is None or needed <= room:
        return needed
    if update >= predicted and budget.batch_size > 1:
        helps = f"a --batch-size below {budget.batch_size}"
        if settings.task == MANY_TO_ONE:
            helps += ", --stride N, or --window SECONDS"
    else:
        helps = "--window SECONDS, or --stride N"
    raise UsageError(
        f"{longest.clip_id} has {len(longest):,} timesteps, for which {settings.model} would need about "
        f"{needed / 1e9:.1f} GB of memory, but only {room / 1e9:.1f} GB are free; give {helps}."
    )


def bytes_needed(clips: Sequence[Clip], settings: TrainSettings, budget: Budget, *, num_classes: int) -> int:
    """The most memory that a fit or a prediction takes at a time, approximately, with the libraries."""
    _, update, predicted = _largest(clips, settings, budget, num_classes)
    return LIBRARIES_BYTES + max(update, predicted)


def _largest(clips: Sequence[Clip], settings: TrainSettings, budget: Budget, num_classes: int) -> tuple[Clip, int, int]:
    """The longest clip, and the bytes of an update and of a prediction."""
    longest = max(clips, key=len)
    whole = padded_length(-(-len(longest) // settings.stride))
    if settings.window:
        rate = (len(longest) - 1) / max(float(longest.pts_seconds[-1] - longest.pts_seconds[0]), 1e-9)
        whole = min(whole, padded_length(int(settings.window * rate) + 1))
    piece = min(whole, budget.chunk) if budget.chunk else whole
    width = longest.embedding_dim
    update = budget.batch_size * piece * _bytes_per_step(settings, width, num_classes, training=True)
    together = whole if isinstance(width, tuple) else max(whole, min(sum(map(len, clips)), FRAMES_PER_BATCH))
    if isinstance(width, int) and stays_in_store(clips):
        together = min(together, max(1, BUFFER_VALUES // width))
        update += BUFFERED_BYTES
    return longest, update, together * _bytes_per_step(settings, width, num_classes, training=False)


def _bytes_per_step(settings: TrainSettings, width: EmbeddingDim, num_classes: int, *, training: bool) -> int:
    """Bytes per timestep of a clip, approximately."""
    if isinstance(width, tuple):
        height, across, channels = width
        filters = max([16, *(int(each) for each in settings.filters.split(",") if each)])
        values = height * across * (channels + filters) * (COPIES_OF_UNITS if training else 1)
    else:
        inputs = width + derived_width(settings, width)
        units = 2 * settings.projection + 14 * settings.hidden * settings.layers  # 7 gates and states, both directions
        if settings.model == "mstcn":
            units = 4 * settings.hidden * settings.tcn_stages * settings.tcn_layers
        copies = (COPIES_OF_INPUT, COPIES_OF_UNITS) if training else (2, 1)
        values = inputs * copies[0] + units * copies[1] + 4 * num_classes
    return 4 * values


def _seconds_per_update(train: Sequence[Clip], settings: TrainSettings, budget: Budget, *, num_classes: int) -> float:
    """Timed in the way of most fits: embeddings as a table, several updates in one call."""
    steps = trainer(Architecture(settings, train[0].embedding_dim, num_classes))
    some, pieces = list[Clip](), list[Clip]()
    for clip in train:  # a piece without labels is left out
        some += steps.twin.derived([_beginning(clip)])
        given = some if settings.on_frames else numbered(some)
        pieces += training_pieces(given[-1:], settings, np.random.default_rng(0), chunk=budget.chunk)
        if len(pieces) >= budget.batch_size:
            break
    if not pieces:
        return 0.0
    batch = next(make_batches(pieces[: budget.batch_size], batch_size=budget.batch_size))
    update: Callable[[], Any]
    if settings.on_frames:
        update = partial(steps.update, batch)
    else:
        table, rates = steps.hold(steps.twin.standardised_rows(some)), [settings.learning_rate]
        update = partial(steps.updates, table, [batch], rates)
    update()  # compiles
    began = time.perf_counter()
    for _ in range(TIMED_UPDATES):
        update()
    return (time.perf_counter() - began) / TIMED_UPDATES


def _beginning(clip: Clip) -> Clip:
    """As much of a clip that stays in its store as a buffer takes; other clips as they are."""
    width = clip.embedding_dim
    if not isinstance(width, int) or not stays_in_store([clip]):
        return clip
    return select_steps(clip, np.arange(min(len(clip), max(1, BUFFER_VALUES // width))))
