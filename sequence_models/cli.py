"""The stage-two commands: one call, one printed summary. Stage modules are imported inside the commands."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequence_models.arguments import (
    add_compare,
    add_evaluate,
    add_export,
    add_predict,
    add_report,
    add_score,
    add_train,
    compare_arguments,
    train_arguments,
)
from sequence_models.label_arguments import add_convert_labels, add_draw_labels, add_show_labels

if TYPE_CHECKING:
    from sequence_models.runs.run import Run


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the stage-two commands to the parser; `predict` gets its function from pipeline.py."""
    add_train(verbs).set_defaults(run=run_train)
    add_evaluate(verbs).set_defaults(run=run_evaluate)
    add_compare(verbs).set_defaults(run=run_compare)
    add_predict(verbs)
    add_report(verbs).set_defaults(run=run_report)
    add_export(verbs).set_defaults(run=run_export)
    add_score(verbs).set_defaults(run=run_score)
    add_convert_labels(verbs).set_defaults(run=run_convert_labels)
    add_show_labels(verbs).set_defaults(run=run_show_labels)
    add_draw_labels(verbs).set_defaults(run=run_draw_labels)


def run_train(arguments: argparse.Namespace, *, in_job: bool = False) -> int:
    """`clipseq train`: fits every fold and seed, and prints validation scores of model and baselines."""
    from sequence_models.experiments.verbs import train_run

    say = _say(arguments)
    run = train_run(**train_arguments(arguments), say=say)
    if not in_job:
        say(f"next: clipseq evaluate {run.path}")
    if arguments.json:
        from sequence_models.runs.results import read_validation

        print(json.dumps({"run": str(run.path), "validation": read_validation(run)}))
    return 0


def run_compare(arguments: argparse.Namespace, *, in_job: bool = False) -> int:
    """`clipseq compare`: trains many models, opens the test split once, prints the table and the verdict."""
    from sequence_models.experiments.verbs import compare_models

    say = _say(arguments)
    run = compare_models(**compare_arguments(arguments), say=say)
    say(f"wrote {run.path / 'metrics.json'}" + ("" if in_job else f"; next: clipseq report {run.path}"))
    if arguments.json:
        from sequence_models.runs.results import read_metrics

        print(json.dumps(read_metrics(run.path)))
    return 0


def run_evaluate(arguments: argparse.Namespace, *, in_job: bool = False) -> int:
    """`clipseq evaluate`: prints the test scores and writes metrics.json."""
    from sequence_models.runs.run import read_run

    read_run(arguments.run_directory)  # a wrong path is said before Keras is loaded
    _import_keras()
    from sequence_models.experiments.evaluate import evaluate
    from sequence_models.experiments.summary import evaluation_text

    record, say = evaluate(arguments.run_directory, memory=arguments.memory), _say(arguments)
    say(evaluation_text(record))
    then = "" if in_job else f"; next: clipseq report {arguments.run_directory}"
    say(f"wrote {arguments.run_directory / 'metrics.json'}{then}")
    if arguments.json:
        print(json.dumps(record))
    return 0


def _say(arguments: argparse.Namespace) -> Callable[[str], None]:
    """Prints what a person reads: with --json to standard error, since standard output is for a program."""
    return partial(print, file=sys.stderr) if arguments.json else print


def run_report(arguments: argparse.Namespace) -> int:
    """`clipseq report`: writes one HTML file."""
    from extract.errors import UsageError
    from extract.store.recipe import is_store
    from sequence_models.runs.run import read_run

    target, against, output = arguments.target, arguments.against, arguments.output
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--output {output} must end in .html")
    if is_store(target):
        if against or arguments.figures:
            raise UsageError(f"{target} is a feature store; --against and --figures go with a run")
        from sequence_models.report.store import write_store_report

        print(f"wrote {write_store_report(target, output)}")
        return 0
    read_run(target)  # as above
    if against:
        if arguments.figures:
            raise UsageError("--figures goes with the report of one run: leave out --against")
        from sequence_models.report.against import write_difference

        print(f"wrote {write_difference(target, against, output)}")
        return 0
    _import_keras()
    from sequence_models.report.page import write_report

    print(f"wrote {write_report(target, output, figures=arguments.figures)}")
    if arguments.figures:
        print(f"wrote its figures into {arguments.figures}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """`clipseq export`: writes a folder of files, or one file; exit code 1 if a format could not be kept."""
    from extract.errors import UsageError
    from sequence_models.export.names import FORMATS
    from sequence_models.runs.run import read_run
    from sequence_models.runs.run_file import ENDING, run_folder, write_run_file

    target, formats = arguments.target, list(dict.fromkeys(arguments.formats))
    if bool(formats) == (target.suffix == ENDING):
        raise UsageError(
            f"give a folder and --format with one or more of {', '.join(FORMATS)}, or a file that ends in {ENDING} "
            "without --format"
        )
    if (arguments.weights and not arguments.with_backbone) or (arguments.with_backbone and not formats):
        raise UsageError("--with-backbone goes with --format, and --weights with --with-backbone")
    with run_folder(arguments.run_directory) as folder:
        run = read_run(folder)
        if not formats:
            write_run_file(run, target)
            print(
                f"wrote {target}: {target.stat().st_size / 1e6:.1f} MB; next: clipseq predict {target} STORE_OR_VIDEOS"
            )
            return 0
        return _export_formats(run, target, formats, arguments)


def _export_formats(run: Run, target: Path, formats: Sequence[str], arguments: argparse.Namespace) -> int:
    import sys

    _import_keras()
    from sequence_models.export.export import export_run
    from sequence_models.export.names import FORMATS

    how = {"with_backbone": arguments.with_backbone, "weights": arguments.weights}
    exported = export_run(run, target, formats, **how)
    for name, difference in exported.differences.items():
        print(f"{target / FORMATS[name]}: at most {difference:.1e} from clipseq predict")
    print(f"wrote {target}; next: python {target / 'run_model.py'} CLIP.npy, and read {target / 'README.md'}")
    for sentence in exported.failures.values():
        print(f"clipseq export: {sentence}", file=sys.stderr)
    return 1 if exported.failures else 0


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


def run_convert_labels(arguments: argparse.Namespace) -> int:
    """`clipseq convert-labels`: prints what was read and written."""
    from sequence_models.labels.writing import convert_labels

    print(
        convert_labels(
            arguments.labels,
            arguments.output,
            to=arguments.to,
            settings=_label_settings(arguments),
            stores=arguments.features,
        )
    )
    return 0


def run_show_labels(arguments: argparse.Namespace) -> int:
    """`clipseq show-labels`: prints counts, durations, overlaps and gaps, and the agreement of two annotators."""
    from itertools import combinations

    from sequence_models.labels.overview import overview_text
    from sequence_models.labels.reading import read_chosen, read_two
    from sequence_models.scoring.agreement import agreement, agreement_text, by_annotator

    settings = _label_settings(arguments)
    if arguments.against:
        table, other = read_two(arguments.labels, arguments.against, settings, other_tier=arguments.against_tier)
        print(f"{overview_text(table)}\n\n{overview_text(other)}")
        pairs = [((str(arguments.labels), table), (str(arguments.against), other))]
    else:
        table = read_chosen(arguments.labels, settings)
        print(overview_text(table))
        pairs = list(combinations(by_annotator(table).items(), 2))
    for (name, first), (other_name, second) in pairs:
        found = agreement(first, second, rate=arguments.labels_fps)
        print(f"\n{agreement_text(found, names=(name, other_name))}")
    return 0


def run_draw_labels(arguments: argparse.Namespace) -> int:
    """`clipseq draw-labels`: writes a video with its labels."""
    from extract.system.files import check_target
    from sequence_models.labels.reading import read_label_source, understood
    from sequence_models.prediction.annotate import annotate, check_video_output, video_facts
    from sequence_models.prediction.label_track import label_track

    check_video_output(arguments.output, flag="--output")
    check_target(arguments.output)
    settings = _label_settings(arguments)
    table = read_label_source(arguments.labels, settings)
    print(f"{arguments.labels}: {understood(table)}")
    facts = video_facts(arguments.video)
    track, remark = label_track(table, arguments.video, facts, fps=settings.labels_fps)
    print(annotate(arguments.video, arguments.output, track, facts) + remark)
    return 0


def _label_settings(arguments: argparse.Namespace) -> Any:
    """The settings that say how labels are read."""
    from dataclasses import fields

    from sequence_models.settings import DataSettings

    given = {
        field.name: getattr(arguments, field.name) for field in fields(DataSettings) if hasattr(arguments, field.name)
    }
    return DataSettings(**given)


def check_predictions(arguments: argparse.Namespace) -> None:
    """Reject a path or format that predictions cannot be written to, before they are made.

    Raises:
        UsageError: Nothing is to be written, an ending is unknown, or a file exists that holds no predictions; with
            --to, an unknown format or a run on whole clips.
        WriteError: It cannot be written.
    """
    from extract.errors import UsageError
    from sequence_models.runs.outputs import check_outputs
    from sequence_models.runs.run import read_run

    if not (arguments.output or arguments.beside or arguments.annotate):
        raise UsageError("say where predictions go: --output FILE.csv, --beside, or --annotate OUT.mp4")
    check_outputs(
        read_run(arguments.run_directory),
        arguments.output,
        to=arguments.to,
        beside=arguments.beside,
        every_frame=arguments.every_frame,
        annotated=arguments.annotate,
    )


def predict_from_stores(arguments: argparse.Namespace, stores: Sequence[str | Path]) -> int:
    """`clipseq predict` on feature stores: writes what the arguments ask for."""
    _import_keras()
    from sequence_models.runs.fitted import predict_clips
    from sequence_models.runs.outputs import (
        files_beside,
        refuse_to_annotate,
        write_annotated,
        write_beside,
        write_output,
    )
    from sequence_models.runs.run import read_run

    run, say = read_run(arguments.run_directory), _say(arguments)
    if arguments.annotate:
        refuse_to_annotate(stores[0])
    beside = files_beside(stores[0], to=arguments.to) if arguments.beside else {}
    clips, predictions = predict_clips(run, stores, memory=arguments.memory)
    said, how = (run, stores[0], clips, predictions), {"to": arguments.to, "every_frame": arguments.every_frame}
    if arguments.output:
        for line in write_output(*said, arguments.output, **how):
            say(line)
    if arguments.beside:
        for line in write_beside(*said, beside, **how):
            say(line)
    if arguments.annotate:
        say(write_annotated(*said, arguments.annotate))
    if arguments.json:
        output = None if arguments.output is None else str(arguments.output)
        print(json.dumps({"output": output, "clips": [clip.clip_id for clip in clips]}))
    return 0


def _import_keras(*, threads: int | None = None) -> None:
    from extract.system.quiet_start import import_keras_quietly

    import_keras_quietly(threads=threads)
