"""Turns a run directory into one self-contained HTML file. Data is prepared here and in the modules beside, and
page.html lays everything out with escaping on: names of clips and classes are untrusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extract.system.files import write_text
from sequence_models.report.bouts import bouts_content
from sequence_models.report.cautions import calibration_bins, cautions
from sequence_models.report.comparison import comparison_content
from sequence_models.report.facts import commands, fact_tables, fold_rows, left_out
from sequence_models.report.figures import write_figures
from sequence_models.report.mistakes import strips_content
from sequence_models.report.plots import (
    LOSS,
    PAGE,
    VALIDATION_SCORE,
    chart_svg,
    curves_svg,
    draw_calibration,
    kept_moment,
    usual_step,
)
from sequence_models.report.render import NOTHING, render
from sequence_models.report.run import EvaluatedRun, ReportedClip, confusion_counts, read_evaluated_run
from sequence_models.report.scores import (
    Scored,
    doctor_content,
    lead_rows,
    result_sentence,
    score_tables,
    scored_models,
    scored_variants,
    title_of,
    validation_scores,
    verdict,
)
from sequence_models.report.timeline import timeline_content
from sequence_models.runs.run import FINAL
from sequence_models.scoring.predictions import answers_name
from sequence_models.settings import MANY_TO_MANY

MOST_CLIPS = 300
FIRST_CLIPS = 20  # those that are not folded away
MOST_CURVES = 60
MOST_COLUMNS = 50  # classes in a confusion matrix; with more, only the commonest confusions are listed
MOST_PAIRS = 50
FIRST_SCORES = 2  # score tables that are not folded away


def write_report(run: Path, output: Path | None = None, *, figures: Path | None = None) -> Path:
    """Writes one HTML file about an evaluated run.

    Args:
        run: The run directory, with run.json, metrics.json and predictions.npz.
        output: Where to; None = `report.html` in the run directory.
        figures: A folder for the plots as PDF and PNG with their data as CSV; None = none.

    Returns:
        The path of the report: one file that needs no other files and no network.

    Raises:
        RunError: The directory is not a run, was not evaluated, or its files do not match.
        WriteError: A file cannot be written.
    """
    evaluated = read_evaluated_run(run)
    output = output or run / "report.html"
    write_text(output, _page(evaluated))
    if figures is not None:
        write_figures(evaluated, figures)
    return output


def _page(run: EvaluatedRun) -> str:
    content = report_content(run)
    timeline = content["timeline"] or {"recordings": 0}
    return render("page.html", content, timeline=timeline["data"] if timeline["recordings"] else "")


def report_content(run: EvaluatedRun) -> dict[str, Any]:
    """Prepares everything the page shows.

    Args:
        run: An evaluated run.

    Returns:
        The variables of page.html.
    """
    models, validation = scored_models(run), validation_scores(run)
    vocabulary, many_to_many = run.run.vocabulary, run.run.settings.task == MANY_TO_MANY
    variants, multi_label = scored_variants(run), run.run.settings.multi_label
    counts = None if multi_label else confusion_counts(run.clips, num_classes=len(vocabulary))
    tables = score_tables(models, variants, validation)
    return {
        "name": run.run.path.resolve().name,
        "task": run.run.settings.task,
        "many_to_many": many_to_many,
        "multi_label": multi_label,
        "unit": "frames" if many_to_many else "clips",
        "time_unit": "s" if run.run.time_unit == "seconds" else run.run.time_unit,
        "sentence": result_sentence(run, models),
        "verdict": verdict(models, score=answers_name(run.run.settings)),
        "cautions": cautions(run),
        "doctor": doctor_content(run),
        "tiles": _tiles(run, models[0], many_to_many=many_to_many),
        "strips": strips_content(run),
        "models": models,
        "variants": variants,
        "validation": bool(validation),
        "intervals": any(score.ci95 for model in models for score in model.scores.values()),
        "first_scores": tables[:FIRST_SCORES],
        "more_scores": tables[FIRST_SCORES:],
        "leads": lead_rows(models),
        "seeds": _seeds(run),
        "comparison": comparison_content(run),
        "curves": _curves(run),
        "vocabulary": vocabulary,
        "confusion": None if counts is None or len(vocabulary) > MOST_COLUMNS else _confusion_rows(counts),
        "confused": None if counts is None else confused_pairs(counts, vocabulary),
        "per_class": multilabel_rows(run) if counts is None else per_class_rows(counts, vocabulary),
        "calibration": _calibration(run),
        "clips": _clip_table(run),
        "first_clips": FIRST_CLIPS,
        "timeline": timeline_content(run, sorted(run.clips, key=_worst_first)) if many_to_many else None,
        "bouts": bouts_content(run) if many_to_many else None,
        "folds": fold_rows(run),
        "left_out": left_out(run),
        "commands": commands(run),
        "one_split": not run.run.cv,
        "tables": fact_tables(run),
    }


def per_class_rows(counts: np.ndarray, vocabulary: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class; None if a score would divide by zero.

    Args:
        counts: int64 (K, K), rows = truth, columns = prediction.
        vocabulary: The K class names.

    Returns:
        One mapping per class: "name", "precision", "recall", "f1", "support".
    """
    rows = []
    for name, right, support, said in zip(vocabulary, counts.diagonal(), counts.sum(1), counts.sum(0), strict=True):
        rows.append(
            {
                "name": name,
                "precision": right / said if said else None,
                "recall": right / support if support else None,
                "f1": 2 * right / (support + said) if support + said else None,
                "support": int(support),
            }
        )
    return rows


def confused_pairs(counts: np.ndarray, vocabulary: Sequence[str]) -> list[dict[str, Any]]:
    """The commonest confusions, at most 50.

    Args:
        counts: int64 (K, K), rows = truth, columns = prediction.
        vocabulary: The K class names.

    Returns:
        "truth", "predicted", "count" and "share" of the true ones, the highest count first.
    """
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [divmod(int(place), len(counts)) for place in order]
    return [
        {
            "truth": vocabulary[row],
            "predicted": vocabulary[column],
            "count": int(wrong[row, column]),
            "share": float(wrong[row, column] / counts[row].sum()),
        }
        for row, column in pairs
        if wrong[row, column]
    ]


def multilabel_rows(run: EvaluatedRun) -> list[dict[str, Any]]:
    """Average precision and F1 of each class from metrics.json; None if the class was not scored.

    Args:
        run: An evaluated multi-label run.

    Returns:
        One mapping per class: "name", "ap", "f1" and "support", the labelled frames with the class.
    """
    test = run.metrics.get("test") or {}
    support = sum((clip.truth[clip.labelled].sum(axis=0) for clip in run.clips), np.zeros(run.run.num_classes, int))
    return [
        {
            "name": name,
            **{key: (test.get(f"per_class_{key}") or {}).get(name, {}).get("value") for key in ("ap", "f1")},
            "support": int(count),
        }
        for name, count in zip(run.run.vocabulary, support, strict=True)
    ]


def _tiles(run: EvaluatedRun, own: Scored, *, many_to_many: bool) -> list[dict[str, str]]:
    tiles = [
        {"name": title_of(name), "value": score.text(2), "note": f"{score.interval(2)} 95 %" if score.ci95 else ""}
        for name, score in own.scores.items()
        if name in ("accuracy", "frame_accuracy", "mean_average_precision", "macro_f1")
    ]
    groups = len({clip.group for clip in run.clips} - {""})
    note = f"{groups:,} group{'s' * (groups != 1)}" if groups else ""
    tiles.append({"name": "test clips", "value": f"{len(run.clips):,}", "note": note})
    if many_to_many:
        labelled, frames = (
            sum(counts) for counts in zip(*((clip.labelled.sum(), len(clip.truth)) for clip in run.clips), strict=True)
        )
        note = "all labelled" if labelled == frames else f"{labelled:,} labelled"
        tiles.append({"name": "test frames", "value": f"{frames:,}", "note": note})
    tiles.append({"name": "classes", "value": str(run.run.num_classes), "note": ""})
    return tiles


def _seeds(run: EvaluatedRun) -> str:
    """The scores of single seeds, if there are several."""
    per_seed = run.metrics.get("per_seed") or {}
    when = " before post-processing" if run.metrics.get("before_postprocessing") else ""
    return "; ".join(
        f"{title_of(name)} of the {len(values)} seeds alone{when}: {min(values):.3f} to {max(values):.3f}"
        for name, values in per_seed.items()
        if len(values) > 1
    )


def _curves(run: EvaluatedRun) -> dict[str, Any]:
    logs = [log for name, log in run.logs.items() if not name.startswith(f"{FINAL}-")]
    charts = [
        {"title": title, "svg": curves_svg(logs[:MOST_CURVES], lines=lines, title=title)}
        for title, lines in (("loss", LOSS), ("validation score", VALIDATION_SCORE))
    ]
    kept = sorted(moment for log in logs if (moment := kept_moment(log)) is not None)
    return {
        "charts": [chart for chart in charts if chart["svg"]],
        "shown": min(len(logs), MOST_CURVES),
        "all": len(logs),
        "kept": (kept[0], kept[len(kept) // 2], kept[-1]) if kept else None,
    }


def _calibration(run: EvaluatedRun) -> dict[str, Any] | None:
    bins = calibration_bins(run)
    if not bins:
        return None
    title = "share that is right against the probability given"
    return {"bins": bins, "svg": chart_svg(lambda axes: draw_calibration(axes, bins, colours=PAGE), title=title)}


def _confusion_rows(counts: np.ndarray) -> list[list[dict[str, Any]]]:
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    return [
        [{"count": int(count), "share": float(share)} for count, share in zip(*row, strict=True)]
        for row in zip(counts, shares, strict=True)
    ]


def _worst_first(clip: ReportedClip) -> tuple[float, float, str]:
    """Wrong before right; among wrong ones the most confident first, among right ones the least confident."""
    accuracy = 2.0 if clip.accuracy is None else clip.accuracy  # nothing to get wrong: last
    return (accuracy, -clip.confidence if accuracy < 1 else clip.confidence, clip.clip_id)


def _clip_table(run: EvaluatedRun) -> dict[str, Any]:
    ordered = sorted(run.clips, key=_worst_first)
    hidden = ordered[MOST_CLIPS:]
    return {
        "unit": run.run.time_unit,
        "rows": [{**_clip_row(clip), **_names(clip, run.run.vocabulary)} for clip in ordered[:MOST_CLIPS]],
        "all": len(ordered),
        "hidden": len(hidden),
        "hidden_wrong": sum(clip.accuracy is not None and clip.accuracy < 1 for clip in hidden),
        "has_groups": any(clip.group for clip in run.clips),
        "has_folds": len(run.run.folds) > 1,
    }


def _names(clip: ReportedClip, vocabulary: Sequence[str]) -> dict[str, str]:
    """Truth and prediction in words, for a clip with a single label."""
    if clip.truth.shape != (1,):
        return {}
    truth = vocabulary[clip.truth[0]] if clip.labelled[0] else NOTHING
    return {"truth": truth, "predicted": vocabulary[clip.predicted[0]]}


def _clip_row(clip: ReportedClip) -> dict[str, Any]:
    return {
        "clip_id": clip.clip_id,
        "group": clip.group,
        "fold": clip.fold,
        "probability": clip.confidence,
        "accuracy": clip.accuracy,
        "frames": len(clip.truth),
        "length": float(clip.pts_seconds[-1] - clip.pts_seconds[0]) + usual_step(clip.pts_seconds),
    }
