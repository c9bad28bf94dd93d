"""A whole extraction, from what the user pointed at to what the user should know afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from extract.embed.timing import StageSeconds
from extract.errors import UsageError
from extract.jobs.engine import backbone_of
from extract.jobs.job import extract, open_targets
from extract.jobs.plan import in_part
from extract.jobs.results import ClipResult, Progress
from extract.jobs.settings import ExtractSettings
from extract.store.recipe import is_store
from extract.system.terminal import plain, progress_bar
from extract.videos.left_out import LeftOut
from extract.videos.listing import check_ids, is_list, search_videos


@dataclass
class Batch:
    """The result of an extraction.

    Args:
        left_out: What the search for videos left out, and the folders that cannot be read.
        done: Number of clips embedded.
        skipped: Number of clips that were already in the store.
        failed: clip_id -> why it could not be embedded.
        lost: (clip_id, spans in seconds) of clips with lost frames.
        remarks: (clip_id, sentence) on clips.
        stages: Time of each stage.
        seconds: Of the whole, on the wall clock.
    """

    left_out: LeftOut
    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    lost: list[tuple[str, tuple[tuple[float, float], ...]]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    stages: StageSeconds = field(default_factory=StageSeconds)
    seconds: float = 0.0

    @property
    def num_failed(self) -> int:
        """Number of clips, and folders that cannot be read."""
        return len(self.failed) + len(self.left_out.unreadable)

    def add(self, result: ClipResult) -> None:
        """Count one clip."""
        if result.status == "failed":
            self.failed[result.clip_id] = result.reason
        elif result.status == "done":
            self.done += 1
        else:
            self.skipped += 1
        if result.lost_spans:
            self.lost.append((result.clip_id, result.lost_spans))
        self.remarks += [(result.clip_id, remark) for remark in result.remarks]


def extract_videos(
    videos: str | Path,
    settings: ExtractSettings,
    *,
    tell: Callable[[str], None],
    on_result: Callable[[ClipResult, Batch], None] = lambda result, batch: None,
) -> Batch:
    """Bring a store up to date with videos, with a progress bar in frames.

    Args:
        videos: As `search_videos` takes them.
        settings: What to do with them.
        tell: Called with a line for every clip that fails, as soon as it does.
        on_result: Called with every clip that ends, and the batch so far.

    Raises:
        UsageError: It is a feature store; else as for `search_videos` and `extract`.
    """
    refuse_store(videos)
    if Path(videos).is_dir() and Path(videos).resolve() == settings.output.resolve():
        raise UsageError(f"--output {settings.output} is the folder of the videos; give the store a folder of its own")
    items, left_out = search_videos(videos)
    settings = replace(settings, clips_from="list" if is_list(videos) else "")
    batch, bar = Batch(left_out), _FrameBar(len(items), tell)
    try:
        with closing(extract(items, settings, on_progress=bar.show, seconds=batch.stages)) as results:
            for result in results:
                batch.add(result)
                batch.seconds = bar.seconds
                on_result(result, batch)
                if result.status == "failed":
                    bar.write(f"failed  {result.clip_id}: {result.reason}")
    finally:
        batch.seconds = bar.seconds
        bar.close()
    return batch


def extraction_work(videos: str | Path, settings: ExtractSettings) -> list[tuple[str, str]]:
    """The clips that `extract_videos` would decode now, each with the reason; raises like it, and writes nothing."""
    refuse_store(videos)
    items, _ = search_videos(videos)
    check_ids(items)
    if settings.part is not None:
        items = [item for item in items if in_part(item.clip_id, settings.part)]
    found: dict[str, str] = {}
    for target in open_targets(settings, backbone_of(settings)):
        for _ in target.decide(items):
            pass
        found |= {item.clip_id: decision.reason for item, decision in target.work.items()}
        found |= {item.clip_id: str(error) for item, error in target.gone}
    return [*found.items()]


def refuse_store(videos: str | Path) -> None:
    """Raises if a feature store is given where videos are expected.

    Raises:
        UsageError: It is one.
    """
    if is_store(videos):
        raise UsageError(
            f"{videos} is a feature store, not videos; give the videos, or train on it: clipseq train {videos}"
        )


class _FrameBar:
    """A progress bar in frames, with rate and ETA, starting at the first embedded frame."""

    def __init__(self, clips: int, tell: Callable[[str], None]) -> None:
        self._clips, self._tell, self._began = clips, tell, time.perf_counter()
        self._bar: Any = None

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def show(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = progress_bar(unit=" frames", smoothing=0.1, mininterval=0.2)
        self._bar.total = progress.expected_frames
        self._bar.set_postfix_str(f"{progress.clips} of {self._clips} clips", refresh=False)
        self._bar.update(progress.frames - self._bar.n)

    def write(self, line: str) -> None:
        """Above the bar where one is shown."""
        if self._bar is None or self._bar.disable:
            self._tell(line)
        else:
            self._bar.write(plain(line), file=self._bar.fp)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
