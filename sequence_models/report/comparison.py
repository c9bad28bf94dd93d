"""The report section on a comparison: the verdict, a table and a chart of all models."""

from __future__ import annotations

from typing import Any

import numpy as np

from sequence_models.report.plots import bars_svg, curves_svg
from sequence_models.report.run import EvaluatedRun, read_logs
from sequence_models.report.scores import label_of, score_of, title_of
from sequence_models.runs.run import FINAL

MOST_CURVES = 60  # per model


def comparison_content(run: EvaluatedRun) -> dict[str, Any] | None:
    """Prepares the section on the models of a comparison.

    Args:
        run: An evaluated run.

    Returns:
        None for a run that is not a comparison; else "score", its title; "kind" and "sentence" of the verdict, "" if
        none; "chosen"; "rows", one mapping per model or baseline, best first; "summary", the scores of the chosen model
        and of the average of all; "charts", and training "curves" per model, each with "title" and "svg".
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
        "summary": {
            title: {name: score_of(metrics[part][name]) for name in (main, "macro_f1")}
            for part, title in (("test", str(metrics["model"])), ("average", "average of all"))
            if part in metrics  # older runs have no average
        },
        "charts": [
            {"title": title_of(name), "svg": bars_svg([_bar(row, name) for row in rows], top=1.0, title=title_of(name))}
            for name in (main, "macro_f1")
        ],
        "curves": [chart for name in metrics["models"] for chart in _curves(run, name)],
    }


def _curves(run: EvaluatedRun, model: str) -> list[dict[str, str]]:
    """The losses of a model's fits at the grid point that most folds chose; empty without logs."""
    folder = next(iter(run.metrics["models"][model]["points"]))
    logs = [log for name, log in read_logs(run.run.path / folder).items() if not name.startswith(f"{FINAL}-")]
    svg = curves_svg(logs[:MOST_CURVES], lines={"loss": "training", "validation_loss": "validation"}, title=folder)
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


def _bar(row: dict[str, Any], name: str) -> dict[str, Any]:
    score = row["scores"][name]
    bar = {"name": label_of(row["title"]), "value": score.value, "ci95": score.ci95, "text": score.text(2)}
    return bar | {"is_model": row["knows_order"], "mark": row["marks"].get(name)}
