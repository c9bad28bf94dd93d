"""Predictions of a run as labels in the format of a tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from extract.errors import UsageError
from extract.store.reader import open_store
from extract.text import counted
from sequence_models.labels.clip_names import is_whole
from sequence_models.labels.formats.contract import WriteOptions
from sequence_models.labels.table import BY_FRAMES, BY_SECONDS
from sequence_models.labels.writing import check_output, write_labels, written_format, written_text
from sequence_models.prediction.intervals import prediction_table
from sequence_models.records import Clip, Prediction
from sequence_models.runs.run import Run
from sequence_models.settings import MANY_TO_MANY

BACKGROUND = "background"  # of formats that have a value for frames without any class


def refuse_to_export(run: Run, output: Path | None, *, to: str) -> None:
    """Raises if the predictions of a run cannot be written in a format, before they are made.

    Raises:
        UsageError: An unknown format, a run on whole clips, features without a rate, or an output that exists
            (None = not known yet).
    """
    used = written_format(to)
    if run.settings.task != MANY_TO_MANY:
        raise UsageError(f"--to {to} writes intervals, but {run.path} has one label per clip; leave --to out")
    if used.unit == BY_SECONDS and run.time_unit != "seconds":
        raise UsageError(
            f"--to {to} needs seconds, but the features of {run.path} have no rate, only timesteps; write frames, or "
            "import the features again with --fps"
        )
    if output is not None:
        check_output(output)


def export_predictions(
    run: Run, store: str | Path, clips: Sequence[Clip], predictions: Sequence[Prediction], output: Path, *, to: str
) -> str:
    """Writes predictions per timestep as labels.

    Args:
        run: The run that predicted.
        store: Knows the videos of the clips.
        clips: The clips.
        predictions: One per clip.
        output: A file, or a folder for formats with a file per video; must not exist.
        to: A format that is written.

    Returns:
        What was written, in one line.

    Raises:
        LabelError: The format cannot hold a name, or several classes at once.
        WriteError: The output cannot be written.
    """
    used, opened = written_format(to), open_store(store)
    known = {clip.clip_id: opened.truth(clip.clip_id) for clip in clips}
    truths = {clip_id: truth for clip_id, truth in known.items() if truth is not None}
    kind = used.unit or (BY_SECONDS if run.time_unit == "seconds" else BY_FRAMES)
    nothing = (run.background or BACKGROUND) if used.has_background else ""
    table = prediction_table(
        clips, predictions, run.vocabulary, kind=kind, truths=truths, nothing=nothing, path=run.path
    )
    gaps = {run.background} if used.gaps_are_background else set()
    dropped = [row for row in table.rows if row.label in gaps]
    table = replace(table, rows=tuple(row for row in table.rows if row.label not in gaps))
    options = WriteOptions(
        {clip_id: truth.average_rate for clip_id, truth in truths.items() if truth.average_rate},
        {clip_id: truth.decoded_frames for clip_id, truth in truths.items() if is_whole(clip_id)},
        nothing,
    )
    said = written_text(output, write_labels(table, output, used, options))
    return said + (f"; {counted(dropped, 'interval')} of {run.background!r} left as gaps" if dropped else "")
