"""The arguments of the stage-two commands, one function each; the commands themselves are in cli.py."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from extract.command_line import BackboneName
from extract.options import add_options
from sequence_models.settings import TASKS, DataSettings, TrainSettings


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
    return parser


def add_predict(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq predict`."""
    parser = verbs.add_parser(
        "predict",
        help="predict clips of a store, or videos directly",
        description="Predict with a trained run. Videos are embedded first, with the recipe stored in the run.",
    )
    parser.add_argument("run_directory", type=Path, metavar="RUN", help="a directory that clipseq train wrote")
    parser.add_argument(
        "target", nargs="+", metavar="STORE_OR_VIDEOS", help="feature store(s), or videos as for extract"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE.csv", help="one line per clip, or per frame"
    )
    parser.add_argument(
        "--features", type=Path, metavar="DIR", help="keep the embeddings of the videos here for next time"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="the weights file of a backbone that was extracted with one; repeat for each such backbone",
    )
    return parser


def add_report(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq report`."""
    parser = verbs.add_parser(
        "report",
        help="one HTML file from a run",
        description="Write one self-contained HTML file about an evaluated run: what to distrust, the surest mistakes "
        "with pictures from the videos, scores of model and baselines, confusion matrix, curves, every clip, and for "
        "per-frame labels a timeline of truth and prediction.",
    )
    parser.add_argument("run_directory", type=Path, metavar="RUN", help="a directory that clipseq evaluate completed")
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="also write the plots as PDF and PNG, with their data as CSV"
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


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="CSV: clip_id,label or clip_id,start_seconds,end_seconds,label; default: the folders are the classes",
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
