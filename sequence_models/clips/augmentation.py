"""Augments training clips: in space, all frames of a clip alike, so that its motion is preserved, and in time.

The Keras layers draw once per image of a batch; so a clip is passed as a single image whose channels are those of all
its frames. Imports Keras only if needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from sequence_models.clips.windows import select_steps
from sequence_models.records import Clip

WHITE = 255.0


@dataclass(frozen=True)
class FrameAugmentation:
    """How the frames of training clips vary from pass to pass; all off = no variation.

    Args:
        flip: Mirror left to right, with probability one half.
        shift: Largest shift, as a fraction of height and width.
        zoom: Largest zoom, in or out, as a fraction.
        rotation: Largest rotation, either way, as a fraction of a full turn.
        brightness: Largest change of brightness, as a fraction of white.
        contrast: Largest change of contrast, as a fraction.
    """

    flip: bool = False
    shift: float = 0.0
    zoom: float = 0.0
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __bool__(self) -> bool:
        return any(astuple(self))


def augment_frames(frames: np.ndarray, settings: FrameAugmentation, seed: int | Sequence[int]) -> np.ndarray:
    """Vary the frames of one clip, all in the same way.

    Args:
        frames: (T, H, W, C), 0..255, of any real type; not modified.
        settings: How much to vary.
        seed: The same seed gives the same frames.

    Returns:
        float32 (T, H, W, C), 0..255; areas beyond the edge are filled by mirroring.
    """
    steps, height, width, channels = frames.shape
    if not settings or not steps:
        return frames.astype(np.float32)
    import keras

    seeds = keras.random.SeedGenerator(int(np.random.default_rng(seed).integers(2**31)))
    picture: Any = np.moveaxis(np.asarray(frames, np.float32), 0, 2).reshape(height, width, steps * channels)
    for layer in _layers(settings):
        drawn = layer.get_random_transformation(picture, training=True, seed=seeds)
        picture = layer.transform_images(keras.ops.convert_to_tensor(picture), drawn, training=True)
    varied = np.clip(keras.ops.convert_to_numpy(picture), 0, WHITE)
    return np.ascontiguousarray(np.moveaxis(varied.reshape(height, width, steps, channels), 2, 0))


@lru_cache
def _layers(settings: FrameAugmentation) -> tuple[Any, ...]:
    from keras import layers

    made = {
        "flip": lambda share: layers.RandomFlip("horizontal"),
        "shift": lambda share: layers.RandomTranslation(share, share, fill_mode="reflect"),
        "zoom": lambda share: layers.RandomZoom((-share, share), fill_mode="reflect"),
        "rotation": lambda share: layers.RandomRotation(share, fill_mode="reflect"),
        "brightness": lambda share: layers.RandomBrightness(share, value_range=(0, WHITE)),
        "contrast": lambda share: layers.RandomContrast(share, value_range=(0, WHITE)),
    }
    return tuple(make(getattr(settings, name)) for name, make in made.items() if getattr(settings, name))


@dataclass(frozen=True)
class Augmentation:
    """How training clips vary in time from pass to pass; all zero = no variation.

    Args:
        crop: Largest fraction cut off at the ends.
        speed: Largest change of speed, up or down, as a fraction.
        frame_drop: Fraction of timesteps left out.
    """

    crop: float = 0.0
    speed: float = 0.0
    frame_drop: float = 0.0


def augment_clip(clip: Clip, augmentation: Augmentation, rng: np.random.Generator) -> Clip:
    """Crop, speed up or slow down, and thin out a clip by selecting among its timesteps.

    Args:
        clip: A clip of at least one timestep.
        augmentation: How much to vary.
        rng: Source of randomness.

    Returns:
        A clip of at least one timestep; all its timesteps and labels come from `clip`.
    """
    length = max(1, round(len(clip) * (1 - rng.uniform(0, augmentation.crop))))
    start = rng.integers(len(clip) - length + 1)
    count = max(1, round(length / (1 + rng.uniform(-1, 1) * augmentation.speed)))
    chosen = start + (np.arange(count) + rng.uniform(0, 1)) * length // count
    kept = rng.uniform(size=count) >= augmentation.frame_drop
    kept[rng.integers(count)] = True
    chosen = chosen[kept].astype(np.int64)
    return select_steps(clip, chosen)


def vary_frames(clip: Clip, frame_augmentation: FrameAugmentation, seed: int) -> Clip:
    """The clip with its frames loaded and varied; only one batch is in memory at a time."""
    varied = augment_frames(np.asarray(clip.embeddings), frame_augmentation, seed)
    return replace(clip, embeddings=np.rint(varied).astype(np.uint8))
