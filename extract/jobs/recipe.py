"""The recipe of a store, and how to get from it back to extraction settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from extract.backbones.backbone import Backbone
from extract.backbones.graph import FORMATS, read_graph
from extract.backbones.model_file import PREFIX, digest_of
from extract.backbones.pooling import AVERAGE
from extract.backbones.registry import load_backbone
from extract.decode.fit import RESIZE
from extract.decode.settings import FrameSettings, frame_words
from extract.errors import BackboneError, UsageError
from extract.jobs.settings import ExtractSettings
from extract.store.schema import SCHEMA_VERSION
from extract.videos.rule import SamplingRule

FIRST_WORDS = ("fit", "input", "deinterlace", "on_corrupt")  # frame settings that every recipe names


def recipe_of(settings: ExtractSettings, backbone: Backbone) -> dict[str, object]:
    """What determines the numbers of a store, and nothing else; its hash is the fingerprint."""
    model: dict[str, object] = {
        "weights_digest": backbone.weights_digest,
        "embedding_dim": backbone.embedding_dim,
        "precision": settings.precision,
    }
    if settings.pool != AVERAGE:  # it came later: the fingerprints of old stores hold
        model["pool"] = settings.pool
    if backbone.file is not None:
        model["spec"] = backbone.file.spec.texts()
    return {
        "schema_version": SCHEMA_VERSION,
        "backbone": backbone.name,
        **(model if backbone.channels is None else {"channels": backbone.channels}),
        "image_size": backbone.image_size,
        "resize": RESIZE,
        "sampling": str(settings.sampling),
        **_recipe_words(settings),
    }


def _recipe_words(settings: ExtractSettings) -> dict[str, object]:
    """The frame settings; one that came later stays out at its default, so that the fingerprints of old stores hold."""
    defaults = {word.name: word.default for word in fields(FrameSettings)}
    words = frame_words(settings)
    return {name: value for name, value in words.items() if name in FIRST_WORDS or value != defaults[name]}


def settings_from_recipe(recipe: dict[str, object], output: Path, *, weights: Sequence[Path] = ()) -> ExtractSettings:
    """The settings that reproduce the embeddings of a recipe.

    Args:
        recipe: From `recipe_of`, of a store or a run.
        output: Where to put the new store.
        weights: Weights files, including the one of the recipe's backbone if it was given one.

    Raises:
        UsageError: The recipe is of imported features, which have no videos, or of an earlier version, or its
            weights are missing.
    """
    if "backbone" not in recipe:
        raise UsageError(
            "these features were imported, not extracted by clipseq: videos cannot be embedded the same way. "
            "Make features with the same tool, import them, and give that store instead"
        )
    if recipe.get("resize") != RESIZE:
        raise UsageError(
            f"these embeddings come from an earlier clipseq, which scaled pictures differently (resize="
            f"{recipe.get('resize')}, now {RESIZE}): videos cannot be embedded the same way. Extract and train again, "
            "or give a store of that version instead of videos"
        )
    words = [word.name for word in fields(FrameSettings) if word.name in recipe]
    same = (*words, *(name for name in ("precision", "pool") if name in recipe))
    return ExtractSettings(
        output=output,
        **_model_of(recipe, weights),  # type: ignore[arg-type]
        image_size=int(str(recipe["image_size"])),
        channels=int(str(recipe["channels"])) if "channels" in recipe else None,
        sampling=SamplingRule.parse(str(recipe["sampling"])),
        **{key: str(recipe[key]) for key in same},  # type: ignore[arg-type]
    )


def _model_of(recipe: dict[str, object], files: Sequence[Path]) -> dict[str, object]:
    """The settings that name the model: its name and weights, or its file and spec."""
    name = str(recipe["backbone"])
    if not name.startswith(PREFIX):
        return {"backbone": name, "weights": _weights_of(recipe, files)}
    for file in files:
        if file.suffix.lower() in FORMATS and digest_of(read_graph(file)) == recipe["weights_digest"]:
            return {"backbone": f"{PREFIX}{file}", "spec": tuple(recipe["spec"])}  # type: ignore[arg-type]
    given = f", which {', '.join(map(str, files))} {'is' if len(files) == 1 else 'are'} not" if files else ""
    raise UsageError(
        f"these embeddings were made by your model file {name.removeprefix(PREFIX)} with SHA-256 "
        f"{str(recipe['weights_digest'])[:12]}...{given}; give it with --weights PATH"
    )


def _weights_of(recipe: dict[str, object], files: Sequence[Path]) -> Path | None:
    """The file of the recipe's weights; None if they are the backbone's own."""
    if "channels" in recipe:
        return None
    name, size, errors = str(recipe["backbone"]), int(str(recipe["image_size"])), []
    for file in (*files, None):
        try:
            if load_backbone(name, weights=file, image_size=size).weights_digest == recipe["weights_digest"]:
                return file
        except BackboneError as error:
            errors.append(str(error))
    given = f", and {', '.join(map(str, files))} {'does' if len(files) == 1 else 'do'} not match" if files else ""
    why = f" ({'; '.join(errors)})" if errors else ""
    raise UsageError(
        f"these embeddings were made by {name} with weights whose SHA-256 is {str(recipe['weights_digest'])[:12]}..., "
        f"which are not its default weights here{given}{why}; give their file with --weights PATH"
    )
