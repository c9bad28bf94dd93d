"""Results that commands have written into a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from extract.errors import RunError
from extract.text import counted
from sequence_models.runs.files import read_record, write_record
from sequence_models.runs.run import COMPARISON, Run, read_run


def read_fit(run: Run, fold: str, seed: int) -> dict[str, Any]:
    """The record of a fit: best_update (best_epoch in earlier versions), best_score, overfits_from, seconds, peak_mb
    and weights_digest.

    Raises:
        RunError: It is missing or damaged.
    """
    path = run.fit_path(fold, seed)
    return read_record(path, again=f"delete it and run clipseq train for {run.path} again", run_id=run.run_id)


def read_validation(run: Run) -> dict[str, dict[str, Any]]:
    """Validation scores of model and baselines, from validation.json; {} before training has finished.

    Raises:
        RunError: It is damaged, or from another run.
    """
    path = run.path / "validation.json"
    again = "run the same clipseq train command again"
    return read_record(path, again=again, run_id=run.run_id) if path.exists() else {}


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of metrics.json in a run directory, from evaluate or compare.

    Raises:
        RunError: It is missing, damaged, or from another run, or training has not finished.
    """
    run = read_run(path)
    if not (path / "metrics.json").exists() and not (path / COMPARISON).exists():
        refuse_unfinished(run)
    return read_record(path / "metrics.json", again=evaluate_first(path), run_id=run.run_id)


def evaluate_first(path: Path) -> str:
    """How to create or recreate the results of a run directory."""
    verb = "the same clipseq compare" if (path / COMPARISON).exists() else f"`clipseq evaluate {path}`"
    return f"run {verb} first"


def begin_comparison(run: Run) -> None:
    """Mark a run directory as a comparison, so that it is not taken for an untrained run."""
    if not (run.path / COMPARISON).exists():
        write_record(run.path / COMPARISON, {})


def read_comparison(path: Path) -> dict[str, list[str]]:
    """The content of compare.json in a run directory: model -> the folders of its runs; {} if there is none.

    Raises:
        RunError: It is damaged.
    """
    if not (path / COMPARISON).exists():
        return {}
    return read_record(path / COMPARISON, again="delete it and run clipseq compare again")


def refuse_unfinished(run: Run) -> None:
    """Raises if training of a run has not finished.

    Raises:
        RunError: Says how to resume it.
    """
    missing = [fit for fit in run.all_fits if not run.fit_path(*fit).exists()]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise RunError(
            f"{run.path} is not fully trained ({len(missing)} of {counted(run.all_fits, 'fit')} {verb} "
            "missing); run the same clipseq train command again to resume"
        )
