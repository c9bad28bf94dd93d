"""The length of a fit and the size of its batches, counted in weight updates.

An epoch of 5 clips and one of 50,000 are not comparable. So the budget, patience and validation interval of a fit are
counted in updates, and batches are small for few clips, so that a pass has several updates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sequence_models.clips.batches import padded_length
from sequence_models.clips.windows import count_pieces
from sequence_models.records import Clip
from sequence_models.settings import COSINE, MANY_TO_MANY, PLATEAU, TrainSettings

UPDATES, PASSES = 1200, 12  # the default budget, whichever is more
PATIENCE, PATIENCE_PASSES = 150, 3
BATCHES_PER_PASS, LARGEST_BATCH = 24, 64
FEW_BATCHES, FEW_SMALLEST, FEW_LARGEST = 3, 4, 16  # a few dozen clips: smaller batches do not help
LARGEST_BATCH_OF_FRAMES = 16
MOST_TIMESTEPS = 1 << 15  # per update
CHUNKS_PER_SET, SHORTEST_CHUNK, LONGEST_CHUNK = 64, 64, 512
FEWEST_BETWEEN_CHECKS, MOST_BETWEEN_CHECKS = 10, 50
COST_OF_TRAINING = 3  # forward and backward pass relative to a forward pass
USUAL_SHARE = 1 / 3  # of a budget that is used up before patience ends a fit
OVERHEAD, OPERATIONS_PER_SECOND = 0.004, 3e10  # of an update, on one core
LOWEST_RATE = 0.01  # plateau schedule, as a fraction of --learning-rate


@dataclass(frozen=True)
class Budget:
    """The limits of a fit.

    Args:
        batch_size: Clips, windows or chunks per update.
        chunk: Timesteps of a chunk; 0 = clips are not cut.
        pass_updates: Updates per pass over the training clips, approximately.
        updates: Maximum number of updates.
        patience: Updates without progress on validation after which the fit stops.
        check_every: Updates between validations.
    """

    batch_size: int
    chunk: int
    pass_updates: int
    updates: int
    patience: int
    check_every: int


def budget_for(train: Sequence[Clip], validation: Sequence[Clip], settings: TrainSettings) -> Budget:
    """The budget from the settings, with defaults that suit the number and length of the clips.

    Args:
        train: At least one clip.
        validation: Any number of clips; they are predicted less often if that would cost more than training.
        settings: Uses `batch_size`, `chunk`, `updates`, `patience_updates`, `epochs`, `stride`, `window`, `hop`.
    """
    steps = sum(len(clip) for clip in train) / settings.stride
    chunk = settings.chunk
    if chunk is None:
        chunk = int(min(LONGEST_CHUNK, max(SHORTEST_CHUNK, steps // CHUNKS_PER_SET)))
    chunk = chunk if settings.task == MANY_TO_MANY and not settings.window else 0
    pieces = count_pieces(train, settings, chunk=chunk)
    batch_size = settings.batch_size or _batch_size(train, pieces, settings, chunk)
    pass_updates = math.ceil(pieces / batch_size)
    updates = settings.updates or max(UPDATES, PASSES * pass_updates)
    if settings.epochs:
        most = settings.epochs * pass_updates
        updates = min(settings.updates, most) if settings.updates else most
    check_every = min(MOST_BETWEEN_CHECKS, max(FEWEST_BETWEEN_CHECKS, pass_updates))
    looks = sum(len(clip) for clip in validation) * pass_updates / (COST_OF_TRAINING * max(steps, 1))
    return Budget(
        batch_size=batch_size,
        chunk=chunk,
        pass_updates=pass_updates,
        updates=updates,
        patience=settings.patience_updates or max(PATIENCE, PATIENCE_PASSES * pass_updates),
        check_every=max(check_every, math.ceil(looks)),
    )


def _batch_size(train: Sequence[Clip], pieces: int, settings: TrainSettings, chunk: int) -> int:
    """Aims at a few dozen updates per pass, as far as an update fits in memory."""
    largest = LARGEST_BATCH_OF_FRAMES if settings.on_frames else LARGEST_BATCH
    longest = padded_length(math.ceil(max(map(len, train)) / settings.stride))
    fitting = MOST_TIMESTEPS // (min(longest, chunk) if chunk else longest)
    least = max(FEW_SMALLEST, min(FEW_LARGEST, pieces // FEW_BATCHES))
    wanted = min(largest, max(least, pieces // BATCHES_PER_PASS))
    size = max(1, min(wanted, fitting))
    return 1 << int(math.log2(size))  # so that similar folds share one compiled step


def expected_seconds(train: Sequence[Clip], settings: TrainSettings, budget: Budget) -> float:
    """How long a fit takes on one core, very roughly; enough to tell a second from a minute."""
    longest = padded_length(math.ceil(max(map(len, train)) / settings.stride))
    steps = budget.batch_size * (min(longest, budget.chunk) if budget.chunk else longest)
    width = math.prod(train[0].embeddings.shape[1:])
    multiplications = steps * (width * (settings.projection or settings.hidden) + 24 * settings.hidden**2)
    return USUAL_SHARE * budget.updates * (OVERHEAD + 6 * multiplications / OPERATIONS_PER_SECOND)


class LearningRate:
    """The learning rate of each update.

    Args:
        settings: Uses `learning_rate`, `schedule` and `warmup_updates`.
        budget: Of the fit; a cosine ends at its `updates`, a plateau is a third of its `patience` without progress.
    """

    def __init__(self, settings: TrainSettings, budget: Budget) -> None:
        self._settings, self._budget = settings, budget
        self._share, self._since = 1.0, 0

    def at(self, update: int) -> float:
        """The rate of an update, numbered from 1."""
        rate = self._settings.learning_rate * self._share
        if self._settings.schedule == COSINE:
            rate *= (1 + math.cos(math.pi * min(1.0, (update - 1) / self._budget.updates))) / 2
        return rate * min(1.0, update / max(1, self._settings.warmup_updates))

    def note(self, update: int, last_progress: int) -> None:
        """With the plateau schedule, halve the rate if the last progress and the last halving are too long ago."""
        self._since = max(self._since, last_progress)
        if self._settings.schedule == PLATEAU and update - self._since >= max(1, self._budget.patience // 3):
            self._share, self._since = max(LOWEST_RATE, self._share / 2), update
