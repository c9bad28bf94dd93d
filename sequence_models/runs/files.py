"""Records and arrays of a run, each with a digest of itself and the run and name that it belongs to: what was damaged,
changed, or copied there from another run is noticed, and by name."""

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

DIGEST = "digest"  # the entry of a record, and the array of an archive, that holds it
OWNER = "belongs_to"  # the one that holds the run and the name of the file


def write_record(path: Path, record: Mapping[str, Any], *, run_id: str = "") -> None:
    """Write an object as JSON with its digest and its owner; raises as `write_json`."""
    plain = json.loads(json.dumps(record)) | _owner(path, run_id)
    write_json(path, plain | {DIGEST: _record_digest(plain)})


def read_record(path: Path, *, again: str, run_id: str = "") -> dict[str, Any]:
    """Read what `write_record` wrote, without its digest and its owner.

    Args:
        path: The file.
        again: What makes it anew, such as "run clipseq evaluate runs/first".
        run_id: Of the run that it must belong to; "" where that is not known, or of a run of an earlier version.

    Raises:
        RunError: It is missing, damaged, not what was written, or of another run.
    """
    try:
        record = parse_json(read_regular(path))
        if not isinstance(record, dict):
            raise ValueError("it is no JSON object")
        digest = record.pop(DIGEST, None)
    except (OSError, ValueError) as error:
        raise _unusable(path, error, again) from None
    if digest != _record_digest(record):
        raise _unusable(path, ValueError("it is not what was written, its digest differs"), again)
    _check_owner(path, record.pop(OWNER, ""), run_id, again)
    return record


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, run_id: str = "") -> None:
    """Write an .npz with its digest and its owner; raises as `sealed_file`."""
    content = {name: np.asarray(array) for name, array in ({**arrays, **_owner(path, run_id)}).items()}
    with sealed_file(path) as temporary, temporary.open("xb") as file:
        np.savez(file, **content, **{DIGEST: _arrays_digest(content)})  # type: ignore[arg-type]


def read_arrays(path: Path, *, again: str, run_id: str = "") -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote, as `read_record` reads records; never unpickles."""
    try:
        with open_regular(path) as raw, np.load(raw, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        digest = arrays.pop(DIGEST)
    except MALFORMED as error:
        raise _unusable(path, error, again) from None
    if digest.tobytes() != _arrays_digest(arrays).tobytes():
        raise _unusable(path, ValueError("it is not what was written, its digest differs"), again)
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
