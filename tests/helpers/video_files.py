"""Small videos for the tests, written with PyAV, and the way to the shared real ones."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from places import SHARED

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


def shared(*parts: str) -> Path:
    """A file of the shared data, or a skipped test."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {Path('shared/data').joinpath(*parts)} beside the checkout")
    return path


def odd_video(name: str) -> Path:
    """One of the odd videos, or a skipped test."""
    return shared("odd_videos", "videos", name)


def grey_frames(count: int, *, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Plain frames, each brighter than the one before."""
    return [np.full((height, width, 3), min(10 + 6 * n, 255), np.uint8) for n in range(count)]


def moving_frames(count: int, *, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """A smooth pattern that moves to the right by one pixel per frame."""
    row = 128 + 80 * np.sin(np.arange(width + count) / 9)
    column = np.cos(np.arange(height) / 7)[:, None]
    pictures = [np.clip(row[count - n : count - n + width] + 30 * column, 0, 255) for n in range(count)]
    return [np.repeat(picture[..., None], 3, axis=2).astype(np.uint8) for picture in pictures]


def colour_bars(*, height: int = 64, width: int = 64) -> np.ndarray:
    """Red, green, blue, yellow from left to right."""
    return np.repeat(np.repeat(np.array([[*COLOURS.values()]], np.uint8), height, 0), width // 4, 1)


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    rate: int = 10,
    pts: Sequence[int] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    turn: int = 0,
) -> Path:
    """Encode frames; `pts` counts in 1/rate seconds; `turn` is a display rotation, anticlockwise, in degrees."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
        if turn:
            stream.set_display_rotation(turn)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (pts[number] if pts else number), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbered_frames(count: int, *, height: int = 128, width: int = 128) -> list[np.ndarray]:
    """Frames that each hold their number in 16 black and white blocks, 4 x 4."""
    pictures = []
    for number in range(count):
        bits = np.array([number >> bit & 1 for bit in range(16)], np.uint8).reshape(4, 4)
        blocks = np.kron(bits * 200 + 20, np.ones((height // 4, width // 4), np.uint8))
        pictures.append(np.repeat(blocks[..., None], 3, axis=2).astype(np.uint8))
    return pictures


def numbers_of(frames: np.ndarray) -> list[int]:
    """What `numbered_frames` hold, read back from uint8 (N, H, W, 3)."""
    step = frames.shape[1] // 4
    blocks = frames[:, step // 2 :: step, step // 2 :: step, 1] > 120
    return (blocks.reshape(len(frames), 16) * (1 << np.arange(16))).sum(axis=1).tolist()


def write_interlaced(path: Path, fields: Sequence[np.ndarray], *, codec: str = "mpeg2video") -> Path:
    """Frames woven of two fields each, the first on the even lines, flagged as interlaced."""
    odd_lines = np.arange(len(fields[0]))[:, None, None] % 2
    woven = [np.where(odd_lines, second, first) for first, second in zip(fields[::2], fields[1::2], strict=True)]
    options = {"flags": "+ildct+ilme", "qscale": "2", "g": "10", "x264-params": "interlaced=1"}
    return write_video(path, woven, rate=25, codec=codec, options=options)
