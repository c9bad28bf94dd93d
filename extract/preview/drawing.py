"""Draws the contact sheet: text and thumbnails on one picture, wide enough for the longest row and the facts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from extract.errors import UsageError
from extract.preview.rows import Window
from extract.system.files import make_folder, sealed_file
from extract.system.lettering import dejavu, legible, shortened
from extract.text import span_text

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
THUMB, GAP, MARGIN = 128, 6, 20
HEADER, TITLE_LINE, TIME_LINE, ROW_GAP = 74, 24, 20, 16
LEAST_FRAMES_WIDE = 6
DIFF_GAIN = 4  # differences are dark
PAPER, INK, SOFT, RULE = (252, 252, 250), (32, 33, 36), (112, 115, 122), (222, 223, 226)
REMARK, ALARM = (138, 92, 10), (178, 40, 34)
# Distinct in print and for colour-blind readers (Okabe and Ito 2008, darkened).
CLASS_COLOURS = ((0, 94, 148), (176, 78, 0), (0, 122, 90), (142, 66, 120), (120, 100, 0), (70, 70, 70), (40, 120, 170))


@dataclass(frozen=True)
class SheetFrame:
    """One thumbnail: uint8 (H, W, 3), or (H, W, 1) grey, its index in the video, its time in seconds."""

    picture: np.ndarray
    index: int
    seconds: float


@dataclass(frozen=True)
class SheetRow:
    """One clip or window: its shown frames, how many were sampled in total, and a remark or why there are none."""

    clip_id: str
    frames: tuple[SheetFrame, ...]
    sampled_frames: int
    window: Window | None = None
    remark: str = ""
    error: str = ""

    @property
    def name(self) -> str:
        """The text above the frames."""
        if self.window is None:
            return self.clip_id
        window = self.window
        span = span_text((window.start_seconds, window.end_seconds))
        return f"{self.clip_id}  {span}  (window {window.number:,} of {window.count:,})"

    @property
    def class_name(self) -> str:
        """The first folder of the clip_id, "" if there is none."""
        return self.clip_id.partition("/")[0] if "/" in self.clip_id else ""


def check_output(output: Path) -> None:
    """Check that a sheet can be written to this path, before anything is decoded.

    Args:
        output: Where to write it.

    Raises:
        UsageError: The ending is not that of a picture.
    """
    if output.suffix.lower() not in ENDINGS:
        raise UsageError(f"--output {output} must end in {', '.join(ENDINGS)}, such as sheet.png")


def write_sheet(
    rows: Sequence[SheetRow], output: Path, *, title: str, facts: Sequence[str], brighten: bool = False
) -> None:
    """Draw the rows and write the picture.

    Args:
        rows: One per clip or window.
        output: Where to write it; the ending determines the format.
        title: The heading.
        facts: The text under it.
        brighten: Whether thumbnails are shown several times brighter (noted under the title).
    """
    from PIL import Image, ImageDraw

    columns = max([LEAST_FRAMES_WIDE, *(len(row.frames) for row in rows)])
    line = "   ·   ".join([*facts, f"shown {DIFF_GAIN} times brighter"] if brighten else facts)
    inside = max(columns * (THUMB + GAP) - GAP, math.ceil(dejavu("", 13).getlength(line)))
    size = (2 * MARGIN + inside, HEADER + sum(map(_height, rows)) + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (MARGIN, 16), title, font=dejavu("Bold", 19), width=inside)
    _write(draw, (MARGIN, 44), line, font=dejavu("", 13), fill=SOFT, width=inside)
    classes = {name: number for number, name in enumerate(dict.fromkeys(row.class_name for row in rows))}
    top = HEADER
    for row in rows:
        colour = CLASS_COLOURS[classes[row.class_name] % len(CLASS_COLOURS)]
        _draw_row(draw, row, top, colour=colour, width=size[0])
        _draw_frames(sheet, draw, row, top + TITLE_LINE + 8, brighten=brighten)
        top += _height(row)
    make_folder(output.parent)
    with sealed_file(output) as temporary:
        sheet.save(temporary)


def _draw_frames(sheet: Image, draw: ImageDraw, row: SheetRow, top: int, *, brighten: bool) -> None:
    """The thumbnails of a clip, with time and index under each one."""
    from PIL.Image import fromarray

    font, under = dejavu("", 12), top + THUMB + 3
    for number, frame in enumerate(row.frames):
        left = MARGIN + number * (THUMB + GAP)
        sheet.paste(fromarray(_thumbnail(frame.picture, brighten=brighten)), (left, top))
        draw.text((left + 1, under), f"{frame.seconds:.2f} s", font=font, fill=INK)
        draw.text((left + THUMB, under), f"#{frame.index}", font=font, fill=SOFT, anchor="ra")


def _height(row: SheetRow) -> int:
    return TITLE_LINE + 8 + ROW_GAP + (THUMB + TIME_LINE if row.frames else 26)


def _draw_row(draw: ImageDraw, row: SheetRow, top: int, *, colour: tuple[int, int, int], width: int) -> None:
    """The line above a clip, its class on a coloured label, its name, and how many frames there are."""
    draw.line((MARGIN, top, width - MARGIN, top), fill=RULE)
    left, base = MARGIN, top + 6
    if row.class_name:
        name = shortened(legible(row.class_name), dejavu("Bold", 13), width // 4)
        right = left + draw.textlength(name, font=dejavu("Bold", 13)) + 14
        draw.rounded_rectangle((left, base, right, base + 20), radius=4, fill=colour)
        draw.text((left + 7, base + 2), name, font=dejavu("Bold", 13), fill=PAPER)
        left = int(right) + 10
    counts = f"{len(row.frames)} of {row.sampled_frames:,} sampled frames" if row.frames else ""
    counts_width = int(draw.textlength(counts, font=dejavu("", 13)))
    _write(draw, (left, base + 2), row.name, font=dejavu("", 14), width=width - MARGIN - left - counts_width - 16)
    draw.text((width - MARGIN, base + 2), counts, font=dejavu("", 13), fill=SOFT, anchor="ra")
    remark = row.error or row.remark
    if not remark:
        return
    if row.error:
        _write(draw, (MARGIN, base + 27), remark, font=dejavu("", 13), fill=ALARM, width=width - 2 * MARGIN)
        return
    left += int(draw.textlength(legible(row.name), font=dejavu("", 14))) + 14
    room = width - MARGIN - left - counts_width - 16
    if room > 60:
        _write(draw, (left, base + 3), remark, font=dejavu("", 12), fill=REMARK, width=room)


def _write(
    draw: ImageDraw,
    place: tuple[int, int],
    text: str,
    *,
    font: FreeTypeFont,
    width: int,
    fill: tuple[int, int, int] = INK,
) -> None:
    draw.text(place, shortened(legible(text), font, width), font=font, fill=fill)


def _thumbnail(picture: np.ndarray, *, brighten: bool) -> np.ndarray:
    """uint8 (THUMB, THUMB, 3)."""
    coloured = picture if picture.shape[2] == 3 else np.repeat(picture, 3, axis=2)
    way = cv2.INTER_AREA if len(coloured) > THUMB else cv2.INTER_LINEAR
    small = cv2.resize(coloured, (THUMB, THUMB), interpolation=way)
    return np.minimum(small.astype(np.uint16) * DIFF_GAIN, 255).astype(np.uint8) if brighten else small
