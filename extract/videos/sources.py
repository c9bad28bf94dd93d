"""What a clip is made from: its files, their size, time and content; of an address, what its server says."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from extract.errors import UnreadableVideoError, UsageError
from extract.records import Source, VideoItem
from extract.system.addresses import Address, as_address
from extract.system.files import open_regular, reason_of
from extract.videos import remote

IMAGE_ENDINGS = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
NUMBER_AT_END = re.compile(r"\d+$")


def check_file(path: Path | Address) -> None:
    """Check that there is something to read, without opening it; an address is not asked.

    Args:
        path: A video, or a folder of numbered pictures.

    Raises:
        UnreadableVideoError: It is missing, empty, or neither a file nor a folder.
    """
    if isinstance(path, Address):
        return
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        return
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableVideoError(f"{path} is not a regular file; copy the video into one")
    if status.st_size == 0:
        raise UnreadableVideoError(f"{path} is empty (0 bytes); replace or remove it")


def source_of(item: VideoItem, *, with_digest: bool) -> Source:
    """What a clip is made from, to detect later changes.

    Args:
        item: The clip.
        with_digest: Whether to read and hash the whole content (SHA-256).

    Returns:
        Size, modification time and digest; for a folder of pictures, those of all its pictures together; for an
        address, what its server says now, with its ETag as digest.

    Raises:
        UnreadableVideoError: The file is gone, may not be read, or is not one that can be hashed.
    """
    if isinstance(item.path, Address):
        return remote.look_up(item.path)
    try:
        files = numbered_images(item.path) if item.path.is_dir() else [item.path]
        states = [os.stat(file) for file in files]
        digest = _digest(files) if with_digest else ""
    except (OSError, ValueError) as error:
        raise unreadable(item.path, error) from error
    return Source(
        path=os.path.abspath(item.path),
        size=sum(state.st_size for state in states),
        mtime_ns=max((state.st_mtime_ns for state in states), default=0),
        digest=digest,
    )


def known_source(item: VideoItem, *, with_digest: bool) -> Source:
    """`source_of`, or what a listing said a moment ago."""
    return item.listed if item.listed is not None else source_of(item, with_digest=with_digest)


def recorded_place(source: Source) -> Path | Address:
    """Where to read a clip again that a store holds.

    Raises:
        UnreadableVideoError: Its address is not complete, or cannot be read by this version.
    """
    try:
        address = as_address(source.path)
    except UsageError as error:
        raise UnreadableVideoError(str(error)) from error
    if address is None:
        return Path(source.path)
    if address.has_query:
        raise UnreadableVideoError(
            f"{address} was read with a query, which no store keeps because it may hold a signature; give the videos "
            "instead of the store"
        )
    return address


def numbered_images(folder: Path) -> list[Path]:
    """The pictures of a folder whose names end in a number.

    Args:
        folder: A folder.

    Returns:
        Their paths in natural order (img2 before img10); empty if there are none.
    """
    pictures = [Path(entry.path) for entry in os.scandir(folder) if is_numbered_image(entry.name)]
    return sorted((path for path in pictures if path.is_file()), key=lambda path: natural_key(path.name))


def natural_key(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key that orders numbers by value.

    Args:
        text: Any text.

    Returns:
        The key; keys are equal only for equal texts.
    """
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts], text


def is_numbered_image(name: str) -> bool:
    """Whether a file name belongs to a picture in a numbered sequence."""
    stem, ending = os.path.splitext(name)
    return ending.lower() in IMAGE_ENDINGS and not name.startswith(".") and bool(NUMBER_AT_END.search(stem))


def _digest(files: list[Path]) -> str:
    if len(files) == 1:
        with open_regular(files[0]) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for path in files:
        with open_regular(path) as file:
            whole.update(path.name.encode("utf-8", "surrogateescape") + b"\0")
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def unreadable(path: Path | Address, error: Exception) -> UnreadableVideoError:
    """The error for a file that cannot be read, with the reason."""
    return UnreadableVideoError(f"{path} cannot be read ({reason_of(error)}); restore it or leave it out")
