"""How well `compare` chooses among many models on few clips: simulated sets of 60 clips, 13 candidates.

In every set, the mean of the channels, their order, or how much they move tells the class, or all three do. Candidates
are logistic regressions on different summaries, so that most of them miss something. They are scored on 1,000 new
clips that no choice sees. Printed are the mean score of what each rule chooses, and how far it is below the best single
candidate of each set, with standard errors.

    python benchmarks/selection.py --sets 200
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from sequence_models.experiments.verdict import rank
from sequence_models.records import Clip, Prediction
from sequence_models.scoring.predictions import validation_score

CLASSES, CHANNELS, CLIPS, TEST_CLIPS, PARTS = 3, 24, 60, 1_000, 5
SHORTEST, LONGEST = 16, 40  # timesteps


def means_of(count: int) -> Callable[[np.ndarray], np.ndarray]:
    """Means over equal parts."""

    def summary(clip: np.ndarray) -> np.ndarray:
        bounds = [len(clip) * number // count for number in range(count + 1)]
        return np.concatenate([clip[start:end].mean(axis=0) for start, end in pairwise(bounds)])

    return summary


def steps_of(clip: np.ndarray) -> np.ndarray:
    """|embedding(t + 1) - embedding(t)|."""
    return np.abs(np.diff(clip, axis=0))


THIRDS = means_of(3)
SUMMARIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": means_of(1),
    "halves": means_of(2),
    "thirds": THIRDS,
    "sixths": means_of(6),
    "maximum": lambda clip: clip.max(axis=0),
    "deviation": lambda clip: clip.std(axis=0),
    "mean, maximum, deviation": lambda clip: np.concatenate([clip.mean(axis=0), clip.max(axis=0), clip.std(axis=0)]),
    "first quarter": lambda clip: clip[: len(clip) // 4].mean(axis=0),
    "last quarter": lambda clip: clip[-(len(clip) // 4) :].mean(axis=0),
    "steps": lambda clip: steps_of(clip).mean(axis=0),
    "thirds and their steps": lambda clip: np.concatenate([THIRDS(clip), THIRDS(steps_of(clip))]),
}
CANDIDATES = [*((name, 0.01) for name in SUMMARIES), ("mean", 1.0), ("thirds", 1.0)]  # with scikit-learn's C


class World:
    """A random way in which clips show their class.

    Args:
        rng: Draws it, and then the clips.
    """

    def __init__(self, rng: np.random.Generator):
        self._rng, kind = rng, rng.choice(["mean", "order", "motion", "all"])
        strengths = rng.uniform(0, (0.5, 0.8, 1.0))
        self._mean, self._order, self._motion = (
            strength * (kind in (name, "all"))
            for strength, name in zip(strengths, ("mean", "order", "motion"), strict=True)
        )
        self._of_class = rng.normal(size=(CLASSES, CHANNELS)) * (rng.random(CHANNELS) < 0.3)
        self._event = rng.normal(size=CHANNELS) * (rng.random(CHANNELS) < 0.3)
        self._moving = rng.random((CLASSES, CHANNELS)) < 0.3

    def draw(self, count: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Clips (T, D) and their classes."""
        classes = self._rng.integers(0, CLASSES, count)
        return [self._clip(k) for k in classes], classes

    def _clip(self, label: int) -> np.ndarray:
        steps = self._rng.integers(SHORTEST, LONGEST)
        noise = self._rng.normal(size=(steps, CHANNELS)) + self._rng.normal(0, 0.5, CHANNELS)
        third = np.arange(steps)[:, None] * 3 // steps
        order = np.where(third == label, 1.0, -0.5) * self._event
        motion = self._rng.normal(size=(steps, CHANNELS)) * self._moving[label]
        return noise + self._mean * self._of_class[label] + self._order * order + self._motion * motion


def simulate(seed: int) -> dict[str, float]:
    """Rule -> accuracy on new clips of what it chooses in one set."""
    rng = np.random.default_rng(seed)
    world = World(rng)
    (clips, labels), (new, truth) = world.draw(CLIPS), world.draw(TEST_CLIPS)
    part = rng.permutation(CLIPS) % PARTS
    held_out, of_one, of_all = [], [], []
    for name, penalty in CANDIDATES:
        known, unknown = (np.stack([SUMMARIES[name](clip) for clip in some]) for some in (clips, new))
        validated, tested = np.zeros((CLIPS, CLASSES)), []
        for number in range(PARTS):
            train, hold = part != number, part == number
            predict = _fitted(known[train], labels[train], penalty)
            validated[hold] = predict(known[hold])
            tested.append(predict(unknown))
        held_out.append(validated)
        of_one.append(tested[0])
        of_all.append(np.mean(tested, axis=0))

    def accuracy(probabilities: np.ndarray) -> float:
        return float((probabilities.argmax(axis=1) == truth).mean())

    def ranked(seen: np.ndarray) -> list[int]:
        """The candidates from best to worst, as `compare` sees them on some validation clips."""
        return sorted(range(len(CANDIDATES)), key=lambda k: rank(_score(held_out[k][seen], labels[seen])), reverse=True)

    everywhere, first = np.ones(CLIPS, bool), part == 0
    best, of_part = ranked(everywhere), ranked(first)
    return {
        "best single candidate (seen with the test labels)": max(map(accuracy, of_all)),
        f"inner cross-validation, {PARTS} parts": accuracy(of_all[best[0]]),
        "the same, simplest within one standard error": accuracy(of_all[_simplest(held_out, labels, best, clips)]),
        "the same, average of the best two": accuracy(np.mean([of_all[k] for k in best[:2]], axis=0)),
        "the same, average of the best three": accuracy(np.mean([of_all[k] for k in best[:3]], axis=0)),
        "one validation part": accuracy(of_one[of_part[0]]),
        "the same, average of the best two of one part": accuracy(np.mean([of_one[k] for k in of_part[:2]], axis=0)),
        "average of all": accuracy(np.mean(of_all, axis=0)),
    }


def _score(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """As for the validation clips of a fold."""
    embeddings = np.zeros((1, 1), np.float32)
    pairs = [
        (Clip(str(k), embeddings, np.zeros(1), np.zeros(1, np.int64), np.array(label)), Prediction(str(k), row))
        for k, (label, row) in enumerate(zip(labels, probabilities, strict=True))
    ]
    return validation_score(pairs)


def _simplest(held_out: list[np.ndarray], labels: np.ndarray, best: list[int], clips: list[np.ndarray]) -> int:
    """The candidate with the shortest summary whose hits are at most one standard error below those of the best."""
    hits = [(each.argmax(axis=1) == labels).astype(float) for each in held_out]
    near = []
    for candidate in best:
        lost = hits[best[0]] - hits[candidate]
        if lost.mean() <= lost.std(ddof=1) / np.sqrt(CLIPS):
            near.append(candidate)
    return min(near, key=lambda k: len(SUMMARIES[CANDIDATES[k][0]](clips[0])))


def _fitted(features: np.ndarray, labels: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-9
    model = LogisticRegression(C=penalty, max_iter=500).fit((features - mean) / deviation, labels)

    def predict(others: np.ndarray) -> np.ndarray:
        said = np.zeros((len(others), CLASSES), np.float32)
        said[:, model.classes_] = model.predict_proba((others - mean) / deviation)
        return said

    return predict


def main() -> None:
    """Print one line per rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=200)
    sets = parser.parse_args().sets
    with threadpool_limits(1):
        found = [simulate(seed) for seed in tqdm(range(sets), unit=" sets")]
    best = np.array([next(iter(each.values())) for each in found])
    print(f"{sets} simulated sets of {CLIPS} clips, {len(CANDIDATES)} candidates")
    for rule in found[0]:
        scores = np.array([each[rule] for each in found])
        below = best - scores
        print(
            f"{rule:52s} {scores.mean():.4f}   below the best {below.mean():.4f} +- {below.std() / np.sqrt(sets):.4f}"
        )


if __name__ == "__main__":
    main()
