"""The rows of one clip as an array that reads on demand: the rows of many clips need not fit in memory.

Slicing and indexing only select rows; NumPy reads them when it needs the values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class LazyRows:
    """Some rows of one clip, still in the store.

    Args:
        read: Rows int64 (n,) of the clip -> their values (n, *row_shape).
        rows: int64 (T,), which rows of the clip these are.
        row_shape: (D,) or (H, W, C).
        dtype: Type of the values.
        place: Which shard the clip begins in, and at which of its rows: the order in which clips are stored.
    """

    read: Callable[[np.ndarray], np.ndarray]
    rows: np.ndarray
    row_shape: tuple[int, ...]
    dtype: np.dtype
    place: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, D) or (T, H, W, C)."""
        return (len(self.rows), *self.row_shape)

    @property
    def ndim(self) -> int:
        """2 or 4."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"LazyRows({self.dtype}{self.shape})"

    def __getitem__(self, chosen: slice | np.ndarray) -> LazyRows:
        """Select rows by a slice, or by an array of indices or booleans."""
        return replace(self, rows=self.rows[chosen])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read the rows into a new array."""
        values = self.read(self.rows)
        return values if dtype is None else values.astype(dtype, copy=False)


_numbers = np.arange(0)


def all_rows(count: int) -> np.ndarray:
    """0, 1, ... count - 1, read-only: a view of one array for all clips, since many of their own would fill memory."""
    global _numbers
    if len(_numbers) < count:
        _numbers = np.arange(max(count, 2 * len(_numbers)))
        _numbers.flags.writeable = False
    return _numbers[:count]


def join_channels(parts: Sequence[LazyRows]) -> LazyRows:
    """Join clips with equally many rows along the last axis, such as embeddings, or RGB frames and optical flow.

    Args:
        parts: At least one; shapes differ in the last axis only.

    Returns:
        Rows of shape (..., C1 + C2 + ...).
    """
    first = parts[0]
    row_shape = (*first.row_shape[:-1], sum(part.row_shape[-1] for part in parts))
    dtype = np.result_type(*(part.dtype for part in parts))
    return LazyRows(partial(_side_by_side, parts), all_rows(len(first)), row_shape, dtype, first.place)


def _side_by_side(parts: Sequence[LazyRows], rows: np.ndarray) -> np.ndarray:
    return np.concatenate([part.read(part.rows[rows]) for part in parts], axis=-1)
