"""What `predict` writes: one file for all clips, a file beside each video, a video with its prediction drawn on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from extract.errors import UsageError
from extract.records import Source
from extract.store.reader import Store, open_store
from extract.system.files import check_target
from extract.text import counted, first_few
from sequence_models.labels.clip_names import is_whole
from sequence_models.labels.writing import written_format
from sequence_models.prediction.annotate import annotate_prediction, check_video_output
from sequence_models.prediction.bouts import write_bouts
from sequence_models.prediction.tables import (
    Table,
    at_every_frame,
    check_ending,
    is_prediction_file,
    prediction_table,
    write_predictions,
)
from sequence_models.records import Clip, Prediction
from sequence_models.runs.exported import export_predictions, refuse_to_export
from sequence_models.runs.run import Run
from sequence_models.settings import MANY_TO_MANY


def check_outputs(
    run: Run, output: Path | None, *, to: str | None, beside: bool, every_frame: bool, annotated: Path | None
) -> None:
    """Reject what cannot be written, before predictions are made.

    Args:
        run: The run that predicts.
        output: One file for all clips, or None.
        to: A label format, or None for a table.
        beside: Whether a file is written beside each video.
        every_frame: Whether the table has a row per original frame.
        annotated: The video to write, or None.

    Raises:
        UsageError: An ending or format is unknown, flags exclude each other, or a file exists that is no prediction.
        WriteError: It cannot be written.
    """
    if every_frame and (to or run.settings.task != MANY_TO_MANY):
        what = f"--to {to} writes intervals" if to else f"{run.path} has one label per clip"
        raise UsageError(f"--every-frame is for tables of labels per frame, but {what}; leave it out")
    if annotated is not None:
        check_video_output(annotated, flag="--annotate")
        check_target(annotated)
    if to and (output or beside):
        refuse_to_export(run, output, to=to)
    elif output is not None:
        check_ending(output)
        if output.is_file() and not is_prediction_file(output):
            raise UsageError(f"--output {output} exists and holds no predictions: choose another name or remove it")
    if output is not None and not (to and output.is_dir()):
        check_target(output)


def write_output(
    run: Run,
    store: str | Path,
    clips: Sequence[Clip],
    predictions: Sequence[Prediction],
    output: Path,
    *,
    to: str | None,
    every_frame: bool,
) -> list[str]:
    """Write the predictions of all clips into one file, or with `to` as a label format; returns what to say of it.

    Args:
        run: The run that predicted.
        store: Knows the videos of the clips.
        clips: The clips.
        predictions: One per clip.
        output, to, every_frame: As in `check_outputs`.

    Raises:
        LabelError: The format cannot hold a name, or several classes at once.
        WriteError: It cannot be written.
    """
    if to:
        return [export_predictions(run, store, clips, predictions, output, to=to)]
    rows = _write_table(run, open_store(store), clips, predictions, output, every_frame=every_frame)
    said = [f"wrote {output}: {counted(clips, 'clip')}, {counted(rows, 'line')}"]
    if run.settings.task != MANY_TO_MANY:
        return said
    labels = sum(len(each.labels) for each in predictions)
    changed = sum(
        int((each.labels != each.raw_labels).reshape(len(each.labels), -1).any(axis=1).sum()) for each in predictions
    )
    if changed:
        share = f"{changed:,} of {counted(labels, 'label')}"
        said.append(f"post-processing changed {share}; raw_label is the decision without it")
    bouts = output.with_suffix(".bouts.csv")
    write_bouts(bouts, clips, predictions, run.vocabulary, with_truth=False, unit=run.time_unit)
    said.append(f"wrote {bouts}: count, durations, latency, intervals and successors of every class in every clip")
    return said


def files_beside(store: str | Path, *, to: str | None) -> dict[str, Path]:
    """The file beside the video of each clip of a store, VIDEO.predictions.csv or with the ending of a label format.

    Raises:
        UsageError: Two clips would share a file, a video's folder is gone, or a file is there that is no prediction.
        WriteError: A folder cannot be written to.
    """
    opened, ending = open_store(store), written_format(to).ending if to else ".csv"
    targets: dict[str, Path] = {}
    taken: set[Path] = set()
    for clip_id in opened.clip_ids:
        target = _beside(clip_id, opened.source(clip_id), ending)
        if target in taken:
            raise UsageError(f"--beside would write {target} for several clips; rename videos that differ in ending")
        if not target.parent.is_dir():
            raise UsageError(f"--beside: {target.parent}, the folder of {clip_id}, is gone; use --output")
        if target.exists() and (to or not is_prediction_file(target)):
            raise UsageError(f"--beside: {target} exists already; remove it, or use --output")
        check_target(target)
        targets[clip_id] = target
        taken.add(target)
    return targets


def write_beside(
    run: Run,
    store: str | Path,
    clips: Sequence[Clip],
    predictions: Sequence[Prediction],
    files: Mapping[str, Path],
    *,
    to: str | None,
    every_frame: bool,
) -> list[str]:
    """Write a file beside the video of each clip; returns what to say of them.

    Args:
        run, store, clips, predictions, to, every_frame: As in `write_output`.
        files: From `files_beside`.

    Raises:
        LabelError: The format cannot hold a name, or several classes at once.
        WriteError: It cannot be written.
    """
    opened, targets = open_store(store), [files[clip.clip_id] for clip in clips]
    for clip, prediction, target in zip(clips, predictions, targets, strict=True):
        if to:
            export_predictions(run, store, [clip], [prediction], target, to=to)
        else:
            _write_table(run, opened, [clip], [prediction], target, every_frame=every_frame)
    return [f"wrote {counted(targets, 'file')} beside the videos: {first_few([str(path) for path in targets], 3)}"]


def refuse_to_annotate(store: str | Path) -> None:
    """UsageError unless a store holds a single clip, and that a whole video that is still there."""
    opened = open_store(store)
    ids = opened.clip_ids
    if len(ids) != 1:
        raise UsageError(f"--annotate writes one video, but {counted(ids, 'clip')} are predicted; give a single video")
    source = Path(opened.source(ids[0]).path)
    if opened.truth(ids[0]) is None or not is_whole(ids[0]) or not source.exists():
        why = "imported features" if opened.truth(ids[0]) is None else "a span of a video"
        raise UsageError(f"--annotate needs a whole video, but {ids[0]} is {why if source.exists() else 'gone'}")


def write_annotated(
    run: Run, store: str | Path, clips: Sequence[Clip], predictions: Sequence[Prediction], output: Path
) -> str:
    """Write the video of the only clip with its prediction; returns a line on it, raises as `annotate`."""
    video = Path(open_store(store).source(clips[0].clip_id).path)
    return annotate_prediction(video, output, clips[0], predictions[0], run.vocabulary)


def _write_table(
    run: Run,
    store: Store,
    clips: Sequence[Clip],
    predictions: Sequence[Prediction],
    output: Path,
    *,
    every_frame: bool,
) -> int:
    tables = zip(clips, clip_tables(run, clips, predictions), strict=True)
    if not every_frame:
        return write_predictions(output, (table for _, table in tables))
    spread = (at_every_frame(table, clip, store.truth(clip.clip_id)) for clip, table in tables)
    return write_predictions(output, spread)


def clip_tables(
    run: Run, clips: Sequence[Clip], predictions: Sequence[Prediction], *, with_truth: bool = False
) -> Iterator[Table]:
    """The `prediction_table` of every clip."""
    for clip, prediction in zip(clips, predictions, strict=True):
        yield prediction_table(
            clip,
            prediction,
            vocabulary=run.vocabulary,
            task=run.settings.task,
            has_seconds=run.time_unit == "seconds",
            with_truth=with_truth,
        )


def _beside(clip_id: str, source: Source, ending: str) -> Path:
    video = Path(source.path)
    span = "" if is_whole(clip_id) else clip_id[clip_id.rindex("#t=") :]
    return video.with_name(f"{video.name if video.is_dir() else video.stem}{span}.predictions{ending}")
