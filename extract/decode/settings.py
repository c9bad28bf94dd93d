"""Decoder settings; imports nothing slow, so that the command line can ask it for the choices."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from extract.errors import UsageError
from extract.options import check_options, option

if TYPE_CHECKING:
    from extract.videos.rule import SamplingRule


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """What decides how a frame looks: part of every recipe; each field becomes a flag of the same name.

    Raises:
        UsageError: An unknown word.
    """

    fit: str = option("stretch", "how a frame becomes square", choices=("stretch", "crop", "pad"))
    input: str = option(
        "rgb",
        "what the backbone sees: the picture, its difference from the previous one, or optical flow",
        choices=("rgb", "diff", "flow"),
    )
    deinterlace: str = option(
        "none",
        "merge the two fields of an interlaced frame into one picture (bwdif); always reads every frame",
        choices=("none", "bwdif"),
    )
    on_corrupt: str = option(
        "salvage",
        "if frames are lost: keep the rest and record the gap, leave the clip out, or stop",
        choices=("salvage", "skip", "fail"),
    )

    def __post_init__(self) -> None:
        check_options(self)


def frame_words(settings: Any) -> dict[str, Any]:
    """The fields of `FrameSettings` by name, from any record or namespace that has them."""
    return {each.name: getattr(settings, each.name) for each in fields(FrameSettings)}


@dataclass(frozen=True)
class DecodeSettings(FrameSettings):
    """How clips become frames.

    Args:
        sampling: Which frames.
        image_size: Side of the square pictures in pixels; None keeps their size.
        threads: FFmpeg threads per video; does not change the output.

    Raises:
        UsageError: An unknown word, or a size below 1.
    """

    sampling: SamplingRule
    image_size: int | None = 224
    threads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size is not None and self.image_size < 1:
            raise UsageError(f"image_size {self.image_size} must be at least 1")
