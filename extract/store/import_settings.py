"""How files of features become clips: what the user says, completed by what the store or the first files tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from extract.errors import InputError, UnstorableClipError, UsageError
from extract.store.feature_files import NUMPY, FeatureFile, open_features
from extract.store.gaps import count_missing
from extract.store.numpy_arrays import find_array
from extract.store.recipe import SECONDS_COLUMN, TIMES, read_recipe
from extract.store.schema import SHARD_PATTERN
from extract.system.files import open_regular

NAN_POLICIES = ("error", "interpolate", "zero")
LOOKED_AT = 16  # files that are checked for columns and for missing values
FIRST_FILES = 4  # whose shapes are checked before a store is created


@dataclass(frozen=True)
class ImportSettings:
    """How files become clips; the store's recipe.

    Args:
        fps: Frames per second; None: timestamps are row numbers, unless a file has a column of seconds.
        key: Which array of an .npz, or which model's features of a DeepEthogram file; None: the only one.
        transpose: Whether NumPy files hold (D, T); None: as the first files tell.
        nan: What to do with missing values (NaN): "error" rejects the file; "zero" and "interpolate" (over time, per
            column, ends held) fill them in, and add a channel for each column: 1 where its value was missing. None:
            "zero" if values are missing in a sample of the files of a new store, else "error".
        columns: Names of the columns of every file, if its format has names; the import finds them.
        has_seconds: Whether the times are seconds from a column of the files; the import finds out.
    """

    fps: float | None = None
    key: str | None = None
    transpose: bool | None = None
    nan: str | None = None
    columns: tuple[str, ...] = ()
    has_seconds: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise UsageError(f"--fps {self.fps} must be greater than 0.")
        if self.nan not in (None, *NAN_POLICIES):
            raise UsageError(f"--nan {self.nan} is not one of {', '.join(NAN_POLICIES)}.")

    def recipe(self) -> dict[str, object]:
        """What determines the numbers."""
        fps = None if self.fps is None else float(self.fps)
        nan = "error" if self.nan in (None, "error") else f"{self.nan}, marked"
        recipe = {"source": "imported", "fps": fps, "key": self.key, "transpose": bool(self.transpose), "nan": nan}
        named: dict[str, object] = {"columns": list(self.columns)} if self.columns else {}
        return {**recipe, **named, **({TIMES: SECONDS_COLUMN} if self.has_seconds else {})}


def completed(settings: ImportSettings, files: Sequence[Path], output: Path) -> ImportSettings:
    """The settings with what the existing store, or else the first files, tell.

    Raises:
        UsageError: --fps beside files with times of their own, or --transpose beside arrays that look transposed by it.
        StoreError: The recipe of the store cannot be read.
    """
    stored = read_recipe(output) if any(output.glob(SHARD_PATTERN)) else None
    if stored is not None:
        return _as_stored(settings, stored)
    settings = replace(settings, transpose=_is_transposed(files, settings))
    first = _first_readable(files, settings)
    if first is not None:
        if first.has_seconds and settings.fps is not None:
            raise UsageError(f"{first.path} has its own times ({first.clock_name}): leave --fps out.")
        settings = replace(settings, columns=first.columns, has_seconds=first.has_seconds)
    return settings if settings.nan is not None else replace(settings, nan=_policy(files, settings))


def _as_stored(settings: ImportSettings, stored: Mapping[str, object]) -> ImportSettings:
    nan = settings.nan or str(stored.get("nan", "error")).partition(",")[0]
    transpose = bool(stored.get("transpose")) if settings.transpose is None else settings.transpose
    columns = stored.get("columns", [])
    return replace(
        settings,
        nan=nan,
        transpose=transpose,
        columns=tuple(map(str, columns)) if isinstance(columns, list) else (),
        has_seconds=stored.get(TIMES) == SECONDS_COLUMN,
    )


def _first_readable(files: Sequence[Path], settings: ImportSettings) -> FeatureFile | None:
    """What the first file that can be read says of its columns and times; its rows are closed."""
    for path in files[:LOOKED_AT]:
        with (
            suppress(UnstorableClipError),  # it fails later, by itself
            open_features(path, key=settings.key, transpose=bool(settings.transpose)) as features,
        ):
            return features
    return None


def _policy(files: Sequence[Path], settings: ImportSettings) -> str:
    """What to do with missing values, as the sampled files need."""
    for path in files[:: -(-len(files) // LOOKED_AT)]:
        with (
            suppress(UnstorableClipError),  # as above
            open_features(path, key=settings.key, transpose=bool(settings.transpose)) as features,
        ):
            if count_missing(features.blocks()):
                return "zero"
    return "error"


def _is_transposed(files: Sequence[Path], settings: ImportSettings) -> bool:
    """Whether NumPy files are (D, T), as MS-TCN's are: by its groundTruth beside them, or because they differ in D.

    Raises:
        UsageError: --transpose was given, and they look as if they were not.
    """
    shapes, beside = set(), set()
    numpy_files = [path for path in files if path.suffix.lower() in NUMPY]
    for path in numpy_files[:FIRST_FILES]:
        with suppress(UnstorableClipError):  # as above
            shape = find_array(path, key=settings.key, transpose=bool(settings.transpose)).shape
            shapes.add(shape)
            lines = _label_lines(path)
            beside.add(abs(shape[0] - lines) > abs(shape[1] - lines) if lines else None)
    lengths, widths = ({shape[axis] for shape in shapes} for axis in (0, 1))
    looks_so = beside == {True} or (len(lengths) == 1 and len(widths) > 1 and beside != {False})
    if settings.transpose and looks_so:
        raise InputError(
            f"the first files all have {lengths.pop():,} timesteps and {min(widths):,} to {max(widths):,} features, as "
            "if they were transposed: import them without --transpose. Nothing has been stored."
        )
    return bool(settings.transpose) or looks_so


def _label_lines(path: Path) -> int:
    """The number of frames that MS-TCN's label file of the same name has, 0 if there is none."""
    try:
        with open_regular(path.parent.parent / "groundTruth" / f"{path.stem}.txt") as file:
            return sum(bool(line.strip()) for line in file)
    except OSError:
        return 0
