"""Writes the job file that repeats a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from extract.errors import UsageError
from extract.system.files import write_csv, write_text
from sequence_models.experiments.prepare import plan_run
from sequence_models.runs.checks import refuse_comparison
from sequence_models.runs.run import OFFICIAL, Run, read_run
from sequence_models.settings import DataSettings, TrainSettings

TEXT = "# Repeats {run}: clipseq run {file}\n# Relative paths start at the folder of this file.\n\n[train]\n"


def write_job(run_directory: Path, path: Path) -> list[Path]:
    """Write the job file that trains a run again, into another run directory, and evaluates and reports it.

    Args:
        run_directory: A run of train.
        path: The file to write; a split that the labels do not give, and a list of clips, are written beside it.

    Returns:
        What was written.

    Raises:
        UsageError: The file exists.
        RunError: The run is missing or damaged, or a comparison, or on official splits, which a file cannot repeat.
    """
    run = read_run(run_directory)
    refuse_comparison(run, "repeat")
    written = [path]
    if run.cv == OFFICIAL:
        raise UsageError(f"{run_directory} is on official splits, whose folder is not recorded: write split = by hand")
    lines = dict(_settings(run))
    if run.data.keep is not None:
        written.append(path.with_suffix(".clips.txt"))
        lines["clips"] = written[-1].name
    if not run.cv and _has_own_split(run):
        written.append(path.with_suffix(".split.csv"))
        lines["split"] = written[-1].name
    for file in written:
        if file.exists():
            raise UsageError(f"{file} exists; give another name, or remove it")
    for file in written[1:]:
        if file.name == lines.get("clips"):
            write_text(file, "\n".join(run.data.keep or ()))
        else:
            write_csv(file, [("clip_id", "split"), *_split_rows(run)])
    heading = TEXT.format(run=run_directory, file=path)
    write_text(path, heading + "".join(f"{key} = {_toml(value)}\n" for key, value in lines.items()))
    return written


def _settings(run: Run) -> Iterator[tuple[str, Any]]:
    """Keys and values of [train]; settings at their default are left out."""
    yield "stores", list(run.stores)
    if run.labels:
        yield "labels", run.labels
    yield "task", run.settings.task
    yield "run", str(Path(f"{run.path}-again").resolve())
    for settings, kind in ((run.settings, TrainSettings), (run.data, DataSettings)):
        for each in fields(kind):
            value = getattr(settings, each.name)
            if value != each.default and each.name not in ("task", "keep"):
                yield each.name.replace("_", "-"), list(value) if isinstance(value, tuple) else value
    for name, value, default in (("cv", run.cv, ""), ("seeds", run.seeds, 1), ("inner", run.inner, 1)):
        if value != default:
            yield name, value


def _has_own_split(run: Run) -> bool:
    """Whether the run was divided otherwise than data and settings say, so by a split file."""
    labels = Path(run.labels) if run.labels else None
    again = {"run": run.path, "seeds": run.seeds, "inner": run.inner, "data": run.data}
    return plan_run(run.stores, labels, run.settings, **again)[0].folds != run.folds  # type: ignore[arg-type]


def _split_rows(run: Run) -> Iterator[tuple[str, str]]:
    fold = run.folds[0]
    parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
    if fold.rotation:  # validation parts are drawn from the training part, as they were
        parts = {"train": fold.known, "test": fold.test}
    for part, clip_ids in parts.items():
        yield from ((clip_id, part) for clip_id in clip_ids)


def _toml(value: Any) -> str:
    """JSON of text, numbers, booleans and lists of text is TOML too."""
    return json.dumps(value, ensure_ascii=False)
