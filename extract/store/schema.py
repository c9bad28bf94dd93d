"""The names and rules of the feature store: files, columns, schema version, recipe and fingerprint. Pure, no HDF5.

A store is a directory of immutable shards that share one recipe, or one packed file of the same schema.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from extract.errors import DamagedShardError, RecipeMismatchError, SchemaError, StoreError, UnstorableClipError
from extract.records import Source
from extract.system.files import open_regular
from extract.system.typed_json import parse_json, typed

SCHEMA_VERSION = 1
RECIPE_NAME = "recipe.json"
SHARD_PATTERN = "shard-*.h5"
LEDGER_PATTERN = "failures-*.jsonl"
RUN_NAME = "run.json"  # of stage two: what holds it is no store
COMPARISON_NAME = "compare.json"
EMBEDDING_DTYPES = ("float16", "float32", "uint8")
# /clips: one row per clip or part, in the order of its rows in /embeddings. "text" is fixed-length UTF-8.
COLUMNS = {
    "clip_id": "text",
    "start": "<i8",  # first row in this shard; the parts of a shard lie one after another without a gap
    "length": "<i8",  # rows of this part
    "part": "<i8",  # 0, 1, 2, ... within the clip
    "last_part": "|u1",  # 1: the clip ends with this part
    "first_row": "<i8",  # row of the clip that this part begins with
    "path": "text",
    "size": "<i8",
    "mtime_ns": "<i8",
    "digest": "text",  # of the source's content, "" where it was not computed
    "written_ns": "<i8",
    "rows_digest": "text",  # of this part's rows and truth record
    "truth_end": "<i8",  # where this row's text ends in truth_json; it begins where the row before ends
    "rules": "<i8",  # version of the rules by which it was decoded (decode_rules.py)
}
OPTIONAL_COLUMNS = {"rules": 1}  # later than schema 1 -> what holds where a shard lacks it
TRUTH = "truth_json"  # /clips/truth_json: uint8, the truth records one after another
PACKED_ENDINGS = (".h5", ".hdf5")
MAX_RECIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Failure:
    """One clip that could not be done, as the ledger has it.

    Args:
        clip_id: Name of the clip.
        error: Class name of the error.
        message: The error's sentence.
        source_size, source_mtime_ns: The source as it was then; None where it could not be looked at.
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


@dataclass(frozen=True)
class Partial:
    """The sealed beginning of a clip that is not finished.

    Args:
        clip_id: Name of the clip.
        rows: Rows already sealed, from the clip's first row on; 0 where there are none.
        parts: Sealed parts that hold them.
        source: What they were made of; None where there are none.
        last_frame_index, last_pts_seconds: Of the last sealed row.
    """

    clip_id: str
    rows: int = 0
    parts: int = 0
    source: Source | None = None
    last_frame_index: int = -1
    last_pts_seconds: float = -float("inf")


def canonical_json(value: object) -> str:
    """JSON that is the same text for the same content: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(recipe: Mapping[str, object]) -> str:
    """The name of everything that determines the numbers: a hash of the recipe and the schema version.

    Args:
        recipe: Flat, JSON-able settings that determine the numbers.

    Returns:
        32 hexadecimal digits.
    """
    text = canonical_json({"recipe": dict(recipe), "schema_version": SCHEMA_VERSION})
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def has_rate(recipe: Mapping[str, object]) -> bool:
    """Whether the times of a store are seconds: features that were imported without a rate only count timesteps."""
    return recipe.get("source") != "imported" or recipe.get("fps") is not None


def same_source(one: Source, other: Source) -> bool:
    """Whether two records mean the same content: by digest where both have one, otherwise by size and mtime_ns."""
    if one.digest and other.digest:
        return one.size == other.size and one.digest == other.digest
    return one.size == other.size and one.mtime_ns == other.mtime_ns


def check_clip_id(clip_id: str) -> None:
    """Refuses a name that is empty, absolute, or leaves its folder.

    Raises:
        UnstorableClipError: The name cannot be used.
    """
    parts = PurePosixPath(clip_id).parts
    if not parts or clip_id.startswith(("/", "\\")) or ".." in clip_id.replace("\\", "/").split("/") or "\0" in clip_id:
        raise UnstorableClipError(f"{clip_id!r} cannot name a clip: use a relative path without '..'.")


def recipe_text(recipe: Mapping[str, object]) -> str:
    """The content of recipe.json: the recipe in words, its fingerprint and the schema version."""
    record = {"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint(recipe), "recipe": dict(recipe)}
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def read_recipe(path: Path) -> dict[str, object] | None:
    """The recipe of a store directory.

    Args:
        path: The store's directory.

    Returns:
        The recipe, or None where no store is yet.

    Raises:
        SchemaError: The store is of a newer schema.
        DamagedShardError: recipe.json is missing beside shards, or damaged.
        StoreError: recipe.json cannot be read.
    """
    try:
        with open_regular(path / RECIPE_NAME) as file:
            content = file.read(MAX_RECIPE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_dir() and next(path.glob(SHARD_PATTERN), None) is not None:
            raise DamagedShardError(
                f"{path} holds shards and no {RECIPE_NAME}. Run `clipseq verify {path} --repair`."
            ) from None
        return None
    except OSError as error:
        raise StoreError(f"{path / RECIPE_NAME} cannot be read ({error.strerror}): check its permissions.") from error
    return _parse_recipe(content, path)


def no_store(path: Path) -> StoreError:
    """That a path holds no feature store, what it is instead where that can be told, and what to do."""
    if (path / COMPARISON_NAME).exists():
        return StoreError(f"{path} is a comparison, no feature store: `clipseq report {path}` shows it.")
    if (path / RUN_NAME).exists():
        return StoreError(
            f"{path} is a run, no feature store: `clipseq evaluate`, `report` and `predict` take it, and its "
            f"{RUN_NAME} names the stores that it was trained on."
        )
    if path.is_dir() and any(path.iterdir()):
        return StoreError(
            f"{path} is no feature store: if it holds videos, make one of them with "
            f"`clipseq extract {path} --output features/`."
        )
    return StoreError(f"{path} is no feature store: make one with `clipseq extract VIDEOS --output {path}`.")


def check_recipe(path: str | Path, recipe: Mapping[str, object]) -> None:
    """Refuses to go on in a store that was made with another recipe; fine where no clip is stored yet.

    Args:
        path: The store's directory, which need not exist.
        recipe: What is asked for.

    Raises:
        RecipeMismatchError: At least one key differs; the text lists each with both values.
        StoreError: The path is a file, or its recipe.json cannot be used.
    """
    path = Path(path)
    if path.is_file():
        raise StoreError(f"{path} is a file; clips are added to a directory only. Use another --output.")
    stored = read_recipe(path)
    differing = recipe_differences(stored, recipe) if stored is not None else []
    if differing and any(path.glob(SHARD_PATTERN)):
        listed = "; ".join(f"{key}={old}, you asked for {new}" for key, old, new in differing)
        raise RecipeMismatchError(f"{path} was made with {listed}. Use another --output.")


def kind_of_features(recipe: Mapping[str, object]) -> str:
    """What a store of this recipe holds, in words."""
    if "channels" in recipe:
        return "frames (--backbone pixels)"
    return f"embeddings of {recipe['backbone']}" if "backbone" in recipe else "imported features"


def recipe_differences(one: Mapping[str, object], other: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """Every key that differs between two recipes, sorted, with both values as text."""
    one, other = _as_json(one), _as_json(other)
    keys = [
        key
        for key in sorted({*one, *other})
        if key not in one or key not in other or canonical_json(one[key]) != canonical_json(other[key])
    ]
    return [(key, _shown(one, key), _shown(other, key)) for key in keys]


def check_schema_version(version: int, *, name: str) -> None:
    """Raises SchemaError where a file is of a schema that this version does not know."""
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{name} is of schema {version} and this clipseq reads up to {SCHEMA_VERSION}: upgrade clipseq."
        )
    if version < 1:
        raise SchemaError(f"{name} is no clipseq store: schema version {version} does not exist.")


def _parse_recipe(content: bytes, path: Path) -> dict[str, object]:
    name = str(path / RECIPE_NAME)
    try:
        record = typed(parse_json(content), dict[str, Any], "it")
        version, recipe = (
            typed(record.get(key), kind, key) for key, kind in (("schema_version", int), ("recipe", dict[str, Any]))
        )
        recorded = record.get("fingerprint")
    except ValueError as error:
        raise DamagedShardError(f"{name} is damaged. Run `clipseq verify {path} --repair`.") from error
    check_schema_version(version, name=name)
    if recorded != fingerprint(recipe):
        raise DamagedShardError(
            f"{name} was changed: its fingerprint does not fit. Run `clipseq verify {path} --repair`."
        )
    return recipe


def _as_json(recipe: Mapping[str, object]) -> dict[str, object]:
    return json.loads(canonical_json(dict(recipe)))


def _shown(recipe: Mapping[str, object], key: str) -> str:
    value = recipe.get(key, "(nothing)")
    return value if isinstance(value, str) else canonical_json(value)
