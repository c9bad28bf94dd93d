"""The data of the timeline of a per-frame run: labels as exact runs, and probabilities within a budget."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from extract.system.lettering import class_palette
from sequence_models.report.plots import LONGEST_HOLD_STEPS, usual_step
from sequence_models.report.run import EvaluatedRun, ReportedClip
from sequence_models.report.thumbnails import thumbnails

MOST_LANES = 10  # classes drawn per recording of a multi-label run
LABEL_BYTES = 4_000_000  # times and labels of all recordings, as text
PROBABILITY_BYTES = 2_000_000  # probabilities of all recordings, as text
MILLISECONDS = 1000


def timeline_content(run: EvaluatedRun, ordered: Sequence[ReportedClip]) -> dict[str, Any]:
    """Prepares the timeline.

    Args:
        run: An evaluated per-frame run.
        ordered: Its test clips in the order of the page.

    Returns:
        "data", JSON text that is safe inside a script element; "recordings", how many are in it; "hidden", how many did
        not fit; "every", n if only every nth timestep has probabilities; "pictures", how many there are, and "without",
        why some recordings have none, or "".
    """
    shown: list[dict[str, Any]] = []
    clips: list[ReportedClip] = []
    size = 0
    for clip in ordered:
        recording = _recording(clip, run.run.vocabulary)
        size += len(safe_json(recording))
        if size > LABEL_BYTES:
            break
        shown.append(recording)
        clips.append(clip)
    every = _thinning(clips)
    pictures, without = thumbnails(run, clips)
    for recording, clip, own in zip(shown, clips, pictures, strict=True):
        recording["pictures"] = own
        recording["probabilities"] = _packed(np.rint(clip.probabilities[::every] * 255).astype(np.uint8))
    data = {
        "unit": "s" if run.run.time_unit == "seconds" else run.run.time_unit,
        "classes": list(run.run.vocabulary),
        "colours": class_palette(run.run.num_classes),
        "multi_label": run.run.settings.multi_label,
        "hold": LONGEST_HOLD_STEPS,
        "every": every,
        "recordings": shown,
    }
    facts = {"recordings": len(shown), "hidden": len(ordered) - len(shown), "every": every}
    return {"data": safe_json(data), **facts, "pictures": sum(map(len, pictures)), "without": without}


def safe_json(value: Any) -> str:
    """JSON that no text in it can end: an HTML parser sees neither tags nor comments."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def exact_runs(labels: np.ndarray, breaks: np.ndarray) -> dict[str, list[int]]:
    """Labels as runs.

    Args:
        labels: int (T,), T at least 1.
        breaks: int, timesteps at which a new run starts in any case.

    Returns:
        "starts", the first timestep of each run, and "labels".
    """
    edges = np.unique(np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1, breaks])).astype(int)
    return {"starts": edges.tolist(), "labels": labels[edges].astype(int).tolist()}


def _recording(clip: ReportedClip, vocabulary: Sequence[str]) -> dict[str, Any]:
    step = usual_step(clip.pts_seconds)
    breaks = np.flatnonzero(np.diff(clip.pts_seconds) > LONGEST_HOLD_STEPS * step) + 1
    drawn = [("", clip.truth, clip.predicted)]
    if clip.truth.ndim == 2:
        drawn = [(vocabulary[k], _of_class(clip.truth, k), _of_class(clip.predicted, k)) for k in _classes_in(clip)]
    return {
        "id": clip.clip_id,
        "group": clip.group,
        "right": clip.accuracy,
        "step": step,
        "times": _times(clip.pts_seconds),
        "lanes": [
            {"name": name, "truth": exact_runs(truth, breaks), "predicted": exact_runs(predicted, breaks)}
            for name, truth, predicted in drawn[:MOST_LANES]
        ],
        "hidden_lanes": max(0, len(drawn) - MOST_LANES),
    }


def _of_class(labels: np.ndarray, k: int) -> np.ndarray:
    """int (T,) of one class: k where it is there, -2 where it is not, -1 where nothing is known."""
    column = labels[:, k]
    return np.where(column > 0, k, np.where(column < 0, -1, -2))


def _classes_in(clip: ReportedClip) -> list[int]:
    """The classes in the truth or the prediction of a multi-label clip, longest first."""
    steps = ((clip.truth > 0) | (clip.predicted > 0)).sum(axis=0)
    return [int(k) for k in np.argsort(-steps, kind="stable") if steps[k]]


def _times(pts_seconds: np.ndarray) -> dict[str, Any]:
    """The start and step of regular times, else all of them in whole milliseconds."""
    count = len(pts_seconds)
    step = float(pts_seconds[-1] - pts_seconds[0]) / (count - 1) if count > 1 else 1.0
    regular = pts_seconds[0] + step * np.arange(count)
    if np.abs(regular - pts_seconds).max() < 0.5 / MILLISECONDS:
        return {"start": float(pts_seconds[0]), "step": step, "count": count}
    milliseconds = np.rint(np.clip(pts_seconds * MILLISECONDS, -(2**31), 2**31 - 1)).astype("<i4")
    return {"milliseconds": _packed(milliseconds), "count": count}


def _thinning(clips: Sequence[ReportedClip]) -> int:
    """n, such that every nth timestep of all clips fits into the budget."""
    size = sum(clip.probabilities.size for clip in clips) * 4 / 3
    return max(1, int(np.ceil(size / PROBABILITY_BYTES)))


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
