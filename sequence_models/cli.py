"""The stage-two commands: one call, one printed summary. Stage modules are imported inside the commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sequence_models.arguments import (
    TASKS,
    add_compare,
    add_evaluate,
    add_predict,
    add_report,
    add_score,
    add_train,
    compare_arguments,
    train_arguments,
)


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
    from sequence_models.experiments.verbs import train_run

    run = train_run(**train_arguments(arguments), say=print)
    print(f"next: clipseq evaluate {run.path}")
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    """`clipseq compare`: trains many models, opens the test split once, prints the table and the verdict."""
    from sequence_models.experiments.verbs import compare_models

    run = compare_models(**compare_arguments(arguments), say=print)
    print(f"wrote {run.path / 'metrics.json'}; next: clipseq report {run.path}")
    return 0


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

    print(f"wrote {write_report(arguments.run_directory)}")
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
    from sequence_models.experiments.verbs import train_run
    from sequence_models.report.page import write_report

    train_run(stores, labels, settings, run=run, cv=cv, seeds=seeds, say=print)
    print(evaluation_text(evaluate(run)))
    return write_report(run)


def _import_keras(*, threads: int | None = None) -> None:
    from extract.system.quiet_start import import_keras_quietly

    import_keras_quietly(threads=threads)
