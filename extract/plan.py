"""Decides what to do with each clip: what the store says against what the file system says now. Decodes nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from extract.records import Source, VideoItem
from extract.store_read import Store
from extract.store_schema import Partial
from extract.videos import source_of


@dataclass(frozen=True)
class Decision:
    """What to do with one clip: "reuse", "extract" (behind what `partial` has) or "failed" (again, without work)."""

    action: str
    reason: str
    partial: Partial | None = None


def in_part(clip_id: str, part: tuple[int, int]) -> bool:
    """Whether a clip belongs to part i of n: by the hash of its name, so that lists may differ between machines."""
    number, count = part
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big") % count == number - 1


def decide(item: VideoItem, store: Store | None, *, retry_failed: bool = False, rehash: bool = False) -> Decision:
    """What to do with one clip, and why; decodes nothing, and hashes only where size or time of the file differ.

    Raises:
        VideoError: the file is gone.
    """
    now = source_of(item, with_digest=False)
    if store is None:
        return Decision("extract", "it is not in the store")
    if item.clip_id in store:
        then = store.source(item.clip_id)
        return _compare(item, then, now, rehash=rehash)
    failure = store.failures().get(item.clip_id)
    unchanged = failure is not None and (failure.source_size, failure.source_mtime_ns) == (now.size, now.mtime_ns)
    if failure is not None and unchanged and not retry_failed:
        return Decision("failed", f"{failure.message} (the file is unchanged since; --retry-failed tries again)")
    partial = store.partial(item.clip_id, now)
    if partial.rows:
        return Decision("extract", f"an earlier run sealed its first {partial.rows} rows; it goes on there", partial)
    if failure is not None:
        return Decision("extract", "it failed before, and is tried again")
    return Decision("extract", "it is not in the store")


def _compare(item: VideoItem, then: Source, now: Source, *, rehash: bool) -> Decision:
    touched = (then.size, then.mtime_ns) != (now.size, now.mtime_ns)
    if not touched and not rehash:
        return Decision("reuse", "size and modification time of the file are those of the extraction")
    if then.digest and source_of(item, with_digest=True).digest == then.digest:
        return Decision("reuse", "the content of the file is the same as at the extraction, by its hash")
    what = "size" if then.size != now.size else "content"
    return Decision("extract", f"the {what} of the file has changed since the extraction")
