"""Frames for a report to show: from a store of frames, or read again from the videos of a store of embeddings."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extract.decode.frames import frames_of
from extract.errors import ClipseqError, StoreError
from extract.store.reader import Store, open_store
from sequence_models.report.run import EvaluatedRun

STRIP_FRAMES = 5
PICTURE_SIZE = (320, 200)  # pixels at most: 60 such pictures stay far below 4 MB


def open_stores(run: EvaluatedRun) -> list[Store]:
    """Those stores of a run that are here, those with frames first."""
    stores = []
    for path in run.run.stores:
        try:
            stores.append(open_store(path))
        except ClipseqError:
            continue  # what wants a picture says so
    return sorted(stores, key=lambda store: len(store.row_shape) != 3)


def store_with(run: EvaluatedRun, clip_id: str, stores: Sequence[Store]) -> tuple[Store, str]:
    """The store with a clip, and its name there: blocks are parts of a stored clip.

    Raises:
        StoreError: No store has it.
    """
    names = (clip_id, clip_id.rpartition("#t=")[0]) if run.run.data.blocks else (clip_id,)
    for store in stores:
        for name in names:
            if name in store:
                return store, name
    missing = next((path for path in run.run.stores if not Path(path).exists()), None)
    raise StoreError(
        f"the feature store {missing} is not here" if missing else "the feature store no longer has this clip"
    )


def link_to(store: Store, clip_id: str, span: tuple[float, float] | None) -> str:
    """The address of a clip's video, from where a browser starts to play it; "" if the video is not here.

    Args:
        store: The store with the clip.
        clip_id: The clip.
        span: First and last second; None = the whole clip.
    """
    if store.recipe.get("source") == "imported":
        return ""
    where, part = store.source(clip_id).path, "#t={:.3f},{:.3f}".format(*span) if span else ""
    path = Path(where)
    if where.startswith(("https://", "http://")) and not where.endswith("?"):  # else its query is missing
        return where + part
    if not (path.is_absolute() and path.exists()):
        return ""
    return path.as_uri() + (part if path.is_file() else "")


def strip_of(store: Store, clip_id: str, times: np.ndarray | None) -> dict[str, Any]:
    """A film strip: up to five frames spread over a clip.

    Args:
        store: The store with the clip.
        clip_id: The clip.
        times: float64 (n,), the timesteps that it is about; None = all.

    Returns:
        "frames", each "seconds" and "src"; "why" there are none, or "".
    """
    try:
        rows = np.arange(store.lengths()[clip_id]) if times is None else rows_at(store, clip_id, times)
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, STRIP_FRAMES).round().astype(int))]
        return {"frames": pictures_of(store, clip_id, chosen), "why": ""}
    except ClipseqError as error:
        return {"frames": [], "why": str(error)}


def rows_at(store: Store, clip_id: str, times: np.ndarray) -> np.ndarray:
    """The stored timesteps at some times: int, increasing, each once."""
    stored = store.read_lazily(clip_id).pts_seconds
    return np.unique(np.clip(np.searchsorted(stored, times - 1e-6), 0, len(stored) - 1))


def pictures_of(
    store: Store, clip_id: str, rows: np.ndarray, *, size: tuple[int, int] = PICTURE_SIZE, quality: int = 80
) -> list[dict[str, Any]]:
    """Some frames of a clip as small pictures.

    Args:
        store: The store with the clip.
        clip_id: The clip.
        rows: Increasing timesteps, at least one.
        size: Pixels at most, (width, height).
        quality: Of the JPEG.

    Returns:
        "seconds" and "src", a `data:` address, of each.

    Raises:
        ClipseqError: Why there are none.
    """
    stored = store.read_lazily(clip_id)
    if len(store.row_shape) == 3:
        pictures, seconds = np.asarray(stored.embeddings[rows]), stored.pts_seconds[rows]
    elif store.recipe.get("source") == "imported":
        raise StoreError("the features were imported, so clipseq does not know the video")
    else:
        found = frames_of(stored, rows.tolist(), source=store.source(clip_id))
        pictures, seconds = found.frames, found.pts_seconds
    return [
        {"seconds": float(at), "src": small_jpeg(frame, size=size, quality=quality)}
        for frame, at in zip(pictures, seconds, strict=True)
    ]


def small_jpeg(picture: np.ndarray, *, size: tuple[int, int] = PICTURE_SIZE, quality: int = 80) -> str:
    """A small copy of uint8 (H, W, C) as a `data:` address."""
    from PIL import Image

    colours = picture if picture.shape[2] == 3 else np.repeat(picture[..., :1], 3, axis=2)
    image = Image.fromarray(np.ascontiguousarray(colours))
    image.thumbnail(size)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
