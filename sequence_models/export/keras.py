"""Keras' own .keras file, which plain Keras loads with any of its backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_keras(graph: Any, path: Path) -> None:
    """Write a .keras file of a graph."""
    graph.save(path)
