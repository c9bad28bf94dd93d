"""Which models with which settings a comparison trains. Imports no Keras, so a typo is answered at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from typing import Any

from extract.errors import UsageError
from sequence_models.settings import MODEL_NAMES, TrainSettings

YES_OR_NO = {"yes": True, "no": False}


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Read what `--grid` was given.

    Args:
        texts: Such as "hidden=48,96" and "dropout=.3,.5"; "causal=yes,no" for what is on or off.

    Returns:
        Setting -> its values, of the setting's type.

    Raises:
        UsageError: A setting is unknown or given twice, or a value is none of its kind.
    """
    defaults = {field.name: field.default for field in fields(TrainSettings) if field.name not in ("task", "model")}
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in defaults or name in grid:
            problem = "twice" if name in grid else "unknown"
            raise UsageError(f"--grid {text!r}: {name!r} is {problem}; settings are {', '.join(defaults)}.")
        try:
            grid[name] = [_value(value.strip(), defaults[name]) for value in values.split(",")]
        except (ValueError, KeyError):
            kind = "yes or no" if isinstance(defaults[name], bool) else type(defaults[name]).__name__
            raise UsageError(
                f"--grid {text!r}: values of {name} are {kind}, such as {name}={defaults[name]}."
            ) from None
    return grid


def grid_points(
    models: Sequence[str], base: TrainSettings, grid: Mapping[str, Sequence[Any]]
) -> dict[str, dict[str, TrainSettings]]:
    """The settings to train.

    Args:
        models: Names of models.
        base: Settings of all of them, but for the model.
        grid: Setting -> the values to try.

    Returns:
        Model -> name of a folder -> settings; points of the grid that a model cannot take are left out.

    Raises:
        UsageError: A model is unknown, or can take no point of the grid; says what stands against the last one.
    """
    found: dict[str, dict[str, TrainSettings]] = {}
    for model in models:
        refused = None
        for values in product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            try:
                settings = replace(base, model=model, **chosen)
            except UsageError as error:
                refused = error
                continue
            folder = ",".join([model, *(f"{name}={value}" for name, value in chosen.items())])
            found.setdefault(model, {})[folder] = settings
        if model not in found and refused is not None:
            raise refused
    return found


def models_for(base: TrainSettings) -> list[str]:
    """All models that can do the task of some settings, in the order of the registry."""
    found: list[str] = []
    for model in MODEL_NAMES:
        try:
            found += grid_points([model], base, {})
        except UsageError:
            continue
    return found


def _value(text: str, default: Any) -> Any:
    return YES_OR_NO[text] if isinstance(default, bool) else type(default)(text)
