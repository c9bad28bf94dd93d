"""The failure ledger: one JSON line per failed clip, flushed to disk line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from extract.store.schema import LEDGER_PATTERN
from extract.store.shard import unreadable_shard
from extract.system.files import fsync_directory, read_regular, writing
from extract.system.typed_json import parse_json, typed_record

END_OF_TIME_NS = 253_402_300_800 * 10**9  # the end of the year 9999, the latest representable date


def append_failure(path: Path, failure: Failure) -> None:
    """Adds one line to a ledger and waits until it is on disk.

    Raises:
        WriteError: The ledger cannot be written.
    """
    is_new = not path.exists()
    with writing(path):
        with path.open("ab") as file:
            file.write(ledger_line(failure))
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            fsync_directory(path.parent)


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
            failures += parse_ledger(read_regular(path))
        except OSError as error:
            raise unreadable_shard(path, error) from error
    return failures


def parse_ledger(content: bytes) -> list[Failure]:
    """The failures in the text of a ledger; a line cut off by a kill is skipped, so that its clip is tried again."""
    found = (_parse_line(line) for line in content.splitlines())
    return [failure for failure in found if failure is not None]


def latest_failures(failures: Iterable[Failure]) -> dict[str, Failure]:
    """The latest failure of every clip."""
    latest: dict[str, Failure] = {}
    for failure in failures:
        known = latest.get(failure.clip_id)
        if known is None or failure.when_ns >= known.when_ns:
            latest[failure.clip_id] = failure
    return latest


def _parse_line(line: bytes) -> Failure | None:
    try:
        failure = typed_record(Failure, parse_json(line), "failure")
    except ValueError:
        return None
    return failure if 0 <= failure.when_ns < END_OF_TIME_NS else None


@dataclass(frozen=True)
class Failure:
    """One failed clip, as recorded in the ledger.

    Args:
        clip_id: Name of the clip.
        error: Class name of the error.
        message: The error's sentence.
        source_size, source_mtime_ns: The source at that time; None if it could not be read.
        when_ns: Time of the failure, nanoseconds since 1970.
    """

    clip_id: str
    error: str
    message: str
    source_size: int | None
    source_mtime_ns: int | None
    when_ns: int

    @property
    def when(self) -> str:
        """Time of the failure as ISO text in UTC, to the second."""
        return datetime.fromtimestamp(self.when_ns / 1e9, UTC).isoformat(timespec="seconds")
