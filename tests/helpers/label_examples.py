"""Small stores and label files for the tests of labels, clips and their alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from extract.errors import UnreadableVideoError
from extract.records import Source, VideoTruth
from extract.store.writer import StoreWriter
from sequence_models.clips.loading import load_clips
from sequence_models.settings import DataSettings


def write_store(
    path: Path,
    clips: Mapping[str, int],
    *,
    failed: Sequence[str] = (),
    truth: VideoTruth | None = None,
    fps: float = 10.0,
    every: int = 1,
    first: int = 0,
    shape: tuple[int, ...] = (2,),
    dtype: str = "float16",
) -> Path:
    """A store of clips (clip_id -> timesteps): every so many frames of `fps` frames/s, from frame `first` on."""
    with StoreWriter(path, {"backbone": path.name}, engine="none", dtype=dtype) as writer:
        for number, (clip_id, steps) in enumerate(clips.items()):
            index = first + np.arange(steps) * every
            writer.append(clip_id, np.full((steps, *shape), number, dtype), index, index / fps, Source(clip_id, 1, 1))
            writer.finish(clip_id, truth)
        for clip_id in failed:
            writer.fail(clip_id, UnreadableVideoError("broken"), None)
    return path


def write_labels(path: Path, *lines: str) -> Path:
    """A label file of these lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def joined(stores, labels, *, task, multi_label=False, **options):
    """As `load_clips`, with the fields of `DataSettings` as arguments."""
    return load_clips(stores, labels, task=task, multi_label=multi_label, data=DataSettings(**options))
