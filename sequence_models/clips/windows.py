"""Cuts clips into the pieces that a model sees, and merges the predictions for the pieces.

clip       0 1 2 3 4 5 6 7 8 9        stride 2: two phases, of which training draws one per pass
phase 0    0   2   4   6   8          window, hop: windows that start every hop and cover the phase to its end
windows   [0   2   4]                 prediction takes all windows of all phases and averages them, per clip or
              [4   6   8]             per timestep; without window, training cuts long clips into chunks instead
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from extract.errors import ClipError
from sequence_models.records import Clip
from sequence_models.settings import MANY_TO_MANY, TrainSettings

CLOCK_TOLERANCE_SECONDS = 1e-6


@dataclass(frozen=True)
class Piece:
    """Some timesteps of one clip.

    Args:
        row: Which clip.
        steps: int64 (n,), rising, at least one.
    """

    row: int
    steps: np.ndarray


def select_steps(clip: Clip, steps: np.ndarray) -> Clip:
    """The clip reduced to some timesteps, int64 (n,); it keeps a whole-clip label, but no original frame labels."""
    return replace(
        clip,
        embeddings=clip.embeddings[steps],
        pts_seconds=clip.pts_seconds[steps],
        frame_indices=clip.frame_indices[steps],
        labels=clip.labels[steps] if clip.labels.ndim else clip.labels,
        label_steps=None,
        frame_labels=None,
    )


def prediction_pieces(clips: Sequence[Clip], settings: TrainSettings) -> list[Piece]:
    """All pieces of all clips; every timestep is in at least one.

    Args:
        clips: Clips of at least one timestep.
        settings: Uses `stride`, `window`, `hop` and `window_frames`.

    Returns:
        The pieces, in the order of the clips.

    Raises:
        ClipError: The model needs pieces with another number of timesteps.
    """
    pieces = [
        Piece(row, spread(phase[start:stop], settings.window_frames))
        for row, clip in enumerate(clips)
        for phase in _phases(len(clip), settings.stride)
        for start, stop in window_spans(clip.pts_seconds[phase], settings)
    ]
    for piece in pieces:
        _check_length(clips[piece.row], len(piece.steps), settings)
    return pieces


def training_pieces(
    clips: Sequence[Clip], settings: TrainSettings, rng: np.random.Generator, *, chunk: int = 0
) -> list[Clip]:
    """The training examples of one pass over the clips.

    Args:
        clips: Clips of at least one timestep.
        settings: Uses `stride`, `window`, `hop` and `window_frames`.
        rng: Draws the phase of each clip, and where its windows or chunks start.
        chunk: Cut longer clips into chunks of this many timesteps; 0 = never.

    Returns:
        The pieces, without those that have no label; without stride, window and chunk, the clips themselves.

    Raises:
        ClipError: The model needs pieces with another number of timesteps.
    """
    pieces = []
    for clip in clips:
        phases = _phases(len(clip), settings.stride)
        phase = phases[rng.integers(len(phases))]
        spans = window_spans(clip.pts_seconds[phase], settings, offset=rng.uniform())
        if chunk:
            spans = _chunks(len(phase), chunk, rng)
        for start, stop in spans:
            steps = spread(phase[start:stop], settings.window_frames)
            _check_length(clip, len(steps), settings)
            if not clip.labels.ndim or np.any(clip.labels[steps] >= 0):
                pieces.append(clip if len(steps) == len(clip) else select_steps(clip, steps))
    return pieces


def count_pieces(clips: Sequence[Clip], settings: TrainSettings, *, chunk: int = 0) -> int:
    """The approximate number of examples per pass; arguments as for `training_pieces`."""
    if chunk:
        lengths = [math.ceil(len(clip) / settings.stride) for clip in clips]
        return sum(math.ceil(length / chunk) + (length > chunk) for length in lengths)
    if not settings.window:
        return len(clips)
    return sum(len(window_spans(clip.pts_seconds[:: settings.stride], settings)) for clip in clips)


def window_spans(pts_seconds: np.ndarray, settings: TrainSettings, *, offset: float = 0.0) -> list[tuple[int, int]]:
    """The windows over some timesteps: one starts every hop, and the last one ends at the end.

    Args:
        pts_seconds: float64 (T,), rising, at least one.
        settings: Uses `window` and `hop`.
        offset: Shifts all windows but the last, as a fraction (0 to 1) of a hop, so that they differ in every training
            pass; 0 for predictions.

    Returns:
        Half-open spans of timesteps; a single span of all of them without a window, or if they fit in one.
    """
    if not settings.window:
        return [(0, len(pts_seconds))]
    first, end = float(pts_seconds[0]), _end_seconds(pts_seconds)
    latest = end - settings.window
    if latest <= first:
        return [(0, len(pts_seconds))]
    begin = first + offset * min(settings.hop_seconds, latest - first)
    starts = np.append(np.arange(begin, latest, settings.hop_seconds), latest) - CLOCK_TOLERANCE_SECONDS
    low, high = np.searchsorted(pts_seconds, starts), np.searchsorted(pts_seconds, starts + settings.window)
    spans = zip(low.tolist(), high.tolist(), strict=True)
    return list(dict.fromkeys((start, stop) for start, stop in spans if stop > start))


def spread(steps: np.ndarray, count: int) -> np.ndarray:
    """`count` of some timesteps, those at the centres of as many equal parts; where there are fewer, some twice.

    Args:
        steps: int64 (n,), at least one.
        count: How many; 0 = all as they are.
    """
    if not count:
        return steps
    return steps[((np.arange(count) + 0.5) * len(steps) / count).astype(int)]


def merge_pieces(
    clips: Sequence[Clip], pieces: Sequence[Piece], probabilities: Sequence[np.ndarray], *, task: str
) -> list[np.ndarray]:
    """Average the predictions for the pieces of each clip.

    Args:
        clips: The whole clips.
        pieces: From `prediction_pieces`.
        probabilities: (K,) or (n, K) per piece.
        task: "many-to-one" or "many-to-many".

    Returns:
        float32 (K,) or (T, K) per clip.
    """
    num_classes = probabilities[0].shape[-1]
    shapes = [(len(clip), num_classes) if task == MANY_TO_MANY else (1, num_classes) for clip in clips]
    sums, counts = [np.zeros(shape) for shape in shapes], [np.zeros((shape[0], 1)) for shape in shapes]
    for piece, rows in zip(pieces, probabilities, strict=True):
        where = piece.steps if task == MANY_TO_MANY else slice(1)
        sums[piece.row][where] += rows
        counts[piece.row][where] += 1
    means = [np.asarray(total / count, np.float32) for total, count in zip(sums, counts, strict=True)]
    return means if task == MANY_TO_MANY else [mean[0] for mean in means]


def _check_length(clip: Clip, steps: int, settings: TrainSettings) -> None:
    if settings.fixed_frames and steps != settings.fixed_frames:
        raise ClipError(
            f"{clip.clip_id} has a piece of {steps} timesteps, but {settings.model} with fixed_frames "
            f"{settings.fixed_frames} takes exactly that many; extract with --num-frames {settings.fixed_frames}, or "
            "leave --fixed-frames out."
        )


def _phases(length: int, stride: int) -> list[np.ndarray]:
    return [np.arange(phase, length, stride) for phase in range(min(stride, length))]


def _end_seconds(pts_seconds: np.ndarray) -> float:
    """One median step past the last timestep."""
    return float(pts_seconds[-1] + (np.median(np.diff(pts_seconds)) if len(pts_seconds) > 1 else 0.0))


def _chunks(length: int, chunk: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Half-open spans of at most `chunk` timesteps that cover 0..length, cut at new places each time."""
    if length <= chunk:
        return [(0, length)]
    edges = [0, *range(int(rng.integers(1, chunk + 1)), length, chunk), length]
    return list(pairwise(edges))
