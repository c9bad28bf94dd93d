"""Imports other tools' features, one file per clip, and exports features for them as .npy, float32 (T, D).

Nothing is unpickled. A file's content is checked before it becomes a clip; one bad file does not stop the others.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from extract.errors import InputError, StoreError, UnstorableClipError, VideoError, WriteError
from extract.records import Source, VideoItem
from extract.store.feature_files import ENDINGS, HDF5, NUMPY, TABLES, FeatureFile, open_features
from extract.store.gaps import Gaps, count_missing, interpolated
from extract.store.import_settings import ImportSettings, completed
from extract.store.numpy_arrays import BLOCK_BYTES
from extract.store.reader import Store, open_made_with, open_store
from extract.store.recipe import check_recipe
from extract.store.schema import check_clip_id, same_source
from extract.store.writer import StoreWriter
from extract.system.files import is_of_its_name, make_folder, open_regular, sealed_file
from extract.text import counted
from extract.videos.left_out import LeftOut, walk
from extract.videos.sources import source_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """The result of an import: clip counts, why each failed clip failed, and what was left out."""

    num_done: int
    num_skipped: int
    failed: dict[str, str]
    left_out: LeftOut = field(compare=False, default_factory=lambda: LeftOut(""))
    nan: str = "error"  # what was done with missing values
    understood: tuple[str, ...] = field(compare=False, default=())  # what was taken as time and as width


def import_features(folder: str | Path, output: str | Path, settings: ImportSettings) -> Imported:
    """Makes a float32 store from another tool's features; a rerun handles only new, changed or failed files.

    Args:
        folder: Searched with its sub-folders for files with one of ENDINGS; `a/b.npy` becomes the clip `a/b`.
        output: The store's directory.
        settings: How files become clips.

    Returns:
        How many clips were done and skipped, which failed, and what was understood.

    Raises:
        UsageError: There are no files, two files have the same name, the arrays seem to be transposed, or a package for
            their format is missing.
        StoreError: The store was made with other settings.
        WriteError: It cannot be written.
    """
    folder, output = Path(folder), Path(output)
    left_out = LeftOut(folder)
    files = _find(folder, output, left_out)
    settings = completed(settings, list(files.values()), output)
    check_recipe(output, settings.recipe())
    before = open_made_with(settings.recipe(), output)
    failed: dict[str, str] = {}
    understood: Counter[str] = Counter()
    num_done = 0
    after_ns = before.latest_ns() if before else 0
    with StoreWriter(output, settings.recipe(), engine="import", dtype="float32", after_ns=after_ns) as writer:
        store = open_store(output)
        for clip_id, path in files.items():
            source = None
            try:
                source = source_of(VideoItem(clip_id, path), with_digest=False)
                if _is_current(store, clip_id, source):
                    continue
                source = source_of(VideoItem(clip_id, path), with_digest=True)
                if _is_current(store, clip_id, source):
                    continue
                understood[_add(writer, clip_id, path, settings, source)] += 1
                num_done += 1
            except VideoError as error:
                writer.fail(clip_id, error, source)
                failed[clip_id] = str(error)
    said = tuple(f"{text} ({counted(count, 'file')})" for text, count in understood.items())
    return Imported(num_done, len(files) - num_done - len(failed), failed, left_out, settings.nan or "error", said)


def import_work(folder: str | Path, output: str | Path, settings: ImportSettings) -> list[tuple[str, str]]:
    """The clips that `import_features` would import now, each with the reason; raises like it."""
    folder, output = Path(folder), Path(output)
    files = _find(folder, output, LeftOut(folder))
    settings = completed(settings, list(files.values()), output)
    check_recipe(output, settings.recipe())
    store = open_made_with(settings.recipe(), output)
    found = []
    for clip_id, path in files.items():
        if store is None or clip_id not in store:
            found.append((clip_id, "it is not in the store"))
        elif not any(
            _is_current(store, clip_id, source_of(VideoItem(clip_id, path), with_digest=digest))
            for digest in (False, True)
        ):
            found.append((clip_id, "the file has changed since it was imported"))
    return found


def stored_rows(features: FeatureFile, settings: ImportSettings) -> Iterator[np.ndarray]:
    """The features of a file as they will be stored, block by block; held as a whole only to interpolate gaps.

    For points from pose trackers (x, y, likelihood), a likelihood of 1.0 next to a missing point is also treated as
    missing.

    Args:
        features: From `open_features`.
        settings: How files become clips.

    Yields:
        float32 (n, D) without NaN; if missing values are filled in, (n, 2 D), the second half 1 where one was missing.

    Raises:
        UnstorableClipError: The file is malformed, pickled, holds no real numbers (T, D), or has NaN.
    """
    missing = count_missing(features.blocks())
    if settings.nan in (None, "error"):
        if missing:
            raise UnstorableClipError(
                f"{features.path} has NaN in {missing:,} of {_size(features):,} values: import it with --nan zero or "
                "--nan interpolate, into another --output if this one holds clips."
            )
        yield from _blocks(features)
        return
    gaps = Gaps(features.blocks(), features.width) if missing else None
    if gaps is None:
        for block in _blocks(features):
            yield np.concatenate([block, np.zeros_like(block)], axis=1)
        return
    if settings.nan == "interpolate":
        rows = gaps.opened(np.concatenate(list(_blocks(features))))
        yield np.concatenate([interpolated(rows), np.isnan(rows)], axis=1, dtype=np.float32)
        return
    for block in map(gaps.opened, _blocks(features)):
        gap = np.isnan(block)
        yield np.concatenate([np.where(gap, 0, block), gap], axis=1, dtype=np.float32)


def _size(features: FeatureFile) -> int:
    return sum(block.size for block in features.blocks())


def _blocks(features: FeatureFile) -> Iterator[np.ndarray]:
    with np.errstate(over="ignore"):
        yield from (block.astype(np.float32) for block in features.blocks())


def export_features(store: Store, folder: str | Path) -> dict[str, str]:
    """Writes every clip to `folder/<clip_id>.npy`: float32 (T, D), or uint8 (T, H, W, C) for raw frames.

    Args:
        store: The store, opened.
        folder: Created if it does not exist; files of the same name are replaced.

    Returns:
        clip_id -> why this clip was not written: it cannot be read, or its name cannot be a file name here.

    Raises:
        WriteError: No file can be written, for example on a full disk.
    """
    make_folder(Path(folder))  # if this fails, no clip's name is to blame
    failed = {}
    for clip_id, length in store.lengths().items():
        try:
            check_clip_id(clip_id)
            path = Path(folder, f"{clip_id}.npy")
            make_folder(path.parent)
            with sealed_file(path) as temporary, temporary.open("xb") as file:
                _write_npy(file, store, clip_id, length)
        except (UnstorableClipError, StoreError) as error:
            failed[clip_id] = str(error)
        except WriteError as error:
            if not is_of_its_name(error):
                raise
            failed[clip_id] = str(error)
    return failed


def _write_npy(file: BinaryIO, store: Store, clip_id: str, length: int) -> None:
    """Writes like `numpy.save`, but block by block: frames of a long video do not fit in memory."""
    dtype = store.dtype if store.dtype == np.uint8 else np.dtype("<f4")
    header = {"descr": dtype.str, "fortran_order": False, "shape": (length, *store.row_shape)}
    np.lib.format.write_array_header_1_0(file, header)
    rows = store.read_lazily(clip_id).embeddings
    step = max(1, BLOCK_BYTES // (dtype.itemsize * math.prod(store.row_shape)))
    for first in range(0, length, step):
        file.write(np.asarray(rows[first : first + step], dtype).data)


def _find(folder: Path, output: Path, left_out: LeftOut) -> dict[str, Path]:
    """clip_id -> file; silently leaves out hidden files and the store itself."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the folder that holds the files of features.")
    files: dict[str, Path] = {}
    found = [here / name for here, names in walk(folder, left_out) for name in names]
    has_arrays = any(path.suffix.lower() in NUMPY for path in found)
    for path in found:
        if output.resolve() in path.resolve().parents:
            continue
        if why := _no_features(path, has_arrays=has_arrays):
            left_out.add(why, path.relative_to(folder).as_posix())
            continue
        clip_id = path.relative_to(folder).with_name(_clip_name(path)).as_posix()
        if clip_id in files and {path.suffix.lower(), files[clip_id].suffix.lower()} <= {*TABLES, *HDF5}:
            pair = sorted((path, files[clip_id]), key=lambda each: each.suffix.lower() in HDF5)
            files[clip_id] = pair[0]  # DeepLabCut writes both
            left_out.add("an .h5 beside a .csv of its name", pair[1].relative_to(folder).as_posix())
            continue
        if clip_id in files:
            raise InputError(f"{files[clip_id]} and {path} would both be the clip {clip_id!r}: rename one.")
        files[clip_id] = path
    if not files and not left_out.unreadable:
        raise InputError(
            f"{folder} holds no file of features ({', '.join(ENDINGS)}; {counted(len(left_out), 'other file')}); give "
            "a folder that does. `clipseq extract` makes them from videos."
        )
    return dict(sorted(files.items()))


def _is_current(store: Store, clip_id: str, source: Source) -> bool:
    return clip_id in store and same_source(store.source(clip_id), source)


def _no_features(path: Path, *, has_arrays: bool) -> str:
    """Why a file of the folder is left out; "" if it is not."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        return "no file of features"
    if has_arrays and ending not in NUMPY:
        return "beside NumPy files"
    return "labels" if ending in TABLES and {"label", "clip_id"} & set(_first_cells(path)) else ""


def _first_cells(path: Path) -> list[str]:
    """The lower-case cells of the first line of a table, as far as it can be read."""
    with suppress(OSError), open_regular(path) as file:
        line = file.readline(1 << 16).decode("utf-8-sig", "replace").strip().lower()
        return [cell.strip() for cell in line.split(max(",;\t", key=line.count))]
    return [""]


def _clip_name(path: Path) -> str:
    """The name of the video: without what DeepLabCut, SLEAP and DeepEthogram add to it."""
    name = path.stem
    if path.suffix.lower() in TABLES:
        cells = _first_cells(path)
        at = name.lower().find(cells[1]) if cells[0] == "scorer" and len(cells) > 1 and cells[1] else -1
        return name[:at] + name[at + len(cells[1]) :] if at > 0 else name
    if path.suffix.lower() in HDF5:
        return name.removesuffix(".analysis").removesuffix("_outputs") or name
    return name


def _add(writer: StoreWriter, clip_id: str, path: Path, settings: ImportSettings, source: Source) -> str:
    """Stores one file; returns what was taken as time and as width."""
    with open_features(path, key=settings.key, transpose=bool(settings.transpose)) as found:
        features = found.with_columns(settings.columns) if settings.columns or found.columns else found
        if features.has_seconds != settings.has_seconds:
            what = "has a column of seconds" if features.has_seconds else "has no column of seconds"
            raise UnstorableClipError(f"{path} {what}, unlike the clips of the store: give all files the same columns.")
        clock = features.clock() if features.clock else None
        done = 0
        for block in stored_rows(features, settings):
            numbers = np.arange(done, done + len(block))
            frames, seconds = _times(numbers, clock, settings)
            writer.append(clip_id, block, frames, seconds, source)
            done += len(block)
        writer.finish(clip_id, None)
        return features.understood(settings.fps)


def _times(rows: np.ndarray, clock: np.ndarray | None, settings: ImportSettings) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers int64 (n,) and times float64 (n,) of rows."""
    if settings.has_seconds and clock is not None:
        return rows, clock[rows]
    frames = rows if clock is None else clock[rows].astype(np.int64)
    return frames, frames / (settings.fps or 1.0)
