"""One compiled training step and forward pass per architecture, shared by all folds and seeds.

Tracing a model takes a second or two, longer than training a small fold. So the weights move instead: a model's
variables are copied into the compiled twin, and back out. `load` keeps nothing of the previous fold: weights,
standardisation, dropout state and optimizer state are all reset.
"""

from __future__ import annotations

from functools import cached_property, lru_cache, partial

import keras
import numpy as np

from sequence_models.clips.batches import check_batch
from sequence_models.clips.derived import derived_width
from sequence_models.models.build import Architecture, build_model, output_stages
from sequence_models.records import PaddedBatch
from sequence_models.settings import MANY_TO_MANY

KEPT = 8  # architectures; the least recently used is dropped
GRADIENT_NORM = 1.0  # one odd batch must not undo many good ones
OPTIMIZER_CLASSES = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": partial(keras.optimizers.SGD, momentum=0.9),
    "adadelta": keras.optimizers.Adadelta,
}
LOSSES = {False: keras.losses.CategoricalCrossentropy, True: keras.losses.BinaryCrossentropy}  # by multi_label


class CompiledModel:
    """The twin of every model of one architecture; it holds a model's weights only for one fit or prediction.

    Args:
        architecture: What to build.
    """

    def __init__(self, architecture: Architecture):
        settings = architecture.settings
        self.settings, self.num_classes = settings, architecture.num_classes
        self.embedding_dim = architecture.embedding_dim
        self.model = build_model(settings, embedding_dim=self.embedding_dim, num_classes=self.num_classes)
        self._fresh_optimizer: list[np.ndarray] = []
        self._learning_rate: float | None = None

    @cached_property
    def trainer(self) -> keras.Model:
        """The same layers with an optimizer, built at the first training step: predictions need none."""
        settings = self.settings
        optimizer = OPTIMIZER_CLASSES[settings.optimizer](
            settings.learning_rate, weight_decay=settings.weight_decay or None, clipnorm=GRADIENT_NORM
        )
        stages = output_stages(self.model)
        trainer = keras.Model(self.model.inputs, stages)
        trainer.compile(
            optimizer=optimizer,
            loss=[
                LOSSES[settings.multi_label](
                    from_logits=True,
                    label_smoothing=settings.label_smoothing,
                    reduction="mean_with_sample_weight",
                )
                for _ in stages
            ],
            jit_compile=keras.backend.backend()
            == "jax",  # with other backends, compiling each shape costs more than it saves
        )
        optimizer.build(trainer.trainable_variables)
        self._fresh_optimizer = [variable.numpy() for variable in optimizer.variables]
        return trainer

    def load(self, model: keras.Model) -> None:
        """Copy another model's variables, and reset the optimizer."""
        copy_variables(model, self.model)
        self._learning_rate = None
        if self._fresh_optimizer:
            for variable, value in zip(self.trainer.optimizer.variables, self._fresh_optimizer, strict=True):
                variable.assign(value)

    def train(self, batch: PaddedBatch, *, learning_rate: float | None = None) -> float:
        """Make one update on a batch; returns the loss: the weighted mean over samples of each stage, plus T-MSE."""
        per_step = (batch.mask.shape[1],) if self.settings.task == MANY_TO_MANY else ()
        label_shape = (*per_step, self.num_classes) if self.settings.multi_label else per_step
        width = self.embedding_dim
        wider = width if isinstance(width, tuple) else width + derived_width(self.settings)
        check_batch(batch, embedding_dim=wider, label_shape=label_shape)
        one_hot = np.eye(self.num_classes, dtype=np.float32)
        targets = batch.labels if self.settings.multi_label else one_hot[batch.labels]  # (B, K) or (B, T, K)
        if learning_rate is not None and learning_rate != self._learning_rate:
            self.trainer.optimizer.learning_rate = self._learning_rate = learning_rate
        inputs, stages = [batch.embeddings, batch.mask], len(self.trainer.outputs)
        if stages == 1:
            logs = self.trainer.train_on_batch(inputs, targets, batch.sample_weight, return_dict=True)
        else:
            weights = [batch.sample_weight] * stages
            logs = self.trainer.train_on_batch(inputs, [targets] * stages, weights, return_dict=True)
        return float(logs["loss"])

    def logits(self, batch: PaddedBatch) -> np.ndarray:
        """Logits float32 (B, K) or (B, T, K), in inference mode."""
        return np.asarray(self.model.predict_on_batch([batch.embeddings, batch.mask]), np.float32)


@lru_cache(maxsize=KEPT)
def compiled(architecture: Architecture) -> CompiledModel:
    """The compiled twin of an architecture, built on first use."""
    return CompiledModel(architecture)


def copy_variables(source: keras.Model, target: keras.Model) -> None:
    """Copy weights, statistics and dropout state between models of one architecture."""
    for mine, theirs in zip(_own_variables(target), _own_variables(source), strict=True):
        mine.assign(theirs.numpy())  # through NumPy: JAX would share the buffer, and donate it in the next step


def _own_variables(model: keras.Model) -> list[keras.Variable]:
    return [variable for layer in model.layers for variable in layer.variables]
