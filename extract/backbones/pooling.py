"""How the feature map of a backbone becomes one vector: its mean, its maximum, or the means of a grid of cells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from extract.errors import BackboneError

if TYPE_CHECKING:
    import keras

AVERAGE, MAXIMUM = "avg", "max"
MOST_CELLS = 8  # per side
_GRID = re.compile(r"grid:([1-9]\d?)x([1-9]\d?)")


def check_pool(pool: str) -> None:
    """Raises BackboneError if this is not a way of pooling."""
    if pool not in (AVERAGE, MAXIMUM) and (not _GRID.fullmatch(pool) or max(grid_of(pool)) > MOST_CELLS):
        raise BackboneError(
            f"--pool {pool!r} is unknown; give {AVERAGE}, {MAXIMUM}, or grid:RxC with up to {MOST_CELLS} rows and "
            "columns, such as grid:2x2"
        )


def grid_of(pool: str) -> tuple[int, int]:
    """Rows and columns of cells; 1 x 1 if there is no grid."""
    found = _GRID.fullmatch(pool)
    return (int(found[1]), int(found[2])) if found else (1, 1)


def pooled(feature_map: Any, pool: str) -> keras.KerasTensor:
    """Pool (B, h, w, C) to float32 (B, R x C x channels), cell after cell, row by row.

    Cells cover equal parts of the map; where its side does not divide, neighbours share a row or column of it.
    """
    import keras

    if pool == AVERAGE:
        return keras.layers.GlobalAveragePooling2D(dtype="float32", name="embedding")(feature_map)
    values = keras.ops.cast(feature_map, "float32")
    if pool == MAXIMUM:
        flat = keras.ops.max(values, axis=(1, 2))
    else:
        rows, columns = (parts(side, count) for side, count in zip(values.shape[1:3], grid_of(pool), strict=True))
        cells = [values[:, top:bottom, left:right] for top, bottom in rows for left, right in columns]
        flat = keras.ops.concatenate([keras.ops.mean(cell, axis=(1, 2)) for cell in cells], axis=-1)
    return keras.layers.Activation("linear", dtype="float32", name="embedding")(flat)


def parts(side: int, count: int) -> list[tuple[int, int]]:
    """Half-open spans of adaptive average pooling: [floor(k side / count), ceil((k + 1) side / count))."""
    return [(k * side // count, -(-(k + 1) * side // count)) for k in range(count)]
