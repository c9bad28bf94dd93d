"""Whether the spec of a model file prepares pictures as the model expects: the spec against common mistakes.

A vector that the original program gave for a picture decides it. A classifier is surest of photographs that are
prepared as in its training: that tells gross mistakes, such as doubled normalisation, but not swapped colours or means
that are nearly the same. Without either, the distances only show how much depends on each entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from extract.backbones.backbone import Backbone
from extract.backbones.graph import Graph, read_graph
from extract.backbones.model_file import load_model_file, opened_file
from extract.backbones.spec import BYTES, CLIP, HALF, IMAGENET, UNIT, WHOLE, ModelSpec, Scaling
from extract.errors import BackboneError
from extract.system.terminal import table_text

CLASS_COUNTS = (1000, 1001, 21841, 21843, 400, 600, 700)  # ImageNet, with background; Kinetics
MARGIN = 1.1
CLEARLY = 2.0  # standard errors of the mean difference between two preparations of the same pictures
SHOWN_PICTURES = 6  # for the distances, which vary little from picture to picture
CROPS = 40
SAME_VECTOR = 0.999  # cosine: float16 or another resize differs by less
SURENESS, LIKENESS = "mean probability of the first class", "cosine to the reference"
AS_GIVEN, TURNED = "as the spec says", "with height and width swapped"
Compute = Callable[[np.ndarray, ModelSpec], np.ndarray]
REFERENCE = "--reference VECTOR.npy --picture FILE, what the original program gave for a picture"


@dataclass(frozen=True)
class Candidate:
    """One preparation: what it is, its mean cosine to the spec's embeddings, and how well it does on each picture."""

    name: str
    spec: ModelSpec
    cosine: float
    scores: np.ndarray | None = None

    @property
    def score(self) -> float:
        """Mean over the pictures; 0 where nothing tells."""
        return 0.0 if self.scores is None else float(self.scores.mean())

    def is_clearly_better(self, other: Candidate) -> bool:
        """By more than chance on the same pictures, and by more than preparations differ that are nearly the same."""
        if self.scores is None or other.scores is None:
            return False
        differences = self.scores - other.scores
        if len(differences) == 1:
            return bool(differences[0] > 1 - SAME_VECTOR)
        beyond_chance = differences.mean() > CLEARLY * differences.std(ddof=1) / np.sqrt(len(differences))
        return bool(beyond_chance) and self.score > MARGIN * other.score


@dataclass(frozen=True)
class BackboneCheck:
    """All candidates, the spec's own first, and what their scores are.

    Args:
        candidates: The preparations.
        evidence: "", "mean probability of the first class", or "cosine to the reference".
    """

    candidates: tuple[Candidate, ...]
    evidence: str

    @property
    def better(self) -> list[Candidate]:
        """Those that are clearly better than the spec's own, the best first."""
        found = [each for each in self.candidates if each.is_clearly_better(self.candidates[0])]
        if self.evidence == SURENESS:
            found = [each for each in found if each.name != TURNED]  # it may be as sure of the wrong class
        return sorted(found, key=lambda each: -each.score)

    @property
    def is_right(self) -> bool | None:
        """Whether the spec is right, as far as the evidence goes; None without evidence."""
        if not self.evidence:
            return None
        return not self.better and (self.evidence == SURENESS or self.candidates[0].score > SAME_VECTOR)

    def table(self) -> str:
        """One line per candidate."""
        rows = [("preparation", "cosine to the spec's", *([self.evidence] if self.evidence else []))]
        for each in self.candidates:
            rows.append((each.name, f"{each.cosine:.3f}", *([] if each.scores is None else [f"{each.score:.3f}"])))
        return table_text(rows)

    def sentence(self) -> str:
        """What follows."""
        given, better = self.candidates[0], self.better
        if not self.evidence:
            return f"nothing here tells which is right: give --classes OUTPUT, or better {REFERENCE}"
        if self.evidence == LIKENESS and given.score > SAME_VECTOR and not better:
            return f"the spec is right: {self.evidence} {given.score:.4f}"
        if not better and self.evidence == LIKENESS:
            return f"the spec is wrong, and so is every other preparation here: {self.evidence} {given.score:.3f}"
        if not better:
            like = [each.name for each in self.candidates[1:] if not given.is_clearly_better(each)]
            return (
                f"nothing is clearly better than the spec ({self.evidence} {given.score:.3f})"
                + (f", but classes do not tell it from {' or '.join(like)}" if like else "")
                + f"; sure is only {REFERENCE}"
            )
        shown = better[: 1 if self.evidence == LIKENESS else 3]
        said = "; ".join(f"{each.name} ({each.score:.3f}): {_remedy(given, each)}" for each in shown)
        only = len(better) == 1 or self.evidence == LIKENESS
        return (
            f"the spec is {'' if self.evidence == LIKENESS else 'probably '}wrong ({self.evidence} {given.score:.3f}); "
            f"clearly better: {said}" + ("" if only else f". What tells them apart is {REFERENCE}")
        )


def _remedy(given: Candidate, better: Candidate) -> str:
    changed = [text for text in better.spec.texts() if text not in given.spec.texts()]
    return " ".join(f"--spec {text}" for text in changed) or "export the model with height before width"


def check_backbone(
    path: Path,
    texts: Iterable[str] = (),
    *,
    classes: str | None = None,
    reference: Path | None = None,
    picture: Path | None = None,
) -> BackboneCheck:
    """Compares the spec of a model file with common mistakes.

    Args:
        path: The model file.
        texts: KEY=VALUE, as in `load_model_file`.
        classes: An output with a score per class.
        reference: A .npy file with the embedding (D,) that the original program gave.
        picture: The picture of that embedding; it is scaled if its size is another.

    Raises:
        BackboneError: The model, the reference or the picture cannot be used.
    """
    if (reference is None) != (picture is None):
        raise BackboneError("--reference and --picture go together: a vector, and the picture that it was made from")
    backbone, graph = load_model_file(path, texts), read_graph(path)
    if backbone.file is None:
        raise ValueError(f"{path} gave a backbone without a file")
    spec, size = backbone.file.spec, backbone.image_size
    frames = _crops(size) if picture is None else _picture(picture, size)[None]
    classes = classes or _class_output(graph)
    wanted = None if reference is None else _vector(reference, backbone)
    evidence = LIKENESS if reference else SURENESS if classes else ""
    few, compute = frames[:SHOWN_PICTURES], _opened(graph)
    own, candidates = _rows(compute, graph, spec, few), []
    for name, changed, turned in _preparations(spec):
        rows, scores = _rows(compute, graph, changed, _turned(few, turned)), None
        if wanted is not None:
            scores = _cosine(rows, wanted[None])
        elif classes:
            surely = replace(changed, output=classes, pool=WHOLE)
            scores = _sureness(_rows(compute, graph, surely, _turned(frames, turned)))
        candidates.append(Candidate(name, changed, float(_cosine(rows, own).mean()), scores))
    return BackboneCheck(tuple(candidates), evidence)


def _turned(frames: np.ndarray, turned: bool) -> np.ndarray:
    return np.ascontiguousarray(frames.swapaxes(1, 2)) if turned else frames


def _preparations(spec: ModelSpec) -> list[tuple[str, ModelSpec, bool]]:
    """Name, spec, and whether height and width are swapped; those that equal an earlier one are left out."""
    other = "bgr" if spec.channel_order == "rgb" else "rgb"
    mean, std = np.array(spec.mean), np.array(spec.std)
    twice = Scaling(spec.range or UNIT.range, tuple(mean + mean * std), tuple(std * std))  # ((x - m) / s - m) / s
    kinds = {
        "with mean and std applied twice": twice,
        "with values from 0 to 255": BYTES,
        "with values from 0 to 1": UNIT,
        "with values from -1 to 1": HALF,
        "with ImageNet's mean and std": IMAGENET,
        "with CLIP's mean and std": CLIP,
    }
    found = [(AS_GIVEN, spec, False), ("with colours swapped", replace(spec, channel_order=other), False)]
    found += [(name, spec.scaled(scaling), False) for name, scaling in kinds.items()]
    found.append((TURNED, spec, True))
    seen: list[tuple[object, ...]] = []
    kept = []
    for name, changed, turned in found:
        numbers = np.round(np.concatenate(changed.scale_and_offset()), 6)
        key = (changed.channel_order, turned, *numbers)
        if key not in seen:
            seen.append(key)
            kept.append((name, changed, turned))
    return kept


def _opened(graph: Graph) -> Compute:
    """The model as a function of pictures and any spec; the file is opened once for all preparations."""
    if graph.path.suffix.lower() != ".keras":
        return opened_file(graph)
    from extract.backbones.keras_file import build_keras_file, read_keras_model

    model = read_keras_model(graph.path)
    return lambda frames, spec: np.asarray(build_keras_file(graph.path, spec, model)(frames, training=False))


def _rows(compute: Compute, graph: Graph, spec: ModelSpec, frames: np.ndarray) -> np.ndarray:
    """Embeddings, one batch of the model's size at a time; a window repeats one picture."""
    if spec.has_time:
        frames = np.repeat(frames[:, None], spec.frames or 1, axis=1)
    batch = len(frames) if graph.path.suffix.lower() == ".keras" else graph.pictures.shape[0] or 1
    padded = np.concatenate([frames, frames[:1].repeat(-len(frames) % batch, axis=0)])
    rows = [compute(padded[start : start + batch], spec) for start in range(0, len(padded), batch)]
    return np.concatenate(rows)[: len(frames)]


def _class_output(graph: Graph) -> str | None:
    for each in graph.outputs:
        if len(each.shape) == 2 and each.shape[1] in CLASS_COUNTS:
            return each.name
    return None


def _sureness(scores: np.ndarray) -> np.ndarray:
    """Probability of the first class (B,), from logits or probabilities (B, K)."""
    from scipy.special import softmax

    is_probability = scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
    return (scores if is_probability else softmax(scores.astype(np.float64), axis=1)).max(axis=1)


def _cosine(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    rows, others = rows.astype(np.float64), others.astype(np.float64)
    return (rows * others).sum(axis=1) / np.maximum(
        np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1), 1e-30
    )


def _crops(size: int) -> np.ndarray:
    """Squares of many sizes from the two photographs of scikit-learn: uint8 (CROPS, S, S, 3)."""
    from sklearn.datasets import load_sample_images

    rng, crops = np.random.default_rng(0), []
    for photograph in load_sample_images().images:  # (427, 640, 3) RGB
        height, width, _ = photograph.shape
        for _ in range(CROPS // 2):
            side = int(rng.integers(160, height))
            top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
            crop = photograph[top : top + side, left : left + side]
            crops.append(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA))
    return np.stack(crops)[rng.permutation(len(crops))]


def _picture(path: Path, size: int) -> np.ndarray:
    content = np.frombuffer(_content(path), np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if picture is None:
        raise BackboneError(f"{path} is not a picture that can be read; give a PNG or JPEG file in --picture")
    if picture.shape[:2] != (size, size):
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(picture[..., ::-1])


def _vector(path: Path, backbone: Backbone) -> np.ndarray:
    try:
        vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path} is not a .npy file of numbers ({error}); give one in --reference") from error
    if vector.size != backbone.embedding_dim or vector.dtype.kind not in "fiu":
        raise BackboneError(
            f"{path} holds {vector.dtype}{vector.shape}, but {backbone.name} gives {backbone.embedding_dim} numbers"
        )
    return vector.reshape(-1).astype(np.float32)


def _content(path: Path) -> bytes:
    from extract.system.files import read_regular

    try:
        return read_regular(path)
    except OSError as error:
        raise BackboneError(f"{path}: the picture cannot be read ({error.strerror}); check --picture") from error
