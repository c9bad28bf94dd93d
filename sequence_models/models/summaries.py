"""Summaries of many clips as one table, which is kept in a file where the clips do not fit in memory either."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from extract.errors import WriteError
from extract.system.files import reason_of
from sequence_models.clips.buffers import make_buffers, read_buffers, stays_in_store
from sequence_models.records import Clip

HELD_VALUES = 1 << 26
ROWS_AT_ONCE = 1024


def summarise(clips: Sequence[Clip], summary: Callable[[Clip], np.ndarray]) -> np.ndarray:
    """The summaries of all clips.

    Args:
        clips: At least one.
        summary: Of a clip, float32 (1, F).

    Returns:
        float32 (n, F), in the order of the clips; of clips that stay in their store mapped from a temporary file, if
        there are more than `HELD_VALUES` values.

    Raises:
        WriteError: That file cannot be written.
    """
    if not stays_in_store(clips):
        return np.concatenate([summary(clip) for clip in clips])
    first = summary(clips[0])
    if not first.size:
        return np.zeros((len(clips), 0), np.float32)
    if len(clips) * first.size <= HELD_VALUES:
        table = np.empty((len(clips), first.size), np.float32)
        for number, row in _each(clips, summary):
            table[number] = row
        return table
    with tempfile.TemporaryFile(prefix="clipseq-") as file:
        try:
            for number, row in _each(clips, summary):  # written, not mapped, so that a full disk is an error
                file.seek(number * first.nbytes)
                file.write(np.ascontiguousarray(row, np.float32).data)
            file.flush()
        except OSError as error:
            raise WriteError(
                f"{tempfile.gettempdir()} cannot hold the summaries of {len(clips):,} clips ({reason_of(error)}); set "
                "TMPDIR to another folder"
            ) from error
        return np.memmap(file, np.float32, "r+", shape=(len(clips), first.size))


def standardise(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table with mean 0 and deviation 1 in each column, and the means and deviations float32 (F,) it had.

    A mapped table is changed in its file, in passes over it; another is copied.
    """
    if not isinstance(table, np.memmap):
        mean, scale = table.mean(axis=0), table.std(axis=0)
        scale[scale < 1e-6] = 1.0
        return (table - mean) / scale, mean, scale
    parts = [table[start : start + ROWS_AT_ONCE] for start in range(0, len(table), ROWS_AT_ONCE)]
    mean = (sum(part.sum(axis=0, dtype=np.float64) for part in parts) / len(table)).astype(np.float32)
    scale = np.sqrt(sum(np.square(part - mean).sum(axis=0, dtype=np.float64) for part in parts) / len(table))
    scale = np.where(scale < 1e-6, 1.0, scale).astype(np.float32)
    for part in parts:
        part -= mean
        part /= scale
    return table, mean, scale


def _each(clips: Sequence[Clip], summary: Callable[[Clip], np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Number and summary of every clip, in the order of the store."""
    buffers = make_buffers(clips)
    for numbers, held in zip(buffers, read_buffers(clips, buffers), strict=True):
        yield from zip(numbers, map(summary, held), strict=True)
