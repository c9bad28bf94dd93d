"""The report's scores: the sentence, the verdict, and a table per score with models and baselines as rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from extract.text import counted
from sequence_models.catalogue import RAW_MODEL_NAMES
from sequence_models.experiments.summary import near_duplicate_effect
from sequence_models.report.run import EvaluatedRun
from sequence_models.runs.run import MODEL, POSTPROCESSED
from sequence_models.scoring.confidence import counted_groups, no_interval, shown_interval
from sequence_models.scoring.paired import LIKELY, SURE

# The leading scores, shown first; a run's main score is the first it has.
MAIN_SCORES = ("accuracy", "frame_accuracy", "mean_average_precision", "macro_f1", "edit", "f1@25")
MOST_PAIRS = 20
VARIANTS = {"before_postprocessing": "before post-processing", "at_label_frames": "at every label frame"}
TITLES = {
    "majority": "majority class",
    "meanpool_logreg": "mean-pool logistic regression",
    "meanmaxstd_logreg": "logistic regression on mean, maximum and deviation",
    "thirds_logreg": "logistic regression on thirds",
    "thirds_delta_logreg": "logistic regression on thirds and their motion",
    "window_logreg": "logistic regression on windows",
    "window_trees": "random trees on windows",
    "clock_logreg": "logistic regression on the time in the recording",
    "clock_since_start_logreg": "logistic regression on the time since the start",
    "framewise_logreg": "frame-by-frame logistic regression",
    "mean_average_precision": "mean average precision",
    "macro_f1": "macro-F1",
    "edit": "edit score",
    "kappa": "Cohen's kappa",
    "top3_accuracy": "top-3 accuracy",
    "top5_accuracy": "top-5 accuracy",
}


CHANCE = TITLES["majority"]


@dataclass(frozen=True)
class Score:
    """One number with its protocol.

    Args:
        value: 0 to 1 or 0 to 100; never nan.
        protocol: How it was computed.
        ci95: Ends of its 95 % interval, or None.
    """

    value: float
    protocol: str
    ci95: tuple[float, float] | None

    def text(self, digits: int = 3) -> str:
        """The value as text; with one decimal on the scale to 100."""
        return self._write(self.value, digits)

    def interval(self, digits: int = 3) -> str:
        """The interval as text, "" if there is none."""
        return "[{}, {}]".format(*(self._write(end, digits) for end in self.ci95)) if self.ci95 else ""

    def _write(self, number: float, digits: int) -> str:
        return f"{number:.1f}" if self.top > 1 else f"{number:.{digits}f}"

    @property
    def top(self) -> float:
        """The best possible value: 1 or 100."""
        return 100.0 if max(self.value, *(self.ci95 or ()), 0.0) > 1 else 1.0


@dataclass(frozen=True)
class Scored:
    """All scores of one model.

    Args:
        title: The model's name in the report.
        is_model: Whether it is the run's own model.
        scores: Name of the score -> its value.
        lead: How far the run's own model is ahead of it, paired ("difference", "groups_better", "groups", "p" and
            "protocol"); empty if unknown.
    """

    title: str
    is_model: bool
    scores: Mapping[str, Score]
    lead: Mapping[str, Any] = field(default_factory=dict)


def scored_models(run: EvaluatedRun) -> list[Scored]:
    """Collects the test scores of the run's model, other models and baselines.

    Args:
        run: An evaluated run.

    Returns:
        The run's own model first, then the others from best to worst; for a comparison only the chosen one.
    """
    own = Scored(str(run.metrics.get("model", run.run.settings.model)), True, _scores(run.metrics.get("test")))
    if "chosen" in run.metrics:
        return [own]
    leads = run.metrics.get("against") or {}
    others = [
        Scored(title_of(name), False, _scores(scores), leads.get(name) or {})
        for part in ("models", "baselines")
        # among equals, the one post-processed like the model comes first
        for name, scores in sorted((run.metrics.get(part) or {}).items(), key=lambda item: POSTPROCESSED not in item[0])
        if part == "baselines" or name != run.run.settings.model
    ]
    main = main_score(own)
    worst = Score(-math.inf, "", None)
    return [own, *sorted(others, key=lambda other: -other.scores.get(main or "", worst).value)]


def scored_variants(run: EvaluatedRun) -> list[Scored]:
    """Collects more test scores of the run's own model: before post-processing, and at every label frame.

    Args:
        run: An evaluated run.

    Returns:
        Those the run has; none if clips have one label each.
    """
    name = run.run.settings.model
    return [
        Scored(f"{name} {title}", False, _scores(run.metrics[part]))
        for part, title in VARIANTS.items()
        if run.metrics.get(part)
    ]


def validation_scores(run: EvaluatedRun) -> Mapping[str, Score]:
    """The scores of the run's model on its validation clips after post-processing; empty if there are none."""
    validation = run.metrics.get("validation") or {}
    return _scores(validation.get(f"model{POSTPROCESSED}", validation.get("model", validation)))


def main_score(own: Scored) -> str | None:
    """The name of the report's main score, None if the model has no score at all."""
    return next((name for name in (*MAIN_SCORES, *own.scores) if name in own.scores), None)


def result_sentence(run: EvaluatedRun, models: Sequence[Scored]) -> str:
    """The result in one sentence.

    Args:
        run: An evaluated run.
        models: From `scored_models`.

    Returns:
        For example "bilstm: accuracy 0.81 [0.72, 0.88] on 60 test clips of 10 unseen groups; majority class 0.17".
    """
    own, main = models[0], main_score(models[0])
    where = f"{len(run.clips):,} test clip{'s' * (len(run.clips) != 1)}{_groups_text(run)}"
    if main is None:
        return f"{own.title}: no score on {where}"
    sentence = f"{own.title}: {title_of(main)} {own.scores[main].text(2)} {own.scores[main].interval(2)}".rstrip()
    rival = next((f"; {other.title} {other.scores[main].text(2)}" for other in models[1:] if main in other.scores), "")
    return f"{sentence} on {where}{rival}"


def verdict(models: Sequence[Scored], *, score: str) -> dict[str, str] | None:
    """Compares the model with the best of the others, paired over groups.

    Args:
        models: From `scored_models`.
        score: Name of the compared shares.

    Returns:
        "kind" ("better", "worse" or "open") and "text"; None if nothing was compared.
    """
    rival = models[1] if len(models) > 1 else None
    if rival is None or not rival.lead:
        return None
    difference, p = float(rival.lead["difference"]), float(rival.lead["p"])
    kind = "open" if not p < LIKELY else "better" if difference > 0 else "worse"
    verb = {"better": "Better than", "worse": "Worse than", "open": "No clear difference from"}[kind]
    verb = verb if p < SURE or kind == "open" else f"Probably {verb.lower()}"
    groups = f"ahead in {rival.lead['groups_better']} of {counted_groups(rival.lead)}"
    return {"kind": kind, "text": f"{verb} {rival.title}: {difference:+.2f} {score}, {groups}, sign-flip p {p:.3f}."}


def doctor_content(run: EvaluatedRun) -> dict[str, Any] | None:
    """The findings of the near-duplicate check.

    Args:
        run: An evaluated run.

    Returns:
        "sentence", "pairs" (at most 20, most similar first), "hidden", how many more, and "scores", rows of a title and
        the scores with and without the clips that have a copy; None if it did not run.
    """
    doctor = run.metrics.get("doctor")
    if not doctor:
        return None
    tested, copies = doctor["test_clips"], doctor["test_clips"] - doctor["test_clips_without"]
    if not doctor["pairs"]:
        said = f"No test clip has a near-duplicate in training ({counted(tested, 'clip')} checked)"
        return {"sentence": said, "pairs": [], "hidden": 0, "scores": []}
    verb = "has" if copies == 1 else "have"
    own, without = _scores(run.metrics["test"]), _scores(doctor.get("without", {}).get(MODEL))
    effect = near_duplicate_effect(run.metrics["test"], doctor.get("without", {}).get(MODEL))
    return {
        "sentence": f"{copies} of {counted(tested, 'test clip')} {verb} a near-duplicate in training: put the clips of "
        f"each pair into one group; {effect}",
        "pairs": doctor["pairs"][:MOST_PAIRS],
        "hidden": max(0, len(doctor["pairs"]) - MOST_PAIRS),
        "scores": [(title_of(name), own[name].text(), without[name].text()) for name in own if name in without],
    }


def score_tables(
    models: Sequence[Scored], variants: Sequence[Scored], validation: Mapping[str, Score]
) -> list[dict[str, Any]]:
    """The scores, one table each with models and baselines as rows.

    Args:
        models: From `scored_models`.
        variants: From `scored_variants`; shown below the run's own model, never the best.
        validation: The model's scores on validation, shown last.

    Returns:
        What `score_table` returns per score, the leading scores first.
    """
    own = models[0].scores
    names = [*(name for name in MAIN_SCORES if name in own), *(name for name in own if name not in MAIN_SCORES)]
    return [_table_of(name, models, variants, validation) for name in names]


def score_table(name: str, rows: Sequence[Mapping[str, Any]], *, protocol: str, chance: float | None) -> dict[str, Any]:
    """One score of several models as a table with a plot: a dot, its interval, and a line at chance.

    Args:
        name: Name of the score.
        rows: "title", "role" ("own", "variant", "other" or "validation"), "score" and, for a ring in the plot, "mark".
        protocol: How the score was computed.
        chance: The score without any skill, None if unknown.

    Returns:
        "name", "title", "protocol", "rows" with "plot" (places in percent of the width) and "best", "chance" (likewise,
        or None), "chance_text" and "ticks", the texts at the left end, in the middle and at the right end.
    """
    top = max(row["score"].top for row in rows)
    bottom = -top if any(row["score"].value < 0 for row in rows) else 0.0

    def place(value: float | None) -> float | None:
        return None if value is None else min(100.0, max(0.0, 100 * (value - bottom) / (top - bottom)))

    values = {row["score"].value for row in rows if row["role"] in ("own", "other")}
    shown = [
        {
            **row,
            "best": len(values) > 1 and row["role"] in ("own", "other") and row["score"].value == max(values),
            "plot": {
                "value": place(row["score"].value),
                "ends": [place(end) for end in row["score"].ci95 or ()],
                "mark": place(row.get("mark")),
            },
        }
        for row in rows
    ]
    return {
        "name": name,
        "title": title_of(name),
        "protocol": protocol,
        "rows": shown,
        "chance": place(chance),
        "chance_text": "" if chance is None else Score(chance, "", (0.0, top)).text(2),
        "ticks": [f"{tick:g}" for tick in (bottom, (bottom + top) / 2, top)],
    }


def _table_of(
    name: str, models: Sequence[Scored], variants: Sequence[Scored], validation: Mapping[str, Score]
) -> dict[str, Any]:
    roles = [(models[0], "own"), *((each, "variant") for each in variants), *((each, "other") for each in models[1:])]
    rows = [
        {"title": each.title, "role": role, "score": each.scores[name]} for each, role in roles if name in each.scores
    ]
    if name in validation:
        rows.append({"title": f"{models[0].title} on validation", "role": "validation", "score": validation[name]})
    chance = next((each.scores[name].value for each in models if each.title == CHANCE and name in each.scores), None)
    return score_table(name, rows, protocol=models[0].scores[name].protocol, chance=chance)


def lead_rows(models: Sequence[Scored]) -> list[dict[str, Any]]:
    """How far the run's own model is ahead of each of the others that it was compared with, in pairs over groups.

    Args:
        models: From `scored_models`.

    Returns:
        One mapping per other model: "title", "difference", "better" such as "3 of 4 groups", "p" and "protocol".
    """
    return [
        {
            "title": other.title,
            "difference": float(other.lead["difference"]),
            "better": f"{other.lead['groups_better']} of {counted_groups(other.lead)}",
            "p": float(other.lead["p"]),
            "protocol": str(other.lead.get("protocol", "")),
        }
        for other in models[1:]
        if other.lead
    ]


def title_of(name: str) -> str:
    """A score's or baseline's title in the report; for a baseline, followed by its name in the verdict and files."""
    if name.endswith(POSTPROCESSED):
        return f"{title_of(name.removesuffix(POSTPROCESSED))}, post-processed"
    if name in TITLES and name.endswith("_logreg"):
        return f"{TITLES[name]} ({name})"
    if name in RAW_MODEL_NAMES:
        return name
    return TITLES.get(name, name.replace("_", " ").replace("f1@", "F1@"))


def _scores(scores: Mapping[str, Any] | None) -> dict[str, Score]:
    """The plain numbers among the scores; matrices and per-class scores go into the tables."""
    return {
        name: score_of(score)
        for name, score in (scores or {}).items()
        if isinstance(score, Mapping) and isinstance(score.get("value"), int | float) and math.isfinite(score["value"])
    }


def score_of(score: Mapping[str, Any]) -> Score:
    """A score from metrics.json as shown on the page, without an interval over too few groups."""
    protocol, few = str(score.get("protocol", "")), no_interval(score)
    if few:
        protocol = f"{protocol.rpartition('; ')[0]}; {few}"
    return Score(float(score["value"]), protocol, shown_interval(score))


def _groups_text(run: EvaluatedRun) -> str:
    groups = {clip.group for clip in run.clips} - {""}
    if not groups:
        return ""
    seen = any(run.groups_of(fold.train) & run.groups_of(fold.test) for fold in run.run.folds)
    return f" of {len(groups):,} {'' if seen else 'unseen '}group{'s' * (len(groups) != 1)}"
