"""A contact sheet: the frames actually sampled, as the backbone sees them, one row per clip or window.

From videos, frames are read as in an extraction; from a store of frames, they are used as stored; for a store of
embeddings, they are read again from its sources, at the stored timestamps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.decode.transforms import make_transform
from extract.errors import UsageError, VideoError
from extract.preview.drawing import SheetFrame, SheetRow, check_output, write_sheet
from extract.preview.rows import Picking, RowPlan, WindowCut, spread
from extract.records import ClipEmbeddings, SampledFrames, Source, VideoItem, VideoTruth
from extract.store.reader import Store
from extract.store.schema import same_source
from extract.text import counted, span_text
from extract.videos.rule import SamplingRule
from extract.videos.sources import recorded_place, source_of

CHUNK_FRAMES = 16
TINY_PIXELS = 8
SAME_TIME_SECONDS = 0.001


@dataclass(frozen=True)
class PictureChange:
    """A change to the shown frames of a clip, uint8 (N, H, W, C) -> uint8 (N, H, W, C'), with a description."""

    apply: Callable[[np.ndarray], np.ndarray]
    fact: str


@dataclass(frozen=True)
class View:
    """What is shown of the clips, and how.

    Args:
        changes: Applied to the frames of each row separately, in order.
        windows: Cuts each clip; one row per window. None = one row per clip.
        max_clips: Maximum clips; if there are more, evenly spaced ones from the list.
        max_windows: Maximum windows, equally many per clip, evenly spaced, but at least its first and last.
        max_frames: Maximum frames per row; if there are more, evenly spaced ones from the clip or window.
    """

    changes: Sequence[PictureChange] = ()
    windows: WindowCut | None = None
    max_clips: int = 20
    max_windows: int = 80
    max_frames: int = 10

    def picking(self, clips: int) -> Picking:
        """What is shown of each clip, given the number of clips."""
        return Picking(self.max_frames, self.windows, max(2, self.max_windows // max(1, clips)))


DEFAULT_VIEW = View()


@dataclass(frozen=True)
class Sheet:
    """What is on a sheet.

    Args:
        path: The picture.
        clips: Clips shown.
        clips_left_out: All others.
        windows: Windows shown; 0 if clips are not cut into windows.
        windows_left_out: All others of the clips shown.
        frames: Frames shown; a frame in two windows counts twice.
        frames_left_out: All others of the windows shown, or of the clips.
        problems: (clip_id, reason) of clips that cannot be read.
    """

    path: Path
    clips: int
    clips_left_out: int
    windows: int
    windows_left_out: int
    frames: int
    frames_left_out: int
    problems: tuple[tuple[str, str], ...]


def sheet_of_videos(
    items: Sequence[VideoItem], settings: DecodeSettings, output: Path, *, title: str, view: View = DEFAULT_VIEW
) -> Sheet:
    """Draw the frames that an extraction would sample.

    Args:
        items: The clips.
        settings: As for extraction.
        output: The picture to write, ending in .png, .jpg or .webp.
        title: The user's target.
        view: What is shown of them, and how.

    Returns:
        What is on the sheet.

    Raises:
        UsageError: The output has another ending.
    """
    check_output(output)
    shown = [items[position] for position in spread(len(items), view.max_clips)]
    picking = view.picking(len(shown))
    rows = [_attempt(item.clip_id, partial(_rows_of_video, item, settings, picking)) for item in shown]
    return _finish(rows, settings, output, title=title, clips=len(items), view=view)


def sheet_of_store(store: Store, output: Path, *, view: View = DEFAULT_VIEW) -> Sheet:
    """Draw the frames in a store, or those whose embeddings it holds.

    Args:
        store: An open store.
        output: As for `sheet_of_videos`.
        view: As for `sheet_of_videos`; only stored frames can be changed.

    Returns:
        What is on the sheet.

    Raises:
        UsageError: The output has another ending, the store holds features of another tool, or changes are requested
            but it holds no frames.
    """
    check_output(output)
    settings = _settings_of_store(store)
    holds_frames = len(store.row_shape) == 3
    if view.changes and not holds_frames:
        raise UsageError(
            f"{store.path} holds no frames, but only frames can be augmented; give a store made with "
            "extract --backbone pixels, or leave out --augment"
        )
    shown = [store.clip_ids[position] for position in spread(len(store), view.max_clips)]
    picking = view.picking(len(shown))
    if holds_frames:
        rows = [_rows_of_frames(store, name, picking) for name in shown]
    else:
        rows = [_attempt(name, partial(_rows_of_store, store, name, settings, picking)) for name in shown]
    return _finish(rows, settings, output, title=str(store.path), clips=len(store), view=view)


def _settings_of_store(store: Store) -> DecodeSettings:
    """How its frames were decoded."""
    if "sampling" not in store.recipe:
        raise UsageError(f"{store.path} holds imported features, which have no videos; give the videos instead")
    words = {name: str(store.recipe[name]) for name in ("sampling", "image_size", "fit", "input", "on_corrupt")}
    return DecodeSettings(
        sampling=SamplingRule.parse(words["sampling"]),
        image_size=int(words["image_size"]),
        fit=words["fit"],
        input=words["input"],
        deinterlace=str(store.recipe.get("deinterlace", "none")),
        on_corrupt=words["on_corrupt"],
    )


def _rows_of_video(item: VideoItem, settings: DecodeSettings, picking: Picking) -> list[SheetRow]:
    """Reads the whole clip: only then is it known which frames exist. For windows it is known beforehand."""
    plans = picking.plan(_times_of_video(item, settings)) if picking.cut else []
    shown = _shown(plans)
    kept: dict[int, SheetFrame] = {}
    seen = 0
    with open_clip(item, settings, chunk_frames=CHUNK_FRAMES) as reader:
        for chunk in reader:
            chosen = shown if plans else set(spread(reader.expected_frames or 0, picking.max_frames))
            kept |= {row: _alone(frame) for row, frame in enumerate(_frames(chunk), start=seen) if row in chosen}
            seen += len(chunk)
    return _rows(item.clip_id, plans or [RowPlan(tuple(kept), seen)], kept, remark=_remark(reader.truth))


def _times_of_video(item: VideoItem, settings: DecodeSettings) -> np.ndarray:
    """float64 (T,), times of the frames that exist; their pictures are not kept."""
    tiny = replace(settings, image_size=TINY_PIXELS, input="rgb")
    with open_clip(item, tiny, chunk_frames=CHUNK_FRAMES) as reader:
        return np.concatenate([chunk.pts_seconds for chunk in reader])


def _shown(plans: Sequence[RowPlan]) -> set[int]:
    return {row for plan in plans for row in plan.shown}


def _rows(
    clip_id: str, plans: Sequence[RowPlan], frames: Mapping[int, SheetFrame], *, remark: str = ""
) -> list[SheetRow]:
    rows = []
    for plan in plans:
        found = tuple(frames[row] for row in plan.shown if row in frames)
        missing = len(plan.shown) - len(found)
        said = f"no longer at the stored time: {counted(missing, 'frame')}" if missing else ""
        rows.append(SheetRow(clip_id, found, plan.timesteps, window=plan.window, remark=remark or said))
    return rows


def _remark(truth: VideoTruth | None) -> str:
    if truth is None:
        return ""
    lost = [f"lost {span_text(span)}" for span in truth.lost_spans[:3]]
    return "; ".join((*lost, *truth.notes))


def _rows_of_frames(store: Store, clip_id: str, picking: Picking) -> list[SheetRow]:
    """Reads only the stored frames to show, and no video."""
    clip = store.read_lazily(clip_id)
    plans = picking.plan(clip.pts_seconds)
    chosen = np.array(sorted(_shown(plans)))
    pictures = np.asarray(clip.embeddings[chosen])  # (N, H, W, C)
    shown = zip(pictures, clip.frame_indices[chosen], clip.pts_seconds[chosen], strict=True)
    frames = {row: SheetFrame(*frame) for row, frame in zip(chosen.tolist(), shown, strict=True)}
    return _rows(clip_id, plans, frames, remark=_remark(clip.truth))


def _rows_of_store(store: Store, clip_id: str, settings: DecodeSettings, picking: Picking) -> list[SheetRow]:
    clip, source = store.read_lazily(clip_id), store.source(clip_id)
    plans = picking.plan(clip.pts_seconds)
    item = VideoItem(clip_id, recorded_place(source), end_seconds=float(clip.pts_seconds[-1]) + SAME_TIME_SECONDS)
    frames = _frames_again(item, settings, clip, _shown(plans))
    return _rows(clip_id, plans, frames, remark=_changed(item, source))


def _frames_again(
    item: VideoItem, settings: DecodeSettings, clip: ClipEmbeddings, chosen: Collection[int]
) -> dict[int, SheetFrame]:
    """Reads only the frames to show and, for motion, the sampled frame before each."""
    reach = 0 if settings.input == "rgb" else 1
    needed = sorted({max(0, row - back) for row in chosen for back in range(reach + 1)})
    row_at = {round(float(clip.pts_seconds[row]), 3): row for row in needed}
    found: dict[int, SheetFrame] = {}
    recent: dict[int, np.ndarray] = {}
    plain = replace(settings, input="rgb")
    with open_clip(item, plain, chunk_frames=CHUNK_FRAMES, at_seconds=clip.pts_seconds[needed]) as reader:
        for frame in (frame for chunk in reader for frame in _frames(chunk)):
            row = row_at.get(round(frame.seconds, 3))
            if row is None:
                continue
            pair = list(range(max(0, row - reach), row + 1))
            recent = {k: picture for k, picture in {**recent, row: frame.picture}.items() if k in pair}
            if row in chosen and len(recent) == len(pair):
                both = SampledFrames(np.stack(list(recent.values())), clip.frame_indices[pair], clip.pts_seconds[pair])
                found[row] = _alone(_frames(make_transform(settings.input)(both))[-1])
    return found


def _changed(item: VideoItem, then: Source) -> str:
    now = source_of(item, with_digest=False)
    return "" if same_source(now, then) else "the video has changed since the extraction"


def _attempt(clip_id: str, make_rows: Callable[[], list[SheetRow]]) -> list[SheetRow]:
    """The rows of a clip, or one row that says why there are none."""
    try:
        return make_rows()
    except VideoError as error:
        return [SheetRow(clip_id, (), 0, error=str(error))]


def _frames(chunk: SampledFrames) -> list[SheetFrame]:
    return [SheetFrame(*row) for row in zip(chunk.frames, chunk.frame_indices, chunk.pts_seconds, strict=True)]


def _alone(frame: SheetFrame) -> SheetFrame:
    """A copy without the rest of its chunk, which a view would keep in memory."""
    return replace(frame, picture=frame.picture.copy())


def _changed_row(row: SheetRow, change: PictureChange) -> SheetRow:
    if not row.frames:
        return row
    pictures = change.apply(np.stack([frame.picture for frame in row.frames]))  # (N, H, W, C)
    return replace(row, frames=tuple(replace(f, picture=p) for f, p in zip(row.frames, pictures, strict=True)))


def _finish(
    clips_shown: Sequence[Sequence[SheetRow]],
    settings: DecodeSettings,
    output: Path,
    *,
    title: str,
    clips: int,
    view: View,
) -> Sheet:
    rows = [row for rows_of_clip in clips_shown for row in rows_of_clip]
    for change in view.changes:
        rows = [_changed_row(row, change) for row in rows]
    windows = [row.window for row in rows if row.window]
    all_windows = sum(own[0].window.count for own in clips_shown if own[0].window)
    sheet = Sheet(
        path=output,
        clips=len(clips_shown),
        clips_left_out=clips - len(clips_shown),
        windows=len(windows),
        windows_left_out=all_windows - len(windows),
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
            f"input {settings.input}", str(settings.sampling), size, *(change.fact for change in view.changes),
            *([view.windows.fact] if view.windows else []),
            f"{sheet.clips} of {counted(clips, 'clip')}",
            *([f"{sheet.windows:,} of {all_windows:,} windows of these"] if view.windows else []),
            f"{sheet.frames:,} of {sheet.frames + sheet.frames_left_out:,} sampled frames of these",
        ),
        brighten=settings.input == "diff",
    )  # fmt: skip
    return sheet
