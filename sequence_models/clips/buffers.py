"""Reads clips that are too many for memory while they are worked on: a buffer at a time, in the order of the store.

shards     [a b c d] [e f g h] [i j k l]
runs       a b | c d | e f | g h | i j | k l        neighbours, read one after the other
a pass     buffer 1: g h, a b    buffer 2: k l, e f    buffer 3: i j, c d

Runs come in random order, so a buffer holds clips from all over the store; batches are shuffled inside it. A thread
reads the next buffer ahead. Clips that fit in memory are one buffer, in their own order, and nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from extract.store.lazy_rows import LazyRows
from sequence_models.clips.derived import derived_width
from sequence_models.records import Clip
from sequence_models.settings import TrainSettings

BUFFER_VALUES = 1 << 25  # 26,000 timesteps of 1,280 channels
RUNS_PER_BUFFER = 64


def stays_in_store(clips: Sequence[Clip]) -> bool:
    """Whether embeddings are read when they are needed. Raw frames, which always are, come clip by clip instead."""
    return any(isinstance(clip.embeddings, LazyRows) and clip.embeddings.ndim == 2 for clip in clips)


def where_text(clips: Sequence[Clip]) -> str:
    """Whether embeddings are in memory, for the line before training."""
    if clips[0].embeddings.ndim > 2:
        return "frames are read when needed"
    return "embeddings stay in the store, read when needed" if stays_in_store(clips) else "embeddings in memory"


def bytes_in_memory(rows: int, width: int, itemsize: int, settings: TrainSettings | None = None) -> int:
    """What embeddings take in memory, with their copy that has derived channels.

    Args:
        rows: Timesteps of all clips.
        width: D.
        itemsize: Bytes per number.
        settings: Name the derived channels, if any.
    """
    derived = derived_width(settings, width) if settings is not None else 0
    return rows * itemsize * (width + (width + derived if derived else 0))


def make_buffers(clips: Sequence[Clip], *, rng: np.random.Generator | None = None) -> list[list[int]]:
    """Parts of the clips of which each fits in memory.

    Args:
        clips: Clips of one width.
        rng: Draws which parts of the store share a buffer; None = buffers follow the order of the store.

    Returns:
        For every buffer the numbers of its clips, of `BUFFER_VALUES` values at most; clips that are larger come last,
        all together, since they stay in the store. All clips in their own order, if they fit in one buffer or are in
        memory already.
    """
    sizes = [len(clip) * int(clip.embeddings.shape[1]) for clip in clips] if stays_in_store(clips) else []
    if sum(sizes) <= BUFFER_VALUES:
        return [list(range(len(clips)))]
    order = sorted(range(len(clips)), key=lambda number: place_of(clips[number]))
    runs = _parts([number for number in order if sizes[number] <= BUFFER_VALUES], sizes, _run_values())
    if rng is not None:
        runs = [runs[number] for number in rng.permutation(len(runs))]
    larger = [number for number in order if sizes[number] > BUFFER_VALUES]
    return _parts([number for run in runs for number in run], sizes, BUFFER_VALUES) + ([larger] if larger else [])


def read_buffers(clips: Sequence[Clip], buffers: Sequence[Sequence[int]]) -> Iterator[list[Clip]]:
    """The clips of each buffer with their embeddings in memory, and the next buffer read meanwhile.

    Args:
        clips: Any clips.
        buffers: From `make_buffers`.

    Yields:
        The clips, as numbered in the buffer. Those larger than a buffer stay in their store, to be read in pieces.
    """
    if not stays_in_store(clips):
        yield from ([clips[number] for number in buffer] for buffer in buffers)
        return
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(_read, clips, buffers[0])
        for following in [*buffers[1:], None]:
            read = ahead.result()
            if following is not None:
                ahead = thread.submit(_read, clips, following)
            yield read


def _read(clips: Sequence[Clip], buffer: Sequence[int]) -> list[Clip]:
    read = {number: clips[number] for number in buffer}
    for number in sorted(buffer, key=lambda number: place_of(clips[number])):
        rows = clips[number].embeddings
        if len(rows) * rows.shape[1] <= BUFFER_VALUES:
            read[number] = replace(clips[number], embeddings=np.asarray(rows))
    return [read[number] for number in buffer]


def place_of(clip: Clip) -> tuple[int, int]:
    """Where a clip that stays in its store begins: shard, row of its clip table."""
    return clip.embeddings.place if isinstance(clip.embeddings, LazyRows) else (0, 0)


def _run_values() -> int:
    return BUFFER_VALUES // RUNS_PER_BUFFER


def _parts(numbers: Sequence[int], sizes: Sequence[int], most: int) -> list[list[int]]:
    """Cut into consecutive parts of at most so many values, or of one clip."""
    parts: list[list[int]] = []
    held = most + 1
    for number in numbers:
        if held + sizes[number] > most:
            parts.append([])
            held = 0
        parts[-1].append(number)
        held += sizes[number]
    return parts
