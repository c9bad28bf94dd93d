"""How a run was made: settings that differ from the defaults, the rest, the commands, the splits, what was left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from shlex import quote
from typing import Any

from extract.errors import ClipseqError
from extract.store.reader import Store, open_store
from extract.text import counted, first_few
from sequence_models.report.run import EvaluatedRun
from sequence_models.runs.run import OFFICIAL, Run
from sequence_models.settings import DataSettings, TrainSettings

MOST_LEFT_OUT = 50
OWN_FLAGS = ("task", "model")  # always given in a command


def fold_rows(run: EvaluatedRun) -> list[dict[str, Any]]:
    """Per fold: "name", the number of clips in "train", "validation" and "test", and its test "groups"."""
    return [
        {
            "name": fold.name,
            **{part: len(getattr(fold, part)) for part in ("train", "validation", "test")},
            "groups": sorted(run.groups_of(fold.test)),
        }
        for fold in run.run.folds
    ]


def fact_tables(run: EvaluatedRun) -> list[dict[str, Any]]:
    """What the run was made with.

    Args:
        run: An evaluated run.

    Returns:
        Two-column tables: "title", "rows" and whether it is "folded"; first the settings that differ from the defaults.
    """
    told = run.run
    settings = asdict(told.settings)
    changed = changed_settings(told.settings, TrainSettings())
    compared = run.metrics.get("models")
    models = {"models": ", ".join(compared)} if compared else {"model": told.settings.model}
    rest = {name: value for name, value in settings.items() if name not in changed and name != "model"}
    data = {
        "stores": list(told.stores),
        "labels": told.labels or "the folders of the clips",
        "embedding_dim": told.embedding_dim,
        "cross-validation": told.cv or "none, one split",
        "seeds": told.seeds,
        "fits per fold": told.fits,
        **{name: value for name, value in asdict(told.data).items() if value is not None},
    }
    recipes = [
        {"title": "Recipe" if len(told.recipes) == 1 else f"Recipe {k}", "rows": {"fingerprint": mark, **recipe}}
        for k, (recipe, mark) in enumerate(zip(told.recipes, told.fingerprints, strict=True), 1)
    ]
    first = {**models, **{name: value for name, value in changed.items() if name != "model"}}
    tables: list[dict[str, Any]] = [
        {"title": "Settings that differ from the defaults", "rows": first},
        {"title": "Data", "rows": data},
        {"title": "Settings at their defaults", "rows": rest, "folded": True},
        *({**recipe, "folded": True} for recipe in recipes),
        {"title": "Versions", "rows": told.versions, "folded": True},
    ]
    return [{"folded": False, **table, "rows": plain_rows(table["rows"])} for table in tables if table["rows"]]


def changed_settings(settings: Any, defaults: Any) -> dict[str, Any]:
    """Name -> value of every field of a record that differs from another record of the same class."""
    names = [each.name for each in fields(settings)]
    return {name: getattr(settings, name) for name in names if getattr(settings, name) != getattr(defaults, name)}


def commands(run: EvaluatedRun) -> list[str]:
    """The commands that make such a run again, as its record has them; empty if its clips came from memory.

    Args:
        run: An evaluated run.
    """
    told = run.run
    if not told.stores:
        return []
    where = quote(str(told.path))
    evaluate = [] if run.metrics.get("models") and "chosen" in run.metrics else [f"clipseq evaluate {where}"]
    made = [command for pair in zip(told.stores, told.recipes, strict=True) if (command := _extraction(*pair))]
    return [*made, _training(run), *evaluate, f"clipseq report {where}"]


def left_out(run: EvaluatedRun) -> dict[str, Any]:
    """Which clips of the stores are in no part of the run, and why.

    Args:
        run: An evaluated run.

    Returns:
        "rows", (clip_id, reason), at most 50; "hidden", how many more; "checked", False if no store is here; and
        "unlabelled", the number of test timesteps without a label.
    """
    found: dict[str, str] = {}
    opened = _stores(run.run)
    used = {clip_id.rpartition("#t=")[0] if run.run.data.blocks else clip_id for clip_id in run.run.clips}
    for store in opened:
        why = _why_unused(run.run)
        found |= {clip_id: why for clip_id in store.clip_ids if clip_id not in used and clip_id not in found}
        found |= {name: failure.message for name, failure in store.failures().items() if name not in used}
    rows = sorted(found.items())
    return {
        "rows": rows[:MOST_LEFT_OUT],
        "hidden": max(0, len(rows) - MOST_LEFT_OUT),
        "checked": len(opened) == len(run.run.stores) > 0,
        "unlabelled": sum(int((~clip.labelled).sum()) for clip in run.clips),
    }


def plain_rows(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names and values as text, for a table of two columns; what is inside a mapping gets its name in front."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = prefix + key.replace("_", " ")
        if isinstance(value, Mapping) and value:
            rows += plain_rows(value, f"{name} · ")
        elif isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
            rows.append((name, _listed(value)))
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return rows


def _why_unused(run: Run) -> str:
    reasons = ["it has no label"]
    if run.data.keep is not None:
        reasons.append("it is not in --clips")
    if run.data.classes is not None:
        reasons.append("its class is not in --classes")
    if len(run.stores) > 1:
        reasons.append("another store lacks it")
    if run.cv == OFFICIAL or not run.cv:
        reasons.append("the split does not name it")
    return " or ".join(reasons)


def _stores(run: Run) -> list[Store]:
    opened = []
    for path in run.stores:
        try:
            opened.append(open_store(path))
        except ClipseqError:
            continue  # the page says that they could not be looked at
    return opened


def _extraction(store: str, recipe: Mapping[str, Any]) -> str:
    """The command that fills a store; "" for imported features."""
    if "backbone" not in recipe:
        return ""
    steps = dict(step.partition("=")[::2] for step in str(recipe.get("sampling", "")).split(",") if "=" in step)
    flags: dict[str, Any] = {"backbone": recipe["backbone"], **steps}
    flags |= {name: recipe[name] for name in ("image_size", "precision", "pool") if name in recipe}
    flags |= {name: recipe[name] for name in ("fit", "input", "deinterlace", "on_corrupt") if name in recipe}
    return f"clipseq extract VIDEOS --output {quote(store)} {_flags(flags)}"


def _training(run: EvaluatedRun) -> str:
    told = run.run
    compared = "chosen" in run.metrics
    settings = changed_settings(told.settings, TrainSettings())
    flags: dict[str, Any] = {"task": told.settings.task}
    flags |= {"models": ",".join(run.metrics["models"])} if compared else {"model": told.settings.model}
    flags |= {name: value for name, value in settings.items() if name not in OWN_FLAGS}
    flags |= {
        name: value
        for name, value in changed_settings(told.data, DataSettings()).items()
        if name not in ("keep", "classes")
    }
    flags |= {"clips": "CLIPS"} if told.data.keep is not None else {}
    flags |= {"classes": ",".join(told.data.classes)} if told.data.classes else {}
    flags |= {"labels": told.labels} if told.labels else {}
    flags |= {"split": "SPLITS"} if told.cv == OFFICIAL else {"cv": told.cv} if told.cv else {}
    flags |= {"seeds": told.seeds} if told.seeds > 1 else {}
    flags |= {"inner": told.inner} if told.inner > 1 else {}
    verb = "compare" if compared else "train"
    return f"clipseq {verb} {' '.join(map(quote, told.stores))} {_flags(flags)} --run {quote(str(told.path))}"


def _flags(values: Mapping[str, Any]) -> str:
    return " ".join(
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {quote(str(value))}")
        for name, value in values.items()
        if value not in (None, False)
    )


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed) if len(listed) <= 20 else f"{counted(listed, 'entry', 'entries')}: {first_few(listed, 5)}"
