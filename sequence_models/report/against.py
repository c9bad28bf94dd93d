"""Two evaluated runs on the same clips: what differs in settings, data and scores, and which clips turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from extract.system.files import write_text
from extract.text import counted
from sequence_models.report.facts import plain_rows
from sequence_models.report.mistakes import spread_over_clips, stretch_strip
from sequence_models.report.pictures import open_stores
from sequence_models.report.render import NOTHING, render
from sequence_models.report.run import EvaluatedRun, read_evaluated_run
from sequence_models.report.scores import MAIN_SCORES, score_of, score_table
from sequence_models.report.shared import (
    Shared,
    paired_shares,
    refuse_incomparable,
    shared_clips,
    turned_stretches,
)
from sequence_models.scoring.confidence import counted_groups
from sequence_models.scoring.paired import LIKELY, SURE
from sequence_models.scoring.predictions import answers_name
from sequence_models.settings import MANY_TO_MANY

MOST_STRIPS = 8  # of each kind
MOST_ROWS = 100


def write_difference(run: Path, other: Path, output: Path | None = None) -> Path:
    """Writes one HTML file about the difference of two evaluated runs.

    Args:
        run: A run directory.
        other: The run directory it is compared with.
        output: Where to; None: `against-NAME.html` in the first run directory.

    Returns:
        Where it is.

    Raises:
        RunError: A directory is not an evaluated run, or the two cannot be compared.
        WriteError: The file cannot be written.
    """
    ours, theirs = (read_evaluated_run(path, refuse_stale=False) for path in (run, other))
    output = output or run / f"against-{other.resolve().name}.html"
    write_text(output, render("against.html", difference_content(ours, theirs)))
    return output


def difference_content(ours: EvaluatedRun, theirs: EvaluatedRun) -> dict[str, Any]:
    """Prepares everything the page shows.

    Args:
        ours, theirs: Evaluated runs of one task.

    Returns:
        The variables of against.html.

    Raises:
        RunError: They have different tasks or units of time, or no test clip in common.
    """
    refuse_incomparable(ours.run, theirs.run)
    names = _names(ours.run.path, theirs.run.path)
    shared, other_truth = shared_clips(ours, theirs)
    per_frame = ours.run.settings.task == MANY_TO_MANY
    paired = paired_shares(shared)
    tested = [{clip.clip_id for clip in each.clips} for each in (ours, theirs)]
    return {
        "name": f"{names[0]} against {names[1]}",
        "names": names,
        "task": ours.run.settings.task,
        "many_to_many": per_frame,
        "time_unit": "s" if ours.run.time_unit == "seconds" else ours.run.time_unit,
        "verdict": _verdict(paired, names, answers_name(ours.run.settings)),
        "paired": paired,
        "counts": {
            "shared": len(shared),
            "steps": sum(len(each.steps) for each in shared),
            "only": [len(tested[0] - tested[1]), len(tested[1] - tested[0])],
            "other_truth": other_truth,
        },
        "turned": [_turned_content(ours, shared, way) for way in (1, -1)],
        "recordings": _recordings(shared) if per_frame else [],
        "settings": _changes(asdict(ours.run.settings), asdict(theirs.run.settings)),
        "data": _changes(_data_of(ours), _data_of(theirs)),
        "versions": _changes(dict(ours.run.versions), dict(theirs.run.versions)),
        "tables": _score_tables(ours, theirs, names),
    }


def _names(path: Path, other: Path) -> tuple[str, str]:
    """What the runs are called: their folders, with the folders above where these are the same."""
    one, two = path.resolve(), other.resolve()
    if one.name != two.name:
        return one.name, two.name
    return f"{one.parent.name}/{one.name}", f"{two.parent.name}/{two.name}"


def _verdict(paired: dict[str, Any], names: tuple[str, str], score: str) -> dict[str, str]:
    difference, p, (low, high) = paired["difference"], paired["p"], paired["ci95"]
    kind = "open" if not p < LIKELY else "better" if difference > 0 else "worse"
    verb = {"better": "is better than", "worse": "is worse than", "open": "is not clearly different from"}[kind]
    verb = f"probably {verb}" if kind != "open" and p >= SURE else verb
    text = (
        f"{names[0]} {verb} {names[1]} on the same test data: {score} {paired['ours']:.3f} against "
        f"{paired['theirs']:.3f}, {difference:+.3f} [{low:+.3f}, {high:+.3f}] ({100 * paired['level']:.3g} % interval)"
        f", ahead in {paired['groups_better']} of {counted_groups(paired)}, sign-flip p {p:.3f}"
    )
    return {"kind": kind, "text": text}


def _turned_content(run: EvaluatedRun, shared: Sequence[Shared], way: int) -> dict[str, Any]:
    """What turned right (1) or wrong (-1): strips of the most important, and rows of all."""
    stretches = [stretch for each in shared for stretch in turned_stretches(each, way)]
    stretches.sort(key=lambda each: (-each[2], each[0].clip.clip_id, each[1][0]))
    kept = spread_over_clips(stretches, [id(each) for each, _, _ in stretches], most=MOST_ROWS)
    stores = open_stores(run)
    rows = [_row(run, each, steps) for each, steps, _ in kept]
    strips = [
        row | stretch_strip(run, each.clip, int(each.steps[steps[0]]), int(each.steps[steps[-1]]) + 1, stores)
        for row, (each, steps, _) in zip(rows[:MOST_STRIPS], kept, strict=False)
    ]
    reasons = {strip["why"] for strip in strips}
    return {
        "way": way,
        "strips": strips,
        "why": reasons.pop() if len(strips) > 1 and len(reasons) == 1 else "",
        "rows": rows[MOST_STRIPS:],
        "clips": sum(bool((each.turned == way).any()) for each in shared),
        "steps": sum(int((each.turned == way).sum()) for each in shared),
    }


def _row(run: EvaluatedRun, each: Shared, steps: np.ndarray) -> dict[str, Any]:
    said = {name: _words(run, getattr(each, name)[steps[0]]) for name in ("truth", "ours", "theirs")}
    return {"clip_id": each.clip.clip_id, "group": each.clip.group, "steps": len(steps), **said}


def _words(run: EvaluatedRun, label: Any) -> str:
    names = run.run.vocabulary
    if np.ndim(label):
        return ", ".join(names[k] for k in np.flatnonzero(label > 0)) or "nothing"
    return names[label] if label >= 0 else "a class that only the other run has"


def _recordings(shared: Sequence[Shared]) -> list[dict[str, Any]]:
    """How much of each recording is right in both runs; the greatest changes first."""
    rows = [
        {
            "clip_id": each.clip.clip_id,
            "steps": len(each.steps),
            "ours": each.right[0] / len(each.steps),
            "theirs": each.right[1] / len(each.steps),
        }
        for each in shared
    ]
    rows.sort(key=lambda row: (-abs(row["ours"] - row["theirs"]), row["clip_id"]))
    return rows[:MOST_ROWS]


def _data_of(evaluated: EvaluatedRun) -> dict[str, Any]:
    run = evaluated.run
    return {
        "stores": list(run.stores),
        "labels": run.labels or "the folders of the clips",
        "classes": list(run.vocabulary),
        "clips": len(run.clips),
        "test clips": len(evaluated.clips),
        "test groups": len(evaluated.groups_of(clip.clip_id for clip in evaluated.clips)),
        "embedding dim": run.embedding_dim,
        "cross-validation": run.cv or "none, one split",
        "folds": len(run.folds),
        "seeds": run.seeds,
        "fits per fold": run.fits,
        "test split opened": counted(run.test_opened, "time"),
        **{name: value for name, value in asdict(run.data).items() if value is not None},
        **{f"recipe {k}" if k > 1 else "recipe": recipe for k, recipe in enumerate(run.recipes, 1)},
    }


def _changes(ours: dict[str, Any], theirs: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value of the first, value of the second) of whatever differs."""
    one, other = (dict(plain_rows(each)) for each in (ours, theirs))
    names = [*one, *(name for name in other if name not in one)]
    return [
        (name, one.get(name, NOTHING), other.get(name, NOTHING)) for name in names if one.get(name) != other.get(name)
    ]


def _score_tables(ours: EvaluatedRun, theirs: EvaluatedRun, names: tuple[str, str]) -> list[dict[str, Any]]:
    """A table per score that both have, the leading scores first; of each run's own test clips."""
    tests = [each.metrics.get("test") or {} for each in (ours, theirs)]
    both = [name for name in tests[0] if all(_is_number(test.get(name)) for test in tests)]
    ordered = [*(name for name in MAIN_SCORES if name in both), *(name for name in both if name not in MAIN_SCORES)]
    tables = []
    for name in ordered:
        scores = [score_of(test[name]) for test in tests]
        rows = [
            {"title": title, "role": role, "score": score}
            for title, role, score in zip(names, ("own", "other"), scores, strict=True)
        ]
        tables.append(score_table(name, rows, protocol=scores[0].protocol, chance=_chance(ours, name)))
    return tables


def _is_number(score: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(score, dict) and isinstance(score.get("value"), int | float) and bool(np.isfinite(score["value"]))


def _chance(run: EvaluatedRun, name: str) -> float | None:
    score = ((run.metrics.get("baselines") or {}).get("majority") or {}).get(name)
    return float(score["value"]) if _is_number(score) else None
