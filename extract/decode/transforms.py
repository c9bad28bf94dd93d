"""What the backbone sees: the pictures, their differences, or the optical flow between them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from extract.errors import UsageError
from extract.records import SampledFrames

FLOW_RANGE = 1 / 16  # motion per sampled step, as a share of the image width, that is coded as full deflection
NO_MOTION = 128
FrameTransform = Callable[[SampledFrames], SampledFrames]


def rgb() -> FrameTransform:
    """The frames as they are."""
    return lambda sampled: sampled


def diff() -> FrameTransform:
    """The absolute difference from the previous sampled frame; the first frame of a clip gives zeros."""
    before: list[np.ndarray] = []

    def difference(sampled: SampledFrames) -> SampledFrames:
        if not len(sampled):
            return sampled
        earlier = np.concatenate([[before[0] if before else sampled.frames[0]], sampled.frames[:-1]])  # (N, H, W, 3)
        before[:] = [sampled.frames[-1]]
        return _with_frames(sampled, cv2.absdiff(sampled.frames, earlier))

    return difference


def flow() -> FrameTransform:
    """Dense optical flow from the previous sampled frame, as a picture: R = dx, G = dy, B = speed, 128 = no motion.

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


def make_transform(name: str) -> FrameTransform:
    """A fresh transform for one clip; feed it the clip's chunks in order.

    Args:
        name: A key of `FRAME_TRANSFORMS`.

    Returns:
        A function from a chunk to a chunk of the same shape.

    Raises:
        UsageError: The name is unknown.
    """
    if name not in FRAME_TRANSFORMS:
        raise UsageError(f"input {name!r} is unknown; choose one of {', '.join(FRAME_TRANSFORMS)}")
    return FRAME_TRANSFORMS[name]()


def _flow_picture(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The flow between two grey pictures as uint8 (H, W, 3)."""
    start = np.zeros((*after.shape, 2), np.float32)
    motion = cv2.calcOpticalFlowFarneback(before, after, start, 0.5, 3, 15, 3, 5, 1.2, 0)  # (H, W, 2)
    speed = np.linalg.norm(motion, axis=2, keepdims=True)
    deflection = np.concatenate([motion, speed], axis=2) / (after.shape[1] * FLOW_RANGE)
    return np.rint(NO_MOTION + 127 * np.clip(deflection, -1, 1)).astype(np.uint8)


def _with_frames(sampled: SampledFrames, frames: np.ndarray) -> SampledFrames:
    return SampledFrames(frames, sampled.frame_indices, sampled.pts_seconds)
