"""The log of a fit: one line per validation, and event files for TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from extract.errors import UsageError
from extract.system.files import make_folder, writing

LOG_COLUMNS = ("update", "pass", "loss", "validation_loss", "validation_score", "learning_rate", "seconds")


def write_events(folder: Path, history: Sequence[dict]) -> None:
    """Write the log of one fit as TensorBoard scalars; replaces the event file of an earlier fit.

    Args:
        folder: Created if necessary.
        history: Records as in `FitResult.history`.

    Raises:
        UsageError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs the package tensorboardX; pip install 'clipseq[tensorboard]'.") from None
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with writing(folder), SummaryWriter(str(folder)) as writer:
        for record in history:
            for name in LOG_COLUMNS[2:]:
                if record[name] is not None:
                    writer.add_scalar(name, record[name], record["update"])


def log_line(log: Path, cells: Iterable[object], *, mode: str) -> None:
    """Write one line of the log, which can be read while the fit is running."""
    make_folder(log.parent)
    with writing(log), log.open(mode, newline="") as file:
        csv.writer(file).writerow(cells)
