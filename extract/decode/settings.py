"""What a decoder can be told; imports nothing that takes time, so that the command line can ask it for its choices."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from extract.errors import UsageError

if TYPE_CHECKING:
    from extract.videos.sampling import SamplingRule


def _choice(*values: str, about: str) -> Any:
    """A field that is one of some words, the first where nothing is said; `about` is its help on the command line."""
    return field(default=values[0], metadata={"choices": values, "help": about})


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """What decides how a frame looks: part of every recipe, with a flag of the same name each, made from this record.

    Args:
        fit: How a frame becomes square.
        input: What the backbone sees: the picture, its difference from the one before, or optical flow.
        deinterlace: "bwdif" makes one picture of the two fields of an interlaced frame, "none" leaves them woven.
        on_corrupt: What to do with a clip that has lost frames: "salvage" keeps what decodes and records what is
            missing, "skip" leaves the clip out as failed, "fail" also asks for the end of the job.

    Raises:
        UsageError: An unknown word.
    """

    fit: str = _choice("stretch", "crop", "pad", about="how a frame becomes square")
    input: str = _choice("rgb", "diff", "flow", about="what the backbone sees")
    deinterlace: str = _choice(
        *("none", "bwdif"),
        about="make one picture of the two fields of an interlaced frame (bwdif); reads every frame, also for few",
    )
    on_corrupt: str = _choice(
        *("salvage", "skip", "fail"),
        about="where frames are lost: keep the rest and record the gap, leave the clip out, or stop",
    )

    def __post_init__(self) -> None:
        for each in fields(FrameSettings):
            value, known = getattr(self, each.name), each.metadata["choices"]
            if value not in known:
                raise UsageError(f"{each.name} {value!r} is unknown, use one of {', '.join(known)}")


def frame_words(settings: Any) -> dict[str, Any]:
    """The fields of `FrameSettings` by name, out of any record or namespace that has them."""
    return {each.name: getattr(settings, each.name) for each in fields(FrameSettings)}


@dataclass(frozen=True)
class DecodeSettings(FrameSettings):
    """How clips become frames.

    Args:
        sampling: Which frames.
        image_size: Side of the square pictures in pixels; None keeps their size.
        threads: Of FFmpeg, for one video; changes no number.

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
