"""Decides what to do with each clip by comparing the store with the file system. Decodes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from extract.decode import rules
from extract.errors import RemoteReadError, UnexpectedVideoError, VideoError
from extract.records import Source, VideoItem
from extract.store.reader import COMPARED, Store
from extract.store.schema import Partial
from extract.system.addresses import Address
from extract.text import counted, first_few, when_text
from extract.videos.remote import ETAG
from extract.videos.sources import known_source, recorded_place, source_of


@dataclass(frozen=True)
class ClipDecision:
    """What to do with one clip: "reuse", "extract" (after what `partial` has) or "failed" (again, without work)."""

    action: str
    reason: str
    partial: Partial | None = None
    size: int = 0  # of the file to extract, bytes


QUESTIONS_AT_ONCE = 32  # to servers
CLIPS_AHEAD = 1024
# Not the video's own fault: tried again in every run.
RETRIED = (UnexpectedVideoError.__name__, RemoteReadError.__name__)
_VERDICTS = {
    "reuse": "is reused",
    "extract": "is computed by the next {run}",
    "failed": "counts as failed again, without being tried",
}


def in_part(clip_id: str, part: tuple[int, int]) -> bool:
    """Whether a clip belongs to part i of n, by the hash of its name, so that lists may differ between machines."""
    number, count = part
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big") % count == number - 1


def decide_clip(
    item: VideoItem, store: Store | None, *, retry_failed: bool = False, rehash: bool = False
) -> ClipDecision:
    """What to do with one clip, and why; decodes nothing, and hashes only if the file's size or time differs.

    Args:
        item: The clip.
        store: The existing store; None if there is none.
        retry_failed: Whether a clip that failed and has not changed is tried again.
        rehash: Whether to compare every file by content.

    Returns:
        The decision; its reason can follow a colon.

    Raises:
        VideoError: The file is gone, and the ledger does not record that yet.
    """
    try:
        now = known_source(item, with_digest=rehash)
    except VideoError as error:
        known = store.failures().get(item.clip_id) if store else None
        if known is None or known.message != str(error) or retry_failed:
            raise
        return ClipDecision("failed", str(error))
    reason = "it is not in the store"
    if store is None:
        return ClipDecision("extract", reason, size=now.size)
    if item.clip_id in store:
        decision, now = _compare(item, store.source(item.clip_id), now)
        was_wrong = outdated_reason(store, item.clip_id)
        if decision.action == "reuse" and not was_wrong:
            return decision
        reason = f"it was stored under earlier rules: {was_wrong}" if was_wrong else decision.reason
    failure = store.failures().get(item.clip_id)
    if failure is not None:
        unchanged = (failure.source_size, failure.source_mtime_ns) == (now.size, now.mtime_ns)
        if unchanged and not retry_failed and failure.error not in RETRIED:
            said = failure.message.rstrip(".")
            return ClipDecision("failed", f"{said} (the file has not changed; --retry-failed tries again)")
        reason = "it failed before and is tried again"
    partial = _beginning(item, store, now)
    if partial.rows:
        return ClipDecision(
            "extract",
            f"an earlier run sealed its first {counted(partial.rows, 'row')}; it resumes there",
            partial,
            now.size,
        )
    return ClipDecision("extract", reason, size=now.size)


def decide_clips(
    items: Sequence[VideoItem], store: Store | None, *, retry_failed: bool = False, rehash: bool = False
) -> Iterator[tuple[VideoItem, ClipDecision | VideoError]]:
    """`decide_clip` for many clips in order, with its error in place of the decision; asks servers many at a time."""

    def decide(item: VideoItem) -> tuple[VideoItem, ClipDecision | VideoError]:
        try:
            return item, decide_clip(item, store, retry_failed=retry_failed, rehash=rehash)
        except VideoError as error:
            return item, error

    if not any(isinstance(item.path, Address) and item.listed is None for item in items):
        yield from map(decide, items)
        return
    with ThreadPoolExecutor(QUESTIONS_AT_ONCE, thread_name_prefix="plan") as pool:
        for start in range(0, len(items), CLIPS_AHEAD):
            yield from pool.map(decide, items[start : start + CLIPS_AHEAD])


def outdated_reason(store: Store, clip_id: str) -> str:
    """What earlier decoding rules did wrong with a stored clip; "" if it is right."""
    if not _may_be_outdated(store):
        return ""
    version = store.rules(clip_id)
    if not rules.may_be_outdated(version, store.recipe):
        return ""  # without reading its record
    return rules.outdated(version, store.recipe, store.truth(clip_id))


def _may_be_outdated(store: Store) -> bool:
    """Whether any clip may be; quick, however many there are."""
    return rules.may_be_outdated(store.oldest_rules() or rules.VERSION, store.recipe)


def outdated_warning(store: Store) -> list[str]:
    """The clips of a store that earlier decoding rules stored wrongly, in at most one sentence."""
    if not _may_be_outdated(store):
        return []
    found = {clip_id: what for clip_id in store.clip_ids if (what := outdated_reason(store, clip_id))}
    if not found:
        return []
    clips, what = counted(found, "clip"), "; ".join(sorted(set(found.values())))
    verb = "was" if len(found) == 1 else "were"
    return [
        f"{clips} {verb} stored under earlier decoding rules ({what}), and the next `clipseq extract` redoes "
        f"{'it' if len(found) == 1 else 'them'}: {first_few(list(found))}"
    ]


def explain(clip: VideoItem | str, store: Store) -> str:
    """Why a clip is reused, computed or failed, in one paragraph.

    Args:
        clip: The clip; or only its clip_id: the file is then looked for at the path in the store.
        store: The existing store.

    Returns:
        What the next run does with the clip and why, what the store holds of it, and any caveats.
    """
    clip_id = clip.clip_id if isinstance(clip, VideoItem) else clip
    is_imported, sentences = store.recipe.get("source") == "imported", _stored_sentences(clip_id, store)
    try:
        item = clip if isinstance(clip, VideoItem) else _recorded_item(clip, store)
    except VideoError as error:
        return " ".join([f"Only the next extraction can tell what it does with {clip_id}: {error}.", *sentences])
    run = "import" if is_imported else "extraction"
    if store.path.is_file():
        run += " into the directory that was packed"
        sentences.append(f"{store.path} is a packed file: nothing can be added to it.")
    if item is None:
        first = f"{clip_id} is not in {store.path}: the next {run} computes it if its list of files includes it."
        if clip_id in store.failures():
            first = f"{clip_id} failed, and the path of its file is not recorded: give the videos to compare it."
        return " ".join([first, *sentences])
    try:
        decision = decide_clip(item, store, retry_failed=is_imported)
    except VideoError as error:
        return " ".join([f"{clip_id} would fail in the next {run}: {str(error).rstrip('.')}.", *sentences])
    sentences.insert(0, f"{clip_id} {_VERDICTS[decision.action].format(run=run)}: {decision.reason}.")
    if decision.action == "reuse" and not isinstance(item.path, Address):
        sentences.append("Changed content with the same size and time is found only with --rehash.")
    elif decision.action != "reuse" and clip_id in store:
        now = source_of(item, with_digest=False)
        sentences.append(f"The file has {_state(now)} now; readers get the stored timesteps until it is replaced.")
    return " ".join(sentences)


def _compare(item: VideoItem, then: Source, now: Source) -> tuple[ClipDecision, Source]:
    """Whether the stored clip matches the current file, and that file's source, with its digest if it was needed."""
    has_nothing_else = not now.digest or (now.digest.startswith(ETAG) and not then.digest)
    if has_nothing_else and (then.size, then.mtime_ns) == (now.size, now.mtime_ns):
        return ClipDecision("reuse", "the file's size and modification time are unchanged since the extraction"), now
    if then.size != now.size:
        return ClipDecision("extract", "the file's size has changed since the extraction"), now
    if not then.digest:
        return ClipDecision("extract", "the file's time has changed, and no hash of its content is recorded"), now
    now = now if now.digest else source_of(item, with_digest=True)
    if now.digest == then.digest:
        kind = "the server's ETag" if now.digest.startswith(ETAG) else "its hash"
        return ClipDecision("reuse", f"the file's content has not changed since the extraction, by {kind}"), now
    return ClipDecision("extract", "the file's content has changed since the extraction"), now


def _beginning(item: VideoItem, store: Store, now: Source) -> Partial:
    """The sealed part of an unfinished clip; a file that was only touched is recognised by its hash."""
    partial = store.partial(item.clip_id, now, rules=rules.VERSION)
    if not partial.rows and not now.digest and item.clip_id in store.unfinished():
        partial = store.partial(item.clip_id, source_of(item, with_digest=True), rules=rules.VERSION)
    return partial


def _recorded_item(clip_id: str, store: Store) -> VideoItem | None:
    """The clip with its stored path, or with the path inferred from the store's other clips."""
    source = store.last_source(clip_id)
    if source is not None:
        return VideoItem(clip_id, recorded_place(source))
    for other in store.clip_ids[:1]:
        path = store.source(other).path
        guess = Path(path.removesuffix(other)) / clip_id
        if path.endswith(f"/{other}") and guess.exists():
            return VideoItem(clip_id, guess)
    return None


def _stored_sentences(clip_id: str, store: Store) -> list[str]:
    """What the store holds of a clip: complete, unfinished or failed."""
    sentences = []
    if clip_id in store:
        source = store.source(clip_id)
        sentences.append(
            f"{store.path} holds {counted(store.lengths()[clip_id], 'timestep')} of it, written "
            f"{when_text(store.written_ns(clip_id))} from {source.path} ({_state(source)})."
        )
    if clip_id in store.unfinished():
        sentences.append(f"{store.path} holds {counted(store.unfinished()[clip_id], 'row')} of it, but not its end.")
    failure = store.failures().get(clip_id)
    if failure is not None:
        sentences.append(f"It failed {when_text(failure.when_ns)} with {failure.error}: {failure.message.rstrip('.')}.")
    if not sentences:
        similar = get_close_matches(clip_id, [*store.near(clip_id), *islice(store.failures(), COMPARED)], n=3)
        sentences += [f"Similar names in the store: {', '.join(similar)}."] if similar else []
    if store.damaged and clip_id not in store:
        shards = counted(len(store.damaged), "damaged shard")
        sentences.append(f"The store is damaged ({shards}) and may have lost it: see clipseq verify.")
    return sentences


def _state(source: Source) -> str:
    changed = f"modified {when_text(source.mtime_ns)}" if source.mtime_ns else "its server names no time"
    return f"{source.size:,} bytes, {changed}"
