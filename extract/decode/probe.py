"""What extracting a clip would find and cost, from its packets and one decoded frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from extract.decode import images, pyav
from extract.decode.reader import STALL_SECONDS, index_of, named_errors, wanted_frames
from extract.decode.truth import make_truth
from extract.decode.watchdog import Heartbeat, Watched
from extract.records import VideoItem, VideoTruth
from extract.videos.remote import RemoteFile, readable
from extract.videos.rule import SamplingRule
from extract.videos.sources import check_file


class Probe(NamedTuple):
    """What the packets and one decoded frame tell of a clip.

    Args:
        truth: The record of the whole video; `decoded_frames` is how many packets should show a frame.
        sampled_frames: Rows the clip should give.
        read_frames: Frames that must be decoded for them.
        remarks: As in `PacketIndex`.
    """

    truth: VideoTruth
    sampled_frames: int
    read_frames: int
    remarks: Mapping[str, str]


def probe_clip(item: VideoItem, sampling: SamplingRule) -> Probe:
    """What extracting a clip would find and cost, without decoding more than its first frame.

    Args:
        item: The clip.
        sampling: Which frames would be taken.

    Returns:
        The probe.

    Raises:
        VideoError: As from `open_clip` and its reader.
    """
    check_file(item.path)
    watched = Watched(lambda heart: _probe(item, sampling, heart), name=str(item.path), stall_seconds=STALL_SECONDS)
    (probe,) = watched
    watched.close()
    return probe


def _probe(item: VideoItem, sampling: SamplingRule, heart: Heartbeat) -> Iterator[Probe]:
    with named_errors(item.path), readable(item.path, heart.beat) as place:
        yield _probe_packets(item, place, sampling, heart)


def _probe_packets(item: VideoItem, place: Path | RemoteFile, sampling: SamplingRule, heart: Heartbeat) -> Probe:
    index = index_of(place, heart)
    wanted = wanted_frames(item, sampling, index)
    decoder = images.NAME if item.path.is_dir() else pyav.NAME
    notes = ("only probed: frames are counted from packets, not decoded",)
    truth = make_truth(
        index,
        decoder=decoder,
        decoded_frames=len(index.pts_seconds),
        interlaced=index.is_interlaced,
        notes=notes,
    )
    is_sparse = not item.path.is_dir() and pyav.seeking_pays(item, index, wanted)
    cost = pyav.decoding_cost(index, wanted) if is_sparse else pyav.frames_up_to_end(item, index)
    return Probe(truth, len(wanted), cost, index.remarks)
