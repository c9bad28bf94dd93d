"""Opens features of any format that is imported, and says what they take as time and as width.

.npy, .npz        arrays (T, D)
.csv, .tsv        DeepLabCut's header of three or four lines, or a column per feature and a row per frame
.parquet          the same columns
.h5, .hdf5        SLEAP analysis, or DeepEthogram's _outputs.h5
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from extract.errors import UnstorableClipError
from extract.store.numpy_arrays import find_array
from extract.text import counted, first_few

NUMPY, TABLES, PARQUET, HDF5 = (".npy", ".npz"), (".csv", ".tsv"), (".parquet",), (".h5", ".hdf5")
ENDINGS = (*NUMPY, *TABLES, *PARQUET, *HDF5)
NAMES_SHOWN = 4


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """Features of one clip, open for reading.

    Args:
        path: The file.
        title: Its format, for people.
        width: D.
        blocks: The rows in order, numbers (n, D) at a time; may be called several times.
        columns: Names of the D columns, () if the format has none.
        made_of: The width in words, such as "2 animals x 5 keypoints x x, y, likelihood"; "" shows names of columns.
        clock_name: Where the times are from, such as "column 'frame'"; "" if rows only have an order.
        clock: float64 (T,), strictly increasing: frame numbers from 0, or seconds; None without a clock_name.
        has_seconds: Whether the clock is in seconds.
    """

    path: Path
    title: str
    width: int
    blocks: Callable[[], Iterator[np.ndarray]]
    columns: tuple[str, ...] = ()
    made_of: str = ""
    clock_name: str = ""
    clock: Callable[[], np.ndarray] | None = None
    has_seconds: bool = False

    def understood(self, fps: float | None) -> str:
        """Time and width in one line."""
        if self.has_seconds:
            time = f"seconds from {self.clock_name}"
        else:
            source = f"frames from {self.clock_name}" if self.clock_name else "a row per timestep"
            time = f"{source}, {fps:g} per second" if fps else f"{source}, without a rate (--fps)"
        made_of = self.made_of or first_few(self.columns, NAMES_SHOWN)
        return f"{self.title}: time = {time}; width {self.width:,}" + (f" = {made_of}" if made_of else "")

    def with_columns(self, columns: Sequence[str]) -> FeatureFile:
        """The same features in the order of the store's columns.

        Raises:
            UnstorableClipError: They are other columns.
        """
        if tuple(columns) == self.columns:
            return self
        missing, more = [c for c in columns if c not in self.columns], [c for c in self.columns if c not in columns]
        if missing or more or not self.columns:
            lacks = f"lacks {first_few(missing, 3)}" if missing else ""
            has = f"has {first_few(more, 3)} besides" if more else ""
            what = " and ".join(filter(None, (lacks, has))) or "has no names of columns"
            raise UnstorableClipError(
                f"{self.path} {what}, but the store holds {counted(columns, 'column')} by name: export it with the "
                "same columns, or import it into another --output."
            )
        order, blocks = [self.columns.index(name) for name in columns], self.blocks
        return replace(self, columns=tuple(columns), blocks=lambda: (block[:, order] for block in blocks()))


@contextmanager
def open_features(path: Path, *, key: str | None = None, transpose: bool = False) -> Iterator[FeatureFile]:
    """Open a file of features; nothing is unpickled, and only what is asked for is read.

    Args:
        path: A file with one of `ENDINGS`; any other is read as NumPy's.
        key: Which array of an .npz, or which model's features of a DeepEthogram file.
        transpose: Whether a NumPy array is (D, T).

    Raises:
        UnstorableClipError: It is malformed or no features; so may iterating over its blocks.
    """
    ending = path.suffix.lower()
    if ending in TABLES:
        from extract.store.table_features import open_table as opened
    elif ending in PARQUET:
        from extract.store.parquet_features import open_parquet as opened
    elif ending in HDF5:
        from extract.store.hdf5_features import open_hdf5

        with open_hdf5(path, key) as features:
            yield features
        return
    else:
        array = find_array(path, key=key, transpose=transpose)
        title = "NumPy (D, T), transposed" if transpose else "NumPy (T, D)"
        yield FeatureFile(path, title, array.shape[1], array.blocks)
        return
    with opened(path) as features:
        yield features
