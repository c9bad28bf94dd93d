"""Stores of raw frames, and of what the tiny backbone makes of them, as clipseq extract would write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from extract.backbones.registry import load_backbone
from extract.records import Source
from extract.store.writer import StoreWriter
from sequence_models.records import Clip

PICTURES: dict[str, object] = {"image_size": 16, "fit": "stretch", "input": "rgb"}


def write_frames(path: Path, clips: Sequence[Clip], **recipe: object) -> Path:
    """A store of the frames of clips, each in the folder "right" (label 0) or "left" (1)."""
    return _write(path, clips, {"backbone": "pixels", **PICTURES, **recipe}, "uint8", lambda frames: frames)


def write_embeddings(path: Path, clips: Sequence[Clip], **recipe: object) -> Path:
    """The same clips through the tiny backbone."""
    backbone = load_backbone("tiny", image_size=16)
    model = backbone.build()
    told = {"backbone": "tiny", "weights_digest": backbone.weights_digest, **PICTURES, **recipe}
    return _write(path, clips, told, "float16", lambda frames: np.asarray(model(frames)))


def _write(path, clips, recipe, dtype, rows_of):
    with StoreWriter(path, recipe, engine="none", dtype=dtype) as writer:
        for clip in clips:
            clip_id = f"{('right', 'left')[int(clip.labels)]}/{clip.clip_id}.mp4"
            writer.append(
                clip_id, rows_of(clip.embeddings), clip.frame_indices, clip.pts_seconds, Source(clip_id, 1, 1)
            )
            writer.finish(clip_id, None)
    return path
