"""An LSTM that runs all timesteps in one operation on the CPU, with the weights and numbers of Keras' own.

Keras runs time as a loop of some twenty small operations per timestep, most of whose cost is overhead. TensorFlow has
one operation for a whole sequence (an LSTM without peepholes, Hochreiter and Schmidhuber 1997), but registers the wrong
gradient for it: that of an older version, whose gates have another order. Here it gets the right one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import keras

from extract.system.quiet_start import import_tensorflow


@keras.saving.register_keras_serializable(package="clipseq")
class LSTM(keras.layers.LSTM):
    """`keras.layers.LSTM(units, return_sequences=True)` for right-padded sequences; padded timesteps give zeros.

    On a GPU and with other backends than TensorFlow, Keras' own implementation runs: cuDNN, or a loop that is compiled.
    """

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """Outputs (B, T, units) of (B, T, C) and mask (B, T); with `go_backwards`, the last timestep comes first."""
        if mask is None or initial_state is not None or not self._is_plain() or not _has_fast_cpu():
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        return _whole_sequence(self, sequences, mask)

    def _is_plain(self) -> bool:
        return self.return_sequences and not self.return_state and not self.stateful and self.compute_dtype == "float32"


@cache
def _has_fast_cpu() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    tf = import_tensorflow()

    return not tf.config.list_physical_devices("GPU")


def _whole_sequence(layer: LSTM, sequences, mask) -> Any:
    tf = import_tensorflow()

    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    kernel, bias = tf.convert_to_tensor(layer.cell.kernel), tf.convert_to_tensor(layer.cell.bias)
    if kernel.shape[0] > kernel.shape[1]:  # the operation multiplies a timestep at a time, slow for wide inputs
        sequences, kernel = tf.matmul(sequences, kernel), tf.eye(kernel.shape[1])
    weights = tf.concat([kernel, layer.cell.recurrent_kernel], axis=0)
    if layer.go_backwards:
        sequences = tf.reverse_sequence(sequences, lengths, seq_axis=1, batch_axis=0)
    outputs = _block_lstm(tf.transpose(sequences, (1, 0, 2)), weights, bias)
    outputs = tf.where(mask[..., None], tf.transpose(outputs, (1, 0, 2)), 0.0)
    if layer.go_backwards:
        outputs = tf.reverse(tf.reverse_sequence(outputs, lengths, seq_axis=1, batch_axis=0), axis=(1,))
    outputs.set_shape((*sequences.shape[:2], layer.units))
    return outputs


def _block_lstm(sequences, weights, bias) -> Any:
    """Outputs (T, B, units) of (T, B, C), with weights (C + units, 4 units) and bias (4 units,)."""
    tf = import_tensorflow()

    @tf.custom_gradient
    def whole(sequences, weights, bias):
        units = bias.shape[0] // 4
        steps, rows = tf.shape(sequences)[0], tf.shape(sequences)[1]
        zeros, no_peephole = tf.zeros((rows, units)), tf.zeros((units,))
        given = {"seq_len_max": tf.cast(steps, tf.int64), "x": sequences, "cs_prev": zeros, "h_prev": zeros}
        given |= {"w": weights, "b": bias, "wci": no_peephole, "wcf": no_peephole, "wco": no_peephole}
        told = tf.raw_ops.BlockLSTMV2(**given, cell_clip=0.0, use_peephole=False)._asdict()

        def gradient(upstream):
            changes = tf.raw_ops.BlockLSTMGradV2(
                **given, **told, cs_grad=tf.zeros_like(upstream), h_grad=upstream, use_peephole=False
            )
            return changes.x_grad, changes.w_grad, changes.b_grad

        return told["h"], gradient

    return whole(sequences, weights, bias)
