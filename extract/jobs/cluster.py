"""Spreads the clips of a job over a Ray cluster: one worker for each GPU, or without GPUs for each machine.

    this process ──a few clips at a time, the largest first──▶ worker 1: an engine, shards of its own ─┐
                 ──────────────────────────────────────────▶ worker 2                                  ├─▶ one store
                 ◀────── frames so far, clips that are on disk, failures ──────                       ─┘

The store decides what is done, not Ray: when a worker dies, the clips it had are decided on again, as at the start of a
job, and those that are not on disk are given to others.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from extract.backbones.backbone import Backbone
from extract.embed.timing import StageSeconds
from extract.embed.windows import window_rule
from extract.errors import ClusterError, VideoError
from extract.jobs.one_pass import FailureLimit, OnePass, open_writer, source_if_there
from extract.jobs.plan import ClipDecision, decide_clip
from extract.jobs.results import ClipResult, Expectation, Progress
from extract.jobs.settings import ExtractSettings
from extract.jobs.worker import Clip, Report, Worker
from extract.records import VideoItem
from extract.store.reader import Store, open_made_with
from extract.store.writer import StoreWriter
from extract.system.ray_session import Share, check_shares, connected, no_ray, shares
from extract.text import counted

MAX_DEATHS = 3  # of workers with one clip, the last one alone with it: then the clip fails
HIRE_SECONDS = 5.0  # between two looks at the machines of the cluster
BYTES_PER_SECOND = 250_000  # of a usual video
WAIT_SECONDS = 60.0  # for a first worker, before that is worth a word
STOP_SECONDS = 30.0  # for workers to seal what they have, when the job ends early
SPARE = {"max_restarts": 0, "max_task_retries": 0}  # the store knows what to do again, Ray does not

log = logging.getLogger(__name__)


def extract_on_cluster(
    work: Sequence[tuple[VideoItem, ClipDecision]],
    gone: Sequence[tuple[VideoItem, VideoError]],
    settings: ExtractSettings,
    *,
    backbone: Backbone,
    recipe: dict[str, object],
    after_ns: int,
    seconds: StageSeconds,
    limit: FailureLimit,
    on_progress: Callable[[Progress], None],
) -> Iterator[ClipResult]:
    """Embed clips on the machines of a cluster.

    Args:
        work: Clips to embed, and what was decided on them.
        gone: Clips whose files are gone.
        settings: What to do, and which cluster.
        backbone, recipe: Of these settings.
        after_ns: No clip written so far is later.
        seconds: Filled with the time of each stage, summed over the workers.
        limit: Told of every failure.
        on_progress: Called about twice a second.

    Yields:
        One ClipResult per clip; those of done clips once they are on disk.

    Raises:
        UsageError: Ray is missing, no cluster answers, or it has fewer GPUs or cores than workers.
        ClusterError: No worker can be started, or one after the other dies.
        ClipseqError: As from `extract`.
    """
    try:
        import ray
    except ImportError:
        raise no_ray() from None
    seconds.rows = "frame" if window_rule(backbone) is None else "window"
    with connected(ray, settings.ray):
        ids = [item.clip_id for item, _ in (*work, *gone)]
        tally = Expectation(len(work), ids, on_progress)
        tally.send()
        clips = [(item, decision.partial) for item, decision in sorted(work, key=_seconds_of, reverse=True)]
        pool = _Pool(ray, clips, replace(settings, max_failures=None, part=None), recipe, after_ns, tally, seconds)
        try:
            pool.wait_for_first()  # weights that do not match must not leave an empty store behind
            with open_writer(settings, backbone, recipe, engine="ray", after_ns=after_ns) as writer:
                yield from OnePass(writer, tally=tally, limit=limit).fail_all(gone)
                for result in pool.results(writer):
                    if result.status == "failed":
                        limit.count(result.clip_id, result.reason, settings.output)
                    yield result
        finally:
            pool.end()


@dataclass
class _Member:
    """A worker: its actor, its share, the clips it has that are not known to be on disk, and what it told last."""

    actor: Any
    share: Share
    name: str = ""  # host and process id; "" until its engine is ready
    given: dict[str, Clip] = field(default_factory=dict)
    is_idle: bool = True
    is_ending: bool = False  # it has been told that it has its last clip of this pass
    totals: Mapping[str, float] = field(default_factory=dict)


class _Pool:
    """The workers, the clips that wait for one, and what to do when one dies."""

    def __init__(
        self,
        ray: Any,
        work: Sequence[Clip],
        settings: ExtractSettings,
        recipe: dict[str, object],
        after_ns: int,
        tally: Expectation,
        seconds: StageSeconds,
    ) -> None:
        self._ray, self._settings, self._recipe, self._after_ns = ray, settings, recipe, after_ns
        self._tally, self._seconds = tally, seconds
        self._waiting, self._alone = deque(work), deque[Clip]()
        self._deaths: Counter[str] = Counter()
        self._deaths_in_a_row = 0
        self._members: list[_Member] = []
        self._calls: dict[Any, _Member] = {}  # one call of each member is under way, except where it is idle
        self._idle: list[_Member] = []
        self._past: list[Mapping[str, float]] = []  # totals of dead members
        self._looked = -math.inf

    def wait_for_first(self) -> None:
        """Hire workers, and return when one of them is ready; raises what stops it from starting."""
        check_shares(self._ray.nodes(), self._settings.ray_workers)
        began, is_told = time.monotonic(), False
        while not self._idle:
            if time.monotonic() - began > WAIT_SECONDS and not is_told:
                log.warning("no machine of the cluster has had room for a worker so far; `ray status` says why")
                is_told = True
            self._hire()
            for member, report in self._answers():
                self._ready(member, report)

    def results(self, writer: StoreWriter) -> Iterator[ClipResult]:
        """Give all clips to workers; yields as they end. The writer is for failures."""
        while self._waiting or self._alone or any(member.given for member in self._members):
            self._hire()
            for member in self._idle[:]:
                self._idle.remove(member)
                self._give(member)
            for member, report in self._answers():
                if report is None:
                    yield from self._redo(member, writer)
                elif not member.name:
                    self._ready(member, report)
                else:
                    yield from self._take(member, report)
                    if report.is_idle and member.given:  # it has lost sight of them
                        yield from self._redo(member, writer)
                    self._give(member, report.wanted)

    def end(self) -> None:
        """Let the workers seal what they have, for a while, and end them."""
        stops = [member.actor.stop.remote() for member in self._members if member.given]
        try:
            if stops:
                self._ray.wait(stops, num_returns=len(stops), timeout=STOP_SECONDS)
        finally:
            for member in self._members:
                self._ray.kill(member.actor)

    def _hire(self) -> None:
        """Start a worker wherever one is missing: at the start, in place of dead ones, on machines that have joined."""
        if time.monotonic() - self._looked < HIRE_SECONDS:
            return
        self._looked = time.monotonic()
        wanted = shares(self._ray.nodes(), self._settings.ray_workers)
        missing = (Counter(wanted) - Counter(member.share for member in self._members)).elements()
        useful = min(len(wanted), len(self._waiting) + len(self._alone)) - len(self._members)
        for share in islice(missing, max(0, useful)):
            member = _Member(self._actor(share, math.ceil(len(self._waiting) / len(wanted))), share)
            self._members.append(member)
            self._calls[member.actor.start.remote(os.getcwd(), share.cores)] = member

    def _actor(self, share: Share, clips: int) -> Any:
        near = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(share.node, soft=True)
        remote = self._ray.remote(Worker).options(
            num_cpus=share.cores, num_gpus=share.gpus, scheduling_strategy=near, **SPARE
        )
        return remote.remote(self._settings, after_ns=self._after_ns, clips=max(1, clips))

    def _answers(self) -> Iterator[tuple[_Member, Any]]:
        """Members with what they answered; None for those that have died."""
        if not self._calls:
            time.sleep(1.0)  # no machine is left: one may join
            return
        ready, _ = self._ray.wait(list(self._calls), timeout=HIRE_SECONDS)
        for call in ready:
            member = self._calls.pop(call)
            try:
                answer = self._ray.get(call)
            except self._ray.exceptions.RayTaskError as error:  # the worker raised it
                raise (error.cause if isinstance(error.cause, BaseException) else error) from None
            except self._ray.exceptions.RayError as error:
                self._note_death(member, error)
                answer = None
            if answer is not None or member.name:
                yield member, answer

    def _ready(self, member: _Member, started: tuple[str, int, str]) -> None:
        host, process, engine = started
        member.name = f"{host} (process {process})"
        log.info("worker %s is ready: %s", member.name, engine)
        self._idle.append(member)

    def _give(self, member: _Member, wanted: int = 1) -> None:
        """Clips for a member: an equal part of half of what is left, so that all end at the same time."""
        clips: list[Clip] = []
        if self._alone and member.is_idle:
            clips, member.is_ending = [self._alone.popleft()], True
        elif not member.is_ending:
            most = math.ceil(len(self._waiting) / (2 * max(1, len(self._members))))
            clips = [self._waiting.popleft() for _ in range(min(wanted, most, len(self._waiting)))]
            member.is_ending = not self._waiting
        if member.is_idle and not clips:
            self._idle.append(member)
            return
        member.given.update({item.clip_id: (item, partial) for item, partial in clips})
        member.is_idle = False
        self._calls[member.actor.work.remote(clips, last=member.is_ending)] = member

    def _take(self, member: _Member, report: Report) -> Iterator[ClipResult]:
        for text in report.warnings:
            log.warning("%s: %s", member.name, text)
        member.totals, member.is_idle = report.stages, report.is_idle
        member.is_ending &= not report.is_idle
        self._seconds.set_sums([*self._past, *(each.totals for each in self._members if each.totals)])
        self._tally.opened(report.opened_frames, report.opened)
        self._tally.embedded(report.frames)
        for result in report.results:
            yield self._ended(member, result)

    def _ended(self, member: _Member, result: ClipResult) -> ClipResult:
        member.given.pop(result.clip_id, None)
        self._deaths_in_a_row = 0
        self._tally.ended(result.clip_id)
        return result

    def _note_death(self, member: _Member, error: Exception) -> None:
        """Raises ClusterError if it seems that no worker can live."""
        self._members.remove(member)
        self._looked, self._deaths_in_a_row = -math.inf, self._deaths_in_a_row + 1
        self._past += [member.totals] if member.totals else []
        self._ray.kill(member.actor)  # where only the connection is lost
        reason = " ".join(str(error).split())
        if self._deaths_in_a_row > max(4, 2 * len(self._members)):
            raise ClusterError(
                f"{self._deaths_in_a_row} workers ended one after the other, the last one with: {reason}. What is done "
                "is kept. The same version of clipseq must be installed on every machine of the cluster, and a worker "
                "needs memory for its backbone; see `ray status` and the logs of Ray"
            )
        if member.name:
            clips = counted(len(member.given), "clip")
            log.warning("the worker on %s has ended; what it had not stored of %s is done again", member.name, clips)
            log.info("%s", reason)

    def _redo(self, member: _Member, writer: StoreWriter) -> Iterator[ClipResult]:
        """Decide again on the clips of a dead worker; a clip whose workers die again and again has failed."""
        store = open_made_with(self._recipe, self._settings.output)
        given, member.given = member.given, {}
        for clip_id, (item, before) in given.items():
            try:
                how = {"retry_failed": self._settings.retry_failed, "rehash": self._settings.rehash}
                decision = decide_clip(item, store, **how)
            except VideoError as error:
                writer.fail(clip_id, error, None)
                yield self._ended(member, ClipResult(clip_id, "failed", reason=str(error)))
                continue
            if decision.action == "reuse" and store is not None:
                yield self._ended(member, _stored(clip_id, store))
            elif decision.action == "failed":
                yield self._ended(member, ClipResult(clip_id, "failed", reason=decision.reason))
            else:
                yield from self._again(member, (item, decision.partial), before.rows if before else 0, writer)

    def _again(self, member: _Member, clip: Clip, rows_before: int, writer: StoreWriter) -> Iterator[ClipResult]:
        (item, partial), clip_id = clip, clip[0].clip_id
        has_moved_on = partial is not None and partial.rows > rows_before
        self._deaths[clip_id] = 1 if has_moved_on else self._deaths[clip_id] + 1
        if self._deaths[clip_id] >= MAX_DEATHS:
            error = VideoError(
                f"{item.path} ended {self._deaths[clip_id]} workers, the last one as its only clip: a fault in "
                "a decoder, or too little memory; leave it out, or convert it"
            )
            writer.fail(clip_id, error, source_if_there(item))
            yield self._ended(member, ClipResult(clip_id, "failed", reason=str(error)))
        elif self._deaths[clip_id] == MAX_DEATHS - 1:
            self._alone.append(clip)
        else:
            self._waiting.appendleft(clip)


def _seconds_of(clip: tuple[VideoItem, ClipDecision]) -> float:
    """How long a clip is, roughly: by the size of its file, and of a span at most its length."""
    item, decision = clip
    return min(item.end_seconds - item.start_seconds, decision.size / BYTES_PER_SECOND)


def _stored(clip_id: str, store: Store) -> ClipResult:
    """The result of a clip whose worker died after it was on disk, and before it could say so."""
    truth, rows = store.truth(clip_id), store.lengths()[clip_id]
    lost, remarks = (truth.lost_spans, truth.remarks) if truth else ((), ())
    return ClipResult(clip_id, "done", rows, lost_spans=lost, remarks=remarks)
