"""The verbs of stage one: arguments, one call, one printed summary. Stage modules are imported inside the verbs."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extract.job import ClipResult, ExtractSettings, Progress
    from extract.packing import StageSeconds

VIDEOS_HELP = "a folder (searched recursively), a glob in quotes, a file, or a CSV with a `path` column"


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs of stage one to the parser's sub-commands."""
    _add_extract(verbs)
    _add_info(verbs)
    _add_verify(verbs)
    _add_pack(verbs)
    _add_import(verbs)
    _add_export(verbs)


def _add_extract(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "extract",
        help="embed every sampled frame of every video, once",
        description="Embed every sampled frame of every video with a frozen pretrained backbone and cache the result. "
        "Run it again at any time: what is done is skipped, what changed is redone, what was cut off goes on.",
        epilog="examples:\n"
        "  clipseq extract videos/ --output features/\n"
        "  clipseq extract 'videos/**/*.mp4' --output features/ --num-frames 16\n"
        "  clipseq extract clips.csv --output features/ --every 3 --part 2/8     (one of 8 jobs on one store)\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", metavar="VIDEOS", help=VIDEOS_HELP)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the feature store to fill")
    add_recipe_flags(parser)
    add_speed_flags(parser)
    parser.add_argument(
        "--flush-seconds", type=float, default=60.0, metavar="S", help="seal a shard at least this often (60)"
    )
    parser.add_argument("--part", metavar="I/N", help="do only part I of N, by hash of the clip_id: for job arrays")
    parser.add_argument("--retry-failed", action="store_true", help="try clips again that failed and have not changed")
    parser.add_argument("--rehash", action="store_true", help="compare every file by content, not by size and time")
    parser.add_argument("--max-failures", metavar="N|N%", help="stop once more clips than this have failed")
    parser.set_defaults(run=run_extract)


def add_recipe_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that determine the numbers, and so the fingerprint of the store."""
    group = parser.add_argument_group("recipe (a store holds one; another recipe needs another --output)")
    group.add_argument(
        "--backbone", default="efficientnet_lite0", metavar="NAME", help="a pretrained backbone (efficientnet_lite0)"
    )
    group.add_argument(
        "--weights", type=Path, metavar="PATH", help="a weights file of that backbone, for use without a network"
    )
    group.add_argument("--image-size", type=int, metavar="PX", help="side of the square image (the backbone's own)")
    rule = group.add_mutually_exclusive_group()
    rule.add_argument("--fps", type=float, metavar="F", help="sample F frames per second, by timestamp (8)")
    rule.add_argument("--every", type=int, metavar="N", help="sample every Nth frame")
    rule.add_argument("--num-frames", type=int, metavar="N", help="sample N frames spread over the clip")
    group.add_argument(
        "--fit", choices=("stretch", "crop", "pad"), default="stretch", help="how a frame becomes square (stretch)"
    )
    group.add_argument("--input", choices=("rgb", "diff", "flow"), default="rgb", help="what the backbone sees (rgb)")
    group.add_argument(
        "--decoder", choices=("auto", "opencv", "pyav"), default="auto", help="auto decides per file and records it"
    )
    group.add_argument(
        "--on-corrupt", choices=("salvage", "skip", "fail"), default="salvage",
        help="where frames are lost: keep the rest and record the gap, leave the clip out, or stop (salvage)",
    )  # fmt: skip
    precisions = ("float32", "mixed_float16", "mixed_bfloat16")
    group.add_argument(
        "--precision", choices=precisions, default="float32", help="what the backbone computes in (float32)"
    )


def add_speed_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that change the speed and nothing else."""
    group = parser.add_argument_group("speed (changes no number beyond rounding)")
    group.add_argument("--engine", choices=("auto", "keras", "litert"), default="auto", help="what runs the backbone")
    group.add_argument("--batch-size", type=int, default=32, metavar="N", help="frames per call of the backbone (32)")
    group.add_argument(
        "--decode-threads", type=int, metavar="N", help="videos decoded at once (one per core, at most 8)"
    )


def _add_info(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "info",
        help="what a feature store holds",
        description="Print the recipe, counts, sizes and failures of a feature store; or one clip's truth record.",
    )
    parser.add_argument("store", metavar="STORE", help="a store's directory, or a packed .h5 file")
    parser.add_argument("--clip", metavar="ID", help="print this clip's record: what was found in the video")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_info)


def _add_verify(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "verify",
        help="re-read a whole store and check every digest",
        description="Re-read a whole store: digests, finite values, rising timestamps, every clip. Damage is named per "
        "clip, and the exit code is 1. --repair sets damaged shards aside, so that running extract again refills them.",
    )
    parser.add_argument("store", metavar="STORE", help="a store's directory, or a packed .h5 file")
    parser.add_argument("--repair", action="store_true", help="set damaged shards aside, as *.damaged")
    parser.set_defaults(run=run_verify)


def _add_pack(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "pack",
        help="put a store into one HDF5 file",
        description="Write all clips of a store into one HDF5 file of the same schema, every clip in one piece.",
    )
    parser.add_argument("store", metavar="STORE", help="a store's directory")
    parser.add_argument("file", type=Path, metavar="FILE.h5", help="the file to write; every verb takes it as a STORE")
    parser.set_defaults(run=run_pack)


def _add_import(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "import-features",
        help="make a store from another tool's .npy or .npz files",
        description="Make a store from .npy or .npz files, one per clip, rows = timesteps. They are kept as float32.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="searched recursively for .npy and .npz")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the feature store to fill")
    parser.add_argument(
        "--fps", type=float, metavar="F", help="rows per second; without it the timestamps are row numbers"
    )
    parser.add_argument("--key", metavar="NAME", help="the array to take from an .npz that holds several")
    parser.add_argument("--transpose", action="store_true", help="the files hold (D, T), not (T, D)")
    parser.add_argument(
        "--nan",
        choices=("error", "interpolate", "zero"),
        default="error",
        help="what to do with missing values (error)",
    )
    parser.set_defaults(run=run_import)


def _add_export(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "export-features",
        help="write every clip of a store as .npy",
        description="Write every clip of a store as DIR/<clip_id>.npy, float32 (T, D), for other tools.",
    )
    parser.add_argument("store", metavar="STORE", help="a store's directory, or a packed .h5 file")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the files go")
    parser.set_defaults(run=run_export)


def extract_settings(arguments: argparse.Namespace) -> ExtractSettings:
    """The settings that the flags of `extract` ask for.

    Raises:
        UsageError: a value is out of its range.
    """
    from extract.errors import UsageError
    from extract.job import ExtractSettings
    from extract.sampling import SamplingRule

    for name in ("fps", "every", "num_frames", "batch_size", "decode_threads", "image_size", "flush_seconds"):
        value = getattr(arguments, name, None)
        if value is not None and value <= 0:
            raise UsageError(f"--{name.replace('_', '-')} {value} must be greater than 0")
    rules = [(kind, getattr(arguments, kind)) for kind in ("fps", "every", "num_frames")]
    kind, value = next(((kind, value) for kind, value in rules if value is not None), ("fps", 8.0))
    recipe = ("output", "backbone", "weights", "image_size", "fit", "input", "decoder", "on_corrupt", "precision")
    speed = ("engine", "batch_size", "decode_threads", "flush_seconds", "retry_failed", "rehash", "max_failures")
    return ExtractSettings(
        sampling=SamplingRule(kind, value),
        part=_part(arguments.part),
        **{name: getattr(arguments, name) for name in recipe + speed},
    )


def run_extract(arguments: argparse.Namespace) -> int:
    """`clipseq extract`: exit code 0 if every clip is in the store, 1 if any failed."""
    from extract.videos import find_videos

    settings = extract_settings(arguments)
    counts = extract_with_bar(find_videos(arguments.videos), settings)
    return 1 if counts["failed"] else 0


def extract_with_bar(items: list, settings: ExtractSettings) -> Counter:
    """Run a job with a progress bar in frames, list its failures, and print the closing line.

    Returns:
        How many clips are done, skipped and failed.
    """
    from extract.job import extract
    from extract.packing import StageSeconds

    counts: Counter = Counter(done=0, skipped=0, failed=0)
    seconds = StageSeconds()
    bar = _FrameBar(len(items))
    try:
        for result in extract(items, settings, on_progress=bar.show, seconds=seconds):
            counts[result.status] += 1
            if result.status == "failed":
                bar.write(_failure_line(result))
    finally:
        bar.close()
    if counts["done"]:
        print(_speed_line(seconds, bar.seconds))
    print(f"done {counts['done']}  skipped {counts['skipped']}  failed {counts['failed']}")
    return counts


def run_info(arguments: argparse.Namespace) -> int:
    """`clipseq info`: prints what a store holds."""
    from extract.store_read import open_store

    store = open_store(arguments.store)
    record = _clip_record(store, arguments.clip) if arguments.clip else store.summary()
    print(json.dumps(record, indent=2, default=str) if arguments.json else _readable(record))
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """`clipseq verify`: exit code 1 if anything is damaged."""
    from extract.store_verify import verify

    report = verify(arguments.store, repair=arguments.repair)
    for damage in report.damages:
        print(f"damaged  {damage.file}: {damage.reason}")
        for clip_id in damage.clip_ids:
            print(f"         {clip_id}")
    for line in report.notes:
        print(line)
    print(f"read {report.num_clips:,} clips, {report.num_frames:,} frames in {report.num_shards:,} shards: ", end="")
    print("all sound" if report.is_sound else f"{len(report.damaged_clip_ids):,} clips damaged")
    if report.set_aside:
        print(
            f"set aside {', '.join(map(str, report.set_aside))}; run the same clipseq extract again to refill the store"
        )
    return 0 if report.is_sound else 1


def run_pack(arguments: argparse.Namespace) -> int:
    """`clipseq pack`: one file of the same schema."""
    from extract.store_pack import pack

    packed = pack(arguments.store, arguments.file)
    print(
        f"wrote {packed.path}: {packed.num_clips:,} clips, {packed.num_frames:,} frames, {packed.num_bytes / 1e6:,.1f} MB"
    )
    return 0


def run_import(arguments: argparse.Namespace) -> int:
    """`clipseq import-features`: exit code 1 if any file was refused."""
    from extract.store_npy import ImportSettings, import_features

    names = ("fps", "key", "transpose", "nan")
    settings = ImportSettings(**{name: getattr(arguments, name) for name in names})
    imported = import_features(arguments.folder, arguments.output, settings)
    for clip_id, reason in imported.failed.items():
        print(f"failed  {clip_id}: {reason}", file=sys.stderr)
    print(f"done {imported.num_done}  skipped {imported.num_skipped}  failed {len(imported.failed)}")
    return 1 if imported.failed else 0


def run_export(arguments: argparse.Namespace) -> int:
    """`clipseq export-features`: .npy files for other tools."""
    from extract.store_npy import export_features
    from extract.store_read import open_store

    print(f"wrote {export_features(open_store(arguments.store), arguments.folder):,} files below {arguments.folder}")
    return 0


def _clip_record(store, clip_id: str) -> dict:
    from dataclasses import asdict

    source, truth = store.source(clip_id), store.truth(clip_id)
    return {
        "clip": clip_id,
        "timesteps": store.lengths()[clip_id],
        "source": asdict(source),
        "truth": asdict(truth) if truth else None,
    }


def _readable(record: dict, indent: str = "") -> str:
    width = max((len(str(key)) for key in record), default=0)
    lines = []
    for key, value in record.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}", _readable(value, indent + "  ")]
        else:
            text = "none" if value in (None, (), [], {}) else f"{value:,}" if type(value) is int else str(value)
            lines.append(f"{indent}{key!s:<{width}}  {text}")
    return "\n".join(lines)


def _part(text: str | None) -> tuple[int, int] | None:
    from extract.errors import UsageError

    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--part {text!r} must be I/N with 1 <= I <= N, such as 3/8")
    return int(number), int(count)


def _failure_line(result: ClipResult) -> str:
    return f"failed  {result.clip_id}: {result.reason}"


def _speed_line(seconds: StageSeconds, wall_seconds: float) -> str:
    rate = seconds.frames / max(wall_seconds, 1e-9)
    return (
        f"{seconds.frames:,} frames in {wall_seconds:.1f} s ({rate:.0f} frames/s); "
        f"backbone {seconds.backbone:.1f} s, decoding {seconds.decode:.1f} s over all its threads, "
        f"the backbone waited {seconds.backbone_waited:.1f} s for frames"
    )


class _FrameBar:
    """A progress bar in frames, with rate and ETA, from the first embedded frame on; only on a terminal."""

    def __init__(self, clips: int) -> None:
        import time

        self._clips = clips
        self._clock = time.perf_counter
        self._began = self._clock()
        self._bar: Any = None

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    def show(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(unit=" frames", disable=None, smoothing=0.1, dynamic_ncols=True, mininterval=0.2)
        self._bar.total = progress.expected_frames
        self._bar.set_postfix_str(f"{progress.clips} of {self._clips} clips", refresh=False)
        self._bar.update(progress.frames - self._bar.n)

    def write(self, line: str) -> None:
        if self._bar is None or self._bar.disable:
            print(line, file=sys.stderr)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
