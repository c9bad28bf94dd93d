"""How often the interval of a comparison covers the truth, and how often its verdict is right.

    python benchmarks/verdict.py [--simulations 10000] [--seeds 20] [--skip-training]

Coverage: two models that are equally good are simulated on G groups of unequal size; the 95 % interval of their
difference should hold 0 in 93 to 97 of 100. What differs between them per group is normal, or heavy-tailed (Laplace),
as for frame accuracies; or whole clips are right or wrong, six a group, where the difference is often exactly the same
and the interval has to be wider. Five groups have no 95 % interval, the nearest covers 93.75 %.

Verdict: `compare` itself, on synthetic clips of 12 groups. In one family the class is which pattern is shown, and the
order of the timesteps carries nothing; in the other all clips show the same patterns and only their order is the class.
Right is, at 99 %: not to say that order helps, and to say that it does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from sequence_models.clips.loading import ClipSet
from sequence_models.experiments.grid import grid_points
from sequence_models.experiments.prepare import DataSource
from sequence_models.records import Clip
from sequence_models.runs.run import Run, create_run
from sequence_models.scoring.paired import SURE, sign_flip_interval
from sequence_models.settings import DataSettings, TrainSettings
from sequence_models.splits.folds import make_folds

GROUPS = (5, 10, 20, 40)
NARROWEST, WIDEST = 0.93, 0.97
MODELS = ("bilstm", "attention", "meanpool")
SETTINGS = TrainSettings(hidden=12, projection=12, epochs=25, patience_updates=999, dropout=0.2, channel_dropout=0.1)
CLIP_GROUPS, CLIPS_PER_GROUP, CHANNELS = 12, 4, 8
ALLOWED_WRONG = 0.05


def main() -> int:
    """Prints both tables; 1 if a coverage of frame accuracies is out of bounds or a verdict is wrong too often."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=20, help="comparisons of each family")
    parser.add_argument("--skip-training", action="store_true", help="only the coverage")
    arguments = parser.parse_args()
    fine = print_coverage(arguments.simulations)
    if not arguments.skip_training:
        fine = print_verdicts(arguments.seeds) and fine
    return 0 if fine else 1


def print_coverage(simulations: int) -> bool:
    """One line per kind of difference; whether those of frame accuracies are within bounds."""
    fine = True
    print(f"share of {simulations} simulations whose interval holds the true difference, 0")
    print("differences".ljust(24) + "".join(f"{groups:>10} groups" for groups in GROUPS))
    for name, draw in DIFFERENCES.items():
        rng = np.random.default_rng(0)
        shares = [np.mean([covers(draw(rng, groups)) for _ in range(simulations)]) for groups in GROUPS]
        print(name.ljust(24) + "".join(f"{share:>17.3f}" for share in shares))
        if name != "clips":
            fine = fine and all(NARROWEST <= share <= WIDEST for share in shares)
    return fine


def covers(drawn: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether the interval of differences and weights (G,) holds 0."""
    low, high, _ = sign_flip_interval(*drawn)
    return low <= 0 <= high


def frames(rng: np.random.Generator, groups: int, *, noise: Callable[..., np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Differences in right timesteps, and timesteps, per group of unequal size."""
    sizes = rng.lognormal(6, 0.5, groups).astype(int) + 1
    return sizes * noise(rng, groups), sizes


def clips(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Differences in right clips: six a group, each right with a chance that is the group's, the same for both."""
    chance = rng.beta(6, 3, (groups, 1))
    right = rng.random((2, groups, 6)) < chance
    return right[0].sum(axis=1) - right[1].sum(axis=1), np.full(groups, 6)


DIFFERENCES: dict[str, Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]] = {
    "frames, normal": lambda rng, groups: frames(rng, groups, noise=lambda r, n: r.normal(0, 0.05, n)),
    "frames, heavy-tailed": lambda rng, groups: frames(rng, groups, noise=lambda r, n: r.laplace(0, 0.05, n)),
    "clips": clips,
}


def print_verdicts(seeds: int) -> bool:
    """One line per family; whether at most one verdict in twenty is wrong."""
    from extract.system.quiet_start import import_keras_quietly

    import_keras_quietly()
    fine = True
    for name, order_matters in (("order carries nothing", False), ("only the order does", True)):
        began, right, leads = time.perf_counter(), 0, []
        for seed in tqdm(range(seeds), desc=name, disable=None):
            lead = verdict_of(synthetic_clips(seed, order_matters=order_matters))
            says_order_helps = lead["kind"] == "better" and lead["p"] < SURE
            right += says_order_helps is order_matters
            leads.append(lead["difference"])
        print(
            f"{name:22s} verdict right for {right} of {seeds} seeds; difference {np.mean(leads):+.3f} "
            f"({min(leads):+.3f} to {max(leads):+.3f}); {time.perf_counter() - began:.0f} s"
        )
        fine = fine and seeds - right <= ALLOWED_WRONG * seeds
    return fine


def synthetic_clips(seed: int, *, order_matters: bool) -> list[Clip]:
    """Clips of two classes in groups that look different from each other."""
    rng = np.random.default_rng((seed, order_matters))
    patterns = rng.normal(0, 1, (2, CHANNELS))
    found = []
    for group in range(CLIP_GROUPS):
        look = rng.normal(0, 0.5, CHANNELS)
        for number in range(CLIPS_PER_GROUP):
            label, half = number % 2, int(rng.integers(4, 8))
            if order_matters:
                shown = np.repeat(patterns[[label, 1 - label]], half, axis=0)
            else:
                shown = rng.permutation(np.repeat(patterns[[label, label]] * [[0.6], [0.0]], half, axis=0))
            embeddings = (shown + look + rng.normal(0, 1.0, shown.shape)).astype(np.float32)
            steps = np.arange(len(embeddings))
            found.append(Clip(f"{group}-{number}", embeddings, steps / 8, steps, np.array(label), f"group{group}"))
    return found


def verdict_of(data: list[Clip]) -> dict:
    """The verdict of a comparison with 4 folds and one seed."""
    from sequence_models.experiments.compare import compare, sub_runs

    vocabulary = ("a", "b")
    with tempfile.TemporaryDirectory() as folder:
        run = create_run(
            Run(
                path=Path(folder), settings=SETTINGS, vocabulary=vocabulary, stores=(), recipes=(), fingerprints=(),
                labels="", data=DataSettings(), cv="4", seeds=1, clips={}, embedding_dim=CHANNELS,
                folds=tuple(make_folds(data, cv="4", split_file=None, seed=0, vocabulary=vocabulary)),
            )
        )  # fmt: skip
        sources = [DataSource(run, ClipSet(tuple(data), vocabulary))]
        runs = sub_runs(sources, grid_points(MODELS, asdict(SETTINGS), {}))
        record = compare(sources, runs, on_fit=lambda *_: None)
    return record["verdict"]


if __name__ == "__main__":
    sys.exit(main())
