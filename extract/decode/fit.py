"""One decoded frame -> what the backbone sees: its size, upright, RGB. swscale scales and converts in one step.

Downscaling averages areas: plain bilinear downscaling turns fine patterns into noise that changes from frame to frame.
swscale's bilinear and bicubic filters widen when downscaling, so they average too, at two to four times the cost
(benchmarks/resize_quality.py).
"""

from __future__ import annotations

from fractions import Fraction

import av
import av.filter
import cv2
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

RESIZE = "swscale area, full chroma"  # its name in recipes
FLAGS = Interpolation.AREA | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
MATRICES = (1, 4, 5, 6, 7, 9)  # the colour matrices of ITU-T H.273 that swscale supports
SD_SIZE = (1279, 576)  # largest width and height at which players assume BT.601 if a file names no matrix
MOST_OVERHANG = 4.0  # a picture with a longer aspect ratio than this is cropped before scaling, not after


class FrameFitter:
    """Brings the frames of one video to one form; keeps the scaler's state from frame to frame.

    Args:
        image_size: Side of the square in pixels; None keeps the size.
        fit: "stretch" changes the aspect ratio, "crop" takes the central square, "pad" adds black borders.
        orientation: (a, b, c, d) of the display matrix: x' = a x + c y, y' = b x + d y.
    """

    def __init__(
        self, image_size: int | None, fit: str = "stretch", orientation: tuple[int, int, int, int] = (1, 0, 0, 1)
    ) -> None:
        self._size = image_size
        self._fit = fit
        self._orientation = orientation
        self._scaler = VideoReformatter()
        self._progressive = FrameFilter("setfield", "mode=prog")

    def shape(self, frame: av.VideoFrame) -> tuple[int, int, int]:
        """Shape of the picture: (image_size, image_size, 3), or (H, W, 3) as displayed if image_size is None."""
        if self._size is not None:
            return self._size, self._size, 3
        return (frame.height, frame.width, 3) if self._orientation[0] else (frame.width, frame.height, 3)

    def fit(self, frame: av.VideoFrame, out: np.ndarray) -> None:
        """Write the picture into `out`, uint8 of `shape(frame)`."""
        if frame.interlaced_frame:  # otherwise swscale scales the two fields separately and weaves the results
            frame = self._progressive.apply(frame)
        is_whole = self._size is None or self._fit == "stretch" or frame.width == frame.height
        if is_whole and self._orientation == (1, 0, 0, 1):
            self._rgb(frame, out.shape[1], out.shape[0], out)  # straight from the scaler into `out`
        elif is_whole:
            size = (frame.width, frame.height) if self._size is None else (self._size, self._size)
            out[:] = _turned(self._rgb(frame, *size), self._orientation)
        else:
            out[:] = _turned(self._fitted(frame, len(out)), self._orientation)

    def _fitted(self, frame: av.VideoFrame, size: int) -> np.ndarray:
        """The frame cropped or padded to a square."""
        width, height = frame.width, frame.height
        if self._fit == "crop":
            if max(width, height) > MOST_OVERHANG * min(width, height):
                middle = _middle(self._rgb(frame, width, height), min(width, height))
                return self._rgb(av.VideoFrame.from_ndarray(np.ascontiguousarray(middle), format="rgb24"), size, size)
            scale = size / min(width, height)
            return _middle(self._rgb(frame, round(width * scale), round(height * scale)), size)
        scale = size / max(width, height)
        small = self._rgb(frame, max(1, round(width * scale)), max(1, round(height * scale)))
        top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
        padded = np.zeros((size, size, 3), np.uint8)
        padded[top : top + small.shape[0], left : left + small.shape[1]] = small
        return padded

    def _rgb(self, frame: av.VideoFrame, width: int, height: int, out: np.ndarray | None = None) -> np.ndarray:
        """uint8 (height, width, 3); via planes, which swscale fills twice as fast as rgb24, with the same bytes."""
        scaled = self._scaler.reformat(
            frame, width, height, "gbrp", src_colorspace=_matrix(frame), interpolation=FLAGS, threads=1
        )
        green, blue, red = (
            np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)[:, :width]
            for plane in scaled.planes
        )
        return cv2.merge([red, green, blue], dst=out)


class FrameFilter:
    """An FFmpeg filter on one thread; renew it when the frame size or pixel format changes.

    Args:
        name: The filter's name.
        arguments: The filter's arguments in FFmpeg's syntax.
    """

    def __init__(self, name: str, arguments: str) -> None:
        self._filter = name, arguments
        self._form: tuple[int, int, str] | None = None
        self.graph = av.filter.Graph()

    def fits(self, frame: av.VideoFrame) -> bool:
        """Whether it was made for frames like this one."""
        return self._form == (frame.width, frame.height, frame.format.name)

    def renew(self, frame: av.VideoFrame) -> None:
        """Rebuild the filter for frames like this one."""
        self.graph = av.filter.Graph()
        self.graph.threads = 1
        source = self.graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
        )
        self.graph.link_nodes(source, self.graph.add(*self._filter), self.graph.add("buffersink")).configure()
        self._form = frame.width, frame.height, frame.format.name

    def apply(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Run a filter that looks at one frame at a time."""
        if not self.fits(frame):
            self.renew(frame)
        self.graph.push(frame)
        return self.graph.vpull()


def _matrix(frame: av.VideoFrame) -> Colorspace | None:
    """The colour matrix that swscale should assume; None: the one the file names."""
    if int(frame.colorspace) in MATRICES:
        return None
    is_sd = frame.width <= SD_SIZE[0] and frame.height <= SD_SIZE[1]
    return Colorspace.ITU601 if is_sd else Colorspace.ITU709


def _middle(picture: np.ndarray, side: int) -> np.ndarray:
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return picture[top : top + side, left : left + side]


def _turned(picture: np.ndarray, orientation: tuple[int, int, int, int]) -> np.ndarray:
    """x' = a x + c y, y' = b x + d y."""
    a, b, c, d = orientation
    if b:  # rows become columns
        picture, a, d = picture.transpose(1, 0, 2), c, b
    if a < 0:
        picture = picture[:, ::-1]
    return picture[::-1] if d < 0 else picture
