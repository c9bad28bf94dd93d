"""From a decoded picture to what the backbone sees: fitted to its size, then plain, differenced or as optical flow.

Shrinking averages areas: bilinear shrinking turns fine patterns into noise that changes from frame to frame.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from extract.errors import UsageError
from extract.records import SampledFrames

FITS = ("stretch", "crop", "pad")
FLOW_RANGE = 1 / 16  # a motion of this part of the image's width per sampled step is coded as the full deflection
NO_MOTION = 128

FrameTransform = Callable[[SampledFrames], SampledFrames]


def fit_frame(frame: np.ndarray, *, image_size: int | None, fit: str = "stretch") -> np.ndarray:
    """Bring a picture to a square of the backbone's size.

    Args:
        frame: uint8 (H, W, 3).
        image_size: Side of the square in pixels; None leaves the picture as it is.
        fit: "stretch" changes the aspect ratio, "crop" takes the centred square, "pad" adds black borders.

    Returns:
        uint8 (image_size, image_size, 3), or the frame itself.

    Raises:
        UsageError: `fit` is unknown.
    """
    if fit not in FITS:
        raise UsageError(f"fit {fit!r} is unknown, use one of {', '.join(FITS)}")
    if image_size is None:
        return frame
    height, width = frame.shape[:2]
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _resize(frame[top : top + side, left : left + side], image_size, image_size)
    if fit == "stretch" or height == width:
        return _resize(frame, image_size, image_size)
    scale = image_size / max(height, width)
    small = _resize(frame, max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (image_size - small.shape[0]) // 2, (image_size - small.shape[1]) // 2
    padded = np.zeros((image_size, image_size, 3), np.uint8)
    padded[top : top + small.shape[0], left : left + small.shape[1]] = small
    return padded


def rgb() -> FrameTransform:
    """The frames as they are."""
    return lambda sampled: sampled


def diff() -> FrameTransform:
    """The absolute difference to the sampled frame before; the first frame of a clip gives zeros."""
    before: list[np.ndarray] = []

    def difference(sampled: SampledFrames) -> SampledFrames:
        if not len(sampled):
            return sampled
        earlier = np.concatenate([[before[0] if before else sampled.frames[0]], sampled.frames[:-1]])  # (N, H, W, 3)
        before[:] = [sampled.frames[-1]]
        return _with_frames(sampled, cv2.absdiff(sampled.frames, earlier))

    return difference


def flow() -> FrameTransform:
    """Dense optical flow from the sampled frame before, as a picture: R = dx, G = dy, B = speed, 128 = no motion.

    Farneback's method (OpenCV); the first frame of a clip gives no motion.
    """
    before: list[np.ndarray] = []

    def optical_flow(sampled: SampledFrames) -> SampledFrames:
        pictures = np.empty_like(sampled.frames)
        for row, frame in enumerate(sampled.frames):
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            pictures[row] = _flow_picture(before[0], grey) if before else NO_MOTION
            before[:] = [grey]
        return _with_frames(sampled, pictures)

    return optical_flow


FRAME_TRANSFORMS: dict[str, Callable[[], FrameTransform]] = {"rgb": rgb, "diff": diff, "flow": flow}


def grey(frames: np.ndarray) -> np.ndarray:
    """Pictures without colour: 0.299 R + 0.587 G + 0.114 B, rounded (ITU-R BT.601, as OpenCV computes it).

    Args:
        frames: uint8 (N, H, W, 3), RGB, N at least 1.

    Returns:
        uint8 (N, H, W, 1).
    """
    count, height, width, _ = frames.shape
    return cv2.cvtColor(frames.reshape(count * height, width, 3), cv2.COLOR_RGB2GRAY).reshape(count, height, width, 1)


def make_transform(name: str) -> FrameTransform:
    """A fresh transform for one clip; it is fed the clip's chunks in order.

    Args:
        name: A key of `FRAME_TRANSFORMS`.

    Returns:
        A function from chunk to chunk of the same shape.

    Raises:
        UsageError: The name is unknown.
    """
    if name not in FRAME_TRANSFORMS:
        raise UsageError(f"input {name!r} is unknown, use one of {', '.join(FRAME_TRANSFORMS)}")
    return FRAME_TRANSFORMS[name]()


def _resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Shrink by averaging, enlarge by interpolation, each axis on its own."""
    frame = _halved(frame, height, width)
    shrunk = (min(width, frame.shape[1]), min(height, frame.shape[0]))
    if shrunk != (frame.shape[1], frame.shape[0]):
        frame = cv2.resize(frame, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (width, height):
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(frame)


def _halved(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Halve a large picture while it stays at least one and a half times the size wanted.

    OpenCV averages 2 x 2 pixels fast, and other areas slowly. Going nearer to the size wanted, by larger factors or by
    cutting off what does not divide, blurs and shifts the picture (benchmarks/resize_quality.py).
    """
    while frame.shape[0] >= 3 * height and frame.shape[1] >= 3 * width and not any(n % 2 for n in frame.shape[:2]):
        half = (frame.shape[1] // 2, frame.shape[0] // 2)
        frame = cv2.resize(frame, half, interpolation=cv2.INTER_AREA)
    return frame


def _flow_picture(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The flow between two grey pictures as uint8 (H, W, 3)."""
    start = np.zeros((*after.shape, 2), np.float32)
    motion = cv2.calcOpticalFlowFarneback(before, after, start, 0.5, 3, 15, 3, 5, 1.2, 0)  # (H, W, 2)
    speed = np.linalg.norm(motion, axis=2, keepdims=True)
    deflection = np.concatenate([motion, speed], axis=2) / (after.shape[1] * FLOW_RANGE)
    return np.rint(NO_MOTION + 127 * np.clip(deflection, -1, 1)).astype(np.uint8)


def _with_frames(sampled: SampledFrames, frames: np.ndarray) -> SampledFrames:
    return SampledFrames(frames, sampled.frame_indices, sampled.pts_seconds)
