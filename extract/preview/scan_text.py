"""Scan results for people (a table with one line per clip, totals, an estimate) and for programs (records)."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from extract.preview.scan import ScanResult, ScanTotals
from extract.records import VideoItem
from extract.text import counted

CLIP_COLUMNS = 48
REMARK_COLUMNS = 100
# EfficientNet-Lite0 in float32 with LiteRT on 2 CPU cores; a GPU embeds many times faster.
EMBEDDED_PER_SECOND = 195.0
# H.264, one thread on the same machine: 1280x720 at about 330 frames/s.
DECODED_PIXELS_PER_SECOND = 6e8
ROW_EXTRA_BYTES = 16  # timestamp and frame index


@dataclass(frozen=True)
class Estimate:
    """What an extraction would cost: frames, seconds, bytes, and in words what that assumes."""

    frames: int
    seconds: float
    bytes: int
    assumption: str


def estimate_cost(
    totals: ScanTotals, *, row_bytes: int, threads: int, frames_per_second: float = EMBEDDED_PER_SECOND
) -> Estimate:
    """What extracting the scanned clips would cost.

    Args:
        totals: Totals of the scan.
        row_bytes: Bytes stored per frame.
        threads: Videos decoded at the same time.
        frames_per_second: How fast the backbone embeds; infinity if frames are only stored.

    Returns:
        The estimate; decoding and embedding overlap, so the slower one counts.
    """
    embedding = totals.sampled_frames / frames_per_second
    decoding = totals.read_pixels / DECODED_PIXELS_PER_SECOND / threads
    assumed = f"{DECODED_PIXELS_PER_SECOND / 1e6:g} million pixels/s decoded by each of {counted(threads, 'thread')}"
    if math.isfinite(frames_per_second):
        slower = "embedding" if embedding >= decoding else "decoding"
        rate = f"{frames_per_second:g} frames/s embedded (EfficientNet-Lite0 on 2 CPU cores)"
        assumed = f"{rate}, {assumed}; {slower} is the slower"
    return Estimate(
        frames=totals.sampled_frames,
        seconds=max(embedding, decoding),
        bytes=totals.sampled_frames * (row_bytes + ROW_EXTRA_BYTES),
        assumption=f"{assumed}; {row_bytes:,} + {ROW_EXTRA_BYTES} bytes per frame",
    )


def clip_columns(items: Sequence[VideoItem]) -> int:
    """Width of the table's first column.

    Args:
        items: The clips that will be printed.
    """
    return min(CLIP_COLUMNS, max(_columns(text) for text in ("clip", *(item.clip_id for item in items))) + 1)


def header_line(width: int) -> str:
    """The table's first line.

    Args:
        width: From `clip_columns`.
    """
    return _line(("clip", "codec", "pixels", "frames/s", "frames", "sampled", "seconds", "size", "remarks"), width)


def clip_line(result: ScanResult, width: int) -> str:
    """One line of the table.

    Args:
        result: One clip.
        width: From `clip_columns`.
    """
    truth, size = result.truth, _bytes(result.size_bytes)
    if truth is None:
        told = result.error.rpartition(os.path.basename(result.path))[2].lstrip(": ")
        return _line((result.clip_id, *"------", size, f"FAILS {told}"), width)
    cells = (
        *(result.clip_id, truth.codec, f"{truth.width}x{truth.height}", f"{truth.average_rate:.4g}"),
        *(f"{truth.decoded_frames:,}", f"{result.sampled_frames:,}", f"{result.duration_seconds:.1f}", size),
        "; ".join(_remark(flag, result) for flag in result.flags),
    )
    return _line(cells, width)


def summary_text(totals: ScanTotals, estimate: Estimate) -> str:
    """The lines under the table.

    Args:
        totals: Totals of the scan.
        estimate: From `estimate_cost`.
    """
    codecs = ", ".join(f"{name} {count:,}" for name, count in totals.codecs.most_common())
    odd = ", ".join(f"{flag} {count:,}" for flag, count in totals.flags.most_common())
    return "\n".join((
        f"clips {totals.clips:,}  readable {totals.clips - totals.failed:,}  failing {totals.failed:,}  "
        f"frames {totals.frames:,}  length {_duration(totals.seconds)}  size {_bytes(totals.size_bytes)}",
        f"codecs: {codecs or 'none'}",
        f"odd: {odd or 'nothing'}",
        f"extraction: {counted(estimate.frames, 'frame')}, about {_duration(estimate.seconds)}, "
        f"{_bytes(estimate.bytes)} on disk",
        f"  (assuming {estimate.assumption})",
    ))  # fmt: skip


def scanned_clip(result: ScanResult) -> dict[str, object]:
    """One clip for JSON.

    Args:
        result: One clip.
    """
    return asdict(result)


def scan_record(totals: ScanTotals, estimate: Estimate) -> dict[str, object]:
    """Totals and estimate for JSON.

    Args:
        totals: Totals of the scan.
        estimate: From `estimate_cost`.
    """
    sums = ("clips", "failed", "frames", "sampled_frames", "seconds", "size_bytes", "flags", "codecs")
    record = {name: getattr(totals, name) for name in sums}
    return {
        "totals": {**record, "flags": dict(totals.flags), "codecs": dict(totals.codecs)},
        "estimate": asdict(estimate),
    }


def _remark(flag: str, result: ScanResult) -> str:
    truth = result.truth
    if truth is None:
        return flag
    first = truth.lost_spans[0] if truth.lost_spans else (0.0, 0.0)
    said = {
        "declared frames differ": f"declares {counted(truth.declared_frames or 0, 'frame')}",
        "rotated": f"rotated {truth.rotation_degrees}",
        "lost spans": f"{counted(len(truth.lost_spans), 'lost span')} from {first[0]:.2f} s",
        "duplicate content": f"same content as {result.same_content_as}",
        **result.remarks,
    }
    return said.get(flag, flag)


def _line(cells: Sequence[str], width: int) -> str:
    clip, codec, *numbers, remark = cells
    sizes = (10, 8, 9, 8, 8, 8)
    aligned = "  ".join(f"{cell:>{size}}" for cell, size in zip(numbers, sizes, strict=True))
    shown = _shown(clip, width, keep="end")
    pad = " " * (width - _columns(shown))
    return f"{shown}{pad}  {codec[:10]:<10}  {aligned}  {_shown(remark, REMARK_COLUMNS, keep='start')}".rstrip()


def _shown(text: str, width: int, *, keep: str) -> str:
    """Text on one line in at most `width` terminal columns; three dots mark a cut."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    if _columns(text) <= width:
        return text
    letters = list(text if keep == "start" else reversed(text))
    while _columns("".join(letters)) > width - 3:
        letters.pop()
    return "".join(letters) + "..." if keep == "start" else "..." + "".join(reversed(letters))


def _columns(text: str) -> int:
    """Terminal columns that a text takes: Chinese characters take two, combining accents none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
