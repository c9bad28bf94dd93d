"""One compiled forward pass per architecture, shared by all folds and seeds.

Tracing a model takes a second or two, longer than training a small fold. So the weights move instead: a model's
variables are copied into the compiled twin, and back out. Nothing is kept of the previous fold: weights,
standardisation and dropout state are all replaced.

What the twin computes starts at the standardised embeddings. Standardising is the same in every pass over the clips,
and on wide embeddings it costs as much as the rest of a small model, so it is done outside, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

from extract.system.quiet_start import import_tensorflow
from sequence_models.clips.derived import with_derived
from sequence_models.clips.motion import Reduction, fit_reduction, sampled_rows
from sequence_models.models.build import DERIVING, Architecture, build_model, output_stages, read_weights
from sequence_models.records import Clip, PaddedBatch
from sequence_models.settings import WINDOWS

CALLS, COMPILATIONS = "calls", "compilations"
KEPT = 8  # architectures; the least recently used is dropped


class CompiledModel:
    """The twin of every model of one architecture; it holds a model's weights only for one fit or prediction.

    Args:
        architecture: What to build.
    """

    def __init__(self, architecture: Architecture):
        self.settings, self.num_classes = architecture.settings, architecture.num_classes
        self.embedding_dim = architecture.embedding_dim
        self.model = build_model(self.settings, embedding_dim=self.embedding_dim, num_classes=self.num_classes)
        inputs = list(self.model.inputs)
        if not self.settings.on_frames:
            inputs[0] = self.model.get_layer("standardise").output
        self.stages = keras.Model(inputs, output_stages(self.model))  # from standardised embeddings to all logits
        self.width = self.stages.inputs[0].shape[2:]
        self.counts: Counter[str] = Counter()  # of calls into the backend, and of functions compiled for them
        self._forward: Callable | None = None
        self._derives_windows = WINDOWS in self.settings.derived_names
        self._reduction: Reduction | None = None
        self._read_statistics()

    def load(self, model: keras.Model) -> None:
        """Take another model's variables."""
        self.assign(values_of(model))

    def load_weights(self, path: Path) -> None:
        """Take the variables from a weights file; RunError as for `load_model`."""
        read_weights(self.model, path)
        self._read_statistics()

    def assign(self, values: Sequence[np.ndarray]) -> None:
        """Take variables from `values_of`."""
        assign_values(self.model, values)
        self._read_statistics()

    def derived(self, clips: Sequence[Clip]) -> list[Clip]:
        """Whole clips with their derived channels, as all other methods take them."""
        return with_derived(clips, self.settings, self._reduction)

    def fit_reduction(self, clips: Sequence[Clip]) -> None:
        """Reduce embeddings like those of some clips from now on, where channels are derived from reduced ones."""
        if self._derives_windows:
            self.model.get_layer(DERIVING).set_reduction(fit_reduction(sampled_rows(clips)))
            self._read_statistics()

    def set_statistics(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Standardise with these from now on, both (D,)."""
        self.model.get_layer("standardise").set_statistics(mean, deviation)
        self._read_statistics()

    def standardised_rows(self, clips: Sequence[Clip]) -> np.ndarray:
        """All timesteps of all clips as the twin takes them, float32 (1 + sum of T, D), after a row of zeros."""
        rows = np.zeros((1 + sum(map(len, clips)), clips[0].embeddings.shape[1]), np.float32)
        np.concatenate([np.asarray(clip.embeddings) for clip in clips], out=rows[1:])
        self._standardise(rows[1:])
        return rows

    def standardised(self, batch: PaddedBatch) -> PaddedBatch:
        """A batch as the twin takes it; its embeddings are changed in place, padding stays 0."""
        if not self.settings.on_frames:
            self._standardise(batch.embeddings)[~batch.mask] = 0
        return batch

    def logits(self, batch: PaddedBatch) -> np.ndarray:
        """Logits float32 (B, K) or (B, T, K) of a standardised batch, in inference mode."""
        if self._forward is None:
            self._forward = _forward_of(self.stages, self.counts)
        self.counts[CALLS] += 1
        return self._forward(batch.embeddings, batch.mask)

    def _read_statistics(self) -> None:
        if not self.settings.on_frames:
            layer = self.model.get_layer("standardise")
            self._mean, self._scale = layer.mean.numpy(), layer.scale.numpy()
        if self._derives_windows:
            self._reduction = self.model.get_layer(DERIVING).reduction()

    def _standardise(self, embeddings: np.ndarray) -> np.ndarray:
        embeddings -= self._mean
        embeddings *= self._scale
        return embeddings


@lru_cache(maxsize=KEPT)
def compiled(architecture: Architecture) -> CompiledModel:
    """The compiled twin of an architecture, built on first use."""
    return CompiledModel(architecture)


@lru_cache(maxsize=2 * KEPT)
def fresh_values(architecture: Architecture, seed: int) -> tuple[np.ndarray, ...]:
    """`values_of` a fresh model on embeddings: all folds of one seed start alike, so it is built once."""
    model = build_model(
        architecture.settings,
        embedding_dim=architecture.embedding_dim,
        num_classes=architecture.num_classes,
        seed=seed,
    )
    return values_of(model)


def values_of(model: keras.Model) -> tuple[np.ndarray, ...]:
    """Weights, statistics and dropout state of a model."""
    return tuple(variable.numpy() for variable in _own_variables(model))  # JAX would share and donate its buffers


def assign_values(model: keras.Model, values: Sequence[np.ndarray]) -> None:
    """Set what `values_of` gives."""
    for variable, value in zip(_own_variables(model), values, strict=True):
        variable.assign(value)


def input_signature(model: keras.Model) -> list[Any]:
    """TensorFlow's description of both inputs of a model for batches of any size and length: one trace serves all."""
    tf = import_tensorflow()
    return [tf.TensorSpec((None, None, *each.shape[2:]), each.dtype) for each in model.inputs]


def _forward_of(stages: keras.Model, counts: Counter[str]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if keras.backend.backend() != "tensorflow":
        return lambda inputs, mask: np.asarray(_last(stages.predict_on_batch([inputs, mask])), np.float32)
    tf = import_tensorflow()

    def forward(inputs, mask):
        counts[COMPILATIONS] += 1  # TensorFlow runs this line while it traces
        return _last(stages([inputs, mask], training=False))

    if not stages.run_eagerly:
        forward = tf.function(forward, input_signature=input_signature(stages), autograph=False)
    return lambda inputs, mask: forward(inputs, mask).numpy()


def _last(outputs: Any) -> Any:
    return outputs[-1] if isinstance(outputs, (list, tuple)) else outputs


def _own_variables(model: keras.Model) -> list[keras.Variable]:
    return [variable for layer in model.layers for variable in layer.variables]
