"""All settings of an extraction; imports nothing slow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from extract.decode.settings import DecodeSettings, FrameSettings, frame_words
from extract.engines.names import ENGINES, PRECISIONS
from extract.errors import UsageError
from extract.options import check_options, option
from extract.videos.rule import SamplingRule


@dataclass(frozen=True)
class ExtractSettings(FrameSettings):
    """All settings of an extraction; the flags of `clipseq extract` have the same names.

    Raises:
        UsageError: A value is out of range or unknown, or two values exclude each other.
    """

    output: Path
    backbone: str = option(
        "efficientnet_lite0",
        "a pretrained backbone (--backbone help lists all), file:MODEL.onnx (.tflite, .keras) for a model of your own, "
        "or pixels: no model, stores the frames themselves",
    )
    spec: tuple[str, ...] = option(
        (),
        "for a model file: what its pictures must look like, such as mean=0.5,0.5,0.5; repeatable; wins over the file "
        "MODEL.json beside it (clipseq inspect-backbone MODEL explains)",
        kind=str,
        metavar="KEY=VALUE",
    )
    weights: Path | None = option(None, "a weights file for that backbone, for use offline", kind=Path, metavar="PATH")
    image_size: int | None = option(
        None, "side of the square image (the backbone's own)", kind=int, low=1, metavar="PX"
    )
    channels: int | None = option(
        None, "for --backbone pixels: 3 keeps colour, 1 is greyscale (3)", kind=int, choices=(3, 1)
    )
    pool: str = option(
        "avg",
        "how the backbone's feature map becomes a vector: avg, max, or grid:RxC, the averages of R x C cells, which "
        "keep where in the picture things are",
        metavar="HOW",
    )
    sampling: SamplingRule = SamplingRule("fps", 8.0)
    inputs: tuple[str, ...] = ()  # several: a store of each in a folder below `output`; see `stores`
    precision: str = option(
        "float32",
        "what the backbone computes in; tf32 is faster on NVIDIA's GPUs and keeps 10 bits of every product",
        choices=PRECISIONS,
    )
    engine: str = option("auto", "what runs the backbone", choices=ENGINES)
    batch_size: int | None = option(
        None,
        "frames per backbone call (at 224 px: 4 per core with LiteRT, 128 on a GPU, else 32)",
        kind=int,
        low=1,
    )
    decode_threads: int | None = option(None, "videos decoded at once (one per core, at most 16)", kind=int, low=1)
    flush_seconds: float = option(60.0, "seal a shard at least this often", metavar="SECONDS")
    retry_failed: bool = option(False, "retry failed clips that have not changed")
    rehash: bool = option(False, "compare files by content, not by size and time")
    max_failures: str | None = option(None, "stop when more clips than this have failed", kind=str, metavar="N|N%")
    ray: str = option(
        "",
        "spread the clips over a Ray cluster, one worker for each GPU, or without GPUs for each machine: HOST:PORT, or "
        "auto: the cluster this machine belongs to, else its own GPUs or cores (docs/cluster.md)",
        metavar="auto|ADDRESS",
    )
    ray_workers: int | None = option(
        None, "with --ray: how many workers share the GPUs or cores", kind=int, low=1, metavar="N"
    )
    part: tuple[int, int] | None = None  # (i, n), 1-based
    clips_from: str = ""  # "list" if a list named the clips

    def __post_init__(self) -> None:
        check_options(self)
        if not self.flush_seconds > 0:
            raise UsageError(f"--flush-seconds {self.flush_seconds} must be greater than 0")
        if self.clips_from not in ("", "list"):
            raise UsageError(f"clips_from {self.clips_from!r} is unknown, use '' or 'list'")
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise UsageError(f"--part {self.part[0]}/{self.part[1]} must be I/N with 1 <= I <= N, such as 3/8")
        failure_limit(self.max_failures, 0)
        if self.ray_workers is not None and not self.ray:
            raise UsageError(f"--ray-workers {self.ray_workers} needs --ray; add --ray auto, or leave it out")
        if self.ray and self.inputs:
            raise UsageError(
                f"--ray {self.ray} fills one store, but several --input are given; run it once for each of them"
            )
        for name in self.inputs:
            replace(self, input=name, inputs=())  # checks it
        if self.channels == 1 and self.input == "flow":
            raise UsageError(
                "--channels 1 does not go with --input flow, whose three channels are rightward motion, downward "
                "motion and speed; leave it out"
            )

    def stores(self) -> list[ExtractSettings]:
        """The settings of each store to fill: these, or if there are several inputs, one for each of them."""
        if not self.inputs:
            return [self]
        name = Path(self.backbone.partition(":")[2]).stem or self.backbone  # file:models/clip.onnx -> clip
        return [replace(self, input=each, inputs=(), output=self.output / f"{name}-{each}") for each in self.inputs]

    def decode_settings(self, image_size: int | None = None) -> DecodeSettings:
        """The decoder's settings; `image_size` if it is the backbone's own."""
        return DecodeSettings(
            sampling=self.sampling,
            image_size=self.image_size if image_size is None else image_size,
            **frame_words(self),
        )


def failure_limit(text: str | None, clips: int) -> float:
    """How many clips may fail: "10", "5%", or None for any number.

    Raises:
        UsageError: It is neither a count nor a percentage.
    """
    if text is None:
        return math.inf
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if value < 0 or not math.isfinite(value):
        raise UsageError(f"--max-failures {text!r} must be a count such as 10 or a share such as 5%")
    return value * clips / 100 if text.endswith("%") else value
