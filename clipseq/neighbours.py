"""Our packages have plain names, so a user's own file of such a name, where Python looks first, would hide them."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("extract", "sequence_models")
HOME = Path(__file__).resolve().parents[1]


def refuse_hidden() -> None:
    """Raises if another module hides a package that stands beside this one; imports nothing.

    Raises:
        ImportError: Names the file that hides it, and what to do.
    """
    for name in PACKAGES:
        found = _file_of(name)
        if found is not None and found.resolve().parent.parent != HOME:
            raise ImportError(
                f"{found} hides the package {name!r} of clipseq: rename that file, or work in another folder",
                name=name,
                path=str(found),
            )


def _file_of(name: str) -> Path | None:
    """The file that `import name` loads, or has loaded; None if there is none."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) if module else find_spec(name)
    origin = getattr(module, "__file__", None) or (spec.origin if spec else None)
    return Path(origin) if origin else None
