"""Features in a Parquet table with one row a frame; needs pyarrow, the extra `parquet`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import UnstorableClipError, UsageError
from extract.store.feature_files import FeatureFile
from extract.store.table_features import ROWS_PER_BLOCK, Heading, table_file
from extract.system.files import check_regular, reason_of


def import_pyarrow() -> Any:
    """The package pyarrow, with its Parquet reader and writer.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install 'clipseq[parquet]'.") from None
    return pyarrow


@contextmanager
def open_parquet(path: Path) -> Iterator[FeatureFile]:
    """Open a Parquet file.

    Raises:
        UnstorableClipError: It is malformed, or a column holds no numbers.
        UsageError: pyarrow is not installed.
    """
    pyarrow = import_pyarrow()
    try:
        check_regular(path)
        with pyarrow.parquet.ParquetFile(path) as table, tempfile.TemporaryFile() as file:
            heading = _heading(path, table.schema_arrow, pyarrow)
            yield table_file(path, heading, file, _parsed(path, table))
    except (OSError, pyarrow.ArrowException) as error:
        raise UnstorableClipError(f"{path} cannot be read as Parquet ({reason_of(error)}): write it again.") from error


def _heading(path: Path, schema: Any, pyarrow: Any) -> Heading:
    for field in schema:
        kind = field.type
        if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)):
            raise UnstorableClipError(
                f"{path}: column {field.name!r} holds {kind}, but features are numbers: remove the column."
            )
    return Heading(path, schema.names, title="Parquet")


def _parsed(path: Path, table: Any) -> Iterator[np.ndarray]:
    for batch in table.iter_batches(batch_size=ROWS_PER_BLOCK):
        columns = [column.cast("float64", safe=False).to_numpy(zero_copy_only=False) for column in batch.columns]
        yield np.column_stack(columns)
