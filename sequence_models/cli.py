"""The stage-two commands: one call, one printed summary. Stage modules are imported inside the commands."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequence_models.arguments import TASKS, add_compare, add_evaluate, add_predict, add_report, add_score, add_train

if TYPE_CHECKING:
    from sequence_models.runs.run import Run

log = logging.getLogger(__name__)


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the stage-two commands to the parser; `predict` gets its function from pipeline.py."""
    add_train(verbs).set_defaults(run=run_train)
    add_evaluate(verbs).set_defaults(run=run_evaluate)
    add_compare(verbs).set_defaults(run=run_compare)
    add_predict(verbs)
    add_report(verbs).set_defaults(run=run_report)
    add_score(verbs).set_defaults(run=run_score)


def run_train(arguments: argparse.Namespace) -> int:
    """`clipseq train`: fits every fold and seed, and prints validation scores of model and baselines."""
    from sequence_models.settings import TrainSettings

    settings = TrainSettings(**_settings(arguments))
    data = _data_arguments(arguments) | {"inner": arguments.inner or 1}  # there is one model, so nothing to choose
    run = train_with_bar(
        arguments.stores, arguments.labels, settings, tensorboard=arguments.tensorboard, jobs=arguments.jobs, **data
    )
    print(f"next: clipseq evaluate {run.path}")
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    """`clipseq compare`: trains many models, opens the test split once, prints the table and the verdict."""
    from extract.system.terminal import progress_bar
    from extract.text import counted
    from sequence_models.experiments.grid import fitting, grid_points, parse_grid
    from sequence_models.experiments.pool import threads_per_task
    from sequence_models.experiments.prepare import DataSource, check_input, data_source_of, frame_sources, prepare
    from sequence_models.experiments.summary import choosing_score, data_text, fit_text, near_duplicate_lines
    from sequence_models.runs.results import begin_comparison
    from sequence_models.settings import TrainSettings

    given, data = _settings(arguments), _data_arguments(arguments)
    frame_stores = arguments.frames_store
    if frame_stores:
        data["inner"] = arguments.inner or 1  # a fit on raw frames takes minutes
    default = _default_models(arguments.stores, frame_stores, given)
    models = arguments.models.split(",") if arguments.models else default
    points = grid_points(models, given, parse_grid(arguments.grid))
    first = TrainSettings(**fitting(default[0], given), model=default[0])
    whole = prepare(arguments.stores, arguments.labels, first, **data)
    begin_comparison(whole[0])
    sources = [DataSource(*whole), *(frame_sources(*whole, frame_stores) if frame_stores else [])]
    wanted = [settings for of_model in points.values() for settings in of_model.values()]
    for settings in wanted:
        seen = data_source_of(settings, sources)
        check_input(settings, seen.data, seen.run.stores)
    run, clips = whole
    print(data_text(run, clips.notes, clips.unlabelled))
    on_frames = any(settings.on_frames for settings in wanted)
    _import_keras(threads=None if on_frames else threads_per_task(len(wanted) * len(run.folds) * run.fits))
    from sequence_models.experiments.compare import compare, sub_runs
    from sequence_models.experiments.verdict import comparison_text

    needed = max(_check_fit(settings, data_source_of(settings, sources).data, run) for settings in wanted)
    runs = sub_runs(sources, points)
    fits = sum(map(len, runs.values())) * len(run.folds) * run.fits + bool(run.cv) * len(runs) * run.seeds
    score = choosing_score(run.settings)
    print(f"{counted(points, 'model')}, {counted(fits, 'fit')}; the largest takes about {needed / 1e9:.1f} GB")
    with progress_bar(total=fits, unit=" fits") as bar:

        def on_fit(name: str, fold: str, seed: int, result: Any) -> None:
            bar.set_postfix_str(f"{name} {fold} seed {seed}: {fit_text(result, score)}", refresh=False)
            _log_cost(f"{name} {fold} seed {seed}", result)
            bar.update()

        record = compare(sources, runs, on_fit=on_fit, jobs=arguments.jobs)
    print("\n".join([comparison_text(record), *near_duplicate_lines(record)]))
    print(f"wrote {run.path / 'metrics.json'}; next: clipseq report {run.path}")
    return 0


def _default_models(stores: Sequence[str], frame_stores: Sequence[str], given: dict[str, Any]) -> list[str]:
    """What is compared where no models are named: one of each kind on embeddings, and all that the frames allow."""
    from sequence_models.catalogue import RAW_MODEL_NAMES, TRAITS, TWO_STREAM
    from sequence_models.experiments.grid import models_for
    from sequence_models.experiments.prepare import holds_frames

    raw = [name for name in RAW_MODEL_NAMES if name != TWO_STREAM or len(frame_stores or stores) > 1]
    on_embeddings = [name for name, traits in TRAITS.items() if given["task"] in traits.compared]
    possible = models_for(given, among=raw if holds_frames(stores) else on_embeddings)
    return possible + (models_for(given, among=raw) if frame_stores else [])


def _check_fit(settings: Any, data: Any, run: Run) -> int:
    """Refuse what this backend or the memory cannot do; returns the bytes that fits with these settings take."""
    from sequence_models.training.budget import budget_for
    from sequence_models.training.fine_tuning import check_backend
    from sequence_models.training.forecast import refuse_too_large

    check_backend(settings)
    budget = budget_for(data.clips, (), settings)
    return refuse_too_large(data.clips, settings, budget, num_classes=run.num_classes)


def run_evaluate(arguments: argparse.Namespace) -> int:
    """`clipseq evaluate`: prints the test scores and writes metrics.json."""
    _import_keras()
    from sequence_models.experiments.evaluate import evaluate
    from sequence_models.experiments.summary import evaluation_text

    record = evaluate(arguments.run_directory)
    print(evaluation_text(record))
    print(f"wrote {arguments.run_directory / 'metrics.json'}; next: clipseq report {arguments.run_directory}")
    return 0


def run_report(arguments: argparse.Namespace) -> int:
    """`clipseq report`: writes report.html."""
    _import_keras()
    from sequence_models.report.page import write_report

    print(f"wrote {write_report(arguments.run_directory, figures=arguments.figures)}")
    if arguments.figures:
        print(f"wrote its figures into {arguments.figures}")
    return 0


def run_score(arguments: argparse.Namespace) -> int:
    """`clipseq score`: prints the scores of per-frame text files, as a table or as JSON."""
    import json

    from sequence_models.scoring.files import score_files, score_text

    record = score_files(
        arguments.predictions,
        arguments.truth,
        background=arguments.background,
        splits=arguments.splits,
        missing=arguments.missing,
    )
    print(json.dumps(record, indent=1, ensure_ascii=False) if arguments.json else score_text(record))
    return 0


def check_predictions_path(path: Path) -> None:
    """Reject a path that predictions cannot be written to, before they are made.

    Raises:
        UsageError: It does not end in .csv.
        WriteError: It cannot be written.
    """
    from extract.errors import UsageError
    from extract.system.files import check_target

    if path.suffix.lower() != ".csv":
        raise UsageError(f"--output {path} must end in .csv: predictions are written as CSV only")
    check_target(path)


def predict_from_stores(arguments: argparse.Namespace, stores: Sequence[str | Path]) -> int:
    """`clipseq predict` on feature stores: writes one CSV."""
    _import_keras()
    from extract.text import counted
    from sequence_models.prediction.tables import prediction_rows, write_predictions
    from sequence_models.runs.fitted import predict_clips
    from sequence_models.runs.run import read_run

    run = read_run(arguments.run_directory)
    clips, predictions = predict_clips(run, stores)
    has_seconds = run.time_unit == "seconds"
    rows = prediction_rows(
        clips, predictions, vocabulary=run.vocabulary, task=run.settings.task, has_seconds=has_seconds
    )
    write_predictions(arguments.output, rows)
    print(f"wrote {arguments.output}: {counted(clips, 'clip')}, {counted(rows[1:], 'line')}")
    if run.settings.task == TASKS[1]:
        label, raw_label = (rows[0].index(name) for name in ("label", "raw_label"))
        changed = sum(row[label] != row[raw_label] for row in rows[1:])
        if changed:
            share = f"{changed:,} of {counted(rows[1:], 'label')}"
            print(f"post-processing changed {share}; raw_label is the decision without it")
        from sequence_models.prediction.bouts import write_bouts

        bouts = arguments.output.with_suffix(".bouts.csv")
        write_bouts(bouts, clips, predictions, run.vocabulary, with_truth=False, unit=run.time_unit)
        print(f"wrote {bouts}: count, duration and latency of every class in every clip")
    return 0


def train_and_evaluate(stores: Sequence[Path], labels: Path, settings: Any, *, run: Path, cv: str, seeds: int) -> Path:
    """Train, evaluate, report; `clipseq demo` does this twice.

    Returns:
        Path of the report.
    """
    _import_keras()
    from sequence_models.experiments.evaluate import evaluate
    from sequence_models.experiments.summary import evaluation_text
    from sequence_models.report.page import write_report

    train_with_bar(stores, labels, settings, run=run, cv=cv, seeds=seeds)
    print(evaluation_text(evaluate(run)))
    return write_report(run)


def train_with_bar(
    stores: Sequence[str | Path],
    labels: Path | None,
    settings: Any,
    *,
    run: Path,
    tensorboard: bool = False,
    jobs: int | None = None,
    **data: Any,
) -> Run:
    """Prepare and train a run with a progress bar over its fits; prints notes and validation scores."""
    from extract.system.terminal import progress_bar
    from sequence_models.experiments.pool import threads_per_task
    from sequence_models.experiments.prepare import prepare
    from sequence_models.experiments.summary import choosing_score, data_text, fit_text, overfitting_lines, score_table
    from sequence_models.runs.checks import refuse_training_into_comparison

    refuse_training_into_comparison(run)
    prepared, clips = prepare(stores, labels, settings, run=run, **data)
    print(data_text(prepared, clips.notes, clips.unlabelled))
    _import_keras(threads=None if settings.on_frames else threads_per_task(len(prepared.folds) * prepared.fits))
    from sequence_models.experiments.train import forecast_run, train

    print(forecast_run(prepared, clips))
    with progress_bar(total=len(prepared.all_fits), unit=" fits") as bar:

        def on_fit(fold: str, seed: int, result: Any) -> None:
            bar.set_postfix_str(f"{fold} seed {seed}: {fit_text(result, choosing_score(settings))}", refresh=False)
            _log_cost(f"{fold} seed {seed}", result)
            bar.update()

        scores = train(prepared, clips, on_fit=on_fit, tensorboard=tensorboard, jobs=jobs)
    print(
        score_table("validation", {name.replace("model", settings.model, 1): value for name, value in scores.items()})
    )
    for line in overfitting_lines(prepared):
        print(line)
    return prepared


def _log_cost(name: str, result: Any) -> None:
    """With -v: what a fit cost, and how often it called the backend."""
    from extract.text import counted

    if result is not None:
        updates, calls = counted(result.updates, "update"), counted(result.counts["calls"], "call")
        compiled = counted(result.counts.get("compilations", 0), "compilation")
        log.info("%s: %.1f s, %s in %s with validation, %s", name, result.seconds, updates, calls, compiled)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of TrainSettings that the command line gives."""
    from sequence_models.settings import TrainSettings

    names = [field.name for field in fields(TrainSettings) if hasattr(arguments, field.name)]
    settings = {name: getattr(arguments, name) for name in names}
    if settings["start_from"]:
        settings["start_from"] = str(Path(settings["start_from"]).resolve())
    return settings


def _data_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `prepare` about a run and its data."""
    from dataclasses import fields

    from extract.errors import UsageError
    from sequence_models.settings import DataSettings

    if arguments.seeds < 1:
        raise UsageError(f"--seeds {arguments.seeds} must be at least 1")
    if arguments.inner is not None and arguments.inner < 1:
        raise UsageError(f"--inner {arguments.inner} must be at least 1")
    given = {field.name: getattr(arguments, field.name, None) for field in fields(DataSettings)} | {
        "classes": tuple(arguments.classes.split(",")) if arguments.classes else None,
        "keep": tuple(_lines(arguments.clips)) if arguments.clips else None,
    }
    run = {"run": arguments.run_directory, "cv": arguments.cv, "split_file": arguments.split, "seeds": arguments.seeds}
    run["inner"] = arguments.inner
    return run | {"data": DataSettings(**given)}


def _import_keras(*, threads: int | None = None) -> None:
    from extract.system.quiet_start import import_keras_quietly

    import_keras_quietly(threads=threads)


def _lines(path: Path) -> list[str]:
    from extract.errors import UsageError
    from extract.system.files import read_text, reason_of

    try:
        return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--clips {path} cannot be read ({reason_of(error)}); give a text file with one clip_id per line"
        ) from None
