"""What to distrust about a run: what its files already know, in sentences, the warnings first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from extract.text import counted
from sequence_models.experiments.summary import clock_lines, overfitting_lines, scene_lines
from sequence_models.models.baselines import CLOCKS
from sequence_models.report.run import EvaluatedRun
from sequence_models.report.scores import doctor_content
from sequence_models.runs.run import POSTPROCESSED
from sequence_models.scoring.calibration import BINS
from sequence_models.scoring.paired import LIKELY
from sequence_models.settings import MANY_TO_ONE

POOR_CALIBRATION = 0.1


class Caution(NamedTuple):
    """One thing to know before the scores are believed: a topic, a sentence, and whether it is a warning."""

    topic: str
    text: str
    is_warning: bool


def cautions(run: EvaluatedRun) -> list[Caution]:
    """Collects what limits the scores of a run.

    Args:
        run: An evaluated run.

    Returns:
        The warnings, then what was checked and found in order; topics without any finding are left out.
    """
    found = [
        _near_duplicates(run),
        _places(run),
        _recordings(run),
        _clock(run),
        _overfitting(run),
        _groups(run),
        _calibration(run),
        _opened(run),
        _seeds(run),
    ]
    return sorted((each for each in found if each), key=lambda each: not each.is_warning)


def calibration_bins(run: EvaluatedRun) -> list[dict[str, float]]:
    """How often the most probable class is right, by the probability it was given.

    Args:
        run: An evaluated run; a multi-label run has no such bins.

    Returns:
        One mapping per bin that is not empty: "given" and "right", means over its clips or timesteps, and "count".
    """
    if run.run.settings.multi_label:
        return []
    truth = np.concatenate([clip.truth[clip.labelled] for clip in run.clips])
    probabilities = np.concatenate([clip.probabilities[clip.labelled] for clip in run.clips])
    given, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((given * BINS).astype(int), BINS - 1)
    return [
        {
            "given": float(given[bins == each].mean()),
            "right": float(right[bins == each].mean()),
            "count": int((bins == each).sum()),
        }
        for each in np.unique(bins)
    ]


def _near_duplicates(run: EvaluatedRun) -> Caution | None:
    doctor = doctor_content(run)
    if doctor:
        return Caution("Near-duplicates", f"{doctor['sentence']}.", bool(doctor["pairs"]))
    if not run.groups_of(run.run.clips) and run.run.settings.task == MANY_TO_ONE:
        return Caution(
            "Near-duplicates",
            "Not looked for, and no clip has a group: clips of one scene may be in training and test.",
            is_warning=True,
        )
    return None


def _places(run: EvaluatedRun) -> Caution | None:
    """A warning if clips have no groups, so that nothing keeps a place on one side of the split."""
    has_groups = bool(run.groups_of(run.run.clips))
    lines = scene_lines(run.metrics.get("scenes") or {}, has_groups=has_groups)
    if not lines:
        return None
    return Caution("Places", f"{lines[0][0].upper()}{lines[0][1:]}.", is_warning=not has_groups)


def _recordings(run: EvaluatedRun) -> Caution | None:
    if not run.run.data.blocks:
        return None
    recordings = {clip_id.rpartition("#t=")[0] for clip_id in run.run.clips}
    of = "one recording" if len(recordings) == 1 else f"{len(recordings)} recordings"
    return Caution(
        "One recording" if len(recordings) == 1 else "Parts of recordings",
        f"Training and test clips are blocks in time of {of}: the scores tell how well the rest of a recording is "
        "labelled if part of it is known, not how well a new recording would be.",
        is_warning=True,
    )


def _clock(run: EvaluatedRun) -> Caution | None:
    names = [name for name in run.metrics.get("baselines") or {} if name.removesuffix(POSTPROCESSED) in CLOCKS]
    if not names or "macro_f1" not in (run.metrics.get("test") or {}):
        return None
    record = dict(run.metrics) | {"model": run.metrics.get("model", run.run.settings.model)}
    lines = clock_lines(record)
    if lines:
        return Caution("The clock", f"{lines[0][0].upper()}{lines[0][1:]}.", is_warning=True)
    best = max(run.metrics["baselines"][name]["macro_f1"]["value"] for name in names)
    own = run.metrics["test"]["macro_f1"]["value"]
    text = f"A baseline that sees only the time in the recording reaches macro-F1 {best:.2f}; the model {own:.2f}."
    return Caution("The clock", text, is_warning=False)


def _overfitting(run: EvaluatedRun) -> Caution | None:
    fits = [run.run.fit_path(fold.name, seed) for fold in run.run.folds for seed in range(run.run.fits)]
    if not all(path.exists() for path in fits):
        return None
    lines = overfitting_lines(run.run)
    if lines:
        _, _, text = lines[0].partition(": ")
        return Caution("Overfitting", f"{text[0].upper()}{text[1:]}.", is_warning=True)
    return None


def _groups(run: EvaluatedRun) -> Caution | None:
    """With n groups, no sign-flip test gives a p below 2 / 2**n."""
    groups = run.groups_of(clip.clip_id for clip in run.clips)
    number, noun = (len(groups), "group") if groups else (len(run.clips), "clip")
    least = 2.0 ** (1 - number)
    if least < LIKELY:
        return None
    units = counted(number, f"test {noun}")
    text = f"Only {units}: even if the model were ahead in every one, p could not fall below {min(least, 1.0):.2g}."
    return Caution(f"Few {noun}s", text, is_warning=True)


def _calibration(run: EvaluatedRun) -> Caution | None:
    error = (run.metrics.get("test") or {}).get("calibration_error", {}).get("value")
    bins = calibration_bins(run)
    if error is None or not bins:
        return None
    total = sum(each["count"] for each in bins)
    given, right = (sum(each[name] * each["count"] for each in bins) / total for name in ("given", "right"))
    way = "surer than it is right" if given > right else "right more often than it is sure"
    text = (
        f"Probabilities are off by {error:.2f} on average (calibration error); the model is {way}: "
        f"mean probability {given:.2f}, right {right:.2f}."
    )
    return Caution("Calibration", text, is_warning=error > POOR_CALIBRATION)


def _opened(run: EvaluatedRun) -> Caution:
    times = run.run.test_opened
    text = "The test split was opened once."
    if times != 1:
        text = f"The test split was opened {times} times"
        text += ": choices made between two openings make the scores too good." if times > 1 else "."
    return Caution("Test split", text, is_warning=times > 1)


def _seeds(run: EvaluatedRun) -> Caution | None:
    alone: Sequence[float] = next(iter((run.metrics.get("per_seed") or {}).values()), [])
    if len(alone) != 1:
        return None
    text = "One seed: how much the scores change from one training to the next was not measured."
    return Caution("Chance in training", text, is_warning=False)
