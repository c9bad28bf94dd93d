"""Small videos for the tests, written with PyAV, and the way to the shared real ones."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"
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
