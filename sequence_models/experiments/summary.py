"""Records of experiments -> printed text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.text import counted
from sequence_models.runs.run import MODEL, POSTPROCESSED, Run
from sequence_models.scoring.confidence import shown_interval
from sequence_models.settings import MANY_TO_ONE

if TYPE_CHECKING:
    from sequence_models.runs.run import Run


MAIN_SCORES = ("accuracy", "frame_accuracy", "mean_average_precision")


def choosing_score(settings: Any) -> str:
    """The validation score by which the best weights of a fit are chosen."""
    return "mean average precision" if settings.multi_label else "macro-F1"


def fit_text(result: Any, score_name: str) -> str:
    """A fit, as shown in the progress bar."""
    if result is None:
        return "already done"
    score = "" if result.best_score is None else f", validation {score_name} {result.best_score:.3f}"
    return f"update {result.best_update}{score}"


def overfitting_lines(run: Run) -> list[str]:
    """A warning if the validation loss rose during training in most fits of a run."""
    from sequence_models.runs.results import read_fit

    notes = [read_fit(run, fold.name, seed) for fold in run.folds for seed in range(run.fits)]
    from_updates = sorted(note["overfits_from"] for note in notes if note.get("overfits_from"))
    if 2 * len(from_updates) <= len(notes):
        return []
    middle = from_updates[len(from_updates) // 2]
    return [
        f"overfitting: the validation loss rose from about update {middle} on in {len(from_updates)} of "
        f"{counted(notes, 'fit')}; the best weights were kept. Try more --dropout, a smaller --hidden or more clips"
    ]


def order_sentence(run: Path, *, against: str) -> str:
    """Whether the sequence model of an evaluated run beats an order-free baseline, in one sentence."""
    from sequence_models.runs.results import read_metrics

    record = read_metrics(run)
    ours, floor = record["test"]["accuracy"]["value"], record["baselines"][against]["accuracy"]["value"]
    paired = record["against"][against]
    said = (
        f"{record['model']} {ours:.2f}, {against} {floor:.2f}, better in {paired['groups_better']} of "
        f"{paired['groups']} unseen groups (sign-flip p {paired['p']:.3f})"
    )
    if paired["difference"] > 0.1 and paired["p"] < 0.05:
        return f"Order is the label here, and the sequence model finds it: {said}."
    return f"Order is the label here, but the sequence model does not clearly beat the order-free baseline: {said}."


def data_text(run: Run, notes: Sequence[str], unlabelled: Sequence[str]) -> str:
    """The data that were found: clips, classes, groups and folds, with notes."""
    from extract.text import counted, first_few

    groups = {record["group"] for record in run.clips.values()} - {""}
    leaks = (
        ", near-duplicates can leak" if run.settings.task == MANY_TO_ONE else ""
    )  # whole recordings are rarely copies
    no_groups = (
        f"no groups: every clip counts as its own group{leaks}; if clips belong together, give --group-from REGEX or "
        "a group column"
    )
    classes = f"{counted(run.vocabulary, 'class')} ({', '.join(run.vocabulary)})"
    lines = [f"{counted(run.clips, 'clip')}, {classes}, {counted(groups, 'group') if groups else no_groups}"]
    if unlabelled:
        verbs = "has no label and is" if len(unlabelled) == 1 else "have no label and are"
        lines.append(f"{counted(unlabelled, 'clip')} {verbs} left out: {first_few(unlabelled, 5)}")
    lines += notes
    sizes = [(len(fold.train), len(fold.validation), len(fold.test)) for fold in run.folds]
    shown = [
        f"{low}" if low == high else f"{low} to {high}"
        for low, high in ((min(s), max(s)) for s in zip(*sizes, strict=True))
    ]
    folds = counted(sizes, "fold") if run.cv else "one split"
    clips = "clip" if shown[0] == "1" else "clips"
    lines.append(f"{folds}: {shown[0]} {clips} for training, {shown[1]} for validation, {shown[2]} for testing")
    if run.inner > 1:
        lines.append(
            f"inner cross-validation: {counted(run.fits, 'model')} per fold, each validates on another part of what is "
            "not for testing"
        )
    return "\n".join(lines)


def evaluation_text(record: dict[str, Any]) -> str:
    """A metrics record as evaluate prints it."""

    model, before = record["model"], record.get("before_postprocessing")
    ours = {f"{model}{POSTPROCESSED}": record["test"], model: before} if before else {model: record["test"]}
    lines = [score_table("test", {**ours, **record["baselines"]})]
    if before:
        lines.append(f"with {POSTPROCESSED}: labels decided over time; without: of every timestep by itself")
    over_folds = record.get("mean_over_folds")
    if over_folds:
        named = {record["model"] if name == "model" else name: scores for name, scores in over_folds.items()}
        lines.append(score_table("mean over splits", named))
    for name, values in record["per_seed"].items():
        if len(values) > 1:
            lines.append(
                f"single seeds, {name}: {min(values):.3f} to {max(values):.3f} (the table averages {len(values)} seeds)"
            )
    lines += [*decision_lines(record), *clock_lines(record)]
    lines.append(opened_text(record))
    return "\n".join(lines + near_duplicate_lines(record))


def decision_lines(record: dict[str, Any]) -> list[str]:
    """How probabilities per timestep became labels, and how much accuracy that cost, if any."""
    told = record.get("postprocessing")
    if not told:
        return []
    ways = Counter(told["folds"].values()).most_common()
    named = "; ".join(f"{way} in {counted(number, 'fold')}" if len(told["folds"]) > 1 else way for way, number in ways)
    lines = [f"labels from probabilities: {named}; chosen for {told['criterion']}"]
    sides = [record["before_postprocessing"], record["test"]]
    if "edit" in record["test"]:
        accuracies, edits = ([side[name]["value"] for side in sides] for name in ("frame_accuracy", "edit"))
        if accuracies[0] - accuracies[1] > 0.005:
            lines.append(
                f"this changes accuracy from {accuracies[0]:.3f} to {accuracies[1]:.3f} here, and the edit "
                f"score from {edits[0]:.1f} to {edits[1]:.1f}"
            )
    return lines


def clock_lines(record: dict[str, Any]) -> list[str]:
    """A warning if a baseline that sees only the clock is as good as the model."""
    from sequence_models.models.baselines import CLOCKS

    baselines = record["baselines"].items()
    clocks = {name: scores for name, scores in baselines if name.removesuffix(POSTPROCESSED) in CLOCKS}
    if not clocks:
        return []
    name, best = max(clocks.items(), key=lambda item: item[1]["macro_f1"]["value"])
    clock, ours = best["macro_f1"]["value"], record["test"]["macro_f1"]["value"]
    if clock < ours:
        return []
    return [
        f"the labels follow the clock of the recordings: {name.removesuffix(POSTPROCESSED)} sees only the time and "
        f"reaches macro-F1 {clock:.3f}, {record['model']} {ours:.3f}; a lower score says nothing about the use of "
        "visual content. --derived position gives models the time too"
    ]


def scene_lines(scenes: Mapping[str, Any], *, has_groups: bool) -> list[str]:
    """What is known of the places of the clips, and how sure that is; empty if none stand out.

    Args:
        scenes: From `scenes_record`.
        has_groups: Whether something already says which clips belong together.
    """
    if not scenes:
        return []
    several = scenes["with_several_classes"]
    sure = "" if scenes["is_clear"] else ", so not clearly apart"
    text = (
        f"by their mean embeddings, {counted(scenes['clips'], 'clip')} are of {counted(scenes['places'], 'place')} "
        f"(silhouette {scenes['silhouette']:.2f} of 1{sure}), {several or 'none'} of which "
        f"{'holds' if several < 2 else 'hold'} several classes"
    )
    offer = "" if has_groups else "; --group-from scenes keeps the clips of a place on one side of every split"
    return [text + offer]


def near_duplicate_effect(test: Mapping[str, Any], without: Mapping[str, Any] | None) -> str:
    """What near-duplicates did to a score, as measured by leaving them out.

    Args:
        test: The scores of all test clips.
        without: Those of the test clips that have no near-duplicate; None if they were not scored.
    """
    main = next((name for name in MAIN_SCORES if name in test and name in (without or {})), None)
    if main is None or without is None:
        return "what they do to the score was not measured, since no other test clips are left"
    own, rest, high = test[main]["value"], without[main]["value"], (shown_interval(without[main]) or (0.0, 1.0))[1]
    effect = "so the score is too high" if own > high else "which is no clear difference"
    return f"{main} is {own:.3f} with them and {rest:.3f} without, {effect}"


def near_duplicate_lines(record: dict[str, Any]) -> list[str]:
    """What the split doctor checked and found."""
    from extract.text import counted, first_few

    doctor = record.get("doctor")
    if not doctor:
        return []
    tested = counted(doctor["test_clips"], "test clip")
    if not doctor["pairs"]:
        looked = f"{tested} against training and validation, by embeddings"
        return [f"no near-duplicates of training clips among the test clips (compared {looked})"]
    named = [f"{pair['clip_id']} resembles {pair['other_id']} ({pair['similarity']:.2f})" for pair in doctor["pairs"]]
    copies = doctor["test_clips"] - doctor["test_clips_without"]
    verb = "has" if copies == 1 else "have"
    lines = [
        f"warning: {copies} of {tested} {verb} a near-duplicate in training: {first_few(named, 5)}; put the clips of "
        f"each pair into one group",
        f"near-duplicates: {near_duplicate_effect(record['test'], doctor.get('without', {}).get(MODEL))}",
    ]
    if "without" in doctor:
        ours = {record["model"] if name == "model" else name: scores for name, scores in doctor["without"].items()}
        lines.append(score_table("without them", ours))
    return lines


def score_table(part: str, scores: dict[str, dict[str, Any]]) -> str:
    """Scores of models (rows) by metric (columns), with the 95 % interval if there is one."""
    if not scores:
        return f"{part}: nothing to score"
    from extract.system.terminal import table_text
    from sequence_models.scoring.confidence import no_interval

    shown = ("accuracy", "frame_accuracy", "mean_average_precision", "macro_f1", "edit", "f1@50")
    columns = [name for name in shown if name in next(iter(scores.values()))]
    few = [text for values in scores.values() for column in columns if (text := no_interval(values[column]))]
    rows = [[f"{part} ({few[0]})" if few else part, *columns]] + [
        [name, *(_cell(column, values[column]) for column in columns)] for name, values in scores.items()
    ]
    return table_text(rows)


def _cell(name: str, score: dict[str, Any]) -> str:
    from sequence_models.scoring.metrics import PERCENT

    digits, interval = 1 if PERCENT.match(name) else 3, shown_interval(score)
    text = f"{score['value']:.{digits}f}"
    return f"{text} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else text


def opened_text(record: Mapping[str, Any]) -> str:
    """The size of the test split and how often it was opened, from the content of metrics.json."""
    opened = record["test_opened"]
    times = "once" if opened == 1 else f"{opened} times"
    of = f" of {counted(record['test_groups'], 'group')}" if record["test_groups"] else ""
    clips = counted(record["test_clips"], "test clip") + of
    return f"{clips}; the test split was opened {times}"
