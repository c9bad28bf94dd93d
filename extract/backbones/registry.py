"""A name in, a Backbone out: which weights (and their digest), which image size, how to build the Keras model.

Preprocessing is part of the built model only: it takes plain RGB images, 0 to 255. Loading a backbone is cheap; only
`build` needs Keras, so that a job with nothing left to do never waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from extract.backbones.backbone import Backbone, check_image_size
from extract.backbones.efficientnet_lite import (
    EMBEDDING_DIM,
    SMALLEST_LITE,
    VARIANTS,
    build_lite,
    lite_state,
    load_lite,
)
from extract.backbones.graph import FORMATS
from extract.backbones.keras_applications import FAMILIES, build_family, load_family
from extract.backbones.model_file import PREFIX, load_model_file
from extract.backbones.pixels import PIXELS, PIXELS_SIZE, load_pixels
from extract.backbones.plug_ins import load_plug_in, plug_in_names
from extract.backbones.pooling import AVERAGE, check_pool
from extract.backbones.tiny import load_tiny
from extract.errors import BackboneError
from extract.system.terminal import table_text
from extract.text import did_you_mean

if TYPE_CHECKING:
    import keras


def backbone_names() -> list[str]:
    """All names that `load_backbone` knows: ours first, then those of installed packages."""
    own = ["tiny", *VARIANTS, PIXELS, *FAMILIES]
    return own + [name for name in plug_in_names() if name not in own]


def backbone_table() -> str:
    """What `--backbone help` prints: name, image side in pixels, embedding length, where the weights are."""
    rows = [("name", "image", "embedding", "weights")]
    for name, variant in VARIANTS.items():
        rows.append((name, f"{variant.image_size} px", f"{EMBEDDING_DIM:,}", lite_state(name)))
    rows.append((PIXELS, f"{PIXELS_SIZE} px", "", "none: the frames themselves are stored, as uint8"))
    for name, family in FAMILIES.items():
        rows.append((name, f"{family.image_size} px", f"{family.embedding_dim:,}", "downloaded at first use"))
    rows += [(name, "", "", "of an installed package") for name in plug_in_names()]
    hint = (
        "All of ours were trained on ImageNet. --weights PATH sets your own weights, --image-size another size.\n"
        "A model of your own: file:MODEL.onnx, .tflite or .keras; clipseq inspect-backbone MODEL explains."
    )
    return f"{table_text(rows)}\n\n{hint}"


def load_backbone(
    name: str,
    *,
    weights: Path | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    pool: str = AVERAGE,
    spec: Sequence[str] = (),
) -> Backbone:
    """Finds a backbone and its weights without building it.

    Args:
        name: One of `backbone_names()`, or file:PATH of a model file.
        weights: A weights file to use instead of the ImageNet weights: `.pth` for efficientnet_lite*, else `.h5`.
        image_size: Side of the images in pixels, if not the backbone's own.
        channels: For `pixels`: 3 (RGB, the default) or 1 (grey).
        pool: How the feature map becomes a vector: avg, max, or grid:RxC.
        spec: For a model file: KEY=VALUE, which win over the spec beside it.

    Returns:
        The backbone.

    Raises:
        BackboneError: The name is unknown, the weights are missing, or a setting does not go with this backbone.
    """
    if name.startswith(PREFIX):
        _refuse_with_file(weights=weights, channels=channels, pool=None if pool == AVERAGE else pool)
        return load_model_file(Path(name.removeprefix(PREFIX)), spec, image_size=image_size)
    if spec:
        raise BackboneError(f"--spec {spec[0]} goes only with --backbone {PREFIX}MODEL, not with {name}; leave it out")
    _check_name(name)
    if weights is not None and not weights.is_file():
        raise BackboneError(f"{weights}: there is no such weights file; check the path in --weights")
    check_pool(pool)
    if name == PIXELS:
        if pool != AVERAGE:
            raise BackboneError(f"--pool {pool} does not go with --backbone {PIXELS}, which has no model; leave it out")
        return load_pixels(weights=weights, image_size=image_size, channels=channels)
    if channels is not None:
        raise BackboneError(f"--channels {channels} goes only with --backbone {PIXELS}, not with {name}; leave it out")
    if name == "tiny":
        return load_tiny(weights=weights, image_size=image_size, pool=pool)
    if name in VARIANTS:
        return load_lite(name, weights=weights, image_size=image_size, pool=pool)
    if name in FAMILIES:
        return load_family(name, weights=weights, image_size=image_size, pool=pool)
    return load_plug_in(name, weights=weights, image_size=image_size, pool=pool)


def build_untrained(name: str, *, image_size: int, pool: str = AVERAGE) -> keras.Model:
    """Builds a backbone's model without weights: to load trained ones into it, or to train it from scratch.

    Args:
        name: One of `backbone_names()`.
        image_size: Side of the images in pixels.
        pool: As for `load_backbone`.

    Returns:
        Keras model as from `Backbone.build`.

    Raises:
        BackboneError: The name is unknown or not that of a model, or the image size is impossible.
    """
    _check_name(name)
    if name == PIXELS:
        raise BackboneError(
            "pixels is not a model that can be trained: choose another --backbone to train on its frames"
        )
    if name == "tiny":
        return load_tiny(weights=None, image_size=image_size, pool=pool).build()
    if name not in (*VARIANTS, *FAMILIES):
        raise BackboneError(f"--backbone {name} is of an installed package: it embeds videos, but cannot be trained")
    if name in VARIANTS:
        check_image_size(name, image_size, smallest=SMALLEST_LITE)
        return build_lite(name, None, image_size=image_size, pool=pool)
    check_image_size(name, image_size, smallest=FAMILIES[name].smallest)
    return build_family(name, image_size=image_size, weights=None, pool=pool)


def _refuse_with_file(**given: object) -> None:
    for flag, value in given.items():
        if value is not None:
            instead = f"; use --spec {flag}=..." if flag == "pool" else "; leave it out"
            raise BackboneError(f"--{flag} {value} does not go with --backbone {PREFIX}MODEL{instead}")


def _check_name(name: str) -> None:
    if name.startswith(PREFIX):
        raise BackboneError(f"--backbone {name}: a model file embeds videos, but cannot be trained; use a built-in one")
    if Path(name).suffix.lower() in FORMATS:
        raise BackboneError(f"--backbone {name} names a file: write --backbone {PREFIX}{name}")
    if name not in backbone_names():
        names = [known for known in backbone_names() if known != "tiny"]
        meant = did_you_mean(name, names, most=2)
        said = f"{meant} --backbone help lists all" if meant else f"the names are {', '.join(names)}"
        raise BackboneError(f"there is no backbone {name!r}: {said}")
