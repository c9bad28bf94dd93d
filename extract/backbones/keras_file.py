"""Keras files (.keras): their graph, and the model with its preparation of pictures inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.backbones.graph import Graph, Tensor
from extract.backbones.pooling import pooled
from extract.backbones.spec import FIRST, MAXIMUM, WHOLE, ModelSpec, first_token
from extract.errors import BackboneError
from extract.system.quiet_start import import_keras_quietly

if TYPE_CHECKING:
    import keras


_read: dict[tuple[Path, int, int], keras.Model] = {}  # the model whose graph was read last, until it is built


def read_keras(path: Path) -> Graph:
    """The graph of a .keras file; its model is kept for `build_keras_file`, since loading takes long.

    Raises:
        BackboneError: It cannot be loaded without running code from the file.
    """
    version = _version(path)
    model = _read.get(version) or load_keras_file(path)
    _read.clear()
    _read[version] = model
    outputs = dict(zip(_output_names(model), model.outputs, strict=True))
    inputs = tuple(Tensor(each.name, str(each.dtype), tuple(each.shape)) for each in model.inputs)
    return Graph(
        path, inputs, tuple(Tensor(name, str(each.dtype), tuple(each.shape)) for name, each in outputs.items()), (path,)
    )


def _output_names(model: keras.Model) -> list[str]:
    """Keras gives all outputs of a model inside another the same name: those get a number."""
    names = model.output_names
    before = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name}_{number}" if number else name for name, number in zip(names, before, strict=True)]


def load_keras_file(path: Path) -> keras.Model:
    """A model from a .keras file in safe mode: no code from the file runs.

    Raises:
        BackboneError: It is no such file, is damaged, or needs code.
    """
    import_keras_quietly()
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the broken part raises
        reason = str(error).strip().partition("\n")[0][:200]
        raise BackboneError(
            f"{path}: Keras cannot load it without running code from the file ({reason}); models with Lambda layers or "
            "layers of your own can be exported to ONNX instead"
        ) from error
    if not getattr(model, "inputs", None):
        raise BackboneError(f"{path}: this model has no fixed inputs; build it as a functional model")
    return model


def read_keras_model(path: Path) -> keras.Model:
    """As `load_keras_file`, without loading the model again whose graph was just read."""
    return _read.pop(_version(path), None) or load_keras_file(path)


def build_keras_file(path: Path, spec: ModelSpec, model: keras.Model | None = None) -> keras.Model:
    """The model of a .keras file that takes plain pictures.

    Args:
        path: The file.
        spec: Complete.
        model: From `read_keras_model`, if several are built of it.

    Returns:
        Keras model: (B, S, S, 3), or (B, F, S, S, 3), with 0..255 RGB -> (B, D) float32.
    """
    model = model or read_keras_model(path)
    import keras

    images = keras.Input(spec.frame_shape, name="images")
    x = keras.ops.cast(images, "float32")
    if spec.channel_order == "bgr":
        x = keras.ops.flip(x, axis=-1)
    scale, offset = spec.scale_and_offset()
    x = x * keras.ops.convert_to_tensor(scale, "float32") + keras.ops.convert_to_tensor(offset, "float32")
    x = keras.ops.moveaxis(x, -1, spec.channel_axis)
    output = model(x if len(model.inputs) == 1 else [x])
    output = keras.tree.flatten(output)[_output_names(model).index(spec.output or "")]
    vector = keras.layers.Activation("linear", dtype="float32", name="embedding")(_vector(output, spec))
    return keras.Model(images, vector, name="backbone")


def _version(path: Path) -> tuple[Path, int, int]:
    """The file as it is now."""
    found = path.stat()
    return path.resolve(), found.st_size, found.st_mtime_ns


def _vector(output: Any, spec: ModelSpec) -> Any:
    import keras

    pool = spec.pool or WHOLE
    if pool == WHOLE:
        return output
    if len(output.shape) == 3:  # tokens
        if pool == FIRST:
            return output[:, 0]
        return keras.ops.max(output, axis=1) if pool == MAXIMUM else keras.ops.mean(output[:, first_token(pool) :], 1)
    output = keras.ops.moveaxis(output, spec.channel_axis, -1)
    if pool.startswith("grid"):
        return pooled(output, pool)
    axes = tuple(range(1, len(output.shape) - 1))
    return keras.ops.max(output, axis=axes) if pool == MAXIMUM else keras.ops.mean(output, axis=axes)
