"""Weight updates, compiled once per architecture for batches of any size and length.

Many small updates take longer to call than to compute. So if the standardised clips fit in memory, they are given to
TensorFlow once, as one table of timesteps; batches then hold row numbers in place of embeddings, and all updates until
the next validation are one call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from extract.system.quiet_start import import_tensorflow
from sequence_models.clips.batches import check_batch
from sequence_models.models.build import Architecture
from sequence_models.models.compiled import CALLS, COMPILATIONS, KEPT, CompiledModel, compiled, input_signature
from sequence_models.records import Clip, PaddedBatch
from sequence_models.settings import MANY_TO_MANY

GRADIENT_NORM = 1.0  # one odd batch must not undo many good ones
OPTIMIZER_CLASSES = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": partial(keras.optimizers.SGD, momentum=0.9),
    "adadelta": keras.optimizers.Adadelta,
}
LOSSES = {False: keras.losses.CategoricalCrossentropy, True: keras.losses.BinaryCrossentropy}  # by multi_label


class Trainer:
    """Updates the weights of a compiled model.

    Args:
        twin: Holds the weights that are trained; `reset` after loading others into it.
    """

    def __init__(self, twin: CompiledModel):
        settings = twin.settings
        self.twin, self.model = twin, twin.stages
        optimizer = OPTIMIZER_CLASSES[settings.optimizer](
            settings.learning_rate, weight_decay=settings.weight_decay or None, clipnorm=GRADIENT_NORM
        )
        self.model.compile(
            optimizer=optimizer,
            loss=[
                LOSSES[settings.multi_label](
                    from_logits=True,
                    label_smoothing=settings.label_smoothing,
                    reduction="mean_with_sample_weight",
                )
                for _ in self.model.outputs
            ],
            jit_compile=keras.backend.backend()
            == "jax",  # with other backends, compiling each shape costs more than it saves
        )
        optimizer.build(self.model.trainable_variables)
        self._fresh = [variable.numpy() for variable in optimizer.variables]
        self._learning_rate = settings.learning_rate
        self._step: Callable | None = None
        self._steps: Callable | None = None

    def reset(self) -> None:
        """Forget the optimizer state of the last fit."""
        for variable, value in zip(self.model.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        self._learning_rate = self.twin.settings.learning_rate

    def update(self, batch: PaddedBatch, *, learning_rate: float | None = None) -> float:
        """Make one update on a standardised batch.

        Returns:
            The loss: the weighted mean over samples of each stage, plus T-MSE.
        """
        targets = self._targets(batch)
        if learning_rate is not None and learning_rate != self._learning_rate:
            self.model.optimizer.learning_rate = self._learning_rate = learning_rate
        if self._step is None:
            self._step = _step_of(self.model, self.twin.counts, targets_shape=targets.shape)
        self.twin.counts[CALLS] += 1
        return float(self._step(batch.embeddings, batch.mask, targets, batch.sample_weight))

    def hold(self, rows: np.ndarray) -> Any:
        """A table of timesteps for `updates`."""
        return import_tensorflow().constant(rows) if keras.backend.backend() == "tensorflow" else rows

    def updates(self, table: Any, batches: Sequence[PaddedBatch], learning_rates: Sequence[float]) -> list[float]:
        """Make several updates on batches of one size.

        Args:
            table: From `hold`, of `CompiledModel.standardised_rows`.
            batches: Of `numbered` clips: row numbers (B, T, 1), and 0 on padding.
            learning_rates: Of each update.

        Returns:
            The losses, as from `update`.
        """
        if keras.backend.backend() != "tensorflow" or self.model.run_eagerly:
            rows = [np.asarray(table)[batch.embeddings[..., 0].astype(np.int64)] for batch in batches]
            taken = [replace(batch, embeddings=each) for batch, each in zip(batches, rows, strict=True)]
            return [self.update(batch, learning_rate=rate) for batch, rate in zip(taken, learning_rates, strict=True)]
        several = [self._targets(batch, is_numbered=True) for batch in batches]
        lengths = np.array([batch.mask.shape[1] for batch in batches], np.int32)
        if self._steps is None:
            shape, is_per_step = several[0].shape, self._is_per_step
            self._steps = _steps_of(self.model, self.twin.counts, targets_shape=shape, is_per_step=is_per_step)
        self.twin.counts[CALLS] += 1
        numbers = [batch.embeddings[..., 0].astype(np.int32) for batch in batches]
        masks, weights = [batch.mask for batch in batches], [batch.sample_weight for batch in batches]
        given = [_stacked(numbers), _stacked(masks), _stacked(several), _stacked(weights)]
        self._learning_rate = learning_rates[-1]
        return self._steps(table, lengths, *given, np.array(learning_rates, np.float32)).numpy().tolist()

    @property
    def _is_per_step(self) -> bool:
        return self.twin.settings.task == MANY_TO_MANY

    def _targets(self, batch: PaddedBatch, *, is_numbered: bool = False) -> np.ndarray:
        """float32 (B, K) or (B, T, K), after checking that the batch fits the model."""
        twin = self.twin
        per_step = (batch.mask.shape[1],) if self._is_per_step else ()
        label_shape = (*per_step, twin.num_classes) if twin.settings.multi_label else per_step
        width = 1 if is_numbered else twin.width if twin.settings.on_frames else twin.width[0]
        check_batch(batch, embedding_dim=width, label_shape=label_shape)
        one_hot = np.eye(twin.num_classes, dtype=np.float32)
        return batch.labels if twin.settings.multi_label else one_hot[batch.labels]


def numbered(clips: Sequence[Clip]) -> list[Clip]:
    """The clips with row numbers (T, 1) of `CompiledModel.standardised_rows` in place of their embeddings."""
    ends = np.cumsum([1, *map(len, clips)])
    numbers = [np.arange(first, last, dtype=np.float32)[:, None] for first, last in pairwise(ends)]
    return [replace(clip, embeddings=each) for clip, each in zip(clips, numbers, strict=True)]


@lru_cache(maxsize=KEPT)
def trainer(architecture: Architecture) -> Trainer:
    """The trainer of the compiled twin of an architecture, built on first use."""
    return Trainer(compiled(architecture))


def forget_compiled() -> None:
    """Drop all compiled models, so that the memory of the next one is measured alone."""
    trainer.cache_clear()
    compiled.cache_clear()


def _step_of(model: keras.Model, counts: Counter[str], *, targets_shape: tuple[int, ...]) -> Callable[..., Any]:
    """A function (inputs, mask, targets, sample_weight) -> loss; every stage has the same targets."""
    if keras.backend.backend() != "tensorflow":
        return lambda inputs, mask, targets, weights: model.train_on_batch(
            [inputs, mask], _for_stages(model, targets), _for_stages(model, weights), return_dict=True
        )["loss"]
    if model.run_eagerly:
        return partial(_tensorflow_step, model)

    def step(*batch):
        counts[COMPILATIONS] += 1  # TensorFlow runs this line while it traces
        return _tensorflow_step(model, *batch)

    tf = import_tensorflow()
    lengths = (None,) * (len(targets_shape) - 1)
    labels = [tf.TensorSpec((*lengths, targets_shape[-1]), tf.float32), tf.TensorSpec(lengths, tf.float32)]
    return tf.function(step, input_signature=[*input_signature(model), *labels], autograph=False)


def _steps_of(
    model: keras.Model, counts: Counter[str], *, targets_shape: tuple[int, ...], is_per_step: bool
) -> Callable[..., Any]:
    """The function behind `Trainer.updates`: what it takes has an axis of updates in front."""
    tf = import_tensorflow()
    lengths = (None,) * len(targets_shape)
    spec = tf.TensorSpec
    signature = [
        spec((None, model.inputs[0].shape[2]), tf.float32),
        spec((None,), tf.int32),
        spec((None, None, None), tf.int32),
        spec((None, None, None), tf.bool),
        spec((*lengths, targets_shape[-1]), tf.float32),
        spec(lengths, tf.float32),
        spec((None,), tf.float32),
    ]

    def steps(table, lengths, numbers, masks, targets, weights, rates):
        counts[COMPILATIONS] += 1

        def one(update, losses):
            length = lengths[update]
            part = (slice(None), slice(None, length)) if is_per_step else (slice(None),)
            model.optimizer.learning_rate.assign(rates[update])
            loss = _tensorflow_step(
                model,
                tf.gather(table, numbers[update][:, :length]),
                masks[update][:, :length],
                targets[update][part],
                weights[update][part],
            )
            return update + 1, losses.write(update, loss)

        count = tf.shape(lengths)[0]
        losses = tf.TensorArray(tf.float32, count, element_shape=())
        losses = tf.while_loop(lambda update, _: update < count, one, (0, losses), parallel_iterations=1)[1]
        return losses.stack()

    return tf.function(steps, input_signature=signature, autograph=False)


def _tensorflow_step(model: keras.Model, inputs: Any, mask: Any, targets: Any, weights: Any) -> Any:
    tf = import_tensorflow()
    with tf.GradientTape() as tape:
        outputs = model([inputs, mask], training=True)
        wanted, weighted = _for_stages(model, targets), _for_stages(model, weights)
        loss = model.compute_loss(y=wanted, y_pred=outputs, sample_weight=weighted)
    variables = model.trainable_variables
    model.optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
    return loss


def _for_stages(model: keras.Model, value: Any) -> Any:
    return [value] * len(model.outputs) if len(model.outputs) > 1 else value


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one rank in one array, filled up with zeros."""
    shape = np.max([array.shape for array in arrays], axis=0)
    whole = np.zeros((len(arrays), *shape), arrays[0].dtype)
    for place, array in zip(whole, arrays, strict=True):
        place[tuple(map(slice, array.shape))] = array
    return whole
