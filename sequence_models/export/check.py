"""Loads exported files in a fresh process that has no Clipseq, and compares what they say with our own predictions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sequence_models.export.graph import EMBEDDINGS, FRAMES, LENGTHS, SECONDS
from sequence_models.prediction.predict import average, predict
from sequence_models.records import Clip, Prediction
from sequence_models.settings import MANY_TO_ONE, POSITION, TrainSettings

TOLERANCE = 1e-3  # largest difference of a probability
CLIP_LENGTHS = (1, 17, 41)  # timesteps
BACKBONE_LENGTHS = (1, 3, 7)  # with a backbone, which takes much longer
PADDING, FILLER = 6, 7  # timesteps past the longest clip, and what they hold
# Argument 1 is the folder of the export, 2 the clips, 3 where the answers go. Files by name come on standard input.
CHILD = """
import importlib.util, json, pathlib, sys
for name in ("extract", "sequence_models", "pipeline"):
    sys.modules[name] = None  # a model that needs Clipseq cannot be loaded
import numpy as np
folder, given, said = map(pathlib.Path, sys.argv[1:])
spec = importlib.util.spec_from_file_location("run_model", folder / "run_model.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
arrays, answers = dict(np.load(given)), {}
count = 1 + max(int(key.split("/")[0]) for key in arrays)
batches = [{key.split("/")[1]: value for key, value in arrays.items() if key.startswith(f"{n}/")} for n in range(count)]
for name, file in json.load(sys.stdin).items():
    try:
        model = script.load(folder / file)
        answers |= {f"{name}/{n}": model(batch) for n, batch in enumerate(batches)}
    except Exception as error:
        answers[f"{name}/error"] = np.array(f"{type(error).__name__}: {error}".splitlines()[0])
    np.savez(said, **answers)
"""


@dataclass(frozen=True)
class Trial:
    """Clips of three odd lengths, alone and as one padded batch, and our own predictions.

    Args:
        batches: Inputs by name; the last one holds all clips.
        lengths: Of the clips.
        expected: Our probabilities (K,) or (T, K) per clip.
    """

    batches: tuple[dict[str, np.ndarray], ...]
    lengths: tuple[int, ...]
    expected: tuple[np.ndarray, ...]

    def largest_difference(self, answers: Sequence[np.ndarray]) -> float:
        """Of any probability; infinite if there are numbers that are not finite, or too few."""
        said = [*answers[:-1], *answers[-1]]  # the clips alone, and again in the batch
        rows = [each[0] for each in said[: len(self.lengths)]] + said[len(self.lengths) :]
        differences = []
        for row, want in zip(rows, (*self.expected, *self.expected), strict=True):
            row = row[: len(want)] if want.ndim > 1 else row
            differences.append(np.abs(row - want).max() if row.shape == want.shape else np.inf)
        largest = float(np.max(differences))  # unlike max(), of what is not a number too
        return largest if np.isfinite(largest) else float("inf")


def make_trial(models: Sequence[Any], *, backbone: Any = None, seed: int = 0) -> Trial:
    """Random clips like those that some models were trained on, and the mean of what the models say.

    Args:
        models: At least one, from `load_model`.
        backbone: A Keras model, whose embeddings of random frames are the clips; the trial then holds the frames.
        seed: Of the clips.
    """
    settings, shape = models[0].architecture.settings, models[0].architecture.embedding_dim
    if backbone is not None:
        return _frame_trial(models, backbone, np.random.default_rng(seed))
    lengths = (settings.fixed_frames,) * 3 if settings.fixed_frames else CLIP_LENGTHS
    rng = np.random.default_rng(seed)
    clips = []
    for steps in lengths:
        rows = _frames(rng, steps, shape) if isinstance(shape, tuple) else _embeddings(rng, steps, shape, models[0])
        clips.append(_clip(rows, rng, settings))
    expected = average([predict(model, clips) for model in models])
    return trial_of(clips, expected, with_seconds=POSITION in settings.derived_names)


def _frame_trial(models: Sequence[Any], backbone: Any, rng: np.random.Generator) -> Trial:
    settings = models[0].architecture.settings
    pictures = [_clip(_frames(rng, steps, backbone.input_shape[1:]), rng, settings) for steps in BACKBONE_LENGTHS]
    stored = [backbone.predict_on_batch(clip.embeddings).astype(np.float16).astype(np.float32) for clip in pictures]
    clips = [replace(clip, embeddings=rows) for clip, rows in zip(pictures, stored, strict=True)]
    expected = average([predict(model, clips) for model in models])
    return trial_of(pictures, expected, with_seconds=POSITION in settings.derived_names)


def _clip(rows: np.ndarray, rng: np.random.Generator, settings: TrainSettings) -> Clip:
    labels = np.array(-1) if settings.task == MANY_TO_ONE else np.full(len(rows), -1)
    seconds = np.cumsum(rng.uniform(0.05, 0.2, len(rows)))
    return Clip(f"of {len(rows)}", rows, seconds, np.arange(len(rows)), labels)


def trial_of(clips: Sequence[Clip], expected: Sequence[Prediction], *, with_seconds: bool) -> Trial:
    """Some clips alone and padded, with predictions for them."""
    main = FRAMES if clips[0].embeddings.ndim > 2 else EMBEDDINGS
    batches = []
    for chosen, more in [*(([clip], 0) for clip in clips), (clips, PADDING)]:
        lengths = np.array([len(clip) for clip in chosen], np.int32)
        size = (len(chosen), max(lengths) + more)
        arrays = {main: np.full((*size, *clips[0].embeddings.shape[1:]), FILLER, clips[0].embeddings.dtype)}
        arrays |= {SECONDS: np.full(size, FILLER, np.float32)} if with_seconds else {}
        for row, clip in enumerate(chosen):
            arrays[main][row, : len(clip)] = clip.embeddings
            if with_seconds:
                arrays[SECONDS][row, : len(clip)] = clip.pts_seconds
        batches.append({**arrays, LENGTHS: lengths})
    return Trial(tuple(batches), tuple(map(len, clips)), tuple(each.probabilities for each in expected))


def differences(folder: Path, files: Mapping[str, str], trial: Trial) -> dict[str, float | str]:
    """How far exported files are from our predictions.

    Args:
        folder: The export, with its run_model.py.
        files: The file or folder in it of every format.
        trial: What they are run on.

    Returns:
        For each format the largest difference, or why it could not be run.
    """
    arrays = {f"{n}/{name}": array for n, batch in enumerate(trial.batches) for name, array in batch.items()}
    with tempfile.TemporaryDirectory(prefix="clipseq-") as scratch:
        given, said = Path(scratch, "given.npz"), Path(scratch, "said.npz")
        np.savez(given, **arrays)  # type: ignore[arg-type]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(folder), str(given), str(said)],
            input=json.dumps(dict(files)),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        answers = dict(np.load(said)) if said.exists() else {}
    found: dict[str, float | str] = {}
    for name in files:
        if f"{name}/error" in answers:
            found[name] = str(answers[f"{name}/error"])
        elif f"{name}/0" not in answers:
            last = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
            found[name] = f"the process that ran it ended with code {done.returncode}: {last}"
        else:
            found[name] = trial.largest_difference([answers[f"{name}/{n}"] for n in range(len(trial.batches))])
    return found


def _frames(rng: np.random.Generator, steps: int, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 256, (steps, *shape), np.uint8)


def _embeddings(rng: np.random.Generator, steps: int, width: int, model: Any) -> np.ndarray:
    """Spread like the training embeddings of a model."""
    layer = model.get_layer("standardise")
    mean, scale = np.asarray(layer.mean)[:width], np.asarray(layer.scale)[:width]
    return (mean + rng.normal(size=(steps, width)) / scale).astype(np.float32)
