"""Files that can always be recreated, kept in the user's cache folder: converted weights, compiled models, digests.

Every file starts with the SHA-256 of the rest, so that a damaged one is detected and recreated instead of loaded.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from platformdirs import user_cache_path

from extract.errors import WriteError
from extract.system.files import make_folder, read_regular, reason_of, write_bytes

log = logging.getLogger(__name__)

_DIGEST_BYTES = 32


def cache_folder() -> Path:
    """The folder for cached files: $CLIPSEQ_CACHE, or `clipseq` in the platform's cache folder."""
    if chosen := os.environ.get("CLIPSEQ_CACHE"):
        return Path(chosen)
    return user_cache_path("clipseq", appauthor=False, opinion=False)


def read_cached(name: str) -> bytes | None:
    """The content of a cached file, or None if it must be (re)created.

    Args:
        name: File name in the cache folder.
    """
    path = cache_folder() / name
    try:
        stored = read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read (%s); it is recreated in memory", path, reason_of(error))
        return None
    digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        log.warning("%s is damaged and is recreated", path)
        return None
    return content


def write_cached(name: str, content: bytes) -> None:
    """Writes a cached file to a temporary name, then renames it; an unwritable folder is logged, not fatal.

    Args:
        name: File name in the cache folder.
        content: What `read_cached` will return.
    """
    folder = cache_folder()
    try:
        make_folder(folder)
        write_bytes(folder / name, hashlib.sha256(content).digest() + content)
    except WriteError as error:
        reason = reason_of(error.__cause__ or error)
        log.warning("%s cannot be kept in %s (%s); it will be recreated next time", name, folder, reason)
