"""The arguments of the verbs of stage one, one function per verb; what the verbs do is in cli.py."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from extract.command_line import Appended, BackboneName, add_json, shorten_help
from extract.decode.settings import FrameSettings
from extract.errors import UsageError
from extract.jobs.settings import ExtractSettings
from extract.options import add_options, flag_of
from extract.videos.rule import SamplingRule

ACTIONS: dict[str, type[argparse.Action]] = {"backbone": BackboneName, "spec": Appended}
EXTRACT_FIRST = (
    *("--backbone", "--spec", "--weights", "--image-size", "--fps", "--every", "--num-frames", "--first-frames"),
    *("--fit", "--input", "--on-corrupt", "--retry-failed", "--part"),
)
VIDEOS_HELP = (
    "a folder (searched recursively), a glob in quotes, a file, a CSV with a `path` column, or an address (s3://, "
    "https://)"
)


def add_extract(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq extract`."""
    parser = verbs.add_parser(
        "extract",
        help="embed every sampled frame of every video, once",
        description="Embed every sampled frame of every video with a frozen pretrained backbone and cache the result. "
        "Rerun it at any time: what is done is skipped, what changed is redone, what was interrupted resumes.",
        epilog="examples:\n"
        "  clipseq extract videos/ --output features/\n"
        "  clipseq extract 'videos/**/*.mp4' --output features/ --num-frames 16\n"
        "  clipseq extract clips.csv --output features/ --every 3 --part 2/8     (one of 8 jobs on one store)\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", metavar="VIDEOS", help=VIDEOS_HELP)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the feature store to fill")
    add_recipe_flags(parser)
    group = parser.add_argument_group("speed (does not change results beyond rounding)")
    add_options(group, ExtractSettings, ("engine", "batch_size", "decode_threads", "flush_seconds"))
    add_options(parser, ExtractSettings, ("retry_failed", "rehash", "max_failures"))
    parser.add_argument("--part", metavar="I/N", help="do only part I of N, by hash of the clip_id: for job arrays")
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="json: a line of JSON for every clip that ends, and one at the end, for those who watch jobs (text)",
    )
    shorten_help(parser, *EXTRACT_FIRST)
    return parser


def add_recipe_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that determine the numbers, and thus the store's fingerprint."""
    group = parser.add_argument_group("recipe (one per store; another recipe needs another --output)")
    add_options(
        group, ExtractSettings, ("backbone", "spec", "weights", "pool", "image_size", "channels"), actions=ACTIONS
    )
    _add_sampling_flags(group)
    add_options(group, ExtractSettings, (*(each.name for each in fields(FrameSettings)), "precision"))


def add_info(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq info`."""
    parser = verbs.add_parser(
        "info",
        help="what a feature store holds",
        description="Print the recipe, counts, sizes and failures of a feature store; or one clip's truth record.",
    )
    parser.add_argument("store", metavar="STORE", help="a store's directory, or a packed .h5 file")
    parser.add_argument("--clip", metavar="ID", help="print this clip's record: what was found in the video")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_verify(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq verify`."""
    parser = verbs.add_parser(
        "verify",
        help="re-read a whole store and check every digest",
        description="Re-read a whole store: digests, finite values, increasing timestamps, every clip. Reports damage "
        "per clip, with exit code 1. --repair sets damaged shards aside; the next extract run refills them.",
    )
    parser.add_argument("store", metavar="STORE", help="a store's directory, or a packed .h5 file")
    parser.add_argument("--repair", action="store_true", help="set damaged shards aside, as *.damaged")
    parser.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="read every shard's table, but the rows of N clips only, chosen at random anew each time (all)",
    )
    add_json(parser, "what was found")
    return parser


def add_pack(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq pack`."""
    parser = verbs.add_parser(
        "pack",
        help="pack a store into one HDF5 file",
        description="Write all clips of a store into one HDF5 file of the same schema, each clip in one piece.",
    )
    parser.add_argument("store", metavar="STORE", help="a store's directory")
    parser.add_argument("file", type=Path, metavar="FILE.h5", help="the file to write; every verb takes it as a STORE")
    return parser


def add_merge(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq merge`."""
    parser = verbs.add_parser(
        "merge",
        help="join stores of one recipe, such as those of several machines",
        description="Bring the clips and failures of several stores into one directory. Shards get a second name there "
        "where the disk allows it, and are copied elsewhere; a clip that several stores have is kept once. Stores of "
        "different recipes are refused. Rerun it at any time: it adds what is missing.",
        epilog="example:\n  clipseq merge node1/features node2/features --output features/\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "stores", nargs="+", metavar="STORE", help="stores' directories, or packed .h5 files; only read"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the feature store to make or add to")
    parser.add_argument(
        "--newest",
        action="store_true",
        help="where stores have different rows for one clip, take those written last (they are refused)",
    )
    return parser


def add_import(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq import-features`."""
    parser = verbs.add_parser(
        "import-features",
        help="make a store from another tool's .npy or .npz files",
        description="Make a store from .npy or .npz files, one per clip, rows = timesteps. They are stored as float32.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="searched recursively for .npy and .npz")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the feature store to fill")
    parser.add_argument(
        "--fps", type=float, metavar="F", help="rows per second; without it the timestamps are row numbers"
    )
    parser.add_argument("--key", metavar="NAME", help="the array to use from an .npz that holds several")
    parser.add_argument("--transpose", action="store_true", help="the files hold (D, T), not (T, D)")
    parser.add_argument(
        "--nan",
        choices=("error", "interpolate", "zero"),
        help="missing values: refuse the file, or fill them in and add a channel for each column that says where "
        "(zero where the first files lack any, else error)",
    )
    return parser


def add_export(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq export-features`."""
    parser = verbs.add_parser(
        "export-features",
        help="write every clip of a store as .npy",
        description="Write every clip of a store as DIR/<clip_id>.npy, float32 (T, D), or for stored frames uint8 "
        "(T, H, W, C), for other tools.",
    )
    parser.add_argument("store", metavar="STORE", help="a store's directory, or a packed .h5 file")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the files go")
    return parser


def add_inspect_backbone(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq inspect-backbone`."""
    parser = verbs.add_parser(
        "inspect-backbone",
        help="what a model file takes and gives, and the spec that extract needs",
        description="Read a model file's graph, guess how its pictures must be prepared and which output is the "
        "embedding, and say what the guess rests on and what nothing says. Exit code 1 if something is unknown.",
    )
    parser.add_argument("file", type=_model_path, metavar="MODEL", help="a .onnx, .tflite or .keras file")
    parser.add_argument("--write", action="store_true", help="save the guess as MODEL.json beside it, to be completed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_check_backbone(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq check-backbone`."""
    parser = verbs.add_parser(
        "check-backbone",
        help="whether a model file's spec prepares pictures as the model expects",
        description="Embed built-in photographs as the spec says and as common mistakes would: colours swapped, "
        "normalisation missing, doubled or of another kind, height and width swapped. With class outputs, or with a "
        "vector that the original program gave for a picture, say which is right; else show how far apart they are. "
        "Exit code 1 if another preparation is clearly better than the spec's.",
    )
    parser.add_argument("file", type=_model_path, metavar="MODEL", help="a .onnx, .tflite or .keras file")
    add_options(parser, ExtractSettings, ("spec",), actions=ACTIONS)
    parser.add_argument(
        "--classes", metavar="OUTPUT", help="an output with a score per class (one of 1,000 or so is found)"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="VECTOR.npy",
        help="what the original program gave for --picture",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="the picture of --reference, as large as the model takes it"
    )
    return parser


def _model_path(text: str) -> Path:
    return Path(text.removeprefix("file:"))


def add_why(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq why`."""
    parser = verbs.add_parser(
        "why",
        help="why a clip is reused, recomputed or failed",
        description="Explain in one paragraph what the next extraction will do with a clip of a store, and why.",
    )
    parser.add_argument("store", metavar="STORE", help="a store's directory")
    parser.add_argument("clip", metavar="CLIP", help="a clip_id")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_scan(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq scan`."""
    parser = verbs.add_parser(
        "scan",
        help="what the videos contain, what is odd, and what extraction would cost",
        description="Read every video's packets and one frame, without a backbone: what they contain, what is odd, "
        "and how many frames, time and disk space extraction takes. Exit code 1 if a video cannot be decoded.",
    )
    parser.add_argument("videos", metavar="VIDEOS", help=VIDEOS_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_options(parser, ExtractSettings, ("backbone", "spec", "decode_threads"), actions=ACTIONS)
    _add_sampling_flags(parser)
    return parser


def add_show(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The arguments of `clipseq show`."""
    parser = verbs.add_parser(
        "show",
        help="a contact sheet of the frames that are actually sampled",
        description="Draw the frames that are actually sampled, one row per clip, with class and timestamps. A store "
        "shows the videos it was made from, a store of frames (extract --backbone pixels) what it holds. With --window "
        "it draws one row per sliding window, cut at the same times as by clipseq train and predict.",
        epilog="examples:\n"
        "  clipseq show videos/ --output sheet.png --num-frames 5\n"
        "  clipseq show features/ --output sheet.png --window 2 --hop 1     (what train --window 2 --hop 1 sees)\n"
        "  clipseq show frames/ --output sheet.png --augment 7 --flip --shift 0.1\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="VIDEOS_OR_STORE", help=f"{VIDEOS_HELP}; or a feature store")
    parser.add_argument("--output", type=Path, required=True, metavar="SHEET.png", help="the picture to write")
    add_recipe_flags(parser)
    return parser


def _add_sampling_flags(group: argparse._ActionsContainer) -> None:
    rule = group.add_mutually_exclusive_group()
    rule.add_argument("--fps", type=float, metavar="F", help="sample F frames per second, by timestamp (8)")
    rule.add_argument("--every", type=int, metavar="N", help="sample every Nth frame")
    rule.add_argument("--num-frames", type=int, metavar="N", help="sample N frames spread over the clip")
    group.add_argument(
        "--first-frames",
        type=int,
        metavar="N",
        help="keep the first N frames that --fps or --every takes; without either, the clip's first N frames",
    )
    group.add_argument(
        "--skip-frames", type=int, default=0, metavar="N", help="skip the clip's first N frames, then sample (0)"
    )


def extract_settings(arguments: argparse.Namespace) -> ExtractSettings:
    """The settings given by the flags of `extract`.

    Raises:
        UsageError: a value is out of range.
    """
    names = {setting.name for setting in fields(ExtractSettings)} - {"sampling", "part", "clips_from"}
    same = {name: getattr(arguments, name) for name in names}
    return ExtractSettings(sampling=sampling_rule(arguments), part=_part(arguments.part), **same)


def sampling_rule(arguments: argparse.Namespace) -> SamplingRule:
    """The rule given by the sampling flags; 8 frames per second if there are none.

    Raises:
        UsageError: a value is not greater than 0, or two flags exclude each other.
    """
    check_positive(arguments, "fps", "every", "num_frames", "first_frames")
    rules = [name for name in ("fps", "every", "num_frames") if getattr(arguments, name) is not None]
    if len(rules) > 1:  # from Python or a job file; the parser refuses it by itself
        raise UsageError(f"{rules[0]} and {rules[1]} exclude each other; give one of them")
    kind, value = "fps", 8.0
    if arguments.first_frames is not None:
        kind, value = "every", 1
    if rules:
        kind, value = rules[0], getattr(arguments, rules[0])
    return SamplingRule(kind, value, skip_frames=arguments.skip_frames, first_frames=arguments.first_frames)


def check_positive(arguments: argparse.Namespace, *names: str) -> None:
    """Refuse flags whose value is 0 or below.

    Raises:
        UsageError: naming the flag and the value.
    """
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise UsageError(f"{flag_of(name)} {value} must be greater than 0")


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit()):
        raise UsageError(f"--part {text!r} must be I/N with 1 <= I <= N, such as 3/8")
    return int(number), int(count)
