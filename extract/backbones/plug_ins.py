"""Backbones of installed packages: the entry-point group `clipseq.backbones`.

    [options.entry_points]
    clipseq.backbones =
        my_model = my_package:load

`load(*, weights, image_size, pool)` returns a Backbone of that name; it is imported only when somebody asks for it.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from extract.backbones.backbone import Backbone
from extract.errors import BackboneError

GROUP = "clipseq.backbones"


def plug_in_names() -> list[str]:
    """The names that installed packages offer, sorted; nothing is imported."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_plug_in(name: str, *, weights: Path | None, image_size: int | None, pool: str) -> Backbone:
    """A backbone of an installed package, described.

    Args:
        name: One of `plug_in_names()`.
        weights, image_size, pool: As for `load_backbone`.

    Raises:
        BackboneError: The package fails, or gives something else.
    """
    entry: EntryPoint = next(iter(entry_points(group=GROUP, name=name)))
    try:
        backbone = entry.load()(weights=weights, image_size=image_size, pool=pool)
    except BackboneError:
        raise
    except Exception as error:  # whatever the code of a stranger raises
        raise BackboneError(
            f"--backbone {name} comes from {entry.value}, which fails ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(backbone, Backbone) or backbone.name != name:
        raise BackboneError(
            f"--backbone {name} comes from {entry.value}, which gives no Backbone of that name; tell its authors"
        )
    return backbone
