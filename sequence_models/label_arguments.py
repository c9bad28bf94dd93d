"""The arguments of the verbs on labels alone: convert-labels, show-labels, draw-labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from extract.options import add_options
from sequence_models.settings import WRITTEN_FORMATS, DataSettings


def add_convert_labels(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq convert-labels`."""
    parser = verbs.add_parser(
        "convert-labels",
        help="write labels of any tool in the format of another",
        description="Read labels in any known format and write them in another. Nothing existing is overwritten, and "
        "what the other format cannot hold is refused or counted.",
        epilog="examples:\n"
        "  clipseq convert-labels events.csv labels.csv --to intervals        (BORIS, to look at or to edit)\n"
        "  clipseq convert-labels labels.csv eaf/ --to elan                   (a file per video)\n"
        "  clipseq convert-labels eaf/ DATA/ --to deepethogram --background background --features features/\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("labels", type=Path, metavar="IN", help="a label file or folder, as for --labels of train")
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="a file, or a folder for formats with a file per video"
    )
    parser.add_argument("--to", required=True, metavar="FORMAT", help=f"{', '.join(WRITTEN_FORMATS)}, or a plug-in's")
    parser.add_argument(
        "--features",
        nargs="+",
        default=[],
        metavar="STORE",
        help="feature stores of the videos, which know their rates and numbers of frames",
    )
    _add_label_flags(parser)
    add_options(parser, DataSettings, ["background"])
    return parser


def add_show_labels(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq show-labels`."""
    parser = verbs.add_parser(
        "show-labels",
        help="what a label file holds, and how far two annotators agree",
        description="Print what was understood of a label file or folder, and how often and how long each class is "
        "there, who labelled what, overlaps and gaps. With --against, or if one file has several annotators, also "
        "how far they agree: Cohen's kappa frame by frame, and the F1 of segments that overlap by half.",
    )
    parser.add_argument("labels", type=Path, metavar="IN", help="a label file or folder, as for --labels of train")
    parser.add_argument("--against", type=Path, metavar="IN2", help="labels of the same videos by somebody else")
    parser.add_argument("--against-tier", metavar="NAME", help="the ELAN tier of IN2, if it is not that of --tier")
    _add_label_flags(parser)
    return parser


def add_draw_labels(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq draw-labels`."""
    parser = verbs.add_parser(
        "draw-labels",
        help="write a video with its labels below the pictures",
        description="Write a video again with the labels that a label file or folder holds for it: below every frame "
        "its classes, its time, and a ribbon of 10 seconds before and after. Every frame keeps its time, the sound is "
        "kept, rotation is applied.",
        epilog="example:\n  clipseq draw-labels events.csv videos/cage1.mp4 --output cage1_labels.mp4\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("labels", type=Path, metavar="LABELS", help="a label file or folder, as for --labels of train")
    parser.add_argument("video", type=Path, metavar="VIDEO", help="a video, or a folder of numbered pictures")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT.mp4", help="a new .mp4 or .mov file")
    _add_label_flags(parser)
    return parser


def _add_label_flags(parser: argparse.ArgumentParser) -> None:
    """What the format of a label file may leave open, as for train."""
    names = ("label_format", "subject", "annotator", "tier", "tiers_as_classes", "point_width")
    add_options(parser, DataSettings, [*names, "labels_fps", "labels_from", "labels_end"])
