"""Stage one: videos into a feature store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from clipseq.options import ExtractOptions, arguments_of
from clipseq.store import FeatureStore, open_store
from extract.arguments import add_extract, extract_settings
from extract.jobs.batch import Batch, extract_videos
from extract.system.terminal import progress_bars


@dataclass(frozen=True)
class Extraction:
    """The result of `extract`.

    Args:
        path: The feature store; with several inputs, the folder of their stores.
        done: Number of clips embedded.
        skipped: Number of clips that were already in the store.
        failed: clip_id -> why it could not be embedded; also folders that cannot be read.
        notes: What was left out or is odd, one sentence each.
        paths: The feature stores, one per input.

    Example:
        >>> found = clipseq.extract("videos", "features", backbone="tiny", every=2)
        >>> found.done + found.skipped, found.failed, len(found.store)
        (24, {}, 24)
    """

    path: Path
    done: int
    skipped: int
    failed: dict[str, str]
    notes: tuple[str, ...] = ()
    paths: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def store(self) -> FeatureStore:
        """The store, opened; with several inputs, that of the first.

        Raises:
            StoreError: There is none, since no clip could be embedded.
        """
        return open_store(self.paths[0] if self.paths else self.path)


def extract(
    videos: str | Path, store: str | Path, *, progress: bool = False, **options: Unpack[ExtractOptions]
) -> Extraction:
    """Embed every sampled frame of every video, once: what is done is skipped, what changed is done again.

    Args:
        videos: A folder (searched recursively), a glob, a file, a CSV with a `path` column, or an address
            (s3://, https://).
        store: The feature store to fill; with a list of several inputs, the folder for a store of each.
        progress: Show a progress bar.
        options: The flags of `clipseq extract`, such as backbone, fps, every, num_frames and batch_size.

    Returns:
        How many clips were done and skipped, and which failed and why; a failure is not an exception.

    Raises:
        UsageError: There are no videos, or an option is unknown or out of range.
        RecipeMismatchError: The store was made with another recipe.

    Example:
        >>> clipseq.extract("videos", "features", backbone="tiny", every=2)
        Extraction(path=...Path('features'), done=0, skipped=24, failed={}, notes=())
    """
    arguments = arguments_of(add_extract, {"videos": str(videos), "output": store, **options})
    settings = extract_settings(arguments)
    with progress_bars(progress):
        batch = extract_videos(arguments.videos, settings, tell=lambda line: None)  # all of them are in the result
    paths = tuple(each.output for each in settings.stores())
    notes = _notes(batch, paths[0])
    return Extraction(settings.output, batch.done, batch.skipped, failures_of(batch), notes, paths)


def failures_of(batch: Batch) -> dict[str, str]:
    """clip_id or folder -> why it failed."""
    unreadable = {name: f"the folder cannot be read ({reason})" for name, reason in batch.left_out.unreadable.items()}
    return {**batch.failed, **unreadable}


def _notes(batch: Batch, store: Path) -> tuple[str, ...]:
    from extract.text import lost_frames_text, remark_lines

    lost = [lost_frames_text(batch.lost, store=str(store))] if batch.lost else []
    return (*lost, *remark_lines(batch.remarks), *batch.left_out.lines())
