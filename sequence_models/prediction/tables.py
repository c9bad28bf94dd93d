"""Predictions -> tables with a row per clip, timestep or original frame, as CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import UsageError
from extract.records import VideoTruth
from extract.store.parquet_features import import_pyarrow
from extract.system.files import MALFORMED, guarded, open_regular, sealed_file
from extract.system.typed_json import parse_json
from sequence_models.labels.clip_names import is_whole
from sequence_models.labels.intervals import steps_of_frames
from sequence_models.records import Clip, Prediction
from sequence_models.settings import MANY_TO_ONE

Table = Mapping[
    str, np.ndarray
]  # equally long columns: of text (objects), int64, float64 seconds, float32 probabilities
ROWS_AT_ONCE = 1 << 16
HEAD_BYTES = 1 << 16
SECONDS = "pts_seconds"


def prediction_table(
    clip: Clip,
    prediction: Prediction,
    *,
    vocabulary: Sequence[str],
    task: str,
    has_seconds: bool,
    with_truth: bool = False,
) -> Table:
    """The rows of one clip: one, or for many-to-many one per timestep.

    Args:
        clip: The clip.
        prediction: Its prediction.
        vocabulary: K class names.
        task: "many-to-one" or "many-to-many".
        has_seconds: Whether the clip's times are in seconds; if they only count timesteps, no times are written.
        with_truth: Whether the clip's labels are known; "" where it is unlabelled.

    Returns:
        clip_id, frame and pts_seconds (many-to-many), truth if known, label, raw_label (many-to-many: without
        post-processing), and p_<class> for each class. Several classes at once are joined by |.
    """
    probabilities = np.atleast_2d(prediction.probabilities)
    table: dict[str, np.ndarray] = {"clip_id": np.array([clip.clip_id] * len(probabilities), object)}
    if task != MANY_TO_ONE:
        table["frame"] = clip.frame_indices
        if has_seconds:
            table[SECONDS] = clip.pts_seconds
    if with_truth:
        table["truth"] = label_names(clip.labels, vocabulary)
    table["label"] = label_names(prediction.labels, vocabulary)
    if task != MANY_TO_ONE:
        table["raw_label"] = label_names(prediction.raw_labels, vocabulary)
    return table | {f"p_{name}": probabilities[:, k] for k, name in enumerate(vocabulary)}


def at_every_frame(table: Table, clip: Clip, truth: VideoTruth | None) -> Table:
    """One row per original frame: what the last timestep at or before it says, or the first one if there is none.

    Args:
        table: Of a clip, with a row per timestep.
        clip: The clip; of a span of a video only the frames of the span.
        truth: What is known of its video; None for imported features.

    Returns:
        The same columns. Seconds of frames that were not sampled follow from the frame rate, and are NaN if it varies.
    """
    taken = clip.frame_indices
    step = int(np.median(np.diff(taken))) if len(taken) > 1 else 1
    first, end = (0, int(taken[-1]) + step) if is_whole(clip.clip_id) else (int(taken[0]), int(taken[-1]) + step)
    if truth is not None and is_whole(clip.clip_id):
        end = max(truth.decoded_frames, int(taken[-1]) + 1)
    frames = np.arange(first, end)
    steps = steps_of_frames(taken, frames)
    spread = {name: column[steps] for name, column in table.items()} | {"frame": frames}
    if SECONDS in table:
        spread[SECONDS] = _seconds(frames, clip, truth)
    return {name: spread[name] for name in table}


def write_predictions(path: Path, tables: Iterable[Table]) -> int:
    """Write tables with the same columns; the ending says how, and memory does not grow with their number.

    Args:
        path: CSV with rounded probabilities, cells guarded against spreadsheet formulas; or .jsonl or .parquet in full
            precision.
        tables: At least one.

    Returns:
        The number of rows.

    Raises:
        WriteError: As for `sealed_file`.
        UsageError: pyarrow is needed and not installed.
    """
    with sealed_file(path) as temporary:
        return sum(WRITERS[path.suffix.lower()](temporary, _joined(tables)))


def check_ending(path: Path, *, flag: str = "--output") -> None:
    """UsageError if a path does not end as `write_predictions` needs, or its package is not installed."""
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"{flag} {path} must end in {', '.join(WRITERS)}: the ending says what is written")
    if path.suffix.lower() == ".parquet":
        import_pyarrow()


def is_prediction_file(path: Path) -> bool:
    """Whether a file begins like one from `write_predictions`, which may be replaced by newer predictions."""
    try:
        with open_regular(path) as file:
            head = file.readline(HEAD_BYTES).decode("utf-8-sig", errors="replace").strip()
        if path.suffix.lower() == ".parquet":
            columns = import_pyarrow().parquet.read_schema(path).names
        else:
            columns = list(parse_json(head)) if path.suffix.lower() == ".jsonl" else head.split(",")
    except (*MALFORMED, UsageError):
        return False
    return columns[:1] == ["clip_id"] and "label" in columns and any(name.startswith("p_") for name in columns)


def label_names(labels: np.ndarray, vocabulary: Sequence[str]) -> np.ndarray:
    """objects (1,) or (T,): the class of every row, "" if unlabelled."""
    names = np.array([*vocabulary, ""], object)
    if labels.ndim < 2:
        return names[np.atleast_1d(labels)]
    rows = labels.astype(np.int64)
    there, where = np.unique(rows, axis=0, return_inverse=True)
    joined = ["|".join(names[:-1][row > 0]) for row in there]
    return np.array(joined, object)[where.reshape(-1)]


def _seconds(frames: np.ndarray, clip: Clip, truth: VideoTruth | None) -> np.ndarray:
    """float64 (F,)."""
    taken, times = clip.frame_indices, clip.pts_seconds
    if truth is not None and truth.variable_rate:
        seconds = np.full(len(frames), np.nan)
        inside = (taken >= frames[0]) & (taken <= frames[-1])
        seconds[taken[inside] - frames[0]] = times[inside]
        return seconds
    rate = truth.average_rate if truth is not None else (taken[-1] - taken[0]) / max(times[-1] - times[0], 1e-9)
    past = np.maximum(frames - taken[-1], 0) - np.maximum(taken[0] - frames, 0)  # in frames, before or after all
    return np.interp(frames, taken, times) + past / (rate or 1.0)


def _joined(tables: Iterable[Table]) -> Iterator[Table]:
    """The same rows in larger tables."""
    waiting: list[Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += len(table["clip_id"])
        if rows >= ROWS_AT_ONCE:
            yield _stacked(waiting)
            waiting, rows = [], 0
    if waiting:
        yield _stacked(waiting)


def _stacked(tables: Sequence[Table]) -> Table:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _write_csv(path: Path, tables: Iterable[Table]) -> Iterator[int]:
    with path.open("x", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        for number, table in enumerate(tables):
            if not number:
                writer.writerow(map(guarded, table))
            writer.writerows(zip(*(_cells(column) for column in table.values()), strict=True))
            yield len(table["clip_id"])


def _cells(column: np.ndarray) -> list[object]:
    if column.dtype == object:
        return [guarded(cell) for cell in column]
    if column.dtype.kind != "f":
        return column.tolist()
    digits = 3 if column.dtype == np.float64 else 4
    return ["" if value != value else f"{value:.{digits}f}" for value in column.tolist()]


def _write_jsonl(path: Path, tables: Iterable[Table]) -> Iterator[int]:
    with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
        for table in tables:
            for row in zip(*(_values(column) for column in table.values()), strict=True):
                file.write(json.dumps(dict(zip(table, row, strict=True)), ensure_ascii=False) + "\n")
            yield len(table["clip_id"])


def _values(column: np.ndarray) -> list[object]:
    """Numbers as the shortest text that gives them back, None for NaN."""
    if column.dtype == np.float32:
        return [float(str(value)) for value in column]
    return [None if value != value else value for value in column.tolist()]


def _write_parquet(path: Path, tables: Iterable[Table]) -> Iterator[int]:
    pyarrow = import_pyarrow()
    writer = None
    try:
        for table in tables:
            arrays = {name: pyarrow.array(_storable(column), from_pandas=True) for name, column in table.items()}
            batch = pyarrow.table(arrays)
            writer = writer or pyarrow.parquet.ParquetWriter(path, batch.schema)
            writer.write_table(batch)
            yield batch.num_rows
    finally:
        if writer is not None:
            writer.close()


def _storable(column: np.ndarray) -> Any:
    """Names of files that are not UTF-8 are escaped."""
    if column.dtype != object:
        return column
    return [text.encode("utf-8", "backslashreplace").decode() for text in column]


WRITERS: Mapping[str, Callable[[Path, Iterable[Table]], Iterator[int]]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
