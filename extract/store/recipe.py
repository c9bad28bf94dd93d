"""The recipe of a store: what determines its numbers, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extract.errors import DamagedShardError, RecipeMismatchError, StoreError, WriteError
from extract.store.schema import LEDGER_PATTERN, PACKED_ENDINGS, SCHEMA_VERSION, SHARD_PATTERN, check_schema_version
from extract.system.files import make_folder, open_regular, sealed_file, write_text
from extract.system.typed_json import parse_json, typed

RECIPE_NAME = "recipe.json"
MAX_RECIPE_BYTES = 1 << 20
TIMES, SECONDS_COLUMN = "times", "a column of seconds"  # of imported features that know their times


def canonical_json(value: object) -> str:
    """Canonical JSON, the same text for the same content: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(recipe: Mapping[str, object]) -> str:
    """Identifies everything that determines the numbers: a hash of the recipe and the schema version.

    Args:
        recipe: Flat, JSON-able settings that determine the numbers.

    Returns:
        32 hexadecimal digits.
    """
    text = canonical_json({"recipe": dict(recipe), "schema_version": SCHEMA_VERSION})
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def has_rate(recipe: Mapping[str, object]) -> bool:
    """Whether the times of a store are seconds: features imported without a rate only count timesteps."""
    return recipe.get("source") != "imported" or recipe.get("fps") is not None or recipe.get(TIMES) == SECONDS_COLUMN


def is_store(path: str | Path) -> bool:
    """Whether a path looks like a store: a directory with a recipe, or a packed .h5 or .hdf5 file."""
    path = Path(path)
    return (path / RECIPE_NAME).exists() or (path.suffix in PACKED_ENDINGS and path.is_file())


def recipe_text(recipe: Mapping[str, object]) -> str:
    """The content of recipe.json: the recipe, its fingerprint and the schema version."""
    record = {"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint(recipe), "recipe": dict(recipe)}
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def read_recipe(path: Path) -> dict[str, object] | None:
    """The recipe of a store directory.

    Args:
        path: The store's directory.

    Returns:
        The recipe, or None if there is no store yet.

    Raises:
        SchemaError: The store has a newer schema.
        DamagedShardError: recipe.json is missing beside shards, or damaged.
        StoreError: recipe.json cannot be read.
    """
    try:
        with open_regular(path / RECIPE_NAME) as file:
            content = file.read(MAX_RECIPE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_dir() and next(path.glob(SHARD_PATTERN), None) is not None:
            raise DamagedShardError(
                f"{path} holds shards but no {RECIPE_NAME}. Run `clipseq verify {path} --repair`."
            ) from None
        return None
    except OSError as error:
        raise StoreError(f"{path / RECIPE_NAME} cannot be read ({error.strerror}): check its permissions.") from error
    return _parse_recipe(content, path)


def check_recipe(path: str | Path, recipe: Mapping[str, object]) -> None:
    """Refuses to extend a store that was made with another recipe; fine if no clip is stored yet.

    Args:
        path: The store's directory, which need not exist.
        recipe: The requested recipe.

    Raises:
        RecipeMismatchError: At least one key differs; lists each with both values.
        StoreError: The path is a file, or its recipe.json cannot be used.
    """
    path = Path(path)
    if path.is_file():
        raise StoreError(f"{path} is a file; clips can only be added to a directory. Use another --output.")
    stored = read_recipe(path)
    differing = recipe_differences(stored, recipe) if stored is not None else []
    if differing and any(path.glob(SHARD_PATTERN)):
        listed = "; ".join(f"{key}={old}, you asked for {new}" for key, old, new in differing)
        raise RecipeMismatchError(f"{path} was made with {listed}. Use another --output.")


def claim(path: Path, recipe: dict[str, object]) -> None:
    """Creates the directory and recipe.json; the first of several writers wins, the others compare with it.

    Raises:
        RecipeMismatchError: It was made with another recipe.
        StoreError: It is a file, or its recipe cannot be read.
        WriteError: It cannot be written.
    """
    check_recipe(path, recipe)
    stored = read_recipe(path)
    if stored is not None:
        if not os.access(path, os.W_OK):  # fail now, not after a minute of work
            raise WriteError(f"{path} may not be written: change the permissions, or use another --output.")
        if recipe_differences(stored, recipe):  # of a store without a clip
            for ledger in path.glob(LEDGER_PATTERN):
                ledger.unlink(missing_ok=True)
            write_text(path / RECIPE_NAME, recipe_text(recipe))
        return
    make_folder(path)
    try:
        with sealed_file(path / RECIPE_NAME, exclusive=True) as temporary:
            temporary.write_text(recipe_text(recipe), encoding="utf-8")
    except FileExistsError:
        pass  # another writer was first; the comparison below tells whether the recipes match
    check_recipe(path, recipe)


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
            f"{name} was changed: its fingerprint does not match. Run `clipseq verify {path} --repair`."
        )
    return recipe


def _as_json(recipe: Mapping[str, object]) -> dict[str, object]:
    return json.loads(canonical_json(dict(recipe)))


def _shown(recipe: Mapping[str, object], key: str) -> str:
    value = recipe.get(key, "(nothing)")
    return value if isinstance(value, str) else canonical_json(value)
