"""Model files of a few numbers: a convolution as ONNX, TFLite and .keras, and a model of windows as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIDE = 5, 8
KERNEL = np.random.default_rng(0).normal(0, 0.5, (CHANNELS, 3, 3, 3)).astype(np.float32)  # OIHW
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SPEC = ("range=0,1", "mean=0.4,0.5,0.6", "std=0.2,0.25,0.3", "channel_order=rgb")
PLAIN = ("range=0,255", "mean=0,0,0", "std=1,1,1", "channel_order=rgb")


def expected_maps(frames: np.ndarray) -> np.ndarray:
    """What every file computes from uint8 RGB (B, S, S, 3): a feature map (B, S - 2, S - 2, CHANNELS)."""
    x = (frames / 255.0 - MEAN) / STD
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))  # (B, h, w, C, 3, 3)
    return np.maximum(np.einsum("bhwcij,ocij->bhwo", windows, KERNEL), 0)


def onnx_file(
    path: Path, *, layout: str = "NCHW", inside: bool = False, output: str = "vector", batch: int | str = "batch"
) -> Path:
    """One convolution as ONNX.

    Args:
        path: The file to write.
        layout: NCHW or NHWC.
        inside: Whether it normalises bytes itself.
        output: vector (B, C), tokens (B, N, C) or map (B, C, h, w).
        batch: Its batch size, or a name if any fits.
    """
    nodes, shape = [], [batch, 3, SIDE, SIDE] if layout == "NCHW" else [batch, SIDE, SIDE, 3]
    constants = {"kernel": KERNEL}
    last = "pictures"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [last], ["nchw"], perm=[0, 3, 1, 2]))
        last = "nchw"
    if inside:
        constants["scale"] = (1 / 255 / np.array(STD)).astype(np.float32).reshape(3, 1, 1)
        constants["offset"] = (-np.array(MEAN) / STD).astype(np.float32).reshape(3, 1, 1)
        nodes += [
            helper.make_node("Mul", [last, "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["x"]),
        ]
        last = "x"
    nodes += [helper.make_node("Conv", [last, "kernel"], ["c"]), helper.make_node("Relu", ["c"], ["map"])]
    side = SIDE - 2
    shapes = {
        "map": [batch, CHANNELS, side, side],
        "tokens": [batch, side * side, CHANNELS],
        "vector": [batch, CHANNELS],
    }
    if output == "tokens":
        constants["flat"] = np.array([0, CHANNELS, -1], np.int64)
        nodes.append(helper.make_node("Reshape", ["map", "flat"], ["columns"]))
        nodes.append(helper.make_node("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]))
    elif output == "vector":
        nodes.append(helper.make_node("GlobalAveragePool", ["map"], ["pooled"]))
        nodes.append(helper.make_node("Flatten", ["pooled"], ["vector"]))
    return _saved(path, nodes, shape, {output: shapes[output]}, constants)


def window_file(path: Path, *, frames: int = 4) -> Path:
    """The mean and the last frame of a window, per channel, as ONNX: (B, 3, F, S, S) of 0..255 -> (B, 6)."""
    nodes = [
        helper.make_node("ReduceMean", ["clip"], ["mean"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("Gather", ["clip", "place"], ["frame"], axis=2),
        helper.make_node("ReduceMean", ["frame"], ["last"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("Concat", ["mean", "last"], ["vector"], axis=1),
    ]
    constants = {"place": np.array([frames - 1], np.int64)}
    return _saved(path, nodes, ["batch", 3, frames, SIDE, SIDE], {"vector": ["batch", 6]}, constants, "clip")


def tflite_file(path: Path, *, batch: int = 2) -> Path:
    """The same convolution as TFLite, NHWC, vectors."""
    import tensorflow as tf

    model = keras_model()
    function = tf.function(
        lambda pictures: model(pictures), input_signature=[tf.TensorSpec((batch, SIDE, SIDE, 3), tf.float32)]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    path.write_bytes(converter.convert())
    return path


def keras_model():
    """The same convolution in Keras: (B, S, S, 3) normalised -> (B, C)."""
    import keras

    pictures = keras.Input((SIDE, SIDE, 3), name="pictures")
    convolution = keras.layers.Conv2D(CHANNELS, 3, activation="relu", use_bias=False)
    vector = keras.layers.GlobalAveragePooling2D(name="vector")(convolution(pictures))
    convolution.set_weights([KERNEL.transpose(2, 3, 1, 0)])
    return keras.Model(pictures, vector)


def keras_file(path: Path) -> Path:
    """The same convolution as a .keras file."""
    keras_model().save(path)
    return path


def _saved(path, nodes, shape, outputs, constants, name="pictures") -> Path:
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, each) for key, each in outputs.items()],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="made here"
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
