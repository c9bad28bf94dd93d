"""Names and rules of the feature store: files, columns, schema version, recipe and fingerprint; without HDF5.

A store is a directory of immutable shards that share one recipe, or one packed file of the same schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from extract.errors import SchemaError, StoreError, UnstorableClipError
from extract.records import Source

SCHEMA_VERSION = 1
SHARD_PATTERN = "shard-*.h5"
LEDGER_PATTERN = "failures-*.jsonl"
RUN_NAME = "run.json"  # of stage two: a folder that holds it is not a store
COMPARISON_NAME = "compare.json"
EMBEDDING_DTYPES = ("float16", "float32", "uint8")
# /clips: one row per clip or part, in the order of its rows in /embeddings. "text" is fixed-length UTF-8.
COLUMNS = {
    "clip_id": "text",
    "start": "<i8",  # first row in this shard; the parts of a shard follow one another without a gap
    "length": "<i8",  # rows of this part
    "part": "<i8",  # 0, 1, 2, ... within the clip
    "last_part": "|u1",  # 1: the clip ends with this part
    "first_row": "<i8",  # row of the clip that this part begins with
    "path": "text",
    "size": "<i8",
    "mtime_ns": "<i8",
    "digest": "text",  # of the source's content, "" if it was not computed
    "written_ns": "<i8",
    "rows_digest": "text",  # of this part's rows and truth record
    "truth_end": "<i8",  # where this row's text ends in truth_json; it begins where the previous row ends
    "rules": "<i8",  # version of the rules it was decoded with (decode/rules.py)
}
OPTIONAL_COLUMNS = {"rules": 1}  # added after schema 1 -> the value for shards that lack it
TRUTH = "truth_json"  # /clips/truth_json: uint8, the truth records one after another
PACKED_ENDINGS = (".h5", ".hdf5")


@dataclass(frozen=True)
class Partial:
    """The sealed beginning of an unfinished clip.

    Args:
        clip_id: Name of the clip.
        rows: Rows already sealed, from the clip's first row on; 0 if there are none.
        parts: Sealed parts that hold them.
        source: What they were made from; None if there are none.
        last_frame_index, last_pts_seconds: Of the last sealed row.
    """

    clip_id: str
    rows: int = 0
    parts: int = 0
    source: Source | None = None
    last_frame_index: int = -1
    last_pts_seconds: float = -float("inf")


def same_source(one: Source, other: Source) -> bool:
    """Whether two records mean the same content: by digest if both have one, otherwise by size and mtime_ns."""
    if one.digest and other.digest:
        return one.size == other.size and one.digest == other.digest
    return one.size == other.size and one.mtime_ns == other.mtime_ns


def check_clip_id(clip_id: str) -> None:
    """Refuses a name that is empty, absolute, or points outside its folder.

    Raises:
        UnstorableClipError: The name cannot be used.
    """
    parts = PurePosixPath(clip_id).parts
    if not parts or clip_id.startswith(("/", "\\")) or ".." in clip_id.replace("\\", "/").split("/") or "\0" in clip_id:
        raise UnstorableClipError(f"{clip_id!r} cannot name a clip: use a relative path without '..'.")


def no_store(path: Path) -> StoreError:
    """An error saying that a path is not a feature store, what it is instead if known, and what to do."""
    if (path / COMPARISON_NAME).exists():
        return StoreError(f"{path} is a comparison, not a feature store: `clipseq report {path}` shows it.")
    if (path / RUN_NAME).exists():
        return StoreError(
            f"{path} is a run, not a feature store: `clipseq evaluate`, `report` and `predict` take it, and its "
            f"{RUN_NAME} names the stores that it was trained on."
        )
    if path.is_dir() and any(path.iterdir()):
        return StoreError(
            f"{path} is not a feature store: if it holds videos, make one from them with "
            f"`clipseq extract {path} --output features/`."
        )
    return StoreError(f"{path} is not a feature store: make one with `clipseq extract VIDEOS --output {path}`.")


def check_schema_version(version: int, *, name: str) -> None:
    """Raises SchemaError if this version does not know a file's schema."""
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{name} has schema {version}, but this clipseq reads only up to {SCHEMA_VERSION}: upgrade clipseq."
        )
    if version < 1:
        raise SchemaError(f"{name} is not a clipseq store: schema version {version} does not exist.")
