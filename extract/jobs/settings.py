"""Everything that an extraction can be told, and the recipe that follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from extract.backbones.backbone import Backbone
from extract.backbones.registry import load_backbone
from extract.decode.fit import RESIZE
from extract.decode.settings import DecodeSettings, FrameSettings, frame_words
from extract.engines.registry import ENGINES, PRECISIONS
from extract.errors import BackboneError, UsageError
from extract.store.schema import SCHEMA_VERSION
from extract.videos.sampling import SamplingRule


@dataclass(frozen=True)
class ExtractSettings(FrameSettings):
    """Everything that an extraction can be told; the flags of `clipseq extract` have the same names.

    Raises:
        UsageError: A value is out of its range or unknown, or two values exclude each other.
    """

    output: Path
    backbone: str = "efficientnet_lite0"
    weights: Path | None = None
    image_size: int | None = None  # None: the backbone's own
    channels: int | None = None  # of the backbone `pixels`: 3 or 1
    sampling: SamplingRule = SamplingRule("fps", 8.0)
    precision: str = "float32"
    engine: str = "auto"
    batch_size: int | None = None  # None: the engine's default
    decode_threads: int | None = None  # None: one per core, at most 16
    flush_seconds: float = 60.0
    retry_failed: bool = False
    rehash: bool = False
    max_failures: str | None = None  # "10" or "5%"
    part: tuple[int, int] | None = None  # (i, n), 1-based
    clips_from: str = ""  # "list" where a list named the clips

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "decode_threads", "image_size", "flush_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"--{name.replace('_', '-')} {value} must be greater than 0")
        for name, known in (("engine", ENGINES), ("precision", PRECISIONS), ("clips_from", ("", "list"))):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} {getattr(self, name)!r} is unknown, use one of {', '.join(known)}")
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise UsageError(f"--part {self.part[0]}/{self.part[1]} must be I/N with 1 <= I <= N, such as 3/8")
        failure_limit(self.max_failures, 0)
        if self.channels == 1 and self.input == "flow":
            raise UsageError(
                "--channels 1 does not go with --input flow, whose three channels are motion to the right, motion "
                "downwards and speed; leave it out"
            )

    def decode_settings(self, image_size: int | None = None) -> DecodeSettings:
        """What of it the decoder is told; `image_size` where it is the backbone's own."""
        return DecodeSettings(
            sampling=self.sampling,
            image_size=self.image_size if image_size is None else image_size,
            **frame_words(self),
        )


def recipe_of(settings: ExtractSettings, backbone: Backbone) -> dict[str, object]:
    """What determines the numbers of a store, and nothing else; its hash is the fingerprint."""
    model: dict[str, object] = {
        "weights_digest": backbone.weights_digest,
        "embedding_dim": backbone.embedding_dim,
        "precision": settings.precision,
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "backbone": backbone.name,
        **(model if backbone.channels is None else {"channels": backbone.channels}),
        "image_size": backbone.image_size,
        "resize": RESIZE,
        "sampling": str(settings.sampling),
        **frame_words(settings),
    }


def settings_from_recipe(recipe: dict[str, object], output: Path, *, weights: Sequence[Path] = ()) -> ExtractSettings:
    """The settings that make embeddings like those of a recipe.

    Args:
        recipe: As `recipe_of` gives it, of a store or a run.
        output: Where the new store shall lie.
        weights: Weights files, among them that of the recipe's backbone where it was given one.

    Raises:
        UsageError: The recipe is of imported features, which have no videos, or of an earlier version, or needs
            weights that are not there.
    """
    if "backbone" not in recipe:
        raise UsageError(
            "these features were imported, not extracted by clipseq: videos cannot be embedded the same way. "
            "Make features with the same tool, import them, and give that store instead"
        )
    if recipe.get("resize") != RESIZE:
        raise UsageError(
            f"these embeddings are of an earlier clipseq, which scaled pictures in another way (resize="
            f"{recipe.get('resize')}, now {RESIZE}): videos cannot be embedded the same way. Extract and train again, "
            "or give a store of that version instead of videos"
        )
    words = [word.name for word in fields(FrameSettings)]
    same = ("backbone", *words, *(() if "channels" in recipe else ("precision",)))
    return ExtractSettings(
        output=output,
        weights=_weights_of(recipe, weights),
        image_size=int(str(recipe["image_size"])),
        channels=int(str(recipe["channels"])) if "channels" in recipe else None,
        sampling=SamplingRule.parse(str(recipe["sampling"])),
        **{key: str(recipe[key]) for key in same},  # type: ignore[arg-type]
    )


def _weights_of(recipe: dict[str, object], files: Sequence[Path]) -> Path | None:
    """The file of the recipe's weights; None where they are the backbone's own."""
    if "channels" in recipe:
        return None
    name, size, errors = str(recipe["backbone"]), int(str(recipe["image_size"])), []
    for file in (*files, None):
        try:
            if load_backbone(name, weights=file, image_size=size).weights_digest == recipe["weights_digest"]:
                return file
        except BackboneError as error:
            errors.append(str(error))
    given = f", and {', '.join(map(str, files))} {'is' if len(files) == 1 else 'are'} not it" if files else ""
    why = f" ({'; '.join(errors)})" if errors else ""
    raise UsageError(
        f"these embeddings were made by {name} with weights whose SHA-256 is {str(recipe['weights_digest'])[:12]}..., "
        f"which are not its own weights here{given}{why}; give their file with --weights PATH"
    )


def failure_limit(text: str | None, clips: int) -> float:
    """How many clips may fail: "10", "5%", or None for any number.

    Raises:
        UsageError: it is neither a count nor a percentage.
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
