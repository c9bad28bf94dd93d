"""The failure ledger: one JSON line per clip that could not be done, flushed to the disk line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from extract.store_schema import LEDGER_PATTERN, Failure
from extract.store_seal import fsync_directory, write_error
from extract.store_shard import unreadable


def append_failure(path: Path, failure: Failure) -> None:
    """Adds one line to a ledger and waits until it is on the disk.

    Raises:
        StoreError: The ledger cannot be written.
    """
    is_new = not path.exists()
    try:
        with path.open("ab") as file:
            file.write(ledger_line(failure))
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            fsync_directory(path.parent)
    except OSError as error:
        raise write_error(path, error) from error


def ledger_line(failure: Failure) -> bytes:
    """One failure as a line of JSON."""
    return json.dumps(asdict(failure)).encode() + b"\n"


def read_ledgers(folder: Path) -> list[Failure]:
    """All failures in the ledgers of a store directory, in no particular order.

    Raises:
        StoreError: A ledger may not be read.
    """
    failures: list[Failure] = []
    for path in sorted(folder.glob(LEDGER_PATTERN)):
        try:
            failures += parse_ledger(path.read_bytes())
        except OSError as error:
            raise unreadable(path, error) from error
    return failures


def parse_ledger(content: bytes) -> list[Failure]:
    """The failures in the text of a ledger; a line that a kill tore is left out, so that its clip is tried again."""
    found = (_parse_line(line) for line in content.splitlines())
    return [failure for failure in found if failure is not None]


def latest_failures(failures: Iterable[Failure]) -> dict[str, Failure]:
    """The last failure of every clip."""
    latest: dict[str, Failure] = {}
    for failure in failures:
        known = latest.get(failure.clip_id)
        if known is None or failure.when_ns >= known.when_ns:
            latest[failure.clip_id] = failure
    return latest


def _parse_line(line: bytes) -> Failure | None:
    try:
        failure = Failure(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    numbers = (failure.source_size, failure.source_mtime_ns)
    texts = (failure.clip_id, failure.error, failure.message)
    is_sound = all(isinstance(text, str) for text in texts) and isinstance(failure.when_ns, int)
    return failure if is_sound and all(isinstance(number, int | None) for number in numbers) else None
