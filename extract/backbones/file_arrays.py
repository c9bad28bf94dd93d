"""Pictures as the input that a model file takes, and its output as vectors: NumPy, for models outside Keras."""

from __future__ import annotations

import numpy as np

from extract.backbones.pooling import grid_of, parts
from extract.backbones.spec import FIRST, MAXIMUM, WHOLE, ModelSpec, first_token


def model_input(frames: np.ndarray, spec: ModelSpec, dtype: str) -> np.ndarray:
    """Pictures as a model takes them.

    Args:
        frames: uint8 (B, S, S, 3), or (B, F, S, S, 3), RGB.
        spec: Complete.
        dtype: NumPy type of the input.

    Returns:
        Contiguous array of that type, axes in the order of the spec's layout.
    """
    channels = (2, 1, 0) if spec.channel_order == "bgr" else (0, 1, 2)
    axis = spec.channel_axis
    shape = list(frames.shape[:-1])
    shape.insert(axis, 3)
    out = np.empty(shape, dtype)
    by_channel = np.moveaxis(out, axis, -1)  # a view
    scale, offset = spec.scale_and_offset()
    for to, taken in enumerate(channels):
        if out.dtype.kind == "f":
            into = by_channel[..., to]
            np.multiply(frames[..., taken], np.float32(scale[to]), out=into, casting="same_kind")
            into += out.dtype.type(offset[to])
        else:
            by_channel[..., to] = frames[..., taken]
    return out


def vectors(output: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """The embeddings in a model's output.

    Args:
        output: (B, D), tokens (B, N, D), or a feature map whose axes are in the order of the spec's layout.
        spec: Complete.

    Returns:
        float32 (B, D), owned by the caller.
    """
    pool = spec.pool or WHOLE
    if pool == WHOLE:
        return np.array(output, np.float32)
    values = np.asarray(output, np.float32)
    if values.ndim == 3:
        if pool == FIRST:
            return values[:, 0].copy()
        return values.max(axis=1) if pool == MAXIMUM else values[:, first_token(pool) :].mean(axis=1)
    values = np.moveaxis(values, spec.channel_axis, -1)
    if pool.startswith("grid"):
        rows, columns = (parts(side, count) for side, count in zip(values.shape[1:3], grid_of(pool), strict=True))
        cells = [values[:, top:bottom, left:right] for top, bottom in rows for left, right in columns]
        return np.concatenate([cell.mean(axis=(1, 2)) for cell in cells], axis=-1)
    axes = tuple(range(1, values.ndim - 1))
    return values.max(axis=axes) if pool == MAXIMUM else values.mean(axis=axes)
