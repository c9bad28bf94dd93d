"""The batch job: skips what is done, resumes after a kill, records failures, yields one result per clip.

What to do with each clip is decided in plan.py before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from extract.backbones.backbone import Backbone
from extract.embed.timing import StageSeconds
from extract.errors import UsageError, VideoError
from extract.jobs.engine import backbone_of, engine_for
from extract.jobs.one_pass import FailureLimit, OnePass, open_writer, run_passes
from extract.jobs.plan import ClipDecision, decide_clips, in_part
from extract.jobs.recipe import recipe_of
from extract.jobs.results import ClipResult, Expectation, JoinedResults, Progress
from extract.jobs.settings import ExtractSettings
from extract.records import VideoItem
from extract.store.reader import Store, open_made_with
from extract.store.recipe import check_recipe, is_store
from extract.store.schema import Partial
from extract.videos.listing import check_ids


def extract(
    items: Sequence[VideoItem],
    settings: ExtractSettings,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    seconds: StageSeconds | None = None,
) -> Generator[ClipResult, None, None]:
    """Bring a store, or one for each of several inputs, up to date with a list of clips, decoding each at most once.

    Args:
        items: The clips; those outside `settings.part` are left to the other parts.
        settings: What to do and where to write.
        on_progress: Called after every batch.
        seconds: Filled with the time of each stage.

    Yields:
        One ClipResult per clip, as soon as it is known. A "done" clip is on disk no later than when the generator
        ends, is closed, or `flush_seconds` have passed.

    Raises:
        UsageError: two clips have the same id, or the folder for several stores is a store; with `ray`, as from
            `extract_on_cluster`.
        RecipeMismatchError: the output holds embeddings of another recipe.
        TooManyFailuresError: more than `max_failures` clips failed in this run.
        CorruptVideoError: with `on_corrupt="fail"`, at the first video with lost frames.
    """
    seconds = StageSeconds() if seconds is None else seconds
    check_ids(items)
    if settings.part is not None:
        items = [item for item in items if in_part(item.clip_id, settings.part)]
    limit = FailureLimit(settings, len(items))
    backbone = backbone_of(settings)
    targets = open_targets(settings, backbone)
    joined = JoinedResults([target.input for target in targets])
    for target in targets:
        for result in target.decide(items):
            yield from joined.add(target.input, result)
    targets = [target for target in targets if target.work or target.gone]
    if not targets:
        return
    if settings.ray and targets[0].work:
        from extract.jobs.cluster import extract_on_cluster

        [target] = targets
        yield from extract_on_cluster(
            *([*target.work.items()], target.gone, settings),
            backbone=backbone,
            recipe=target.recipe,
            after_ns=target.after_ns,
            seconds=seconds,
            limit=limit,
            on_progress=on_progress,
        )
        return
    # The engine first: weights that do not match must not leave an empty store behind.
    engine = engine_for(backbone, settings) if any(target.work for target in targets) else None
    to_end = [item.clip_id for target in targets for item in (*target.work, *(item for item, _ in target.gone))]
    tally = Expectation(sum(len(target.work) for target in targets), to_end, on_progress)
    with ExitStack() as stack:
        passes = {}
        for target in targets:
            name = engine.name if engine else settings.engine
            opened = open_writer(target.settings, backbone, target.recipe, engine=name, after_ns=target.after_ns)
            passes[target.input] = OnePass(stack.enter_context(opened), tally=tally, limit=limit)
        for target in targets:
            for result in passes[target.input].fail_all(target.gone):
                yield from joined.add(target.input, result)
        if engine:
            for each, result in run_passes(passes, _work(targets), engine, backbone, settings, seconds=seconds):
                yield from joined.add(each, result)


@dataclass
class Target:
    """One store to fill: what it is made with, and what is to be done in it.

    Args:
        settings: Of this store alone.
        recipe: What determines its numbers.
        store: What is there; None: nothing yet.
        work: The clips to embed, and why, each with the beginning that an earlier run sealed.
        gone: The clips whose files cannot be read, and why.
    """

    settings: ExtractSettings
    recipe: dict[str, object]
    store: Store | None
    work: dict[VideoItem, ClipDecision] = field(default_factory=dict)
    gone: list[tuple[VideoItem, VideoError]] = field(default_factory=list)

    @property
    def input(self) -> str:
        """What the backbone sees."""
        return self.settings.input

    @property
    def after_ns(self) -> int:
        """When the latest clip there was written, in nanoseconds since 1970; 0 if there is none."""
        return self.store.latest_ns() if self.store else 0

    def decide(self, items: Sequence[VideoItem]) -> Iterator[ClipResult]:
        """Note what is to be done with clips; yields the results of those with which nothing is."""
        settings = self.settings
        how = {"retry_failed": settings.retry_failed, "rehash": settings.rehash}
        for item, decision in decide_clips(items, self.store, **how):
            if isinstance(decision, VideoError):
                self.gone.append((item, decision))
            elif decision.action == "extract":
                self.work[item] = decision
            else:
                status = "skipped" if decision.action == "reuse" else "failed"
                yield ClipResult(item.clip_id, status, reason=decision.reason)


def open_targets(settings: ExtractSettings, backbone: Backbone) -> list[Target]:
    """The stores that settings fill; writes nothing, and raises like `extract`."""
    if settings.inputs and is_store(settings.output):
        raise UsageError(
            f"{settings.output} is a feature store, but with several --input a folder in it is made for each; choose "
            "another --output"
        )
    targets = []
    for each in settings.stores():
        recipe = recipe_of(each, backbone)
        check_recipe(each.output, recipe)
        targets.append(Target(each, recipe, open_made_with(recipe, each.output)))
    return targets


def _work(targets: Sequence[Target]) -> list[tuple[VideoItem, dict[str, Partial | None]]]:
    """Every clip that is to be decoded, with what is done of each input."""
    work: dict[VideoItem, dict[str, Partial | None]] = {}
    for target in targets:
        for item, decision in target.work.items():
            work.setdefault(item, {})[target.input] = decision.partial
    return [*work.items()]
