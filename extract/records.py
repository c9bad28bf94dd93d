"""The types shared by the parts of stage one: frozen, shape-checked on creation, shapes in the repr.

Letters: N frames, T timesteps, D embedding_dim, H W 3 RGB image. Ranges are half-open, times are seconds.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from extract.system.addresses import Address
from extract.system.typed_json import parse_json, typed_record


@dataclass(frozen=True)
class VideoItem:
    """One clip to extract: a video file (or a folder of numbered images), or a span of it.

    Args:
        clip_id: Unique name of the clip, POSIX, relative; ends in `#t=start,end` for a span.
        path: The video file, its address, or the folder that directly holds the numbered images.
        start_seconds: Start of the span on the video's own clock (0 = its first frame).
        end_seconds: End of the span, exclusive; infinity for "to the end".
        listed: What a listing of its server said of it, so that planning need not ask again; None otherwise.
    """

    clip_id: str
    path: Path | Address
    start_seconds: float = 0.0
    end_seconds: float = math.inf
    listed: Source | None = None

    def __post_init__(self) -> None:
        if not self.clip_id:
            raise ValueError("clip_id must not be empty")
        if not 0 <= self.start_seconds < self.end_seconds:
            raise ValueError(
                f"{self.clip_id}: start {self.start_seconds} must be >= 0 and before end {self.end_seconds}"
            )

    @property
    def is_span(self) -> bool:
        """Whether this is only a part of its video."""
        return self.start_seconds > 0 or math.isfinite(self.end_seconds)


@dataclass(frozen=True, repr=False)
class SampledFrames:
    """Consecutive sampled frames of one clip, in output order.

    Args:
        frames: uint8 (N, H, W, 3), RGB; or windows of F frames, (N, F, H, W, 3).
        frame_indices: int64 (N,), index of each frame among all decoded frames of the video.
        pts_seconds: float64 (N,), presentation time minus the stream's start.
    """

    frames: np.ndarray
    frame_indices: np.ndarray
    pts_seconds: np.ndarray

    def __post_init__(self) -> None:
        _check("frames", self.frames, np.uint8, (*(None,) * (4 if self.frames.ndim == 5 else 3), 3))
        _check("frame_indices", self.frame_indices, np.int64, (len(self.frames),))
        _check("pts_seconds", self.pts_seconds, np.float64, (len(self.frames),))

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"SampledFrames(frames={self.frames.shape}, indices {_ends(self.frame_indices)})"


@dataclass(frozen=True)
class VideoTruth:
    """What is really in a video, as found while decoding it.

    Args:
        decoder: Name and version of the decoder, and how it read if not from start to end.
        codec: FFmpeg's codec name ("h264"), or "images".
        width, height: Size in pixels as displayed, after rotation.
        rotation_degrees: Clockwise rotation that was applied (0, 90, 180, 270).
        stream_start_seconds: Presentation time of the stream's start, subtracted from all times.
        declared_frames: The container's own frame count (often wrong), or None if it has none.
        decoded_frames: Frames that came out.
        average_rate: Frames per second, on average.
        variable_rate: Whether the intervals between frames differ by more than rounding.
        timestamps: "real", or "rebuilt" if the file's own are unusable: frames get evenly spaced times in order.
        interlaced: Whether frames hold two fields.
        lost_spans: Half-open (start_seconds, end_seconds) where frames are missing.
        duration_seconds: End of the last frame.
        notes: Anything else a reader should know, one sentence each.
        remarks: What is present but unused, or probably unwanted, one sentence each.
    """

    decoder: str
    codec: str
    width: int
    height: int
    rotation_degrees: int = 0
    stream_start_seconds: float = 0.0
    declared_frames: int | None = None
    decoded_frames: int = 0
    average_rate: float = 0.0
    variable_rate: bool = False
    timestamps: str = "real"
    interlaced: bool = False
    lost_spans: tuple[tuple[float, float], ...] = ()
    duration_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line of JSON, keys in field order."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> VideoTruth:
        """The inverse of `to_json`.

        Raises:
            ValueError: An entry is missing, unknown, or of another type.
        """
        return typed_record(cls, parse_json(text), "truth")


@dataclass(frozen=True)
class Source:
    """What a clip was made from, to detect later changes.

    Args:
        path: Absolute path, or the address without its query, as text.
        size: Bytes; of a folder of images, their sum.
        mtime_ns: Modification time; of a folder of images, the latest; 0 if a server names none.
        digest: Hex digest of the content, "etag:" and the ETag of an address, or "" if it was not computed.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str = ""


@dataclass(frozen=True, repr=False)
class ClipEmbeddings:
    """The cached sequence of one clip.

    Args:
        clip_id: Name of the clip.
        embeddings: (T, D) float16 or float32, or uint8 (T, H, W, 3) for raw frames.
        frame_indices: int64 (T,).
        pts_seconds: float64 (T,).
        truth: What was found while decoding; None for imported features.
    """

    clip_id: str
    embeddings: np.ndarray
    frame_indices: np.ndarray
    pts_seconds: np.ndarray
    truth: VideoTruth | None = None

    def __post_init__(self) -> None:
        if self.embeddings.ndim not in (2, 4):
            raise ValueError(f"{self.clip_id}: embeddings must be (T, D) or (T, H, W, C), got {self.embeddings.shape}")
        _check("frame_indices", self.frame_indices, np.int64, (len(self.embeddings),))
        _check("pts_seconds", self.pts_seconds, np.float64, (len(self.embeddings),))

    def __len__(self) -> int:
        return len(self.embeddings)

    def __repr__(self) -> str:
        return f"ClipEmbeddings({self.clip_id!r}, {self.embeddings.dtype}{self.embeddings.shape})"


def _check(name: str, array: np.ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits:
        raise ValueError(f"{name} must be {np.dtype(dtype)}{shape}, got {array.dtype}{array.shape}")


def _ends(values: np.ndarray) -> str:
    return f"{values[0]}..{values[-1]}" if len(values) else "none"
