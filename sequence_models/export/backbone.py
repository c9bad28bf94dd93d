"""The backbone that made a run's embeddings, to be exported together with its models."""

from __future__ import annotations

from pathlib import Path

from extract.backbones.backbone import Backbone
from extract.backbones.model_file import PREFIX
from extract.backbones.pooling import AVERAGE
from extract.backbones.registry import load_backbone
from extract.errors import ExportError
from extract.system.typed_json import typed
from extract.text import counted
from sequence_models.runs.run import Run


def backbone_of(run: Run, *, weights: Path | None = None) -> Backbone:
    """The backbone of a run's recipe, with the very weights that made the embeddings.

    Args:
        run: A run on embeddings of one backbone.
        weights: Its weights file, if it was extracted with one.

    Raises:
        ExportError: The run has no such backbone, or here it has other weights.
        BackboneError: Its weights are missing.
    """
    if len(run.recipes) != 1:
        raise ExportError(
            f"{run.path} was trained on {counted(run.recipes, 'store')}, and --with-backbone takes one; leave it out"
        )
    recipe = run.recipes[0]
    if "weights_digest" not in recipe:
        raise ExportError(f"{run.path} was not trained on embeddings of a backbone; leave --with-backbone out")
    if recipe.get("precision") != "float32":
        raise ExportError(
            f"{run.path} was trained on embeddings in {recipe.get('precision')}, and --with-backbone computes in "
            "float32; leave it out, or extract in float32"
        )
    try:
        name, image_size, pool = (
            typed(recipe.get(key, default), kind, key)
            for key, default, kind in (("backbone", None, str), ("image_size", None, int), ("pool", AVERAGE, str))
        )
    except ValueError as error:
        raise ExportError(f"the recipe in {run.path} is malformed ({error}); train again into another --run") from None
    if name.startswith(PREFIX):
        raise ExportError(
            f"{run.path} was trained on embeddings of your model file {name.removeprefix(PREFIX)}, which can be passed "
            "on as it is; leave --with-backbone out"
        )
    backbone = load_backbone(name, weights=weights, image_size=image_size, pool=pool)
    if backbone.weights_digest != recipe["weights_digest"]:
        raise ExportError(
            f"{run.path} was trained on embeddings of {name} with other weights than "
            f"{weights or 'those installed here'}; give the right file with --weights"
        )
    return backbone
