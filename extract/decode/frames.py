"""A few frames of an extracted clip, read again from its video for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.errors import NoFramesError, UnreadableVideoError
from extract.records import ClipEmbeddings, SampledFrames, Source, VideoItem
from extract.videos.rule import SamplingRule
from extract.videos.sources import recorded_place, source_of

SAME_TIME_SECONDS = 0.001


def frames_of(clip: ClipEmbeddings, indices: Sequence[int], *, source: Source) -> SampledFrames:
    """Read some timesteps of a clip again, upright and in the video's own size.

    Args:
        clip: From a store; only its times are used.
        indices: Increasing timesteps of the clip, at least one.
        source: What the clip was made from.

    Returns:
        uint8 (N, H, W, 3); if the frame at a time is lost, the next one takes its place.

    Raises:
        VideoError: The video is gone, has changed since the extraction, or cannot be read.
    """
    at_seconds = np.unique(clip.pts_seconds[np.asarray(indices)])
    item = VideoItem(clip.clip_id, recorded_place(source), end_seconds=float(at_seconds[-1]) + SAME_TIME_SECONDS)
    if _has_changed(item, source):
        raise UnreadableVideoError(f"{item.path} has changed since the extraction; extract it again")
    settings = DecodeSettings(sampling=SamplingRule("num_frames", len(at_seconds)), image_size=None)
    with open_clip(item, settings, chunk_frames=len(at_seconds), at_seconds=at_seconds) as reader:
        chunks = list(reader)
    if not chunks:
        raise NoFramesError(f"{item.path} has no frame at {at_seconds[0]:.3f} s; extract it again")
    parts = zip(*((chunk.frames, chunk.frame_indices, chunk.pts_seconds) for chunk in chunks), strict=True)
    return SampledFrames(*map(np.concatenate, parts))


def _has_changed(item: VideoItem, then: Source) -> bool:
    """Whether the content differs: a copy may have another time."""
    now = source_of(item, with_digest=False)
    if now.size != then.size:
        return True
    if now.mtime_ns == then.mtime_ns and not (now.digest and then.digest):
        return False
    return not then.digest or source_of(item, with_digest=True).digest != then.digest
