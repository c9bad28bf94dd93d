"""Text and colours on pictures, the same on every machine; Pillow and DejaVu Sans come with matplotlib."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# Okabe & Ito 2008, colour-blind-safe, without black; then two more from Paul Tol's "muted".
SAFE_PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#882255", "#999933")


def class_palette(num_classes: int) -> list[str]:
    """Picks one colour per class: colour-blind-safe up to nine, beyond that spread over hue and lightness.

    Args:
        num_classes: K.

    Returns:
        K colours as "#rrggbb".
    """
    if num_classes <= len(SAFE_PALETTE):
        return list(SAFE_PALETTE[:num_classes])
    golden = 0.61803398875
    colours = [colorsys.hls_to_rgb(k * golden % 1, (0.35, 0.55, 0.75)[k % 3], 0.65) for k in range(num_classes)]
    return ["#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in colour)) for colour in colours]


@lru_cache
def dejavu(style: str, size: int) -> FreeTypeFont:
    """DejaVu Sans: Latin, Greek, Cyrillic and more; `style` is "" or "Bold"."""
    from PIL import ImageFont

    return ImageFont.truetype(str(_dejavu_file(style)), size)


@lru_cache(maxsize=1024)
def font_for(text: str, style: str, size: int) -> FreeTypeFont:
    """`dejavu`, or if it lacks letters of the text (Chinese, emoji) a font of this machine that has all of them."""
    from PIL import ImageFont

    if _letters(text) <= _known(str(_dejavu_file(""))):
        return dejavu(style, size)
    path = next((path for path in _installed_fonts() if _letters(text) <= _known(path)), None)
    return dejavu(style, size) if path is None else ImageFont.truetype(path, size)


def legible(text: str) -> str:
    """Replaces letters that DejaVu Sans lacks with their code points, which stay unambiguous."""
    known = _known(str(_dejavu_file("")))
    return "".join(c if ord(c) in known and c.isprintable() else ascii(c)[1:-1] for c in text)


def legible_in(text: str, used: FreeTypeFont) -> str:
    """The text, or `legible` where the font from `font_for` lacks letters of it."""
    return text if text.isprintable() and _letters(text) <= _known(str(used.path)) else legible(text)


def shortened(text: str, used: FreeTypeFont, width: int) -> str:
    """As much of a text as fits; if too long, three dots replace its beginning: names differ at the end."""
    if used.getlength(text) <= width:
        return text
    while text and used.getlength(f"…{text}") > width:
        text = text[1:]
    return f"…{text}"


def _letters(text: str) -> set[int]:
    return {ord(letter) for letter in text if letter.isprintable()}


@lru_cache(maxsize=256)
def _known(path: str) -> frozenset[int]:
    """Code points of a font; none if it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@lru_cache
def _installed_fonts() -> tuple[str, ...]:
    from matplotlib.font_manager import findSystemFonts

    return tuple(sorted(findSystemFonts()))


def _dejavu_file(style: str) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path(), "fonts", "ttf", f"DejaVuSans{'-' + style if style else ''}.ttf")
