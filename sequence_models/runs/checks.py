"""Checks of a run before it is used."""

from __future__ import annotations

import hashlib
from pathlib import Path

from extract.errors import RunError
from extract.system.files import open_regular
from sequence_models.runs.results import read_comparison, read_fit
from sequence_models.runs.run import COMPARISON, FINAL, Run


def weights_digest(path: Path) -> str:
    """SHA-256 (hex) of a weights file, as kept in the record of its fit."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_to_predict(run: Run) -> None:
    """Raises if a run has no models for new clips, or if they have changed since training.

    Raises:
        RunError: Names the file that is missing or changed, or the run to use instead.
    """
    refuse_comparison(run, "predict with")
    for seed in run.seeds_of(run.predicting_fold):
        refuse_missing_weights(run, run.predicting_fold, seed)
        refuse_changed_weights(run, run.predicting_fold, seed)


def refuse_missing_weights(run: Run, fold: str, seed: int) -> None:
    """Raises if a model is not trained yet, or missing.

    Raises:
        RunError: Says how to train it.
    """
    weights = run.model_path(fold, seed)
    if weights.exists():
        return
    if fold == FINAL and (run.path.parent / COMPARISON).exists():
        raise RunError(
            f"{run.path} was not the best point of its model's --grid on validation, and only the best one has models "
            f"fitted on all clips; give another folder of {run.path.parent}"
        )
    raise RunError(f"{weights} is missing: training has not finished. Run the same clipseq train command again")


def refuse_changed_weights(run: Run, fold: str, seed: int) -> None:
    """Raises if a weights file is no longer the one that training wrote.

    Raises:
        RunError: Names the file and what to do.
    """
    weights, note = run.model_path(fold, seed), run.fit_path(fold, seed)
    anew = f"delete {note} and run the same clipseq train command again to refit it"
    try:
        changed = note.exists() and read_fit(run, fold, seed)["weights_digest"] != weights_digest(weights)
    except OSError as error:
        raise RunError(f"{weights} cannot be read ({error.strerror}); restore that file, or {anew}") from None
    if changed:
        raise RunError(
            f"{weights} is not the file that training wrote (its digest differs); restore that file, or {anew}"
        )


def refuse_comparison(run: Run, verb: str) -> None:
    """Raises if a run directory holds a comparison, which has no model of its own.

    Raises:
        RunError: Names the runs inside it.
    """
    if (run.path / COMPARISON).exists():
        folders = [str(run.path / name) for names in read_comparison(run.path).values() for name in names]
        which = f"one of them: {', '.join(folders)}" if folders else "one of them once it is trained"
        raise RunError(f"{run.path} compares models; {verb} {which}")


def refuse_training_into_comparison(path: Path) -> None:
    """Raises if a single model would be trained into the directory of a comparison.

    Raises:
        RunError: Says what to do instead.
    """
    if (path / COMPARISON).exists():
        raise RunError(
            f"{path} holds a comparison of models; train into another --run, or add a model to the comparison with "
            f"clipseq compare ... --models NAME --run {path}"
        )
