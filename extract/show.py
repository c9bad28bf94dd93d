"""A contact sheet: the frames that were really sampled, as the backbone sees them, one row per clip, as one picture.

From videos they are read as an extraction reads them; from a store of frames they are taken as they are stored, and
from a store of embeddings they are read again from its sources, at the stored timestamps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from extract.decode import DecodeSettings, open_clip
from extract.errors import UsageError, VideoError
from extract.records import SampledFrames, Source, VideoItem, VideoTruth
from extract.sampling import SamplingRule
from extract.show_draw import SheetFrame, SheetRow, check_output, write_sheet
from extract.store_read import Store
from extract.transforms import make_transform
from extract.videos import source_of

CHUNK_FRAMES = 16
SAME_TIME_SECONDS = 0.001


@dataclass(frozen=True)
class Change:
    """What is done to the shown frames of a clip, uint8 (N, H, W, C) -> uint8 (N, H, W, C'), and that in words."""

    apply: Callable[[np.ndarray], np.ndarray]
    fact: str


@dataclass(frozen=True)
class Sheet:
    """What is on a sheet: clips and frames shown and left out, and (clip_id, reason) of clips that cannot be read."""

    path: Path
    clips: int
    clips_left_out: int
    frames: int
    frames_left_out: int
    problems: tuple[tuple[str, str], ...]


def sheet_of_videos(
    items: Sequence[VideoItem],
    settings: DecodeSettings,
    output: Path,
    *,
    title: str,
    changes: Sequence[Change] = (),
    max_clips: int = 20,
    max_frames: int = 10,
) -> Sheet:
    """Draw the frames that an extraction would sample.

    Args:
        items: The clips.
        settings: As for the extraction.
        output: The picture to write, ending in .png, .jpg or .webp.
        title: What was pointed at.
        changes: Done to the frames of each clip, in order.
        max_clips: Rows at most; of more clips, so many spread over the list.
        max_frames: Frames per row at most; of more, so many spread over the clip.

    Returns:
        What is on the sheet.

    Raises:
        UsageError: The output has another ending.
    """
    check_output(output)
    shown = [items[position] for position in _spread(len(items), max_clips)]
    rows = [_attempt(item.clip_id, partial(_row_of_video, item, settings, max_frames)) for item in shown]
    return _finish(rows, settings, output, title=title, clips=len(items), changes=changes)


def sheet_of_store(
    store: Store, output: Path, *, changes: Sequence[Change] = (), max_clips: int = 20, max_frames: int = 10
) -> Sheet:
    """Draw the frames that a store holds, or those whose embeddings it holds.

    Args:
        store: An open store.
        output: As for `sheet_of_videos`.
        changes: As for `sheet_of_videos`; only of stored frames.
        max_clips: As for `sheet_of_videos`.
        max_frames: As for `sheet_of_videos`.

    Returns:
        What is on the sheet.

    Raises:
        UsageError: The output has another ending, the store holds features of another tool, or changes are asked for
            and it holds no frames.
    """
    check_output(output)
    if "sampling" not in store.recipe:
        raise UsageError(f"{store.path} holds imported features, of which there are no videos; give the videos instead")
    holds_frames = len(store.row_shape) == 3
    if changes and not holds_frames:
        raise UsageError(
            f"{store.path} holds no frames, and only frames are augmented; give a store made with "
            "extract --backbone pixels, or leave out --augment"
        )
    recipe = {name: str(store.recipe[name]) for name in ("fit", "input", "decoder", "on_corrupt")}
    size = int(str(store.recipe["image_size"]))
    settings = DecodeSettings(SamplingRule.parse(str(store.recipe["sampling"])), size, **recipe)
    shown = [store.clip_ids[position] for position in _spread(len(store), max_clips)]
    if holds_frames:
        rows = [_row_of_frames(store, name, max_frames) for name in shown]
    else:
        rows = [_attempt(name, partial(_row_of_store, store, name, settings, max_frames)) for name in shown]
    return _finish(rows, settings, output, title=str(store.path), clips=len(store), changes=changes)


def _row_of_video(item: VideoItem, settings: DecodeSettings, max_frames: int) -> SheetRow:
    """Reads the whole clip: only then it is known which frames really come."""
    kept: list[SheetFrame] = []
    seen = 0
    with open_clip(item, settings, chunk_frames=CHUNK_FRAMES) as reader:
        for chunk in reader:
            chosen = set(_spread(reader.expected_frames or 0, max_frames))
            kept += [frame for row, frame in enumerate(_frames(chunk), start=seen) if row in chosen]
            seen += len(chunk)
    return SheetRow(item.clip_id, tuple(kept), seen, remark=_remark(reader.truth))


def _remark(truth: VideoTruth | None) -> str:
    if truth is None:
        return ""
    lost = [f"lost {start:.2f}-{end:.2f} s" for start, end in truth.lost_spans[:3]]
    return "; ".join((*lost, *truth.notes))


def _row_of_frames(store: Store, clip_id: str, max_frames: int) -> SheetRow:
    """Reads only the stored frames that are shown, and no video."""
    clip = store.read_lazily(clip_id)
    chosen = np.array(_spread(len(clip), max_frames))
    pictures = np.asarray(clip.embeddings[chosen])  # (N, H, W, C)
    shown = zip(pictures, clip.frame_indices[chosen], clip.pts_seconds[chosen], strict=True)
    return SheetRow(clip_id, tuple(SheetFrame(*frame) for frame in shown), len(clip), remark=_remark(clip.truth))


def _row_of_store(store: Store, clip_id: str, settings: DecodeSettings, max_frames: int) -> SheetRow:
    """Reads only the frames that are shown and, for motion, the sampled frame before each."""
    clip = store.read(clip_id)
    source = store.source(clip_id)
    chosen = _spread(len(clip), max_frames)
    needed = chosen if settings.input == "rgb" else sorted({max(0, row - back) for row in chosen for back in (0, 1)})
    item = VideoItem(clip_id, Path(source.path), end_seconds=float(clip.pts_seconds[-1]) + SAME_TIME_SECONDS)
    pictures: dict[float, np.ndarray] = {}
    plain = replace(settings, input="rgb")
    with open_clip(item, plain, chunk_frames=CHUNK_FRAMES, at_seconds=clip.pts_seconds[needed]) as reader:
        for chunk in reader:
            pictures |= {round(s, 3): picture for s, picture in zip(chunk.pts_seconds, chunk.frames, strict=True)}
    frames = []
    for row in chosen:
        rows = [row] if settings.input == "rgb" or row == 0 else [row - 1, row]
        found = [pictures.get(round(float(clip.pts_seconds[k]), 3)) for k in rows]
        if all(picture is not None for picture in found):
            moved = make_transform(settings.input)(_sampled(found, clip.frame_indices[rows], clip.pts_seconds[rows]))
            frames.append(_frames(moved)[-1])
    missing = len(chosen) - len(frames)
    remark = f"{missing} frames are no longer at their stored times" if missing else ""
    return SheetRow(clip_id, tuple(frames), len(clip), remark=_changed(item, source) or remark)


def _sampled(pictures: Sequence[np.ndarray | None], indices: np.ndarray, seconds: np.ndarray) -> SampledFrames:
    return SampledFrames(np.stack([picture for picture in pictures if picture is not None]), indices, seconds)


def _changed(item: VideoItem, then: Source) -> str:
    now = source_of(item, with_digest=False)
    changed = (now.size, now.mtime_ns) != (then.size, then.mtime_ns)
    return "the video has changed since the extraction" if changed else ""


def _attempt(clip_id: str, make_row: Callable[[], SheetRow]) -> SheetRow:
    """A row, or one that says why there is none."""
    try:
        return make_row()
    except VideoError as error:
        return SheetRow(clip_id, (), 0, error=str(error))


def _frames(chunk: SampledFrames) -> list[SheetFrame]:
    return [SheetFrame(*row) for row in zip(chunk.frames, chunk.frame_indices, chunk.pts_seconds, strict=True)]


def _spread(count: int, at_most: int) -> list[int]:
    """Rising positions from 0 to count - 1, the first and last among them where there is room for two."""
    if count <= at_most:
        return list(range(count))
    return np.unique(np.linspace(0, count - 1, at_most).round().astype(int)).tolist()


def _changed_row(row: SheetRow, change: Change) -> SheetRow:
    if not row.frames:
        return row
    pictures = change.apply(np.stack([frame.picture for frame in row.frames]))  # (N, H, W, C)
    return replace(row, frames=tuple(replace(f, picture=p) for f, p in zip(row.frames, pictures, strict=True)))


def _finish(
    rows: Sequence[SheetRow],
    settings: DecodeSettings,
    output: Path,
    *,
    title: str,
    clips: int,
    changes: Sequence[Change],
) -> Sheet:
    for change in changes:
        rows = [_changed_row(row, change) for row in rows]
    sheet = Sheet(
        path=output,
        clips=len(rows),
        clips_left_out=clips - len(rows),
        frames=sum(len(row.frames) for row in rows),
        frames_left_out=sum(row.sampled_frames - len(row.frames) for row in rows),
        problems=tuple((row.clip_id, row.error) for row in rows if row.error),
    )
    size = f"{settings.image_size} px, {settings.fit}" if settings.image_size else "as decoded"
    write_sheet(
        rows,
        output,
        title=title,
        facts=(
            f"input {settings.input}", str(settings.sampling), size, *(change.fact for change in changes),
            f"{sheet.clips} of {clips} clips",
            f"{sheet.frames:,} of {sheet.frames + sheet.frames_left_out:,} sampled frames of these",
        ),
        brighten=settings.input == "diff",
    )  # fmt: skip
    return sheet
