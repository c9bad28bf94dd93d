"""Files that can always be made again, kept in the user's cache folder: converted weights, compiled models, digests.

Every file begins with the SHA-256 of the rest, so that a damaged one is noticed and made again instead of being loaded.
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
    """The folder of this user's cached files: $CLIPSEQ_CACHE, or `clipseq` where the platform keeps caches."""
    if chosen := os.environ.get("CLIPSEQ_CACHE"):
        return Path(chosen)
    return user_cache_path("clipseq", appauthor=False, opinion=False)


def read_cached(name: str) -> bytes | None:
    """The content of a cached file, or None where it must be made (again).

    Args:
        name: File name inside the cache folder.
    """
    path = cache_folder() / name
    try:
        stored = read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read (%s); it is made again in memory", path, reason_of(error))
        return None
    digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        log.warning("%s is damaged and is made again", path)
        return None
    return content


def write_cached(name: str, content: bytes) -> None:
    """Writes a cached file aside and renames it into place; a folder that cannot be written is logged, not fatal.

    Args:
        name: File name inside the cache folder.
        content: What `read_cached` will give back.
    """
    folder = cache_folder()
    try:
        make_folder(folder)
        write_bytes(folder / name, hashlib.sha256(content).digest() + content)
    except WriteError as error:
        reason = reason_of(error.__cause__ or error)
        log.warning("%s cannot be kept in %s (%s); it will be made again next time", name, folder, reason)
