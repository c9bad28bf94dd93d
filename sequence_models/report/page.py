"""Turns a run directory into one self-contained HTML file. Data is prepared here, charts are drawn in plots.py, and
page.html lays everything out with escaping on: names of clips and classes are untrusted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from extract.system.files import write_text
from sequence_models.report.comparison import comparison_content
from sequence_models.report.plots import ABSENT, class_palette, curves_svg, kept_moment, ribbon_png, usual_step
from sequence_models.report.run import EvaluatedRun, ReportedClip, read_evaluated_run
from sequence_models.report.scores import (
    Scored,
    doctor_content,
    result_sentence,
    score_charts,
    score_rows,
    scored_models,
    scored_variants,
    title_of,
    validation_scores,
    verdict,
)
from sequence_models.runs.run import FINAL
from sequence_models.scoring.metrics import confusion_matrix
from sequence_models.scoring.predictions import answers_name
from sequence_models.settings import MANY_TO_MANY

MOST_CLIPS = 300
MOST_RIBBONS = 24
MOST_STRIPS = 10  # classes drawn per clip in a multi-label run
MOST_CURVES = 60
NOTHING = "\N{EN DASH}"


def write_report(run: Path) -> Path:
    """Writes `report.html` into an evaluated run directory.

    Args:
        run: The run directory, with run.json, metrics.json and predictions.npz.

    Returns:
        The path of the report: one file that needs no other files, scripts or network.

    Raises:
        RunError: The directory is not a run, was not evaluated, or its files do not match.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    content = report_content(read_evaluated_run(run))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(share=_share_text, thousands="{:,}".format)
    page = environment.get_template("page.html").render(content)
    write_text(run / "report.html", page)
    return run / "report.html"


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
    return {
        "name": run.run.path.resolve().name,
        "task": run.run.settings.task,
        "many_to_many": many_to_many,
        "multi_label": multi_label,
        "unit": "frames" if many_to_many else "clips",
        "sentence": result_sentence(run, models),
        "verdict": verdict(models, score=answers_name(run.run.settings)),
        "doctor": doctor_content(run),
        "test_opened": run.run.test_opened,
        "tiles": _tiles(run, models[0], many_to_many=many_to_many),
        "models": models,
        "variants": variants,
        "validation": bool(validation),
        "intervals": any(score.ci95 for model in models for score in model.scores.values()),
        "scores": score_rows(models, variants, validation),
        "seeds": _seeds(run),
        "comparison": comparison_content(run),
        "charts": score_charts(models, variants),
        "curves": _curves(run),
        "vocabulary": vocabulary,
        "confusion": None if counts is None else _confusion_rows(counts),
        "per_class": multilabel_rows(run) if counts is None else per_class_rows(counts, vocabulary),
        "clips": _clip_table(run),
        "ribbons": _ribbons(run) if many_to_many else None,
        "folds": _fold_rows(run),
        "tables": _fact_tables(run),
    }


def confusion_counts(clips: Sequence[ReportedClip], *, num_classes: int) -> np.ndarray:
    """Counts truth against prediction over all labelled clips or frames.

    Args:
        clips: Test clips with one label per step.
        num_classes: K.

    Returns:
        int64 (K, K), rows = truth, columns = prediction.
    """
    truth, predicted = (np.concatenate([getattr(clip, name) for clip in clips]) for name in ("truth", "predicted"))
    return confusion_matrix(truth, predicted, num_classes)


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


def _share_text(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


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
        for title, lines in (
            ("loss", {"loss": "training", "validation_loss": "validation"}),
            ("validation score", {"validation_score": "validation"}),
        )
    ]
    kept = sorted(moment for log in logs if (moment := kept_moment(log)) is not None)
    return {
        "charts": [chart for chart in charts if chart["svg"]],
        "shown": min(len(logs), MOST_CURVES),
        "all": len(logs),
        "kept": (kept[0], kept[len(kept) // 2], kept[-1]) if kept else None,
    }


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


def _ribbons(run: EvaluatedRun) -> dict[str, Any]:
    palette = class_palette(len(run.run.vocabulary))
    ordered = sorted(run.clips, key=_worst_first)
    return {
        "unit": "s" if run.run.time_unit == "seconds" else run.run.time_unit,
        "legend": list(zip(run.run.vocabulary, palette, strict=True)),
        "rows": [_ribbon(clip, run.run.vocabulary, palette) for clip in ordered[:MOST_RIBBONS]],
        "hidden": len(ordered[MOST_RIBBONS:]),
        "unlabelled": not all(clip.labelled.all() for clip in run.clips),
    }


def _strip_classes(clip: ReportedClip) -> list[int]:
    """The classes in the truth or the prediction of a multi-label clip, longest first."""
    steps = ((clip.truth > 0) | (clip.predicted > 0)).sum(axis=0)
    return [int(k) for k in np.argsort(-steps, kind="stable") if steps[k]]


def _ribbon(clip: ReportedClip, vocabulary: Sequence[str], palette: Sequence[str]) -> dict[str, Any]:
    start, end = float(clip.pts_seconds[0]), float(clip.pts_seconds[-1]) + usual_step(clip.pts_seconds)
    drawn: list[tuple[str, np.ndarray, np.ndarray, Sequence[str]]] = [("", clip.truth, clip.predicted, palette)]
    if clip.truth.ndim == 2:
        drawn = [
            (vocabulary[k], clip.truth[:, k], clip.predicted[:, k], (ABSENT, palette[k])) for k in _strip_classes(clip)
        ]
    strips = [
        {
            "class": name,
            "truth": ribbon_png(truth, clip.pts_seconds, end_seconds=end, palette=colours),
            "prediction": ribbon_png(predicted, clip.pts_seconds, end_seconds=end, palette=colours),
        }
        for name, truth, predicted, colours in drawn[:MOST_STRIPS]
    ]
    return {**_clip_row(clip), "strips": strips, "hidden": len(drawn) - len(strips), "start": start, "end": end}


def _fold_rows(run: EvaluatedRun) -> list[dict[str, Any]]:
    return [
        {
            "name": fold.name,
            **{part: len(getattr(fold, part)) for part in ("train", "validation", "test")},
            "groups": sorted(run.groups_of(fold.test)),
        }
        for fold in run.run.folds
    ]


def _fact_tables(run: EvaluatedRun) -> list[dict[str, Any]]:
    """What the run was made with, as two-column tables."""
    told = run.run
    recipes = [
        {"title": "Recipe" if len(told.recipes) == 1 else f"Recipe {k}", "rows": {"fingerprint": mark, **recipe}}
        for k, (recipe, mark) in enumerate(zip(told.recipes, told.fingerprints, strict=True), 1)
    ]
    data = {
        "stores": list(told.stores),
        "labels": told.labels or "the folders of the clips",
        "embedding_dim": told.embedding_dim,
        "cross-validation": told.cv or "none, one split",
        "seeds": told.seeds,
        "fits per fold": told.fits,
        **asdict(told.data),
    }
    compared = run.metrics.get("models")
    models = {"models": ", ".join(compared)} if compared else {"model": told.settings.model}
    tables: list[dict[str, Any]] = [
        {"title": "Settings", "rows": {**models, **{k: v for k, v in asdict(told.settings).items() if k != "model"}}},
        *recipes,
        {"title": "Data", "rows": {key: value for key, value in data.items() if value is not None}},
        {"title": "Versions", "rows": told.versions},
    ]
    return [{**table, "rows": _plain_rows(table["rows"])} for table in tables if table["rows"]]


def _plain_rows(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = prefix + key.replace("_", " ")
        if isinstance(value, Mapping) and value:
            rows += _plain_rows(value, f"{name} · ")
        elif isinstance(value, list) and all(isinstance(part, str) for part in value):
            rows.append((name, ", ".join(value)))
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return rows
