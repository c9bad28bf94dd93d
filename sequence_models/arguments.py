"""The arguments of the stage-two commands, one function each; the commands themselves are in cli.py."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from extract.command_line import BackboneName, add_json, shorten_help
from extract.errors import InputError
from extract.options import add_options
from sequence_models.export.names import FORMATS
from sequence_models.settings import TASKS, WRITTEN_FORMATS, DataSettings, TrainSettings

RUN_FIRST = (
    *("--labels", "--group-from", "--split", "--cv", "--seeds", "--background", "--stride", "--window"),
    *("--derived", "--causal", "--updates", "--jobs"),
)


def add_train(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq train`."""
    parser = verbs.add_parser(
        "train",
        help="train a sequence model on cached embeddings, or on raw frames",
        description="Train a masked sequence model on cached embeddings or raw frames, with baselines for "
        "comparison. To resume an interrupted run, run the same command again.",
        epilog="examples:\n"
        "  clipseq train features/ --task many-to-one --run runs/first        (the folders are the classes)\n"
        "  clipseq train features/ --labels labels.csv --task many-to-one --cv 5 --seeds 3 --run runs/cv\n"
        "  clipseq train features/ --labels segments.csv --task many-to-many --model bilstm --run runs/frames\n"
        "  clipseq train frames/ --task many-to-one --model td_cnn_lstm --run runs/raw   (extract --backbone pixels)\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_run_flags(parser)
    _add_data_flags(parser)
    group = _add_model_flags(parser)
    group.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events into the run")
    add_json(parser, "the validation scores")
    shorten_help(parser, "--model", *RUN_FIRST)
    return parser


def add_compare(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq compare`."""
    parser = verbs.add_parser(
        "compare",
        help="compare many models on the same folds and seeds: one table, and whether order matters",
        description="Train several models on the same clips, folds and seeds, open the test split once, and print one "
        "table and one sentence: whether the best sequence model beats the best order-free one, by how much, and how "
        "certain that is. The best model, and its point of --grid, is chosen in each fold on its validation clips. An "
        "interrupted comparison can be resumed, and more --models added to it.",
        epilog="examples:\n"
        "  clipseq compare features/ --task many-to-one --cv leave-one-group-out --seeds 5 --run runs/all\n"
        "  clipseq compare features/ --labels labels.csv --task many-to-one --cv 5 --run runs/two \\\n"
        "      --models bilstm,attention --grid hidden=48,96 dropout=.3,.5\n"
        "  clipseq compare features/ --frames-store frames/ --task many-to-one --run runs/raw \\\n"
        "      --models bilstm,td_cnn_lstm\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_run_flags(parser)
    parser.add_argument("--models", metavar="A,B,C", help="models to train (default: one of each kind)")
    parser.add_argument(
        "--frames-store",
        nargs="+",
        default=[],
        metavar="STORE",
        help="raw frames of the same clips (extract --backbone pixels), for raw-frame models in the same table; "
        "a store of their optical flow (--input flow), given last, is used by two_stream only",
    )
    parser.add_argument(
        "--grid",
        nargs="+",
        default=[],
        metavar="SETTING=A,B",
        help="settings to choose from, inside the training folds",
    )
    _add_data_flags(parser)
    _add_model_flags(parser, without=("model",))
    add_json(parser, "metrics.json")
    shorten_help(parser, "--models", "--grid", "--frames-store", "--inner", *RUN_FIRST)
    return parser


def add_evaluate(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq evaluate`."""
    parser = verbs.add_parser(
        "evaluate",
        help="open the test split of a run and score it",
        description="Predict the test clips of every fold, average over seeds, pool them, score model and baselines, "
        "and write metrics.json. The run counts how often the test split was opened.",
    )
    parser.add_argument("run_directory", type=Path, metavar="RUN", help="a directory that clipseq train wrote")
    _add_memory(parser)
    add_json(parser, "metrics.json")
    return parser


def add_predict(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq predict`."""
    parser = verbs.add_parser(
        "predict",
        help="predict clips of a store, or videos directly",
        description="Predict with a trained run. Videos are embedded first, with the recipe stored in the run.",
    )
    parser.add_argument(
        "run_directory", type=Path, metavar="RUN", help="a directory that clipseq train wrote, or a .clipseq file of it"
    )
    parser.add_argument(
        "target", nargs="+", metavar="STORE_OR_VIDEOS", help="feature store(s), or videos as for extract"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="one line per clip, or per timestep, as .csv, or in full precision as .jsonl or .parquet; see --to",
    )
    parser.add_argument(
        "--beside",
        action="store_true",
        help="write a file beside each video: VIDEO.predictions.csv, or with --to the format's; also without --output",
    )
    parser.add_argument(
        "--every-frame",
        action="store_true",
        help="one line per original frame, with what the last timestep at or before it says, as in the scores",
    )
    parser.add_argument(
        "--annotate",
        type=Path,
        metavar="OUT.mp4",
        help="write the video, which must be a single one, with label, probability and a ribbon; also without --output",
    )
    parser.add_argument(
        "--to",
        metavar="FORMAT",
        help="write predictions per frame as labels that a tool opens, a file or a folder with a file per video: "
        f"{', '.join(WRITTEN_FORMATS)}, or a plug-in's; intervals can be given to --labels",
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="DIR",
        help="keep the embeddings of the videos here, in the store DIR/0",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="the weights file of a backbone that was extracted with one; repeat for each such backbone",
    )
    _add_memory(parser)
    add_json(parser, "which files were written from how many clips")
    return parser


def add_report(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq report`."""
    parser = verbs.add_parser(
        "report",
        help="one HTML file from a run, from two runs, or from a feature store",
        description="Write one self-contained HTML file.\n\n"
        "of a run       what to distrust, the surest mistakes with pictures from the videos, scores of model and\n"
        "               baselines, confusion, curves, every clip; for per-frame labels a timeline\n"
        "of two runs    what differs in settings, data and scores, and the clips that turned right or wrong\n"
        "of a store     failures, odd clips with pictures, near-duplicates, dead channels, a map, the bottleneck",
        epilog="examples:\n"
        "  clipseq report runs/first\n"
        "  clipseq report runs/second --against runs/first\n"
        "  clipseq report features/\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "target", type=Path, metavar="RUN_OR_STORE", help="a run that clipseq evaluate completed, or a feature store"
    )
    parser.add_argument("--against", type=Path, metavar="RUN", help="compare RUN_OR_STORE, a run, with this one")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE.html",
        help="where to write (RUN_OR_STORE/report.html; with --against, RUN_OR_STORE/against-NAME.html)",
    )
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="of a run: its plots as PDF and PNG, and their data as CSV",
    )
    return parser


def add_export(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq export`."""
    parser = verbs.add_parser(
        "export",
        help="a run as files for programs without Clipseq, or as one file for predict",
        description="Write what predict does with a run into a new folder, in one or several formats, with a model "
        "card and a script that needs no Clipseq. Every file is loaded again in another process and compared with "
        "predict before it is kept. Or write the run as one .clipseq file, which predict takes like the run.",
        epilog="examples:\n"
        "  clipseq export runs/first exported/ --format savedmodel onnx\n"
        "  clipseq export runs/first first.clipseq\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_directory", type=Path, metavar="RUN", help="a directory that clipseq train wrote")
    parser.add_argument("target", type=Path, metavar="TO", help="a new folder, or a new .clipseq file")
    parser.add_argument(
        "--format", nargs="+", choices=tuple(FORMATS), default=[], dest="formats", help="formats of the files"
    )
    parser.add_argument(
        "--with-backbone", action="store_true", help="put the backbone inside: frames in, in place of embeddings"
    )
    parser.add_argument(
        "--weights", type=Path, metavar="PATH", help="the weights file of that backbone, if it was extracted with one"
    )
    return parser


def add_score(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq score`."""
    parser = verbs.add_parser(
        "score",
        help="score any tool's per-frame text files under both protocols",
        description="Score per-frame predictions of any tool. PREDICTIONS and TRUTH are folders in MS-TCN's layout: a "
        "text file per video, with one label per line, or all labels on one line; lines that start with ### are "
        "headings. Files are matched by name, with or without .txt. Both protocols of the literature are printed: V, "
        "per video, then the mean over videos; P, pooled over the videos of a split, then the mean over splits.",
        epilog="examples:\n"
        "  clipseq score results/split_1/ groundTruth/ --missing skip --background SIL\n"
        "  clipseq score results/ groundTruth/ --background action_start action_end    (a folder per split)\n"
        "  clipseq score predictions/ groundTruth/ --splits splits.csv --json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="a folder of files, or of one sub-folder per split"
    )
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="the same for the true labels, or one flat folder")
    parser.add_argument(
        "--background",
        nargs="+",
        default=[],
        metavar="NAME",
        help="classes that are not segments; accuracy still counts them",
    )
    parser.add_argument("--splits", type=Path, metavar="FILE", help="CSV: video,split, if there are no sub-folders")
    parser.add_argument(
        "--missing", choices=("error", "skip"), default="error", help="what to do about files without a match"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON, with protocols and intervals")
    return parser


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stores", nargs="+", metavar="STORE", help="feature stores of the same clips, joined per frame")
    parser.add_argument("--task", required=True, choices=TASKS, help="one label per clip, or one per frame")
    parser.add_argument(
        "--run", dest="run_directory", type=Path, required=True, metavar="DIR", help="where the results go"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="train in N processes at a time (default: one per core where that pays off; on a GPU one); results do not "
        "depend on it",
    )
    parser.add_argument(
        "--ray",
        default="",
        metavar="auto|ADDRESS",
        help="train on the machines of a Ray cluster, which see the run at the same path (docs/cluster.md); results "
        "do not depend on it",
    )
    _add_memory(parser)


def _add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="keep embeddings in memory if they take at most this; more stay in the store and are read when needed "
        "(default: what is free, less 2 GB)",
    )


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--labels",
        type=Path,
        metavar="FILE_OR_FOLDER",
        help="CSV: clip_id,label or clip_id,start_seconds,end_seconds,label; or what BORIS, ELAN, DeepEthogram, "
        "Audacity and others write; default: the folders are the classes",
    )
    group.add_argument("--classes", metavar="A,B,C", help="use only these classes, in this order")
    group.add_argument("--clips", type=Path, metavar="FILE", help="use only these clip_ids, one per line")
    add_options(group, DataSettings, [each.name for each in fields(DataSettings) if each.metadata])
    splits = group.add_mutually_exclusive_group()
    splits.add_argument(
        "--split",
        metavar="FILE",
        help="CSV: clip_id,split, where split is train, validation or test; or official lists: ucf101:DIR:1, "
        "hmdb51:DIR:all",
    )
    splits.add_argument(
        "--cv", metavar="HOW", help="leave-one-group-out, or a number of folds (default: one split by group)"
    )


def _add_model_flags(parser: argparse.ArgumentParser, *, without: tuple[str, ...] = ()) -> argparse._ArgumentGroup:
    """One flag for every field of TrainSettings but the task."""
    group = parser.add_argument_group("model and training")
    names = [each.name for each in fields(TrainSettings) if each.name not in ("task", *without)]
    add_options(group, TrainSettings, names, actions={"backbone": BackboneName})
    group.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="models per fold, averaged when predicting; each validates on different training groups (1)",
    )
    group.add_argument(
        "--inner",
        type=int,
        metavar="K",
        help="inner cross-validation: at least K models per fold, each of which validates on another Kth of the clips "
        "that are not for testing, so that what is best is chosen on all of them; 1 = on the part of one seed "
        "(train: 1; compare: 5 if that part has fewer than 100 clips with one label each, else 1)",
    )
    return group


def train_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `train_run` takes, from the arguments of train.

    Raises:
        UsageError: A value is out of range, or two exclude each other.
    """
    return {
        **_data_arguments(arguments),
        "settings": TrainSettings(**_given_settings(arguments)),
        "inner": 1 if arguments.inner is None else arguments.inner,  # there is one model, so nothing to choose
        "tensorboard": arguments.tensorboard,
    }


def compare_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `compare_models` takes, from the arguments of compare; raises as `train_arguments`."""
    return {
        **_data_arguments(arguments),
        "given": _given_settings(arguments),
        "models": arguments.models.split(",") if arguments.models else (),
        "grid": arguments.grid,
        "frame_stores": arguments.frames_store,
    }


def _given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of TrainSettings that arguments give."""
    names = [field.name for field in fields(TrainSettings) if hasattr(arguments, field.name)]
    settings = {name: getattr(arguments, name) for name in names}
    if settings["start_from"]:
        settings["start_from"] = str(Path(settings["start_from"]).resolve())
    return settings


def _data_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """What train and compare take alike."""
    given = {field.name: getattr(arguments, field.name, None) for field in fields(DataSettings)} | {
        "classes": tuple(arguments.classes.split(",")) if arguments.classes else None,
        "keep": tuple(_lines(arguments.clips)) if arguments.clips else None,
    }
    names = ("stores", "labels", "cv", "seeds", "inner", "jobs", "memory", "ray")
    same = {name: getattr(arguments, name) for name in names}
    return same | {"run": arguments.run_directory, "split_file": arguments.split, "data": DataSettings(**given)}


def _lines(path: Path) -> list[str]:
    from extract.system.files import read_text, reason_of

    try:
        return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--clips {path} cannot be read ({reason_of(error)}); give a text file with one clip_id per line"
        ) from None
