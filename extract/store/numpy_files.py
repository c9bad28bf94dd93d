"""Imports other tools' features, and exports features for them: .npy and .npz files, one per clip, float32 (T, D).

Nothing is unpickled. A file's content is checked before it becomes a clip; one bad file does not stop the others.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from extract.errors import InputError, StoreError, UnstorableClipError, UsageError, VideoError, WriteError
from extract.records import Source, VideoItem
from extract.store.numpy_arrays import BLOCK_BYTES, ArrayFile, find_array
from extract.store.reader import Store, open_made_with, open_store
from extract.store.recipe import check_recipe, read_recipe
from extract.store.schema import SHARD_PATTERN, check_clip_id, same_source
from extract.store.writer import StoreWriter
from extract.system.files import is_of_its_name, make_folder, sealed_file
from extract.text import counted
from extract.videos.left_out import LeftOut, walk
from extract.videos.sources import source_of

ENDINGS = (".npy", ".npz")
NAN_POLICIES = ("error", "interpolate", "zero")
LOOKED_AT = 16  # files that are checked for missing values if there is no policy for them
FIRST_FILES = 4  # whose shapes are checked before a store is created

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportSettings:
    """How files become clips; the store's recipe.

    Args:
        fps: Rows per second; None: timestamps are row numbers.
        key: Which array of an .npz; None: its only two-dimensional array.
        transpose: Whether files hold (D, T).
        nan: What to do with missing values (NaN): "error" rejects the file; "zero" and "interpolate" (over time, per
            column, ends held) fill them in, and add a channel for each column: 1 where its value was missing. None:
            "zero" if values are missing in a sample of the files of a new store, else "error".
    """

    fps: float | None = None
    key: str | None = None
    transpose: bool = False
    nan: str | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise UsageError(f"--fps {self.fps} must be greater than 0.")
        if self.nan not in (None, *NAN_POLICIES):
            raise UsageError(f"--nan {self.nan} is not one of {', '.join(NAN_POLICIES)}.")

    def recipe(self) -> dict[str, object]:
        """What determines the numbers."""
        fps = None if self.fps is None else float(self.fps)
        nan = "error" if self.nan in (None, "error") else f"{self.nan}, marked"
        return {"source": "imported", "fps": fps, "key": self.key, "transpose": self.transpose, "nan": nan}


@dataclass(frozen=True)
class Imported:
    """The result of an import: clip counts, why each failed clip failed, and what was left out."""

    num_done: int
    num_skipped: int
    failed: dict[str, str]
    left_out: LeftOut = field(compare=False, default_factory=lambda: LeftOut(""))
    nan: str = "error"  # what was done with missing values


def import_features(folder: str | Path, output: str | Path, settings: ImportSettings) -> Imported:
    """Makes a float32 store from another tool's features; a rerun handles only new, changed or failed files.

    Args:
        folder: Searched with its sub-folders for .npy and .npz; `a/b.npy` becomes the clip `a/b`.
        output: The store's directory.
        settings: How files become clips.

    Returns:
        How many clips were done and skipped, and which failed.

    Raises:
        UsageError: There are no files, two files have the same name, or the arrays seem to be transposed.
        StoreError: The store was made with other settings.
        WriteError: It cannot be written.
    """
    folder, output = Path(folder), Path(output)
    left_out = LeftOut(folder)
    files = _find(folder, output, left_out)
    settings = _with_policy(settings, list(files.values()), output)
    check_recipe(output, settings.recipe())
    before = open_made_with(settings.recipe(), output)
    if before is None:
        _refuse_other_way_round(list(files.values()), settings)
    failed: dict[str, str] = {}
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
                _add(writer, clip_id, path, settings, source)
                num_done += 1
            except VideoError as error:
                writer.fail(clip_id, error, source)
                failed[clip_id] = str(error)
    return Imported(num_done, len(files) - num_done - len(failed), failed, left_out, settings.nan or "error")


def import_work(folder: str | Path, output: str | Path, settings: ImportSettings) -> list[tuple[str, str]]:
    """The clips that `import_features` would import now, each with the reason; raises like it."""
    folder, output = Path(folder), Path(output)
    files = _find(folder, output, LeftOut(folder))
    settings = _with_policy(settings, list(files.values()), output)
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


def read_rows(path: Path, settings: ImportSettings) -> Iterator[np.ndarray]:
    """The features in one file as they will be stored, block by block; held as a whole only to interpolate gaps.

    For points from pose trackers (x, y, likelihood), a likelihood of 1.0 next to a missing point is also treated as
    missing.

    Args:
        path: An .npy or .npz file.
        settings: How files become clips.

    Yields:
        float32 (n, D) without NaN; if missing values are filled in, (n, 2 D), the second half 1 where one was missing.

    Raises:
        UnstorableClipError: The file is malformed, pickled, not a two-dimensional array of real numbers, or has NaN.
    """
    array = find_array(path, key=settings.key, transpose=settings.transpose)
    missing = _count_missing(array)
    if settings.nan in (None, "error"):
        if missing:
            raise UnstorableClipError(
                f"{path} has NaN in {missing:,} of {math.prod(array.shape):,} values: import it with --nan zero or "
                "--nan interpolate, into another --output if this one holds clips."
            )
        yield from _blocks(array)
        return
    gaps = _Gaps(array) if missing else None
    if gaps is None:
        for block in _blocks(array):
            yield np.concatenate([block, np.zeros_like(block)], axis=1)
        return
    if settings.nan == "interpolate":
        rows = gaps.opened(np.concatenate(list(_blocks(array))))
        yield np.concatenate([_interpolated(rows), np.isnan(rows)], axis=1, dtype=np.float32)
        return
    for block in map(gaps.opened, _blocks(array)):
        gap = np.isnan(block)
        yield np.concatenate([np.where(gap, 0, block), gap], axis=1, dtype=np.float32)


def _count_missing(array: ArrayFile) -> int:
    return sum(int(np.isnan(block).sum()) for block in array.blocks()) if array.dtype.kind == "f" else 0


class _Gaps:
    """The missing values of an array, found in one pass.

    Args:
        array: Of numbers.
    """

    def __init__(self, array: ArrayFile) -> None:
        width = array.shape[1]
        self._likelihoods = np.zeros(width, bool)
        thirds = max(0, width - 2)
        is_point, is_share, ones = np.ones(thirds, bool), np.ones(thirds, bool), np.zeros(thirds, np.int64)
        for block in array.blocks():
            gaps = np.isnan(block)
            x, y, third = gaps[:, :-2], gaps[:, 1:-1], block[:, 2:]
            beside = y & ~gaps[:, 2:]  # a number next to a missing point
            is_point &= np.all(x == y, axis=0)
            is_share &= np.all(np.where(beside, third == 1, gaps[:, 2:] | (third >= 0) & (third <= 1)), axis=0)
            ones += beside.sum(axis=0)
        self._likelihoods[2:] = is_point & is_share & (ones > 0)

    def opened(self, rows: np.ndarray) -> np.ndarray:
        """The rows, with NaN for the likelihood of missing points."""
        for column in np.flatnonzero(self._likelihoods):
            rows[np.isnan(rows[:, column - 1]), column] = np.nan
        return rows


def _blocks(array: ArrayFile) -> Iterator[np.ndarray]:
    with np.errstate(over="ignore"):
        yield from (block.astype(np.float32) for block in array.blocks())


def _with_policy(settings: ImportSettings, files: Sequence[Path], output: Path) -> ImportSettings:
    """The default policy for missing values: as in the existing store, or as the sampled files need."""
    if settings.nan is not None:
        return settings
    stored = read_recipe(output) if any(output.glob(SHARD_PATTERN)) else None
    if stored is not None:
        return replace(settings, nan=str(stored.get("nan", "error")).partition(",")[0])
    for path in files[:: -(-len(files) // LOOKED_AT)]:
        with suppress(UnstorableClipError):  # it fails later, by itself
            if _count_missing(find_array(path, key=settings.key, transpose=settings.transpose)):
                return replace(settings, nan="zero")
    return replace(settings, nan="error")


def _refuse_other_way_round(files: Sequence[Path], settings: ImportSettings) -> None:
    """Files of equal length and different widths look transposed; checks the first few, before anything is stored."""
    shapes = set()
    for path in files[:FIRST_FILES]:
        with suppress(UnstorableClipError):  # it fails later, by itself
            shapes.add(find_array(path, key=settings.key, transpose=settings.transpose).shape)
    lengths, widths = ({shape[axis] for shape in shapes} for axis in (0, 1))
    if len(lengths) == 1 and len(widths) > 1:
        how = "without --transpose" if settings.transpose else "with --transpose"
        raise InputError(
            f"the first files all have {lengths.pop():,} timesteps and {min(widths):,} to {max(widths):,} features, as "
            f"if they were transposed: import them {how}. Nothing has been stored."
        )


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
        raise InputError(f"{folder} is not a folder: give the folder that holds the .npy or .npz files.")
    files: dict[str, Path] = {}
    found = (here / name for here, names in walk(folder, left_out) for name in names)
    for path in found:
        if output.resolve() in path.resolve().parents:
            continue
        if path.suffix.lower() not in ENDINGS:
            left_out.add("neither .npy nor .npz", path.relative_to(folder).as_posix())
            continue
        clip_id = path.relative_to(folder).with_suffix("").as_posix()
        if clip_id in files:
            raise InputError(f"{files[clip_id]} and {path} would both be the clip {clip_id!r}: rename one.")
        files[clip_id] = path
    if not files and not left_out.unreadable:
        raise InputError(
            f"{folder} holds no .npy or .npz file ({counted(len(left_out), 'other file')}); give a folder of features. "
            "`clipseq extract` makes them from videos."
        )
    return dict(sorted(files.items()))


def _is_current(store: Store, clip_id: str, source: Source) -> bool:
    return clip_id in store and same_source(store.source(clip_id), source)


def _interpolated(rows: np.ndarray) -> np.ndarray:
    """The rows without gaps; a column that is all gap becomes 0."""
    steps, missing, rows = np.arange(len(rows)), np.isnan(rows), rows.copy()
    for column in np.flatnonzero(missing.any(axis=0)):
        known = ~missing[:, column]
        rows[~known, column] = np.interp(steps[~known], steps[known], rows[known, column]) if known.any() else 0
    return rows


def _add(writer: StoreWriter, clip_id: str, path: Path, settings: ImportSettings, source: Source) -> None:
    done = 0
    for block in read_rows(path, settings):
        numbers = np.arange(done, done + len(block))
        writer.append(clip_id, block, numbers, numbers / (settings.fps or 1.0), source)
        done += len(block)
    writer.finish(clip_id, None)
