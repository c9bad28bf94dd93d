"""The batch job: skips what is done, resumes after a kill, records failures, yields one result per clip.

What to do with each clip is decided in plan.py before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from extract.embed.timing import StageSeconds
from extract.errors import VideoError
from extract.jobs.engine import backbone_of, engine_for
from extract.jobs.one_pass import ClipResult, Expectation, FailureLimit, OnePass, Progress, open_writer
from extract.jobs.plan import ClipDecision, decide_clip, in_part
from extract.jobs.recipe import recipe_of
from extract.jobs.settings import ExtractSettings
from extract.records import VideoItem
from extract.store.reader import open_made_with
from extract.store.recipe import check_recipe
from extract.videos.listing import check_ids


def extract(
    items: Sequence[VideoItem],
    settings: ExtractSettings,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    seconds: StageSeconds | None = None,
) -> Generator[ClipResult, None, None]:
    """Bring a store up to date with a list of clips.

    Args:
        items: The clips; those outside `settings.part` are left to the other parts.
        settings: What to do and where to write.
        on_progress: Called after every batch.
        seconds: Filled with the time of each stage.

    Yields:
        One ClipResult per clip, as soon as it is known. A "done" clip is on disk no later than when the generator
        ends, is closed, or `flush_seconds` have passed.

    Raises:
        UsageError: two clips have the same id; with `ray`, as from `extract_on_cluster`.
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
    recipe = recipe_of(settings, backbone)
    check_recipe(settings.output, recipe)
    store = open_made_with(recipe, settings.output)
    work: list[tuple[VideoItem, ClipDecision]] = []
    gone: list[tuple[VideoItem, VideoError]] = []
    for item in items:
        try:
            decision = decide_clip(item, store, retry_failed=settings.retry_failed, rehash=settings.rehash)
        except VideoError as error:
            gone.append((item, error))
            continue
        if decision.action == "extract":
            work.append((item, decision))
        else:
            yield ClipResult(
                item.clip_id, "skipped" if decision.action == "reuse" else "failed", reason=decision.reason
            )
    if not work and not gone:
        return
    after_ns = store.latest_ns() if store else 0
    if work and settings.ray:
        from extract.jobs.cluster import extract_on_cluster

        yield from extract_on_cluster(
            *(work, gone, settings),
            backbone=backbone,
            recipe=recipe,
            after_ns=after_ns,
            seconds=seconds,
            limit=limit,
            on_progress=on_progress,
        )
        return
    # The engine first: weights that do not match must not leave an empty store behind.
    engine = engine_for(backbone, settings) if work else None
    name = engine.name if engine else settings.engine
    with open_writer(settings, backbone, recipe, engine=name, after_ns=after_ns) as writer:
        tally = Expectation(len(work), on_progress)
        one_pass = OnePass(writer, settings, backbone, seconds=seconds, tally=tally, limit=limit)
        yield from one_pass.fail_all(gone)
        if engine:
            yield from one_pass.results(engine, [(item, decision.partial) for item, decision in work])
