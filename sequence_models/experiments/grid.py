"""The models and settings that a comparison trains. Imports no Keras, so typos fail at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import product
from typing import Any

from extract.errors import UsageError
from sequence_models.catalogue import SETTINGS_OF_FEW, takers
from sequence_models.settings import TrainSettings

YES_OR_NO = {"yes": True, "no": False}


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Parse the values of `--grid`.

    Args:
        texts: Such as "hidden=48,96" and "dropout=.3,.5"; "causal=yes,no" for a switch.

    Returns:
        Setting -> its values, in the setting's type.

    Raises:
        UsageError: A setting is unknown or given twice, or a value has the wrong type.
    """
    kinds = {each.name: each.metadata["kind"] for each in fields(TrainSettings) if each.name not in ("task", "model")}
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in kinds or name in grid:
            problem = "given twice" if name in grid else "unknown"
            raise UsageError(f"--grid {text!r}: {name!r} is {problem}; settings are {', '.join(kinds)}.")
        try:
            grid[name] = [_value(value.strip(), kinds[name]) for value in values.split(",")]
        except (ValueError, KeyError):
            kind = "yes or no" if kinds[name] is bool else f"{kinds[name].__name__}s"
            raise UsageError(f"--grid {text!r}: the values of {name} must be {kind}, separated by commas.") from None
    return grid


def grid_points(
    models: Sequence[str], given: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]
) -> dict[str, dict[str, TrainSettings]]:
    """The settings to train.

    Args:
        models: Names of models.
        given: Settings for all of them, except the model.
        grid: Setting -> the values to try.

    Returns:
        Model -> folder name -> settings; grid points that a model cannot take are left out.

    Raises:
        UsageError: A model is unknown, or can take no grid point; the message says why the last one is refused.
    """
    found: dict[str, dict[str, TrainSettings]] = {}
    for model in models:
        refused = None
        for values in product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            try:
                settings = TrainSettings(**{**fitting(model, given), "model": model, **chosen})
            except UsageError as error:
                refused = error
                continue
            folder = ",".join([model, *(f"{name}={value}" for name, value in chosen.items())])
            found.setdefault(model, {})[folder] = settings
        if model not in found and refused is not None:
            raise refused
    taken = [settings for of_model in found.values() for settings in of_model.values()]
    for name in SETTINGS_OF_FEW:
        if taken and given.get(name) and not any(getattr(settings, name) for settings in taken):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} is for {', '.join(takers(name))}; none of {', '.join(models)} takes it, so leave it out."
            )
    return found


def fitting(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those meant only for other models."""
    return {name: value for name, value in given.items() if model in takers(name)}


def models_for(given: Mapping[str, Any], *, among: Sequence[str]) -> list[str]:
    """The models that can take some settings, in registry order.

    Args:
        given: Settings of all models.
        among: Names of models.

    Raises:
        UsageError: None can; the message says why the last one is refused.
    """
    found: list[str] = []
    refused = None
    for model in among:
        try:
            found.append(TrainSettings(**{**fitting(model, given), "model": model}).model)
        except UsageError as error:
            refused = error
    if not found and refused is not None:
        raise refused
    return found


def _value(text: str, kind: type) -> Any:
    return YES_OR_NO[text] if kind is bool else kind(text)
