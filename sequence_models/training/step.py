"""One weight update, compiled once per architecture for batches of any size and length."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import keras
import numpy as np

from extract.system.quiet_start import import_tensorflow
from sequence_models.clips.batches import check_batch
from sequence_models.models.build import Architecture
from sequence_models.models.compiled import KEPT, CompiledModel, compiled, input_signature
from sequence_models.records import PaddedBatch
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
        twin = self.twin
        per_step = (batch.mask.shape[1],) if twin.settings.task == MANY_TO_MANY else ()
        label_shape = (*per_step, twin.num_classes) if twin.settings.multi_label else per_step
        width = twin.width if twin.settings.on_frames else twin.width[0]
        check_batch(batch, embedding_dim=width, label_shape=label_shape)
        one_hot = np.eye(twin.num_classes, dtype=np.float32)
        targets = batch.labels if twin.settings.multi_label else one_hot[batch.labels]  # (B, K) or (B, T, K)
        if learning_rate is not None and learning_rate != self._learning_rate:
            self.model.optimizer.learning_rate = self._learning_rate = learning_rate
        if self._step is None:
            self._step = _step_of(self.model, targets_shape=targets.shape)
        return float(self._step(batch.embeddings, batch.mask, targets, batch.sample_weight))


@lru_cache(maxsize=KEPT)
def trainer(architecture: Architecture) -> Trainer:
    """The trainer of the compiled twin of an architecture, built on first use."""
    return Trainer(compiled(architecture))


def forget_compiled() -> None:
    """Drop all compiled models, so that the memory of the next one is measured alone."""
    trainer.cache_clear()
    compiled.cache_clear()


def _step_of(model: keras.Model, *, targets_shape: tuple[int, ...]) -> Callable[..., Any]:
    """A function (inputs, mask, targets, sample_weight) -> loss; every stage has the same targets."""

    def for_stages(value: Any) -> Any:
        return [value] * len(model.outputs) if len(model.outputs) > 1 else value

    if keras.backend.backend() != "tensorflow":
        return lambda inputs, mask, targets, weights: model.train_on_batch(
            [inputs, mask], for_stages(targets), for_stages(weights), return_dict=True
        )["loss"]
    tf = import_tensorflow()

    def step(inputs, mask, targets, weights):
        with tf.GradientTape() as tape:
            outputs = model([inputs, mask], training=True)
            loss = model.compute_loss(y=for_stages(targets), y_pred=outputs, sample_weight=for_stages(weights))
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    if model.run_eagerly:
        return step
    lengths = (None,) * (len(targets_shape) - 1)
    labels = [tf.TensorSpec((*lengths, targets_shape[-1]), tf.float32), tf.TensorSpec(lengths, tf.float32)]
    return tf.function(step, input_signature=[*input_signature(model), *labels], autograph=False)
