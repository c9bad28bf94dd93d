"""Records and arrays of a run, each with its own digest and the run and name that it belongs to, so that a file that
was damaged, changed, or copied from another run is detected and named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from extract.errors import RunError
from extract.system.files import MALFORMED, open_regular, read_regular, reason_of, sealed_file, write_json
from extract.system.typed_json import parse_json

DIGEST = "digest"  # the entry of a record, or the array of an archive, with its digest
OWNER = "belongs_to"  # the one with the run and the name of the file


def write_record(path: Path, record: Mapping[str, Any], *, run_id: str = "") -> None:
    """Write an object as JSON with its digest and owner; raises like `write_json`."""
    plain = json.loads(json.dumps(record)) | _owner(path, run_id)
    write_json(path, plain | {DIGEST: _record_digest(plain)})


def read_record(path: Path, *, again: str, run_id: str = "") -> dict[str, Any]:
    """Read a record from `write_record`, without its digest and owner.

    Args:
        path: The file.
        again: How to recreate it, such as "run clipseq evaluate runs/first".
        run_id: Of the run that it must belong to; "" if unknown, or for a run of an earlier version.

    Raises:
        RunError: It is missing, damaged, changed, or from another run.
    """
    try:
        record = parse_json(read_regular(path))
        if not isinstance(record, dict):
            raise ValueError("it is not a JSON object")
        digest = record.pop(DIGEST, None)
    except (OSError, ValueError) as error:
        raise _unusable(path, error, again) from None
    if digest != _record_digest(record):
        raise _unusable(path, ValueError("it has changed since it was written: its digest differs"), again)
    _check_owner(path, record.pop(OWNER, ""), run_id, again)
    return record


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, run_id: str = "") -> None:
    """Write an .npz with its digest and owner; raises like `sealed_file`."""
    content = {name: np.asarray(array) for name, array in ({**arrays, **_owner(path, run_id)}).items()}
    with sealed_file(path) as temporary, temporary.open("xb") as file:
        np.savez(file, **content, **{DIGEST: _arrays_digest(content)})  # type: ignore[arg-type]


def read_arrays(path: Path, *, again: str, run_id: str = "") -> dict[str, np.ndarray]:
    """Read arrays from `write_arrays`, as `read_record` reads records; never unpickles."""
    try:
        with open_regular(path) as raw, np.load(raw, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        digest = arrays.pop(DIGEST)
    except MALFORMED as error:
        raise _unusable(path, error, again) from None
    if digest.tobytes() != _arrays_digest(arrays).tobytes():
        raise _unusable(path, ValueError("it has changed since it was written: its digest differs"), again)
    _check_owner(path, str(arrays.pop(OWNER, "")), run_id, again)
    return arrays


def _owner(path: Path, run_id: str) -> dict[str, Any]:
    return {OWNER: f"{run_id}/{path.name}"} if run_id else {}


def _check_owner(path: Path, owner: str, run_id: str, again: str) -> None:
    if run_id and owner != f"{run_id}/{path.name}":
        raise _unusable(path, ValueError("it was written for another run, or under another name"), again)


def _record_digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _arrays_digest(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """uint8 (32,)."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _unusable(path: Path, error: Exception, again: str) -> RunError:
    if isinstance(error, FileNotFoundError):
        return RunError(f"{path} is missing: {again}")
    return RunError(f"{path} cannot be read ({reason_of(error)}): {again}")
