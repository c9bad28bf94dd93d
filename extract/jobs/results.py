"""What a job reports: one result per clip, whatever the number of its inputs, and how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ClipResult:
    """The result for one clip: status "done", "skipped" or "failed", rows, reason, where frames were lost, remarks.

    With several inputs, a clip has failed if any of them has, and is skipped only if all of them are.
    """

    clip_id: str
    status: str
    rows: int = 0
    reason: str = ""
    lost_spans: tuple[tuple[float, float], ...] = ()  # half-open, seconds
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """Where the job stands: clips ended, frames embedded, and frames expected in total, as each of its inputs."""

    clips: int
    frames: int
    expected_frames: int


class JoinedResults:
    """Joins the results of a clip's inputs into one, given when the last of them comes."""

    def __init__(self, inputs: Sequence[str]) -> None:
        self._inputs = inputs
        self._waiting: dict[str, dict[str, ClipResult]] = {}

    def add(self, name: str, result: ClipResult) -> Iterator[ClipResult]:
        """The result of the clip, if this is its last input."""
        results = self._waiting.setdefault(result.clip_id, {})
        results[name] = result
        if len(results) == len(self._inputs):
            yield _one_result(self._waiting.pop(result.clip_id))


def _one_result(results: Mapping[str, ClipResult]) -> ClipResult:
    if len(results) == 1:
        return next(iter(results.values()))
    statuses = [result.status for result in results.values()]
    status = next(each for each in ("failed", "done", "skipped") if each in statuses)
    reasons = {name: result.reason for name, result in results.items() if result.status == status and result.reason}
    same = len(set(reasons.values())) == 1 and len(reasons) == len(results)
    texts = [*reasons.values()][:1] if same else [f"{name}: {reason}" for name, reason in reasons.items()]
    return ClipResult(
        next(iter(results.values())).clip_id,
        status,
        rows=sum(result.rows for result in results.values()),
        reason="; ".join(texts),
        lost_spans=next((result.lost_spans for result in results.values() if result.lost_spans), ()),
        remarks=next((result.remarks for result in results.values() if result.remarks), ()),
    )


class Tally(Protocol):
    """Counts what happens in a pass."""

    def opened(self, expected_frames: int) -> None:
        """A clip has begun, and is expected to give so many frames; one with several inputs counts as often."""

    def embedded(self, frames: int) -> None:
        """So many frames more are embedded."""

    def ended(self, clip_id: str) -> None:
        """A clip, or one of its inputs, is done or has failed."""


class Expectation:
    """Estimates the frames of the whole job from the clips opened so far, assuming the rest are similar.

    Args:
        to_open: How many clips will be opened; one with several inputs counts as often.
        to_end: The clip_ids that will end, likewise.
        report: Called whenever something has changed.
    """

    def __init__(self, to_open: int, to_end: Iterable[str], report: Callable[[Progress], None]) -> None:
        self._to_open = to_open
        self._to_end = Counter(to_end)
        self._report = report
        self._opened = 0
        self._opened_frames = 0
        self._ended = 0
        self._frames = 0

    def opened(self, expected_frames: int, clips: int = 1) -> None:
        """Clips have begun, and are expected to give so many frames together."""
        self._opened += clips
        self._opened_frames += expected_frames

    def embedded(self, frames: int) -> None:
        """So many frames more are embedded."""
        self._frames += frames
        self.send()

    def ended(self, clip_id: str) -> None:
        """A clip, or one of its inputs, is done or has failed."""
        self._to_end[clip_id] -= 1
        self._ended += not self._to_end[clip_id]
        self.send()

    def send(self) -> None:
        """Report where the job stands."""
        expected = round(self._opened_frames * self._to_open / max(1, self._opened))
        self._report(Progress(self._ended, self._frames, max(self._frames, expected)))
