"""How much of a video file is missing at its end, by what its container says of its own size.

FFmpeg ends a file that was cut short (a copy or download that stopped, a full disk) like any other, without an error.
Declared frame counts and durations cannot tell, because they are wrong in sound files too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, cast

from extract.system.files import open_regular
from extract.videos.remote import RemoteFile

MOST_BOXES = 100_000
FEWEST_BYTES = 512  # some programs write a size that is a few bytes too large
_MATROSKA, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_BOXES = tuple(b"ftyp moov mdat free skip wide styp sidx moof mfra uuid pnot meta".split())


def missing_bytes(path: Path | RemoteFile) -> int:
    """How many bytes a RIFF (AVI), Matroska or MP4 file lacks at its end; 0 if none, or if nothing tells."""
    try:
        opened = path.open() if isinstance(path, RemoteFile) else open_regular(path)
        with cast(IO[bytes], opened) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(12)
            if head[:4] == b"RIFF":
                end = 8 + int.from_bytes(head[4:8], "little")
            elif head[:4] == _MATROSKA:
                end = _end_of_segment(file)
            elif head[4:8] in _BOXES:
                end = _end_of_boxes(file, size)
            else:
                return 0
    except OSError:
        return 0  # whoever reads it says so
    return end - size if end - size >= FEWEST_BYTES else 0


def _end_of_segment(file: IO[bytes]) -> int:
    """Where the first segment of a Matroska file ends; 0 if it does not say so (RFC 8794, 6)."""
    file.seek(4)
    length = _vint(file)
    if length is None:
        return 0
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _vint(file)
    return 0 if length is None else file.tell() + length


def _vint(file: IO[bytes]) -> int | None:
    """A length of Matroska; None if it is unknown, as in a live recording."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = first[0] & ((1 << (7 - more)) - 1)
    rest = file.read(more)
    value = (value << 8 * more) | int.from_bytes(rest, "big")
    is_unknown = value == (1 << 7 * (more + 1)) - 1
    return None if is_unknown or len(rest) < more else value


def _end_of_boxes(file: IO[bytes], size: int) -> int:
    """Where the last box of an MP4 file ends (ISO/IEC 14496-12, 4.2)."""
    start = 0
    for _ in range(MOST_BOXES):
        file.seek(start)
        head = file.read(16)
        if len(head) < 8 or head[4:8] not in _BOXES:
            return 0
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: to the end of the file
            return 0
        start += length
        if start >= size:
            return start
    return 0
