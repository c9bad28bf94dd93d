"""The sampling rule as a record; sampling.py applies it. Imports nothing slow."""

from __future__ import annotations

import math
from dataclasses import dataclass

from extract.errors import UsageError

KINDS = ("fps", "every", "num_frames")
EXAMPLES = "fps=8, every=3, num_frames=16 or skip_frames=5,every=1,first_frames=16"


@dataclass(frozen=True)
class SamplingRule:
    """How frames are chosen; `str(rule)` is its name in recipes, `SamplingRule.parse` reads it back.

    Args:
        kind: "fps" (frames per second), "every" (every n-th frame) or "num_frames" (a fixed number per clip).
        value: A positive number; a whole one for "every" and "num_frames".
        skip_frames: How many frames to skip at the start of the clip before sampling.
        first_frames: Keep only this many of the chosen frames, from the start; None keeps all.

    Raises:
        UsageError: A value is out of range, or two of them exclude each other.
    """

    kind: str
    value: float
    skip_frames: int = 0
    first_frames: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"sampling {self.kind!r} is unknown; choose one of {', '.join(KINDS)}")
        if not (math.isfinite(self.value) and self.value > 0):
            raise UsageError(f"sampling {self.kind}={self.value:g} must be above zero")
        if self.kind != "fps" and self.value != int(self.value):
            raise UsageError(f"sampling {self.kind}={self.value:g} must be a whole number")
        if self.skip_frames < 0:
            raise UsageError(f"sampling skip_frames={self.skip_frames} must not be below zero")
        if self.first_frames is not None and self.first_frames < 1:
            raise UsageError(f"sampling first_frames={self.first_frames} must be above zero")
        if self.first_frames is not None and self.kind == "num_frames":
            raise UsageError(
                f"sampling num_frames={self.value:g} spreads frames over the clip and "
                f"first_frames={self.first_frames} takes them from its start: use one of them"
            )

    def __str__(self) -> str:
        value = f"{self.value:g}" if self.value != int(self.value) else f"{int(self.value)}"
        skip = f"skip_frames={self.skip_frames}," if self.skip_frames else ""
        first = "" if self.first_frames is None else f",first_frames={self.first_frames}"
        return f"{skip}{self.kind}={value}{first}"

    @classmethod
    def parse(cls, text: str) -> SamplingRule:
        """The inverse of `str(rule)`.

        Args:
            text: Such as "fps=8", "every=3" or "skip_frames=5,every=1,first_frames=16".

        Raises:
            UsageError: The text is not a rule.
        """
        steps = dict(step.partition("=")[::2] for step in text.split(","))
        try:
            around = {name: int(steps.pop(name)) for name in ("skip_frames", "first_frames") if name in steps}
            ((kind, value),) = steps.items()
            return cls(kind, float(value), **around)
        except ValueError:
            raise UsageError(f"sampling {text!r} must look like {EXAMPLES}") from None
