"""Records and arrays of a run, each with a digest of itself: what was damaged or changed is noticed, and by name."""

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


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write an object as JSON with its digest; raises as `write_json`."""
    plain = json.loads(json.dumps(record))
    write_json(path, plain | {DIGEST: _record_digest(plain)})


def read_record(path: Path, *, again: str) -> dict[str, Any]:
    """Read what `write_record` wrote, without its digest.

    Args:
        path: The file.
        again: What makes it anew, such as "run clipseq evaluate runs/first".

    Raises:
        RunError: It is missing, damaged, or not what was written.
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
    return record


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz with its digest; raises as `sealed_file`."""
    content = {name: np.asarray(array) for name, array in arrays.items()}
    with sealed_file(path) as temporary, temporary.open("xb") as file:
        np.savez(file, **content, **{DIGEST: _arrays_digest(content)})  # type: ignore[arg-type]


def read_arrays(path: Path, *, again: str) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote, without its digest; never unpickles. Arguments and errors as `read_record`."""
    try:
        with open_regular(path) as raw, np.load(raw, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        digest = arrays.pop(DIGEST)
    except MALFORMED as error:
        raise _unusable(path, error, again) from None
    if digest.tobytes() != _arrays_digest(arrays).tobytes():
        raise _unusable(path, ValueError("it is not what was written, its digest differs"), again)
    return arrays


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
