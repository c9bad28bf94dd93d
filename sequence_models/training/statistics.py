"""The statistics by which embeddings are standardised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sequence_models.clips.buffers import BUFFER_VALUES, make_buffers, read_buffers, stays_in_store
from sequence_models.records import Clip


def embedding_statistics(clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel over all timesteps of all clips, each float64 (D,)."""
    if stays_in_store(clips):
        return _statistics_of_parts(_parts_of(clips))
    steps = sum(map(len, clips))
    mean = sum(clip.embeddings.sum(axis=0, dtype=np.float64) for clip in clips) / steps
    squares = sum(np.square(clip.embeddings - mean).sum(axis=0) for clip in clips)
    return mean, np.sqrt(squares / steps)


def _parts_of(clips: Sequence[Clip]) -> Iterator[np.ndarray]:
    """All timesteps in the order of the store, in arrays (n, D) that fit in memory."""
    for held in read_buffers(clips, make_buffers(clips)):
        for clip in held:
            step = max(1, BUFFER_VALUES // clip.embeddings.shape[1])
            yield from (np.asarray(clip.embeddings[start : start + step]) for start in range(0, len(clip), step))


def _statistics_of_parts(parts: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """As `embedding_statistics`, in one pass: "Updating formulae and a pairwise algorithm", Chan, Golub, LeVeque."""
    steps, mean, squares = 0, np.float64(0), np.float64(0)
    for part in parts:
        values = part.astype(np.float64)
        of_part = values.mean(axis=0)
        values -= of_part
        share = len(part) / (steps + len(part))
        squares = squares + np.einsum("td,td->d", values, values) + np.square(of_part - mean) * steps * share
        mean = mean + (of_part - mean) * share
        steps += len(part)
    return np.asarray(mean), np.sqrt(squares / steps)
