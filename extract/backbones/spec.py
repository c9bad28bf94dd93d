"""The spec of a model file: what its pictures must look like, and which of its numbers are the embedding.

It is a JSON file beside the model (`dino.onnx` -> `dino.json`), or KEY=VALUE texts, which win over the file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from extract.errors import BackboneError
from extract.system.files import open_regular, write_text
from extract.system.typed_json import parse_json, typed_record
from extract.text import did_you_mean

PICTURE_LAYOUTS, CLIP_LAYOUTS = ("NHWC", "NCHW"), ("NTHWC", "NTCHW", "NCTHW")
CHANNEL_ORDERS = ("rgb", "bgr")
WHOLE, FIRST, MEAN, MAXIMUM = "none", "cls", "mean", "max"
MAX_SPEC_BYTES = 1 << 20
_TOKENS = re.compile(r"mean:([1-9]\d?)")
_GRID = re.compile(r"grid:([1-8])x([1-8])")


class Scaling(NamedTuple):
    """How pixel values become what a model takes; see `ModelSpec`."""

    range: tuple[float, float]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
BYTES, UNIT = Scaling((0.0, 255.0), ZERO, ONE), Scaling((0.0, 1.0), ZERO, ONE)
HALF = Scaling((0.0, 1.0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # from -1 to 1
IMAGENET = Scaling((0.0, 1.0), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = Scaling((0.0, 1.0), (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class ModelSpec:
    """How a model from a file is fed and read. What is None is not known yet.

    Args:
        image_size: S, side of its square pictures in pixels.
        layout: Order of its input's axes: NHWC, NCHW, or for models of several frames NTHWC, NTCHW,
            NCTHW.
        range: What the values 0 and 255 of a pixel become, before `mean` and `std`.
        mean: Subtracted per channel, in the units of `range` and the order of `channel_order`.
        std: Divided by per channel, after `mean`.
        channel_order: rgb or bgr.
        output: Name of the output that is the embedding.
        pool: How the output becomes a vector. none: it is one, (B, D); cls: the first token; mean, max: over all
            tokens or cells; mean:K: over the tokens from number K on (mean:1 leaves out the first); grid:RxC: the
            means of R x C cells.
        frames: F, frames of a window, for models of several frames.
        stride: Sampled frames from one frame of a window to the next.
        hop: Sampled frames from one window to the next.
    """

    image_size: int | None = None
    layout: str | None = None
    range: tuple[float, float] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    channel_order: str | None = None
    output: str | None = None
    pool: str | None = None
    frames: int | None = None
    stride: int | None = None
    hop: int | None = None

    def __post_init__(self) -> None:
        allowed = {"layout": PICTURE_LAYOUTS + CLIP_LAYOUTS, "channel_order": CHANNEL_ORDERS}
        for name, known in allowed.items():
            if (value := getattr(self, name)) is not None and value not in known:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(known)}")
        for name in ("image_size", "frames", "stride", "hop"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")
        for name in ("range", "mean", "std"):
            if not all(map(math.isfinite, getattr(self, name) or ())):
                raise ValueError(f"{name} must be finite numbers")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range is {_listed(self.range)}; its second number must be larger than its first")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std is {_listed(self.std)}; each number must be greater than 0")
        if self.pool is not None and not is_pool(self.pool):
            raise ValueError(f"pool is {self.pool!r}; it must be none, cls, mean, mean:K, max, or grid:RxC up to 8x8")

    @property
    def has_time(self) -> bool:
        """Whether the model takes several frames at once."""
        return self.layout in CLIP_LAYOUTS

    @property
    def channel_axis(self) -> int:
        """Which axis of the input holds the channels."""
        return (self.layout or "").index("C")

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one row of a batch as it is decoded: (S, S, 3), or (F, S, S, 3)."""
        size = self.image_size or 0
        return (self.frames or 0, size, size, 3) if self.has_time else (size, size, 3)

    def scaled(self, scaling: Scaling) -> ModelSpec:
        """This spec with another scaling."""
        return replace(self, range=scaling.range, mean=scaling.mean, std=scaling.std)

    def texts(self) -> list[str]:
        """KEY=VALUE for everything that is known, in order: the inverse of `merged`."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return [f"{name}={_listed(value) if isinstance(value, tuple) else value}" for name, value in known.items()]

    def json(self) -> str:
        """The content of a spec file."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(known, indent=2) + "\n"

    def merged(self, texts: Iterable[str]) -> ModelSpec:
        """This spec with KEY=VALUE texts in place of what it says.

        Raises:
            BackboneError: A text names no key, or a value that the key cannot have.
        """
        values = dict(map(_parsed, texts))
        try:
            return replace(self, **values)
        except ValueError as error:
            raise BackboneError(f"--spec: {error}") from None

    def scale_and_offset(self) -> tuple[list[float], list[float]]:
        """Per channel of the model: input = uint8 value * scale + offset."""
        if self.range is None or self.mean is None or self.std is None:
            raise ValueError("range, mean and std must be known")
        low, high = self.range
        scale = [(high - low) / 255 / deviation for deviation in self.std]
        offset = [(low - mean) / deviation for mean, deviation in zip(self.mean, self.std, strict=True)]
        return scale, offset


@dataclass(frozen=True)
class ModelFile:
    """A model file with its complete spec."""

    path: Path
    spec: ModelSpec

    @property
    def kind(self) -> str:
        """Its ending, in lower case: .onnx, .tflite or .keras."""
        return self.path.suffix.lower()


def is_pool(pool: str) -> bool:
    """Whether this is a way in which an output becomes a vector."""
    return pool in (WHOLE, FIRST, MEAN, MAXIMUM) or bool(_TOKENS.fullmatch(pool) or _GRID.fullmatch(pool))


def first_token(pool: str) -> int:
    """K of mean:K; 0 for others."""
    found = _TOKENS.fullmatch(pool)
    return int(found[1]) if found else 0


def spec_file_of(model: Path) -> Path:
    """Where the spec of a model lies: beside it, with the ending .json."""
    return model.with_suffix(".json")


def read_spec(model: Path, texts: Iterable[str] = ()) -> ModelSpec:
    """What the file beside a model and the KEY=VALUE texts say; nothing else is known.

    Raises:
        BackboneError: The file cannot be read, is no spec, or has an impossible value; or a text has.
    """
    path = spec_file_of(model)
    try:
        with open_regular(path) as file:
            content = file.read(MAX_SPEC_BYTES)
    except FileNotFoundError:
        return ModelSpec().merged(texts)
    except OSError as error:
        raise BackboneError(f"{path}: the model's spec cannot be read ({error.strerror}); check the path") from error
    try:
        spec = typed_record(ModelSpec, parse_json(content), "the spec")
    except ValueError as error:
        raise BackboneError(
            f"{path}: {error}; edit it, or remove it and let clipseq inspect-backbone {model} --write make one"
        ) from None
    return spec.merged(texts)


def write_spec(model: Path, spec: ModelSpec) -> Path:
    """Writes what is known beside a model.

    Raises:
        BackboneError: There is a file of that name already.
    """
    path = spec_file_of(model)
    if path.exists():
        raise BackboneError(f"{path} exists already; edit it, or remove it first")
    write_text(path, spec.json())
    return path


def _parsed(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    names = [each.name for each in fields(ModelSpec)]
    if not found or name not in names:
        meant = did_you_mean(name, names)
        raise BackboneError(
            f"--spec {text}: give KEY=VALUE, where KEY is one of {', '.join(names)}" + (f"; {meant}" * bool(meant))
        )
    try:
        if name in ("image_size", "frames", "stride", "hop"):
            return name, int(value)
        if name in ("range", "mean", "std"):
            count = 2 if name == "range" else 3
            numbers = tuple(map(float, value.strip("[]() ").split(",")))
            if len(numbers) != count:
                raise ValueError
            return name, numbers
    except ValueError:
        kind = {"range": "two numbers such as 0,1", "mean": "three numbers", "std": "three numbers"}
        raise BackboneError(f"--spec {text}: the value must be {kind.get(name, 'a whole number')}") from None
    return name, value


def _listed(numbers: Iterable[float]) -> str:
    return ",".join(f"{number!r}" for number in numbers)
