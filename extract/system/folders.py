"""Folders that are there whole or not at all, as `files.sealed_file` writes files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extract.errors import WriteError
from extract.system.files import fsync_directory, make_folder, remove_stale_temporaries, write_error, writer_id


@contextmanager
def sealed_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder to write to, and gives it its final name once everything in it is on disk.

    Args:
        path: The final name: free, or an empty folder.

    Yields:
        A folder beside it.

    Raises:
        WriteError: The name is taken, or something cannot be written, in one sentence with the next step; nothing is
            left behind.
    """
    refuse_taken_folder(path)
    make_folder(path.parent)
    remove_stale_temporaries(path.parent)
    temporary = path.with_name(f".tmp-{writer_id()}-{path.name[-40:]}")
    try:
        temporary.mkdir()
        yield temporary
        for folder, _, files in os.walk(temporary):
            for name in files:
                _fsync(Path(folder, name))
            fsync_directory(Path(folder))
        if path.exists():
            path.rmdir()
        temporary.rename(path)
        fsync_directory(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_taken_folder(path: Path) -> None:
    """Raises WriteError if there is a file of this name, or a folder that is not empty."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if os.path.lexists(path):
        what = "holds files" if path.is_dir() else "is a file"
        raise WriteError(f"{path} {what}: choose a new or empty folder, or remove it.")


def _fsync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
