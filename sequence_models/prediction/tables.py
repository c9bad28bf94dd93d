"""Predictions -> rows of a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extract.system.files import guarded, open_regular, write_csv
from sequence_models.records import Clip, Prediction
from sequence_models.settings import MANY_TO_ONE


def write_predictions(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the rows of `prediction_rows`, guarded against spreadsheet formulas; raises like `write_csv`."""
    write_csv(path, [[guarded(cell) for cell in row] for row in rows])


def is_prediction_file(path: Path) -> bool:
    """Whether a file begins like one from `write_predictions`, which may be replaced by newer predictions."""
    try:
        with open_regular(path) as file:
            head = file.readline(1 << 16).decode("utf-8-sig", errors="replace").strip().split(",")
    except OSError:
        return False
    return head[0] == "clip_id" and "label" in head and any(name.startswith("p_") for name in head)


def prediction_rows(
    clips: Sequence[Clip], predictions: Sequence[Prediction], *, vocabulary: Sequence[str], task: str, has_seconds: bool
) -> list[list[Any]]:
    """The rows of predictions.csv: a header, then one per clip, or per timestep for many-to-many.

    Args:
        clips: The clips.
        predictions: One per clip.
        vocabulary: Class names.
        task: "many-to-one" or "many-to-many".
        has_seconds: Whether the clips' times are in seconds; if they only count timesteps, no times are written.
    """
    classes = [f"p_{name}" for name in vocabulary]
    if task == MANY_TO_ONE:
        rows: list[list[Any]] = [["clip_id", "label", *classes]]
        for clip, prediction in zip(clips, predictions, strict=True):
            best = vocabulary[int(prediction.labels)]
            rows.append([clip.clip_id, best, *(f"{p:.4f}" for p in prediction.probabilities)])
        return rows
    rows = [["clip_id", "frame", *(["pts_seconds"] if has_seconds else []), "label", "raw_label", *classes]]
    for clip, prediction in zip(clips, predictions, strict=True):
        for step, decided in enumerate(zip(prediction.labels, prediction.raw_labels, strict=True)):
            times = [int(clip.frame_indices[step]), *([f"{clip.pts_seconds[step]:.3f}"] if has_seconds else [])]
            labels = [label_text(vocabulary, each, multi_label=prediction.multi_label) for each in decided]
            rows.append([clip.clip_id, *times, *labels, *(f"{p:.4f}" for p in prediction.probabilities[step])])
    return rows


def label_text(vocabulary: Sequence[str], decided: Any, *, multi_label: bool) -> str:
    """The class of an index, or for multi-label the classes of bool (K,), joined by |."""
    if not multi_label:
        return vocabulary[decided]
    return "|".join(name for name, there in zip(vocabulary, decided, strict=True) if there)
