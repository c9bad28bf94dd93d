"""A causal model that takes one timestep at a time and remembers what came before: the numbers of the whole clip.

Recurrent layers keep their state, and dilated convolutions the inputs that their next output looks back at. All other
layers of causal models see one timestep only, so they are shared with the model as it is.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from extract.system.quiet_start import import_tensorflow
from sequence_models.models.layers import Conv1D
from sequence_models.models.recurrent import LSTM

RECURRENT = ((LSTM, keras.layers.LSTM), (keras.layers.GRU, keras.layers.GRU))


class StreamedModel:
    """The stream form of a causal model.

    Args:
        model: From `build_model` or `load_model`, causal, many-to-many; derived channels are computed by the caller.
        streams: How many streams there are, which take turns and know nothing of each other.
    """

    def __init__(self, model: keras.Model, *, streams: int = 1) -> None:
        inputs = list(model.inputs)
        if not model.architecture.settings.on_frames:
            inputs[0] = model.get_layer("standardise").input[0]
        carriers: list[Any] = []
        self._model = _streamed(keras.Model(inputs, model.outputs), carriers)
        self._states = [state for carrier in carriers for state in _states_of(carrier)]
        self._fresh = [np.zeros(state.shape, state.dtype) for state in self._states]
        self._step, self._dtype = _step_of(self._model), self._model.inputs[0].dtype
        self._kept = [self._fresh] * streams
        self._current = 0
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next timestep is the first of its stream."""
        self._kept = [self._fresh] * len(self._kept)
        self._load(self._fresh)

    def logits(self, row: np.ndarray, *, stream: int = 0) -> np.ndarray:
        """Logits (K,) of a stream's next timestep: an embedding (D,) with derived channels, or a frame (H, W, C)."""
        if stream != self._current:
            self._kept[self._current] = [np.array(ops.convert_to_numpy(state)) for state in self._states]
            self._load(self._kept[stream])
            self._current = stream
        return self._step(row[None, None].astype(self._dtype))[0, 0]

    def _load(self, values: list[np.ndarray]) -> None:
        for state, value in zip(self._states, values, strict=True):
            state.assign(value)


class CarriedConvolution(keras.layers.Layer):
    """A causal convolution that remembers the timesteps that its next output looks back at; zeros at first.

    Args:
        convolution: A built layer; it is shared.
    """

    def __init__(self, convolution: Conv1D, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.convolution = convolution
        self.reach = convolution.dilation_rate[0] * (convolution.kernel_size[0] - 1)

    def build(self, inputs_shape: tuple[int, ...]) -> None:
        """Create the memory (1, reach, C)."""
        shape = (1, self.reach, inputs_shape[-1])
        self.before = self.add_weight(name="before", shape=shape, initializer="zeros", trainable=False)

    def call(self, inputs: Any) -> Any:
        """Convolve (1, n, C), the timesteps after those of the last call, to (1, n, filters)."""
        joined = ops.concatenate([self.before.value, inputs], axis=1)
        self.before.assign(joined[:, -self.reach :])
        return self.convolution(joined)[:, self.reach :]


def _streamed(model: keras.Model, carriers: list[Any]) -> keras.Model:
    """The model for one timestep of one stream, with layers that remember; these are added to `carriers`."""
    copied: dict[Any, Any] = {}

    def replaced(layer: Any) -> Any:
        other = _replacement(layer, carriers)
        if other is not layer and not isinstance(layer, keras.Model):
            carriers.append(other)
            copied[other] = layer
        return other

    def called(layer: Any, *inputs: Any, **more: Any) -> Any:
        if layer in copied:
            more = {}  # all timesteps are real, so recurrences need no mask
        outputs = layer(*inputs, **more)
        if isinstance(layer, keras.layers.RNN):
            layer.set_weights(copied[layer].get_weights())
        return outputs

    tensors = [keras.Input(batch_shape=(1, 1, *each.shape[2:]), dtype=each.dtype) for each in model.inputs]
    return keras.models.clone_model(model, input_tensors=tensors, clone_function=replaced, call_function=called)


def _replacement(layer: Any, carriers: list[Any]) -> Any:
    if isinstance(layer, keras.Model):
        return _streamed(layer, carriers)
    if isinstance(layer, Conv1D):
        return CarriedConvolution(layer)
    for ours, plain in RECURRENT:
        if isinstance(layer, ours):
            return plain.from_config({**layer.get_config(), "stateful": True, "unroll": True})
    return layer


def _states_of(carrier: Any) -> list[Any]:
    return [carrier.before] if isinstance(carrier, CarriedConvolution) else list(carrier.states)


def _step_of(model: keras.Model) -> Any:
    """A function from one timestep (1, 1, ...) to its logits (1, 1, K)."""
    real = np.ones((1, 1), bool)
    if keras.backend.backend() != "tensorflow":
        return lambda row: np.asarray(ops.convert_to_numpy(model([row, real], training=False)))
    tf = import_tensorflow()
    signature = [tf.TensorSpec(each.shape, each.dtype) for each in model.inputs]
    step = tf.function(lambda row, mask: model([row, mask], training=False), input_signature=signature, autograph=False)
    return lambda row: step(row, real).numpy()
