"""From the predictions of several models to one table and one sentence: does using the order of timesteps pay off?

The best model of each fold is chosen on its validation clips, so that test labels play no part in the choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from extract.system.terminal import table_text
from extract.text import counted
from sequence_models.experiments.summary import MAIN_SCORES, opened_text
from sequence_models.models.baselines import CLOCKS, baseline_names
from sequence_models.prediction.predict import average
from sequence_models.records import Clip, Prediction, has_groups
from sequence_models.runs.run import Run
from sequence_models.scoring.confidence import counted_groups, no_interval, shown_interval
from sequence_models.scoring.paired import LIKELY, SURE
from sequence_models.scoring.predictions import answers_name, compare_predictions, score_predictions

HOPELESS_GROUPS = 5  # even if all agree, the sign-flip p is 2 ** (1 - groups), which is above LIKELY


@dataclass
class Entry:
    """One row of a comparison.

    Args:
        name: Model or baseline.
        knows_order: Whether its predictions can depend on the order of the timesteps.
        parameters: Number of trained parameters; the mean over folds if a grid changes it.
        seconds: Training time, over all folds, seeds and grid points.
        extraction: Seconds to extract its features, once for all models that use them.
        peak_mb: Peak memory of the process during training, in 10^6 bytes; None if unknown.
        choices: Fold -> validation "score" and "loss"; empty without validation.
        points: Fold -> the folder of the grid point chosen there; empty for a baseline.
        said: Fold -> predictions of its test clips, post-processed.
        plain: The same before post-processing.
        shuffled: As `plain`, but for clips with shuffled timesteps; predictions are put back in the original order.
        seeds: Per seed, the predictions of all folds before post-processing.
    """

    name: str
    knows_order: bool
    parameters: float = 0.0
    seconds: float = 0.0
    extraction: float = 0.0
    peak_mb: float | None = None
    choices: dict[str, dict[str, float]] = field(default_factory=dict)
    points: dict[str, str] = field(default_factory=dict)
    said: dict[str, list[Prediction]] = field(default_factory=dict)
    plain: dict[str, list[Prediction]] = field(default_factory=dict)
    shuffled: dict[str, list[Prediction]] = field(default_factory=dict)
    seeds: list[list[Prediction]] = field(default_factory=list)


def rank(choice: Mapping[str, float] | None) -> tuple[float, float]:
    """The sort key of one of `Entry.choices`: by score, then by lower loss."""
    return (round(choice["score"], 6), -choice["loss"]) if choice else (-1.0, 0.0)


def mean_rank(choices: Iterable[Mapping[str, float]]) -> tuple[float, float]:
    """The mean of `rank` over folds."""
    score, loss = np.mean([rank(choice) for choice in choices] or [rank(None)], axis=0)
    return round(float(score), 6), float(loss)


def comparison_record(
    run: Run, entries: Sequence[Entry], truth: Sequence[Clip], *, validation: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Prediction]]:
    """Score a comparison.

    Args:
        run: The run of the comparison.
        entries: All models and baselines.
        truth: The test clips, pooled over the folds.
        validation: Validation scores of each model and baseline.

    Returns:
        The content of metrics.json, and the predictions of the entries that the folds chose.
    """
    final, names = _chosen(run, entries)
    rows = {entry.name: _row(run, entry, truth) for entry in entries}
    baselines = baseline_names(run.settings.task, causal=run.settings.causal)
    test = _score(run, truth, final)
    record = {
        "task": run.settings.task,
        "model": "chosen per fold",
        "vocabulary": list(run.vocabulary),
        "test": test,
        "average": _score(run, truth, _average_of_all(run, entries)),
        "main_score": _main_score(test),
        "chosen": names,
        "verdict": _verdict(run, entries, truth),
        "models": {name: row for name, row in rows.items() if name not in baselines},
        "baselines": {name: row for name, row in rows.items() if name in baselines},
        "validation": validation,
        "against": {entry.name: compare_predictions(truth, final, _pooled(run, entry.said)) for entry in entries},
        "test_clips": len(truth),
        "test_groups": len({clip.group or clip.clip_id for clip in truth}) if has_groups(truth) else 0,
        "test_opened": run.test_opened,
    }
    return record, final


def motion_hint(record: Mapping[str, Any], inputs: Iterable[Any]) -> str:
    """Suggests another input, in one sentence, if nothing that sees plain pictures is above chance; else "".

    Args:
        record: From `comparison_record`.
        inputs: "input" of the recipe of every store that a model saw; imported features have None.
    """
    if set(inputs) != {"rgb"}:
        return ""
    main, rows = record["main_score"], record["models"] | record["baselines"]
    chance = rows["majority"][main]["value"] if "majority" in rows else 0.0
    if main != "mean_average_precision":  # of which the majority's is all that chance gives
        chance = max(chance, 1 / len(record["vocabulary"]))
    for name, row in rows.items():
        interval = shown_interval(row[main])
        if name not in ("majority", *CLOCKS) and (interval[0] if interval else row[main]["value"]) > chance:
            return ""
    return (
        f"no model or baseline is above chance ({main} {chance:.3f}): the classes may differ in motion, which single "
        "pictures do not show; try clipseq extract --input diff into another --output"
    )


def verdict_sentence(lead: Mapping[str, Any], sides: Sequence[Mapping[str, int]], *, score: str) -> tuple[str, str]:
    """State whether the best sequence model beats the best order-free one.

    Args:
        lead: The result of `compare_predictions` for the two.
        sides: For the sequence models and the order-free ones: name -> in how many folds it was chosen.
        score: Name of the score.

    Returns:
        "better", "worse" or "open", and the sentence.
    """
    sure = lead["p"] < SURE
    kind = "open" if not lead["p"] < LIKELY else "better" if lead["difference"] > 0 else "worse"
    opening = {
        "better": "Order helps" if sure else "Order probably helps",
        "worse": "Order-free models are better" if sure else "Order-free models are probably better",
        "open": "Order is not shown to help",
    }[kind]
    ordered, free = (_names(side) for side in sides)
    low, high = lead["ci95"]
    groups = counted_groups(lead)
    allowed = "" if lead["level"] > 0.949 else f", {100 * lead['level']:.3g} % sure: {groups} allow no more"
    certainty = "" if kind == "open" else f", so surer than {99 if sure else 95} %"
    if kind == "open" and lead["groups"] <= HOPELESS_GROUPS:
        least = 2 ** (1 - lead["groups"])
        certainty = f"; with {groups} it is never below {least:.4f}, so no difference could be sure: add some"
    return kind, (
        f"{opening}: the best sequence model of each fold ({ordered}) reaches {score} {lead['ours']:.3f}, the best "
        f"order-free one ({free}) {lead['theirs']:.3f}, a difference of {lead['difference']:+.3f} "
        f"[{low:+.3f}, {high:+.3f}{allowed}] over {groups}, sign-flip p {lead['p']:.4f}{certainty}."
    )


def comparison_text(record: Mapping[str, Any]) -> str:
    """The table of a comparison, best first, the choices of the folds, and the verdict.

    Args:
        record: From `comparison_record`.
    """
    main = record["main_score"]
    costs = ["parameters", "train s", "extract s", "peak MB"]
    few = no_interval(record["test"][main])
    rows = [[f"test ({few})" if few else "test", main, "macro_f1", "in order, shuffled", "single seeds", *costs]]
    every = record["models"] | record["baselines"]
    for name, row in sorted(every.items(), key=lambda item: -item[1][main]["value"]):
        rows.append([name, *_scores(row, main), *_costs(row)])
    rows.append([record["model"], *_scores(record["test"], main)])
    rows.append(["average of all", *_scores(record["average"], main)])
    known = [k for k in range(len(rows[0])) if any(row[k] for row in rows[1:] if k < len(row))]
    lines = [table_text([[row[k] for k in known if k < len(row)] for row in rows])]
    chosen = ", ".join(f"{name} in {count}" for name, count in record["chosen"].items())
    lines.append(f"chosen per fold, on its validation clips: {chosen}")
    lines.append(f"shuffled: {main} with the timesteps of test clips in random order, before any post-processing")
    if record["verdict"]:
        lines.append(record["verdict"]["sentence"])
    if record.get("hint"):
        lines.append(record["hint"])
    lines.append(opened_text(record))
    if "time" in record:
        lines.append(_time_text(record["time"]))
    return "\n".join(lines)


def _time_text(spent: Mapping[str, float]) -> str:
    """Where the time went."""
    fits, wall, processes = spent.get("FitTask", 0.0), spent["wall"], int(spent["processes"])
    busy = sum(spent.get(kind, 0.0) for kind in ("FitTask", "BaselineTask", "TestTask")) / (wall * processes)
    inside = ", ".join(f"{name} {spent[name] / fits:.0%}" for name in ("updates", "validation") if fits)
    parts = [f"{fits:.0f} s of fits" + (f" ({inside}, the rest is compiling and files)" if inside else "")]
    parts += [
        f"{spent[kind]:.0f} s of {name}"
        for kind, name in (("BaselineTask", "baselines"), ("TestTask", "test predictions"))
        if kind in spent
    ]
    return f"took {wall:.0f} s in {counted(processes, 'process')}, busy {busy:.0%}: {', '.join(parts)}"


def _scores(scores: Mapping[str, Any], main: str) -> list[str]:
    interval = shown_interval(scores[main])
    brackets = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return [f"{scores[main]['value']:.3f}{brackets}", f"{scores['macro_f1']['value']:.3f}"]


def _costs(row: Mapping[str, Any]) -> list[str]:
    deviation = row["seed_deviation"]
    single = "" if deviation is None else f"{np.mean(row['single_seeds']):.3f} sd {deviation:.3f}"
    peak = "" if row["peak_mb"] is None else f"{row['peak_mb']:,.0f}"
    times = (f"{row['seconds']:.1f}", f"{row['extraction_seconds']:.1f}")
    order = f"{row['order_test']['in_order']:.3f}, {row['order_test']['shuffled']:.3f}"
    return [order, single, f"{row['parameters']:,.0f}", *times, peak]


def _verdict(run: Run, entries: Sequence[Entry], truth: Sequence[Clip]) -> dict[str, Any] | None:
    """The best model that uses the order against the best order-free model or baseline; None if one is missing.

    Post-processing over time uses the order too, so for per-frame labels the order-free side goes without it.
    """
    baselines = baseline_names(run.settings.task, causal=run.settings.causal)
    sequence = [entry for entry in entries if entry.knows_order and entry.name not in baselines]
    order_free = [replace(entry, said=entry.plain) for entry in entries if not entry.knows_order]
    if not sequence or not order_free:
        return None
    (ordered, ordered_names), (free, free_names) = (_chosen(run, side) for side in (sequence, order_free))
    lead = compare_predictions(truth, ordered, free)
    kind, sentence = verdict_sentence(lead, (ordered_names, free_names), score=answers_name(run.settings))
    return lead | {"kind": kind, "sentence": sentence, "sequence": ordered_names, "order_free": free_names}


def _chosen(run: Run, entries: Sequence[Entry]) -> tuple[list[Prediction], dict[str, int]]:
    """Pooled predictions of the best entry on validation in each fold, and how often each was chosen."""
    best = {fold.name: _best(entries, fold.name) for fold in run.folds}
    said = [prediction for fold, entry in best.items() for prediction in entry.said[fold]]
    return said, dict(Counter(entry.name for entry in best.values()).most_common())


def _average_of_all(run: Run, entries: Sequence[Entry]) -> list[Prediction]:
    """The mean prediction of all models and baselines but the majority, without choice or post-processing."""
    return average([_pooled(run, entry.plain) for entry in entries if entry.name != "majority" or len(entries) == 1])


def _best(entries: Sequence[Entry], fold: str) -> Entry:
    return max(entries, key=lambda entry: rank(entry.choices.get(fold)))


def _row(run: Run, entry: Entry, truth: Sequence[Clip]) -> dict[str, Any]:
    scores = _score(run, truth, _pooled(run, entry.said))
    main = _main_score(scores)

    def value(predictions: Sequence[Prediction]) -> float:
        return _score(run, truth, predictions)[main]["value"]

    seeds = [value(said) for said in entry.seeds]
    return scores | {
        "knows_order": entry.knows_order,
        "order_test": {name: value(_pooled(run, said)) for name, said in _orders(entry).items()},
        "single_seeds": seeds,
        "seed_deviation": float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None,
        "parameters": entry.parameters,
        "seconds": entry.seconds,
        "extraction_seconds": entry.extraction,
        "peak_mb": entry.peak_mb,
        "points": dict(Counter(entry.points.values()).most_common()),
    }


def _orders(entry: Entry) -> dict[str, dict[str, list[Prediction]]]:
    return {"in_order": entry.plain, "shuffled": entry.shuffled}


def _score(run: Run, truth: Sequence[Clip], predictions: Sequence[Prediction]) -> dict[str, Any]:
    return score_predictions(truth, predictions, run.vocabulary, background=run.background)


def _main_score(scores: Mapping[str, Any]) -> str:
    return next(name for name in MAIN_SCORES if name in scores)


def _pooled(run: Run, of_fold: Mapping[str, list[Prediction]]) -> list[Prediction]:
    return [prediction for fold in run.folds for prediction in of_fold[fold.name]]


def _names(counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} in {count}" for name, count in counts.items())
