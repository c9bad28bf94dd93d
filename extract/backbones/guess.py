"""What the spec of a model file probably is, from its graph, the files beside it, and names that are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extract.backbones.graph import Graph
from extract.backbones.model_file import completed, missing
from extract.backbones.spec import (
    BYTES,
    CLIP,
    FIRST,
    HALF,
    IMAGENET,
    MEAN,
    UNIT,
    ModelSpec,
    Scaling,
    read_spec,
    spec_file_of,
)
from extract.system.files import open_regular
from extract.system.terminal import table_text
from extract.system.typed_json import parse_json

KNOWN_NAMES = (  # the first that the file's name contains
    ("siglip", HALF),
    ("clip", CLIP),
    *((name, IMAGENET) for name in ("dino", "jepa", "videomae", "convnext", "resnet", "swin", "deit")),
    *((name, HALF) for name in ("mobilenet", "inception", "vit")),
)
TOKENS_FIRST = ("dino", "clip", "deit", "vit")  # their first token stands for the picture
MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class Guess:
    """A spec, and where each entry that is known comes from."""

    spec: ModelSpec
    reasons: dict[str, str]


def guess_spec(graph: Graph) -> Guess:
    """A spec to start from.

    Raises:
        BackboneError: The spec beside the file is wrong, or the model takes no pictures.
    """
    path = graph.path
    spec, reasons = ModelSpec(), dict[str, str]()
    given = read_spec(path)
    for reason, found in ((spec_file_of(path).name, given), *_configs(path.parent)):
        spec = _filled(spec, found, reason, reasons)
    spec = _filled(spec, completed(graph, spec), "the graph", reasons)
    if spec.output is None and graph.outputs:
        first = graph.outputs[0].name
        spec = _filled(spec, ModelSpec(output=first), "the first of several: check that it is the one", reasons)
        spec = _filled(spec, completed(graph, spec), "the graph", reasons)
    name = path.stem.lower()
    if graph.pictures.dtype == "uint8":
        spec = _filled(spec, ModelSpec(channel_order="rgb").scaled(BYTES), "the graph takes bytes", reasons)
    for known, scaling in KNOWN_NAMES:
        if known in name:
            reason = f"the file's name contains {known!r}"
            spec = _filled(spec, ModelSpec(channel_order="rgb").scaled(scaling), reason, reasons)
            break
    if spec.pool is None and spec.output is not None:
        axes = len(graph.output(spec.output).shape)
        has_class_token = axes == 3 and any(known in name for known in TOKENS_FIRST)
        spec = _filled(spec, ModelSpec(pool=FIRST if has_class_token else MEAN), "usual for such an output", reasons)
    return Guess(spec, reasons)


def guess_text(graph: Graph, guess: Guess) -> str:
    """What a person reads: inputs, outputs, and a line for each entry of the spec."""
    lines = [f"{graph.path.name}" + (f", made by {graph.producer}" if graph.producer else "")]
    lines += [f"  takes {each}" for each in graph.inputs] + [f"  gives {each}" for each in graph.outputs]
    rows = [("entry", "value", "from")]
    for text in guess.spec.texts():
        name, _, value = text.partition("=")
        rows.append((name, value, guess.reasons[name]))
    rows += [(name, "?", "nothing says it: ask whoever trained the model") for name in missing(guess.spec)]
    return "\n".join([*lines, "", table_text(rows)])


def _filled(spec: ModelSpec, more: ModelSpec, reason: str, reasons: dict[str, str]) -> ModelSpec:
    new = {name: value for name, value in vars(more).items() if value is not None and getattr(spec, name) is None}
    reasons.update(dict.fromkeys(new, reason))
    return replace(spec, **new)


def _configs(folder: Path) -> Iterator[tuple[str, ModelSpec]]:
    """What Hugging Face's and timm's configuration files beside a model say of its pictures."""
    for name, reader in (("preprocessor_config.json", _processor), ("config.json", _pretrained)):
        try:
            with open_regular(folder / name) as file:
                scaling = reader(parse_json(file.read(MAX_CONFIG_BYTES)))
            yield name, ModelSpec(channel_order="rgb").scaled(scaling)
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            continue  # none there, or of another kind: nothing is lost but a guess


def _processor(config: dict[str, Any]) -> Scaling:
    """Of transformers: image_mean and image_std apply to values that were multiplied by rescale_factor."""
    factor = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    limits = (0.0, round(255 * factor, 9))
    if not config.get("do_normalize", True):
        return Scaling(limits, UNIT.mean, UNIT.std)
    return Scaling(limits, _three(config["image_mean"]), _three(config["image_std"]))


def _pretrained(config: dict[str, Any]) -> Scaling:
    """Of timm: mean and std apply to values from 0 to 1."""
    found = config.get("pretrained_cfg", config)
    return Scaling(UNIT.range, _three(found["mean"]), _three(found["std"]))


def _three(numbers: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = map(float, numbers)
    return first, second, third
