"""What a shard records about how it was made."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib import metadata
from typing import Any

from extract import __version__
from extract.store.recipe import fingerprint
from extract.store.shard import Shard, damaged
from extract.system.typed_json import parse_json, typed

_LIBRARIES = (
    *("numpy", "h5py", "keras", "tensorflow", "jax", "torch", "scikit-learn"),
    *("opencv-python-headless", "av", "ai-edge-litert"),
)


def stored_recipe(shard: Shard) -> dict[str, object]:
    """The recipe stored in a shard; DamagedShardError if it does not match its fingerprint."""
    try:
        recipe = typed(parse_json(shard.attributes["recipe_json"]), dict[str, Any], "recipe")
    except ValueError as error:
        raise damaged(shard.path, "its recipe is malformed") from error
    if fingerprint(recipe) != shard.attributes["fingerprint"]:
        raise damaged(shard.path, "its recipe and its fingerprint differ")
    return recipe


def made_of(shard: Shard) -> list[dict]:
    """How the rows of a shard were made: records of writer, engine, versions, seconds per stage."""
    try:
        records = typed(parse_json(shard.attributes["made_json"]), tuple[dict[str, Any], ...], "made")
        for record in records:
            for key, kind in (("seconds", dict[str, float]), ("versions", dict[str, str])):
                typed(record.get(key) or {}, kind, key)
        return list(records)
    except ValueError as error:
        raise damaged(shard.path, "the record of how it was made is malformed") from error


def mixture_warnings(engines: list[str], versions: list[str]) -> list[str]:
    """Warnings if several engines or versions made the rows of one store."""
    found = []
    if len(engines) > 1:
        found.append(f"the rows were made by {len(engines)} engines ({', '.join(engines)}): they may differ slightly")
    if len(versions) > 1:
        found.append(f"the rows were made with {len(versions)} sets of library versions: they may differ slightly")
    return found


@lru_cache
def library_versions() -> dict[str, str]:
    """The versions of Python, Clipseq and the libraries, without importing the libraries."""
    versions = {"python": platform.python_version(), "clipseq": __version__}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
