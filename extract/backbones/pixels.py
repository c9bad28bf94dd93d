"""The identity: the frames themselves are stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from extract.backbones.backbone import Backbone, check_image_size
from extract.errors import BackboneError

if TYPE_CHECKING:
    import keras


PIXELS_SIZE = 112
PIXELS = "pixels"  # the identity: the frames themselves are stored


def load_pixels(*, weights: Path | None, image_size: int | None, channels: int | None) -> Backbone:
    """The identity, described; with 3 channels (RGB) by default."""
    size, channels = PIXELS_SIZE if image_size is None else image_size, 3 if channels is None else channels
    check_image_size(PIXELS, size, smallest=1)
    if weights is not None:
        raise BackboneError(
            f"--weights {weights} does not go with --backbone {PIXELS}, which has no model; leave it out"
        )
    if channels not in (1, 3):
        raise BackboneError(f"--channels {channels} must be 3 (RGB) or 1 (grey)")
    return Backbone(PIXELS, "none", size, size * size * channels, _no_model, channels)


def _no_model() -> keras.Model:
    raise BackboneError(f"{PIXELS} stores the frames themselves and has no model; use another --backbone to embed them")


def grey(frames: np.ndarray) -> np.ndarray:
    """Greyscale: 0.299 R + 0.587 G + 0.114 B, rounded (ITU-R BT.601, as in OpenCV).

    Args:
        frames: uint8 (N, H, W, 3), RGB, N at least 1.

    Returns:
        uint8 (N, H, W, 1).
    """
    count, height, width, _ = frames.shape
    return cv2.cvtColor(frames.reshape(count * height, width, 3), cv2.COLOR_RGB2GRAY).reshape(count, height, width, 1)
