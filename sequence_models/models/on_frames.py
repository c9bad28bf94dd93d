"""Registry: name -> builder of a Keras model on raw frames.

Every model takes [frames (B, T, H, W, C) uint8 0..255, mask (B, T) bool] and returns logits like the models on
embeddings. Per-frame CNNs run on real frames only (`RealFrames`); convolutions over time see padding as zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import layers, ops

from extract.backbones.pooling import AVERAGE, MAXIMUM
from extract.errors import ClipError
from sequence_models.catalogue import TWO_STREAM
from sequence_models.clips.batches import MOST_CHANNELS
from sequence_models.models.layers import Readout, RealFrames
from sequence_models.models.on_embeddings import Seeds, dense, drop, embedding_logits, last_layer
from sequence_models.models.on_frames_backbone import backbone_layer
from sequence_models.models.recurrent import LSTM
from sequence_models.settings import MANY_TO_ONE, RANGE, TrainSettings

FLOW_CHANNELS = 3  # a flow frame is an image of dx, dy, speed
BATCHNORM_MOMENTUM = 0.9
FRAME_SCALING = "frame_scaling"  # the name of the layer that brings frames to mean 0 and deviation 1
CONVNET_DENSE = (1024, 512, 128, 64)
FLATTEN_UNITS = 128
FrameBuilder = Callable  # (frames (B, T, H, W, C), mask (B, T), settings, num_classes, seeds) -> logits


def frame_logits(frames, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
    """The logits of one model in the registry.

    Args:
        frames: uint8 (B, T, H, W, C).
        mask: (B, T).
        settings: Which model, and its sizes.
        num_classes: K.
        seeds: For weights and dropout.

    Returns:
        Logits (B, K) or (B, T, K).

    Raises:
        ClipError: The axes of the frames are in the wrong order, or there are too many channels for the model.
    """
    shape = frames.shape[2:]
    if len(shape) != 3 or shape[-1] > MOST_CHANNELS:
        raise ClipError(
            f"model {settings.model} takes frames (batch, timesteps, height, width, channels) with at most "
            f"{MOST_CHANNELS} channels, got {frames.shape}; transpose the axes."
        )
    return RAW_MODELS[settings.model](frames, mask, settings, num_classes, seeds)


def _recurrent(cnn: Callable, cell: type[layers.RNN], *, units: int, widths: tuple[int, ...] = ()) -> FrameBuilder:
    """A builder: a CNN per frame, a recurrence, dense layers with dropout, and the last layer."""

    def build(frames, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
        per_frame = RealFrames(cnn(frames.shape[2:], settings, seeds), update_statistics=cnn is _convnet)
        sequence = per_frame(frames, mask=mask)  # (B, T, F)
        recurrence = cell(
            settings.units or units,
            return_sequences=True,
            kernel_initializer=keras.initializers.GlorotUniform(seeds.next()),
            recurrent_initializer=keras.initializers.Orthogonal(seed=seeds.next()),
            seed=seeds.next(),
        )
        sequence = recurrence(sequence, mask=mask)
        if settings.task == MANY_TO_ONE:
            sequence = Readout("last")(sequence, mask=mask)  # (B, U)
        for width in _numbers(settings.dense) or widths if widths else ():
            sequence = drop(ops.relu(dense(width, seeds)(sequence)), settings.dropout, seeds)
        return last_layer(sequence, mask, settings, num_classes, seeds, name="logits")

    return build


def _pooled(readout: str) -> FrameBuilder:
    """A builder: a CNN per frame and pooling over time, which ignores the order of the frames."""

    def build(frames, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
        sequence = RealFrames(_small_cnn(frames.shape[2:], settings, seeds))(frames, mask=mask)
        return dense(num_classes, seeds, name="logits")(Readout(readout)(sequence, mask=mask))

    return build


def _conv3d(frames, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
    """Convolutions over time and space, each followed by 2x pooling; the result is averaged over real steps.

    With a fixed number of frames it is flattened instead, which preserves the position in space and time.
    """
    sequence, steps = _rescaled(frames, settings), settings.fixed_frames
    for filters in _numbers(settings.filters) or (32, 64):
        sequence = _zero_padding(sequence, mask)  # so that convolutions see zeros past the end of a clip
        convolution = layers.Conv3D(
            filters, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(seeds.next())
        )
        sequence = _zero_padding(ops.relu(convolution(sequence)), mask)
        sequence = layers.MaxPooling3D(2, padding="same")(sequence)
        mask = mask[:, ::2]  # real steps come first, so the first of each pair decides
        steps = -(-steps // 2)
    if steps:
        flat = ops.reshape(sequence[:, :steps], (-1, steps * math.prod(sequence.shape[2:])))
        return dense(num_classes, seeds, name="logits")(flat)
    sequence = ops.mean(sequence, axis=(2, 3))  # (B, T', F)
    return dense(num_classes, seeds, name="logits")(Readout("mean")(sequence, mask=mask))


def _backbone(frames, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
    """A stage-one backbone per frame, then one of the models on embeddings."""
    embeddings = backbone_layer(frames.shape[2:], settings, seeds)(frames, mask=mask)
    return embedding_logits(embeddings, mask, settings, num_classes, seeds, name=settings.head)


def _two_stream(frames, mask, settings: TrainSettings, num_classes: int, seeds: Seeds):
    """One model on RGB, another of the same kind on optical flow, and the mean of their logits.

    Simonyan and Zisserman, Two-Stream Convolutional Networks (NIPS 2014), here trained together.
    """
    if frames.shape[-1] <= FLOW_CHANNELS:
        raise ClipError(
            f"model two_stream takes RGB and optical flow joined, got frames with {frames.shape[-1]} channels; "
            "give clipseq train two stores of the same clips, the frames first and the flow (--input flow) second."
        )
    said = []
    for name, part in (("rgb", frames[..., :-FLOW_CHANNELS]), ("flow", frames[..., -FLOW_CHANNELS:])):
        inputs = [keras.Input(part.shape[1:], dtype="uint8"), keras.Input((None,), dtype="bool")]
        with keras.name_scope(name):  # PyTorch looks gradients up by path, and would never zero those of a shared path
            logits = RAW_MODELS[settings.stream](*inputs, settings, num_classes, seeds)
        said.append(keras.Model(inputs, logits, name=name)([part, mask]))
    return layers.Average(name="logits")(said)


def _small_cnn(shape, settings: TrainSettings, seeds: Seeds) -> keras.Model:
    """Convolution, pooling, convolution, the average over the frame or its maximum."""
    first, *others = _numbers(settings.filters) or (16, 32)
    blocks = [_convolution(first, seeds)]
    for filters in others:
        blocks += [layers.MaxPooling2D(padding="same"), _convolution(filters, seeds)]
    return _cnn(shape, settings, [*blocks, _over_frame(settings, AVERAGE)])


def _flat_cnn(shape, settings: TrainSettings, seeds: Seeds) -> keras.Model:
    """Convolutions, each with pooling, then flattened."""
    blocks = [
        layer
        for filters in _numbers(settings.filters) or (32, 64)
        for layer in (_convolution(filters, seeds), layers.MaxPooling2D(padding="same"))
    ]
    return _cnn(shape, settings, [*blocks, layers.Flatten()])


def _convnet(shape, settings: TrainSettings, seeds: Seeds) -> keras.Model:
    """Pairs of convolutions with batch normalisation and pooling, then the maximum over the frame, or its average."""
    blocks: list[layers.Layer] = []
    for filters in _numbers(settings.filters) or (64, 128, 256, 512):
        blocks += [layers.MaxPooling2D(padding="same")] if blocks else []
        blocks += [_convolution(filters, seeds), _convolution(filters, seeds)]
        blocks += [layers.BatchNormalization(momentum=BATCHNORM_MOMENTUM)]
    return _cnn(shape, settings, [*blocks, _over_frame(settings, MAXIMUM)])


def _over_frame(settings: TrainSettings, usual: str) -> layers.Layer:
    """(N, h, w, C) -> (N, C)."""
    return layers.GlobalMaxPooling2D() if (settings.pool or usual) == MAXIMUM else layers.GlobalAveragePooling2D()


def _cnn(shape, settings: TrainSettings, blocks: list[layers.Layer]) -> keras.Model:
    frames = keras.Input(tuple(shape))
    features = _rescaled(frames, settings)
    for block in blocks:
        features = block(features)
    return keras.Model(frames, features)


def _convolution(filters: int, seeds: Seeds) -> layers.Conv2D:
    initializer = keras.initializers.GlorotUniform(seeds.next())
    return layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer=initializer)


def _rescaled(frames, settings: TrainSettings):
    """0..255 -> -1..1, and then to mean 0 and deviation 1 in each channel of the training frames.

    Without the second step differences and flow are so faint that training does not leave the loss of a guess. Its
    statistics are those of a frozen batch normalisation, which `start_training` sets.
    """
    frames = layers.Rescaling(1 / 127.5, offset=-1.0)(frames)
    if settings.frame_scaling == RANGE:
        return frames
    scaling = layers.BatchNormalization(center=False, scale=False, epsilon=1e-6, name=FRAME_SCALING)
    scaling.trainable = False
    return scaling(frames)


def _zero_padding(sequence, mask):
    """(B, T, H, W, C) with padded steps set to zero."""
    return ops.where(ops.expand_dims(mask, (2, 3, 4)), sequence, 0.0)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


RAW_MODELS: dict[str, FrameBuilder] = {
    "td_cnn_lstm": _recurrent(_small_cnn, LSTM, units=64),
    "td_cnn_flatten_lstm": _recurrent(_flat_cnn, LSTM, units=FLATTEN_UNITS),
    "td_convnet_gru": _recurrent(_convnet, layers.GRU, units=64, widths=CONVNET_DENSE),
    "td_cnn_avgpool": _pooled("mean"),
    "td_cnn_maxpool": _pooled("max"),
    "conv3d": _conv3d,
    "td_backbone_rnn": _backbone,
    TWO_STREAM: _two_stream,
}
