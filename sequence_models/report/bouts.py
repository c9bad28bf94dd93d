"""The bouts of every class over all test clips, truth beside prediction, for the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sequence_models.prediction.bouts import ClassBouts, class_bouts
from sequence_models.report.run import EvaluatedRun

COLUMNS = ("total", "mean", "median", "latency", "interval")
MOST_FOLLOWED = 3  # successors shown per class


def bouts_content(run: EvaluatedRun) -> dict[str, Any]:
    """Prepares the section; truth and prediction count labelled timesteps only, so that they can be compared.

    Args:
        run: An evaluated per-frame run.

    Returns:
        "columns"; "places" after the point; "rows", one per class with a bout: "name", and for "truth" and "predicted"
        "count", "values" (None where there is none) and "then", the commonest successors in words.
    """
    names = run.run.vocabulary
    of_truth = class_bouts([(clip.truth, clip.pts_seconds) for clip in run.clips], len(names))
    said = []
    for clip in run.clips:
        hidden = ~clip.labelled if clip.predicted.ndim == 1 else ~clip.labelled[:, None]
        said.append((np.where(hidden, -1, clip.predicted), clip.pts_seconds))
    of_prediction = class_bouts(said, len(names))
    rows = [
        {"name": name, "truth": _numbers(truth, names), "predicted": _numbers(predicted, names)}
        for name, truth, predicted in zip(names, of_truth, of_prediction, strict=True)
        if len(truth.lengths) or len(predicted.lengths)
    ]
    return {"columns": COLUMNS, "places": "%.2f" if run.run.time_unit == "seconds" else "%.1f", "rows": rows}


def _numbers(found: ClassBouts, names: Sequence[str]) -> dict[str, Any]:
    order = np.argsort(-found.followed_by, kind="stable")[:MOST_FOLLOWED]
    then = [f"{names[k]} {found.followed_by[k]:,}" for k in order if found.followed_by[k]]
    values = [None if np.isnan(value) else value for value in found.values]
    return {"count": len(found.lengths), "values": values, "then": ", ".join(then)}
