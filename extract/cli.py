"""The verbs of stage one: arguments, one call, one printed summary. Verbs import stage modules only when run."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from extract import arguments as parsers
from extract.arguments import check_positive, extract_settings, sampling_rule

if TYPE_CHECKING:
    from pathlib import Path

    from extract.jobs.batch import Batch
    from extract.jobs.settings import ExtractSettings
    from extract.preview.rows import WindowCut
    from extract.preview.sheet import PictureChange, Sheet, View
    from extract.videos.left_out import LeftOut


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs of stage one to the parser's sub-commands."""
    parsers.add_scan(verbs).set_defaults(run=run_scan)
    parsers.add_show(verbs).set_defaults(run=run_show)
    parsers.add_extract(verbs).set_defaults(run=run_extract)
    parsers.add_info(verbs).set_defaults(run=run_info)
    parsers.add_why(verbs).set_defaults(run=run_why)
    parsers.add_verify(verbs).set_defaults(run=run_verify)
    parsers.add_pack(verbs).set_defaults(run=run_pack)
    parsers.add_merge(verbs).set_defaults(run=run_merge)
    parsers.add_import(verbs).set_defaults(run=run_import)
    parsers.add_export(verbs).set_defaults(run=run_export)
    parsers.add_inspect_backbone(verbs).set_defaults(run=run_inspect_backbone)
    parsers.add_check_backbone(verbs).set_defaults(run=run_check_backbone)


def run_scan(arguments: argparse.Namespace) -> int:
    """`clipseq scan`: exit code 1 if a video cannot be decoded."""
    from extract.backbones.registry import load_backbone
    from extract.jobs.batch import refuse_store
    from extract.preview import scan, scan_text
    from extract.system.cores import default_decode_threads
    from extract.videos.listing import search_videos

    refuse_store(arguments.videos)
    check_positive(arguments, "decode_threads")
    (items, left_out), totals, records = search_videos(arguments.videos), scan.ScanTotals(), []
    threads = arguments.decode_threads or default_decode_threads()
    width = scan_text.clip_columns(items)
    if not arguments.json:
        print(scan_text.header_line(width))
    for result in scan.scan_videos(items, sampling_rule(arguments), threads=threads):
        totals.add(result)
        if arguments.json:
            records.append(scan_text.scanned_clip(result))
        else:
            print(scan_text.clip_line(result, width), flush=True)
    backbone = load_backbone(arguments.backbone, spec=arguments.spec)
    speed = {} if backbone.channels is None else {"frames_per_second": math.inf}
    cost = scan_text.estimate_cost(totals, row_bytes=backbone.row_bytes, threads=threads, **speed)
    if arguments.json:
        passed_over = {"left_out": left_out.lines(), "unreadable": left_out.unreadable}
        print(json.dumps({"clips": records, **scan_text.scan_record(totals, cost), **passed_over}))
    else:
        print(scan_text.summary_text(totals, cost))
        _tell(left_out)
    return 1 if totals.failed or left_out.unreadable else 0


def run_show(
    arguments: argparse.Namespace, changes: Sequence[PictureChange] = (), windows: WindowCut | None = None
) -> int:
    """`clipseq show`: exit code 1 if a clip has nothing to show; `changes` are applied to the frames of each row."""
    from extract.preview.sheet import View, sheet_of_store
    from extract.store.reader import open_store
    from extract.store.recipe import is_store

    check_positive(arguments, "image_size")
    view = View(changes, windows)
    if is_store(arguments.target):
        _refuse_recipe_flags(arguments)
        sheet = sheet_of_store(open_store(arguments.target), arguments.output, view=view)
    else:
        sheet = _sheet_of_videos(arguments, view)
    for clip_id, reason in sheet.problems:
        print(f"failed  {clip_id}: {reason}", file=sys.stderr)
    print(f"wrote {arguments.output}: {_sheet_line(sheet)}")
    return 1 if sheet.problems else 0


def _refuse_recipe_flags(arguments: argparse.Namespace) -> None:
    """A store's recipe was fixed when it was made."""
    from extract.errors import UsageError

    parser = argparse.ArgumentParser()
    parsers.add_recipe_flags(parser)
    given = [name for name, default in vars(parser.parse_args([])).items() if getattr(arguments, name) != default]
    if given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} does not go with {arguments.target}, a store whose recipe sets it; "
            "leave it out, or show the videos themselves"
        )


def _sheet_line(sheet: Sheet) -> str:
    from extract.text import counted

    windows = f"{counted(sheet.windows, 'window')} of " if sheet.windows else ""
    others = (
        (sheet.windows_left_out, "more window of these", "more windows of these"),
        (sheet.clips_left_out, "more clip", "more clips"),
    )
    left_out = " and ".join(counted(*other) for other in others if other[0])
    shown = f"{counted(sheet.frames, 'frame')} of {windows}{counted(sheet.clips, 'clip')}"
    return f"{shown} (not on it: {left_out})" if left_out else shown


def run_why(arguments: argparse.Namespace) -> int:
    """`clipseq why`: one paragraph."""
    import textwrap

    from extract.jobs.plan import explain
    from extract.store.reader import open_store

    said = explain(arguments.clip, open_store(arguments.store))
    print(json.dumps({"clip": arguments.clip, "why": said}) if arguments.json else textwrap.fill(said, 100))
    return 0


def run_extract(arguments: argparse.Namespace) -> int:
    """`clipseq extract`: exit code 0 if every clip is in the store, 1 if any failed."""
    settings = extract_settings(arguments)
    if arguments.log_format == "json":
        return 1 if _extract_for_programs(arguments.videos, settings).num_failed else 0
    return 1 if extract_with_bar(arguments.videos, settings).num_failed else 0


def _extract_for_programs(videos: str | Path, settings: ExtractSettings) -> Batch:
    """Run a job, with a line of JSON for every clip that ends, and one at the end."""
    from dataclasses import asdict

    from extract.jobs.batch import extract_videos

    def tell(event: str, batch: Batch, **more: Any) -> None:
        rate = batch.stages.frames / max(batch.seconds, 1e-9)
        facts = {"seconds": round(batch.seconds, 3), "frames": batch.stages.frames}
        print(json.dumps({"event": event, **more, **facts, "frames_per_second": round(rate, 1)}), flush=True)

    batch = extract_videos(
        videos,
        settings,
        tell=lambda line: None,
        on_result=lambda result, batch: tell("clip", batch, **asdict(result)),
    )
    counts = {"done": batch.done, "skipped": batch.skipped, "failed": batch.num_failed}
    stores = [str(each.output) for each in settings.stores()]
    tell("end", batch, **counts, stores=stores, left_out=batch.left_out.lines(), unreadable=batch.left_out.unreadable)
    return batch


def extract_with_bar(videos: str | Path, settings: ExtractSettings, *, is_kept: bool = True) -> Batch:
    """Run a job with a progress bar in frames, list its failures and lost frames, and print the closing line.

    Args:
        videos: As `search_videos` takes them.
        settings: What to do with them.
        is_kept: Whether the store still exists afterwards, so that users can inspect it.
    """
    from extract.embed.timing import bottleneck_line
    from extract.jobs.batch import extract_videos
    from extract.text import lost_frames_text, remark_lines

    batch = extract_videos(videos, settings, tell=lambda line: print(line, file=sys.stderr))
    if batch.done:
        print(_speed_line(batch, settings))
        print(bottleneck_line(batch.stages, has_model=settings.backbone != "pixels"))
    if batch.lost:
        print(lost_frames_text(batch.lost, store=str(settings.stores()[0].output) if is_kept else ""))
    for line in remark_lines(batch.remarks):
        print(line)
    _tell(batch.left_out)
    if settings.inputs:
        print(f"in each of {', '.join(str(each.output) for each in settings.stores())}:")
    print(f"done {batch.done}  skipped {batch.skipped}  failed {batch.num_failed}")
    return batch


def run_info(arguments: argparse.Namespace) -> int:
    """`clipseq info`: prints what a store holds."""
    from extract.jobs.plan import outdated_warning
    from extract.store.reader import open_store
    from extract.text import readable

    store = open_store(arguments.store)
    if arguments.clip:
        record = _clip_record(store, arguments.clip)
    else:
        record = store.summary()
        record["warnings"] = [*record["warnings"], *outdated_warning(store)]
    print(json.dumps(record, indent=2, default=str) if arguments.json else readable(record))
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """`clipseq verify`: exit code 1 if anything is damaged."""
    from dataclasses import asdict

    from extract.store.verify import verdict_lines, verify

    check_positive(arguments, "sample")
    report = verify(arguments.store, repair=arguments.repair, sample=arguments.sample)
    if arguments.json:
        print(json.dumps({**asdict(report), "is_sound": report.is_sound}, default=str))
        return 0 if report.is_sound else 1
    for damage in report.damages:
        print(f"damaged  {damage.file}: {damage.reason}")
        for clip_id in damage.clip_ids:
            print(f"         {clip_id}")
    for line in report.notes:
        print(line)
    for line in verdict_lines(report):
        print(line)
    return 0 if report.is_sound else 1


def run_pack(arguments: argparse.Namespace) -> int:
    """`clipseq pack`: one file of the same schema."""
    from extract.store.pack import pack
    from extract.text import counted

    packed = pack(arguments.store, arguments.file)
    clips, frames = counted(packed.num_clips, "clip"), counted(packed.num_frames, "frame")
    print(f"wrote {packed.path}: {clips}, {frames}, {packed.num_bytes / 1e6:,.1f} MB")
    return 0


def run_merge(arguments: argparse.Namespace) -> int:
    """`clipseq merge`: several stores become one."""
    from extract.store.merge import merge
    from extract.text import counted

    merged = merge(arguments.stores, arguments.output, newest=arguments.newest)
    held = f"{counted(merged.num_clips, 'clip')}, {counted(merged.num_frames, 'frame')}"
    repeated = f"; {counted(merged.num_repeated, 'clip')} of several stores kept once" if merged.num_repeated else ""
    print(f"{merged.path} holds {held}: added {counted(merged.num_shards, 'shard')}{repeated}")
    return 0


def run_import(arguments: argparse.Namespace) -> int:
    """`clipseq import-features`: exit code 1 if any file was refused."""
    from extract.store.import_settings import ImportSettings
    from extract.store.numpy_files import import_features

    names = ("fps", "key", "transpose", "nan")
    settings = ImportSettings(**{name: getattr(arguments, name) for name in names})
    imported = import_features(arguments.folder, arguments.output, settings)
    for clip_id, reason in imported.failed.items():
        print(f"failed  {clip_id}: {reason}", file=sys.stderr)
    failed = len(imported.failed) + _tell(imported.left_out)
    for line in imported.understood:
        print(line)
    if imported.nan != "error":
        filled = "are 0" if imported.nan == "zero" else "are interpolated over time"
        print(f"missing values {filled}, and one more channel for each column is 1 where its value was missing")
    print(f"done {imported.num_done}  skipped {imported.num_skipped}  failed {failed}")
    return 1 if failed else 0


def run_export(arguments: argparse.Namespace) -> int:
    """`clipseq export-features`: .npy files for other tools."""
    from extract.store.numpy_files import export_features
    from extract.store.reader import open_store
    from extract.text import counted

    store = open_store(arguments.store)
    failed = export_features(store, arguments.folder)
    for clip_id, message in failed.items():
        print(f"failed  {clip_id}: {message}", file=sys.stderr)
    print(f"wrote {counted(len(store) - len(failed), 'file')} below {arguments.folder}")
    return 1 if failed else 0


def run_inspect_backbone(arguments: argparse.Namespace) -> int:
    """`clipseq inspect-backbone`: exit code 1 if its spec lacks something."""
    from extract.backbones.graph import read_graph
    from extract.backbones.guess import guess_spec, guess_text
    from extract.backbones.model_file import check_spec, missing
    from extract.backbones.spec import write_spec

    graph = read_graph(arguments.file)
    guess = guess_spec(graph)
    unknown = missing(guess.spec)
    if not unknown:
        check_spec(graph, guess.spec)
    if arguments.json:
        print(json.dumps({"spec": json.loads(guess.spec.json()), "from": guess.reasons, "unknown": unknown}))
    else:
        print(guess_text(graph, guess))
    if arguments.write:
        print(f"wrote {write_spec(graph.path, guess.spec)}" + (f"; add {', '.join(unknown)} to it" if unknown else ""))
    return 1 if unknown else 0


def run_check_backbone(arguments: argparse.Namespace) -> int:
    """`clipseq check-backbone`: exit code 1 if another way of preparing pictures is clearly better than the spec's."""
    from extract.preview.backbone_check import check_backbone

    given = {name: getattr(arguments, name) for name in ("classes", "reference", "picture")}
    check = check_backbone(arguments.file, arguments.spec, **given)
    print(check.table())
    print(check.sentence())
    return 1 if check.is_right is False else 0


def _sheet_of_videos(arguments: argparse.Namespace, view: View) -> Sheet:
    from dataclasses import replace

    from extract.backbones.pixels import grey
    from extract.backbones.registry import load_backbone
    from extract.decode.settings import DecodeSettings, frame_words
    from extract.errors import UsageError
    from extract.preview.sheet import PictureChange, sheet_of_videos
    from extract.videos.listing import find_videos

    own = {name: getattr(arguments, name) for name in ("weights", "image_size", "channels", "spec")}
    backbone = load_backbone(arguments.backbone, **own)
    if view.changes and backbone.channels is None:
        raise UsageError("--augment shows frames as raw-frame training sees them; add --backbone pixels")
    if backbone.channels == 1:
        view = replace(view, changes=[PictureChange(grey, "grey"), *view.changes])
    settings = DecodeSettings(
        sampling=sampling_rule(arguments), image_size=backbone.image_size, **frame_words(arguments)
    )
    items, title = find_videos(arguments.target), arguments.target
    return sheet_of_videos(items, settings, arguments.output, title=title, view=view)


def _clip_record(store, clip_id: str) -> dict:
    from dataclasses import asdict

    from extract.jobs.plan import outdated_reason

    source, truth = store.source(clip_id), store.truth(clip_id)
    return {
        "clip": clip_id,
        "timesteps": store.lengths()[clip_id],
        "source": asdict(source),
        "outdated": outdated_reason(store, clip_id),
        "truth": asdict(truth) if truth else None,
    }


def _tell(left_out: LeftOut) -> int:
    """Print what was left out; return how many folders could not be read."""
    for line in left_out.lines():
        print(line)
    for line in left_out.failures():
        print(f"failed  {line}", file=sys.stderr)
    return len(left_out.unreadable)


def _speed_line(batch: Batch, settings: ExtractSettings) -> str:
    from extract.text import counted

    stages, seconds = batch.stages, batch.seconds
    rate = stages.frames / max(seconds, 1e-9)
    of = f", those of all {len(settings.inputs)} inputs counted," if settings.inputs else ""
    return f"{counted(stages.frames, stages.rows)}{of} in {seconds:.1f} s ({rate:.0f} {stages.rows}s/s)"
