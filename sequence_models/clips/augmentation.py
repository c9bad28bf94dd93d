"""Varies the pictures of a training clip, all its frames in the same way: what moves in a clip is left as it moves.

The layers are those of Keras, which draw for every picture of a batch; so a clip goes in as one picture whose channels
are those of all its frames. Imports Keras only when something is to be varied.
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
    """How the pictures of training clips vary from pass to pass; all off = not at all.

    Args:
        flip: Mirror left to right in half of the draws.
        shift: The largest shift, as a share of height and width.
        zoom: The largest zoom, in or out, as a share.
        rotation: The largest rotation, either way, as a share of a full turn.
        brightness: The largest change of brightness, as a share of white.
        contrast: The largest change of contrast, as a share.
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
    """Vary the frames of one clip, all alike.

    Args:
        frames: (T, H, W, C), 0..255, of any real type; not changed.
        settings: How much.
        seed: Decides; the same seed gives the same pictures.

    Returns:
        float32 (T, H, W, C), 0..255; what is moved in from outside is the edge, mirrored.
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
    """How training clips vary in time from pass to pass; all zero = not at all.

    Args:
        crop: The largest share that is cut away at the ends.
        speed: The largest change of speed, up or down, as a share.
        frame_drop: Share of timesteps left out.
    """

    crop: float = 0.0
    speed: float = 0.0
    frame_drop: float = 0.0


def augment_clip(clip: Clip, augmentation: Augmentation, rng: np.random.Generator) -> Clip:
    """Cut, speed up or slow down, and thin out one clip by choosing among its timesteps.

    Args:
        clip: A clip of at least one timestep.
        augmentation: How much.
        rng: Decides.

    Returns:
        A clip of at least one timestep; every one of them, and its label, is one of `clip`.
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
    """The clip with its frames read and varied; only those of one batch are ever in memory."""
    varied = augment_frames(np.asarray(clip.embeddings), frame_augmentation, seed)
    return replace(clip, embeddings=np.rint(varied).astype(np.uint8))
