"""What a decoder can be told."""

from __future__ import annotations

from dataclasses import dataclass

from extract.decode import pyav
from extract.decode.fit import FITS
from extract.decode.transforms import FRAME_TRANSFORMS
from extract.errors import (
    UsageError,
)
from extract.videos.sampling import SamplingRule

ON_CORRUPT = ("salvage", "skip", "fail")


@dataclass(frozen=True)
class DecodeSettings:
    """How clips become frames.

    Args:
        sampling: Which frames.
        image_size: Side of the square pictures in pixels; None keeps their size.
        fit: "stretch", "crop" or "pad".
        input: "rgb", "diff" or "flow".
        deinterlace: "bwdif" makes one picture of the two fields of an interlaced frame, "none" leaves them woven.
        on_corrupt: What to do with a clip that has lost frames: "salvage" keeps what decodes and records what is
            missing, "skip" leaves the clip out as failed, "fail" also asks for the end of the job.
        threads: Of FFmpeg, for one video; changes no number.

    Raises:
        UsageError: An unknown name.
    """

    sampling: SamplingRule
    image_size: int | None = 224
    fit: str = "stretch"
    input: str = "rgb"
    deinterlace: str = "none"
    on_corrupt: str = "salvage"
    threads: int = 1

    def __post_init__(self) -> None:
        known = {
            "fit": FITS,
            "input": tuple(FRAME_TRANSFORMS),
            "deinterlace": pyav.DEINTERLACE,
            "on_corrupt": ON_CORRUPT,
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise UsageError(f"{name} {getattr(self, name)!r} is unknown, use one of {', '.join(values)}")
        if self.image_size is not None and self.image_size < 1:
            raise UsageError(f"image_size {self.image_size} must be at least 1")
