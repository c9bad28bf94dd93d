"""Tables for pandas, which is not needed for anything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from extract.errors import UsageError
from sequence_models.runs.run import Run
from sequence_models.settings import MANY_TO_ONE

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Steps:
    """What is said about one clip; the arrays have the axis (T,) only for many-to-many.

    Args:
        clip_id: Name of the clip.
        times: float64 (T,).
        labels: Class indices () or (T,); multi-label bool (T, K).
        probabilities: float32 (K,) or (T, K).
        truth: Like the labels, -1 = unlabelled; None = not known.
        frames: int64 (T,), number of each timestep's frame in its video; None = not known.
        raw_labels: Like the labels, without post-processing; None = not known.
    """

    clip_id: str
    times: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    truth: np.ndarray | None = None
    frames: np.ndarray | None = None
    raw_labels: np.ndarray | None = None


def steps_table(parts: Sequence[Steps], run: Run) -> pd.DataFrame:
    """A row per clip, or per timestep for many-to-many.

    The columns are clip_id, frame, times, truth, label, raw_label and p_<class>; frame, truth and raw_label if known.

    Raises:
        UsageError: pandas is not installed.
    """
    rows = [np.atleast_2d(part.probabilities) for part in parts]  # (1 or T, K)
    columns: dict[str, Any] = {"clip_id": np.repeat([part.clip_id for part in parts], [len(each) for each in rows])}
    if run.settings.task != MANY_TO_ONE:
        if all(part.frames is not None for part in parts):
            columns["frame"] = np.concatenate([part.frames for part in parts])
        columns[run.times_name] = np.concatenate([part.times for part in parts])
    if all(part.truth is not None for part in parts):
        columns["truth"] = _names([part.truth for part in parts], run.vocabulary)
    columns["label"] = _names([part.labels for part in parts], run.vocabulary)
    if all(part.raw_labels is not None for part in parts):
        columns["raw_label"] = _names([part.raw_labels for part in parts], run.vocabulary)
    probabilities = np.concatenate(rows)
    columns |= {f"p_{name}": probabilities[:, number] for number, name in enumerate(run.vocabulary)}
    return data_frame(columns)


def data_frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """A table from its columns.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise UsageError("to_pandas needs pandas, which is not installed: pip install pandas") from None
    return pandas.DataFrame(dict(columns))


def _names(labels: Iterable[Any], vocabulary: Sequence[str]) -> list[str | None]:
    """The class of every row; None where there is no label, several classes are joined by |."""
    found: list[str | None] = []
    for each in labels:
        rows = np.asarray(each)
        if rows.ndim == 2:
            found += [
                None if row.min() < 0 else "|".join(np.array(vocabulary)[row.astype(bool)])
                for row in rows.astype(np.int64)
            ]
        else:
            found += [None if label < 0 else vocabulary[label] for label in np.atleast_1d(rows).tolist()]
    return found
