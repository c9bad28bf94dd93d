"""The report section on a comparison: the verdict, a table of all models, and their scores as dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sequence_models.report.plots import LOSS, curves_svg
from sequence_models.report.run import EvaluatedRun, read_logs
from sequence_models.report.scores import CHANCE, score_of, score_table, title_of
from sequence_models.runs.run import FINAL

MOST_CURVES = 60  # per model


def comparison_content(run: EvaluatedRun) -> dict[str, Any] | None:
    """Prepares the section on the models of a comparison.

    Args:
        run: An evaluated run.

    Returns:
        None for a run that is not a comparison; else "score", its title; "kind" and "sentence" of the verdict, "" if
        none; "chosen"; "rows", one mapping per model or baseline, best first; "tables", from `score_table`, with the
        chosen model and the average of all; and training "curves" per model, each with "title" and "svg".
    """
    metrics = run.metrics
    if "chosen" not in metrics:
        return None
    main = metrics["main_score"]
    every = {name: metrics[part][name] for part in ("models", "baselines") for name in metrics[part]}
    rows = [
        _row(name, every[name], main) for name in sorted(every, key=lambda name: -float(every[name][main]["value"]))
    ]
    verdict = metrics["verdict"] or {"kind": "", "sentence": ""}
    return {
        "score": title_of(main),
        "kind": verdict["kind"],
        "sentence": verdict["sentence"],
        "chosen": ", ".join(f"{title_of(name)} in {count}" for name, count in metrics["chosen"].items()),
        "rows": rows,
        "has_single": any(row["single"] for row in rows),
        "has_extraction": any(row["extraction_seconds"] for row in rows),
        "has_peak": any(row["peak_mb"] for row in rows),
        "tables": [_table(metrics, rows, name) for name in dict.fromkeys((main, "macro_f1"))],
        "curves": [chart for name in metrics["models"] for chart in _curves(run, name)],
    }


def _curves(run: EvaluatedRun, model: str) -> list[dict[str, str]]:
    """The losses of a model's fits at the grid point that most folds chose; empty without logs."""
    folder = next(iter(run.metrics["models"][model]["points"]))
    logs = [log for name, log in read_logs(run.run.path / folder).items() if not name.startswith(f"{FINAL}-")]
    svg = curves_svg(logs[:MOST_CURVES], lines=LOSS, title=folder)
    return [{"title": f"{folder}: loss", "svg": svg}] if svg else []


def _row(name: str, row: dict[str, Any], main: str) -> dict[str, Any]:
    deviation = row["seed_deviation"]
    return {
        "title": title_of(name),
        "knows_order": row["knows_order"],
        "scores": {name: score_of(row[name]) for name in (main, "macro_f1")},
        "marks": {main: row["order_test"]["shuffled"]},
        "single": "" if deviation is None else f"{np.mean(row['single_seeds']):.3f} ± {deviation:.3f}",
        "parameters": row["parameters"],
        "seconds": row["seconds"],
        "extraction_seconds": row["extraction_seconds"],
        "peak_mb": row["peak_mb"],
        "points": [name for name in row["points"] if "=" in name],
    }


def _table(metrics: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """One score of the chosen model, of the average of all, and of every model and baseline."""
    parts = (("test", f"{metrics['model']}, as chosen"), ("average", "average of all"))  # older runs have no average
    shown: list[dict[str, Any]] = [
        {"title": title, "role": "variant", "score": score_of(metrics[part][name])}
        for part, title in parts
        if part in metrics
    ]
    shown += [
        {
            "title": row["title"],
            "role": "own" if row["knows_order"] else "other",
            "score": row["scores"][name],
            "mark": row["marks"].get(name),
        }
        for row in rows
    ]
    chance = next((row["scores"][name].value for row in rows if row["title"] == CHANCE), None)
    return score_table(name, shown, protocol=score_of(metrics["test"][name]).protocol, chance=chance)
