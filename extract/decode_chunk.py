"""Pictures of one clip on their way out: upright, of the right size, RGB, many in one array."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from extract.errors import UnreadableVideoError
from extract.records import SampledFrames
from extract.transforms import fit_frame


class Chunk:
    """Consecutive sampled frames in one array: the last step of preparing a picture writes into it.

    Args:
        rows: How many frames it takes.
        shape: (H, W, 3) of each.
        path: Of the video, for the error.
        is_bgr: Whether its decoder gives blue first.
    """

    def __init__(self, rows: int, shape: tuple[int, ...], *, path: Path, is_bgr: bool) -> None:
        self._frames = np.empty((rows, *shape), np.uint8)
        self._positions: list[int] = []
        self._seconds: list[float] = []
        self._path = path
        self._is_bgr = is_bgr

    @property
    def is_full(self) -> bool:
        """Whether it takes no more."""
        return len(self._positions) == len(self._frames)

    def add(self, fitted: np.ndarray, *, position: int, seconds: float) -> None:
        """Take one picture, RGB from here on: the one place where channels are put in order.

        Args:
            fitted: uint8 (H, W, 3).
            position: Of the frame among all frames of the video.
            seconds: Its time.

        Raises:
            UnreadableVideoError: The picture is of another size than those before.
        """
        place = self._frames[len(self._positions)]
        if fitted.shape != place.shape:
            raise UnreadableVideoError(
                f"{self._path} holds frames of several sizes; give an image size to bring them to one"
            )
        if self._is_bgr:
            cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB, dst=place)
        else:
            place[:] = fitted
        self._positions.append(position)
        self._seconds.append(seconds)

    def sampled(self) -> SampledFrames:
        """What was taken so far."""
        count = len(self._positions)
        return SampledFrames(
            self._frames[:count], np.array(self._positions, np.int64), np.array(self._seconds, np.float64)
        )


def fitted_picture(
    picture: np.ndarray, orientation: tuple[int, int, int, int], *, image_size: int | None, fit: str
) -> np.ndarray:
    """A decoded picture upright and of the right size.

    Args:
        picture: uint8 (H, W, 3) as it is coded.
        orientation: (a, b, c, d) of the display: x' = a x + c y, y' = b x + d y.
        image_size: As in `fit_frame`.
        fit: As in `fit_frame`.

    Returns:
        uint8 (image_size, image_size, 3), or (H, W, 3) as displayed where image_size is None.
    """
    return fit_frame(_turned(picture, orientation), image_size=image_size, fit=fit)


def _turned(picture: np.ndarray, orientation: tuple[int, int, int, int]) -> np.ndarray:
    """x' = a x + c y, y' = b x + d y."""
    a, b, c, d = orientation
    if b:  # rows become columns
        picture, a, d = picture.transpose(1, 0, 2), c, b
    if a < 0:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture[::-1] if d < 0 else picture)
