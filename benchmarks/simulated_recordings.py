"""How near the default per-frame model comes to the best that is possible, where the best is known.

    python benchmarks/simulated_recordings.py [--recordings 3 10 100] [--timesteps 1000]

Recordings are drawn from a hidden Markov model: 4 classes whose bouts last 30 timesteps on average, each timestep 8
channels of normal noise around the mean of its class. Nothing labels them better than a Viterbi pass with the true
parameters. The default model is trained on N recordings (a fifth of them, at least one, for validation), its labels
decided as `clipseq train` decides them, and both label the same 20 new recordings.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from extract.system.quiet_start import import_keras_quietly
from sequence_models.prediction.postprocess import choose_decision
from sequence_models.prediction.viterbi import decode
from sequence_models.records import Clip
from sequence_models.settings import MANY_TO_MANY, TrainSettings

CLASSES, CHANNELS, BOUT, APART, TESTED = 4, 8, 30, 0.45, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, nargs="+", default=[3, 10, 100])
    parser.add_argument("--timesteps", type=int, default=1000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    means = rng.normal(0, APART, (CLASSES, CHANNELS))
    test = [draw(rng, means, arguments.timesteps, f"test{number}") for number in range(TESTED)]
    best = decode([-((clip.embeddings[:, None] - means) ** 2).sum(axis=2) / 2 for clip in test], true_prices()[None])
    print(f"the model's own decoder: {100 * error(test, [labels[0] for labels in best]):.1f} % of timesteps wrong")
    for count in arguments.recordings:
        train = [draw(rng, means, arguments.timesteps, f"train{number}") for number in range(count)]
        wrong, raw, updates, way = fitted_error(train, test)
        print(
            f"{count:>4} recordings: {100 * wrong:.1f} % wrong ({100 * raw:.1f} % before decoding), {updates} updates, "
            f"{way}"
        )


def draw(rng: np.random.Generator, means: np.ndarray, steps: int, name: str) -> Clip:
    """One recording of the hidden Markov model."""
    labels = np.empty(steps, np.int64)
    labels[0] = rng.integers(CLASSES)
    for step in range(1, steps):
        changes = rng.random() < 1 / BOUT
        labels[step] = (labels[step - 1] + rng.integers(1, CLASSES)) % CLASSES if changes else labels[step - 1]
    rows = (means[labels] + rng.normal(0, 1, (steps, CHANNELS))).astype(np.float32)
    return Clip(name, rows, np.arange(steps) / 8, np.arange(steps), labels)


def true_prices() -> np.ndarray:
    """Negative log probabilities of the transitions, (K, K)."""
    prices = np.full((CLASSES, CLASSES), -np.log(1 / BOUT / (CLASSES - 1)))
    np.fill_diagonal(prices, -np.log(1 - 1 / BOUT))
    return prices


def fitted_error(known: list[Clip], test: list[Clip]) -> tuple[float, float, int, str]:
    """The error after and before decoding, the updates, and how labels were decided."""
    from sequence_models.prediction.predict import predict
    from sequence_models.training.fit import fit_model

    held_out = max(1, len(known) // 5)
    train, validation = known[held_out:], known[:held_out]
    with tempfile.TemporaryDirectory() as folder:
        paths = {"checkpoint": Path(folder) / "a.weights.h5", "log": Path(folder) / "a.csv"}
        result = fit_model(train, validation, TrainSettings(MANY_TO_MANY), num_classes=CLASSES, seed=0, **paths)
    decision = choose_decision(validation, predict(result.model, validation), training=train, causal=False)
    said = predict(result.model, test)
    raw = error(test, [each.labels for each in said])
    return error(test, [each.labels for each in decision.apply(said)]), raw, result.updates, str(decision)


def error(clips: list[Clip], labels: list[np.ndarray]) -> float:
    """The share of timesteps that are wrong."""
    return float(np.mean(np.concatenate([clip.labels != said for clip, said in zip(clips, labels, strict=True)])))


if __name__ == "__main__":
    import_keras_quietly()
    main()
