"""Decodes a folder of numbered pictures as one clip, in natural order, at an assumed rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from extract.decode.container import UPRIGHT
from extract.decode.packets import PacketIndex
from extract.decode.stream import DecodedFrame, FrameStream
from extract.errors import NoFramesError, UnreadableVideoError
from extract.system.files import read_regular
from extract.text import counted
from extract.videos.sources import IMAGE_ENDINGS, NUMBER_AT_END, numbered_images

NAME = f"images, opencv {cv2.__version__}"
SEVERAL_ENDINGS = (".tif", ".tiff", ".webp")
DARK = 0.25  # of the range: 14 bits in 16 do not count as dark
DARK_LOOKS = 16  # pictures checked per sequence
RATE = 25.0  # what FFmpeg assumes for pictures


def missing_numbers(pictures: list[Path]) -> int:
    """How many numbers the sequence skips; 0 where several pictures share a number.

    Args:
        pictures: What `numbered_images` gave.
    """
    numbers = {int(match.group()) for p in pictures if (match := NUMBER_AT_END.search(p.stem))}
    return max(numbers) - min(numbers) + 1 - len(numbers) if len(numbers) == len(pictures) > 0 else 0


def index_images(folder: Path) -> PacketIndex:
    """Index a folder of pictures without decoding all of them.

    Args:
        folder: A folder of numbered pictures.

    Returns:
        An index like that of a video, with a time for every picture.

    Raises:
        UnreadableVideoError: The folder holds no numbered pictures.
        NoFramesError: None of them can be read.
    """
    pictures = numbered_images(folder)
    if not pictures:
        raise UnreadableVideoError(
            f"{folder} holds no numbered pictures ({' '.join(sorted(IMAGE_ENDINGS))}); leave it out"
        )
    first, example = next(((p, picture) for p in pictures if (picture := _load(p)) is not None), (None, None))
    if first is None or example is None:
        raise NoFramesError(
            f"{folder}: none of its pictures can be read ({counted(len(pictures), 'picture')}); replace them"
        )
    return PacketIndex(
        pts_seconds=np.arange(len(pictures)) / RATE,
        is_keyframe=np.ones(len(pictures), bool),
        timestamps="real",  # a picture that cannot be read leaves a gap
        rebuilt_because=_assumption(pictures),
        average_rate=RATE,
        duration_seconds=len(pictures) / RATE,
        tick_seconds=1e-6,
        start_pts=0,
        declared_frames=len(pictures),
        codec="images",
        hdr="",
        is_interlaced=False,
        counts_frames=True,
        stream_index=0,
        coded_size=(example.shape[1], example.shape[0]),
        orientation=UPRIGHT,
        remarks=_remarks(pictures, first, example),
    )


def read_all(folder: Path, beat: Callable[[], None]) -> FrameStream:
    """Every picture that decodes.

    Args:
        folder: A folder of numbered pictures.
        beat: Called at every step.

    Returns:
        The frames, one at a time; a picture that cannot be read counts as an error and is left out.
    """
    stream = FrameStream(NAME, beat)
    stream.frames = _read_all(numbered_images(folder), stream)
    return stream


def _remarks(pictures: list[Path], first: Path, example: np.ndarray) -> dict[str, str]:
    found = {}
    if first.suffix.lower() in SEVERAL_ENDINGS and _holds_several(first):
        found["several pictures in a file"] = "each file holds several pictures, only the first is used"
    if example.max() < DARK * 255:
        ranges = [_range(path) for path in pictures[:: -(-len(pictures) // DARK_LOOKS)]]
        highest, limit = max(ranges, key=lambda pair: pair[0] / pair[1])
        if highest < DARK * limit:
            found["dark pictures"] = (
                f"the pictures only use levels up to {highest:,} of {limit:,} and come out dark: scale them"
            )
    return found


def _holds_several(path: Path) -> bool:
    content = np.frombuffer(read_regular(path), np.uint8)
    is_there, second = cv2.imdecodemulti(content, cv2.IMREAD_COLOR, range=(1, 2))
    return bool(is_there and len(second))


def _range(path: Path) -> tuple[int, int]:
    """The highest level that a picture uses, and the highest possible one."""
    content = np.frombuffer(read_regular(path), np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if len(content) else None
    if picture is None or picture.dtype.kind != "u":
        return 0, 1
    return int(picture.max()), 2 ** (8 * picture.itemsize) - 1


def _assumption(pictures: list[Path]) -> str:
    text = f"pictures have no timestamps, {RATE:g} frames/s is assumed"
    skipped = missing_numbers(pictures)
    return f"{text} ({skipped} numbers are missing from the sequence)" if skipped else text


def _read_all(pictures: list[Path], stream: FrameStream) -> Iterator[DecodedFrame]:
    for position, path in enumerate(pictures):
        stream.beat()
        picture = _load(path)
        if picture is None:
            stream.note_error(f"{path.name} is not a picture")
            continue
        yield DecodedFrame(position / RATE, av.VideoFrame.from_ndarray(picture, format="bgr24"))


def _load(path: Path) -> np.ndarray | None:
    """uint8 (H, W, 3) BGR, rotated according to its EXIF tag; None if it cannot be read."""
    content = np.frombuffer(read_regular(path), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
