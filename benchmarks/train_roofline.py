"""How close training comes to the machine's matrix product, for every model on embeddings.

    python benchmarks/train_roofline.py [--clips 43] [--steps 40] [--models bilstm,meanpool] [--threads 1]
    KERAS_BACKEND=jax python benchmarks/train_roofline.py

Counts the floating-point operations of the matrix products of one update: 2 per weight and row forwards, the same for
the gradient of the weights, and the same for the gradient of the inputs except in the first layer. An update on a batch
of the default size is timed, then a whole fit of random clips from the first line to the written weights, validation
included. Efficiency is what these operations would take at the rate of a 1,024 x 1,024 matrix product of the same
backend, timed in the same run, divided by what was measured; everything else that a fit does counts against it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from extract.system.quiet_start import import_keras_quietly
from sequence_models.catalogue import COMPARED_MODELS, TRAITS
from sequence_models.records import Clip
from sequence_models.settings import MANY_TO_MANY, MANY_TO_ONE, TrainSettings

CLASSES, REPEATS, SIDE, UPDATES = 6, 5, 1024, 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=43, help="for training; a quarter as many for validation")
    parser.add_argument("--steps", type=int, default=40, help="timesteps of the longest clip")
    parser.add_argument("--channels", type=int, default=1280)
    parser.add_argument("--models", default=",".join(COMPARED_MODELS))
    parser.add_argument("--threads", type=int, default=1, help="of TensorFlow; many fits get one each")
    arguments = parser.parse_args()
    import_keras_quietly(threads=arguments.threads)
    peak = matrix_rate()
    import keras

    print(f"{keras.backend.backend()}, {arguments.threads} threads: matrix product {peak / 1e9:.0f} GFLOP/s")
    print(f"{'model':24s} {'MFLOP':>7s} {'ms/update':>9s} {'efficiency':>10s} {'s/fit':>6s} {'efficiency':>10s}")
    for model in arguments.models.split(","):
        for task in (MANY_TO_ONE, MANY_TO_MANY):
            if task == MANY_TO_ONE or TRAITS[model].framewise:
                print_row(TrainSettings(task, model, updates=UPDATES, patience_updates=UPDATES), arguments, peak)


def matrix_rate() -> float:
    """Floating-point operations per second of a large matrix product; the best of some."""
    import keras

    one = keras.ops.convert_to_tensor(np.ones((SIDE, SIDE), np.float32))
    seconds = []
    for _ in range(4 * REPEATS):
        began = time.perf_counter()
        keras.ops.convert_to_numpy(keras.ops.matmul(one, one)[0, 0])
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / min(seconds)


def print_row(settings: TrainSettings, arguments: argparse.Namespace, peak: float) -> None:
    from sequence_models.models.build import Architecture
    from sequence_models.training.budget import budget_for
    from sequence_models.training.fit import fit_model
    from sequence_models.training.step import trainer

    train, validation = (
        random_clips(count, arguments, settings.task, seed=count) for count in (arguments.clips, arguments.clips // 4)
    )
    budget = budget_for(train, validation, settings)
    rows = budget.batch_size * (min(budget.chunk, arguments.steps) if budget.chunk else arguments.steps)
    steps = trainer(Architecture(settings, arguments.channels, CLASSES))
    work = operations(steps.twin.stages, budget.batch_size, rows // budget.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        files = {"checkpoint": Path(folder) / "m.weights.h5", "log": Path(folder) / "log.csv"}
        for _ in range(2):  # the first one compiles
            fit = fit_model(train, validation, settings, num_classes=CLASSES, seed=0, quiet=True, **files)
    update = time_update(steps, train, budget.batch_size, settings)
    name = f"{settings.model} {'per frame' if settings.task == MANY_TO_MANY else ''}"
    shares = work / peak / update, fit.updates * work / peak / fit.seconds
    print(
        f"{name:24s} {work / 1e6:7.1f} {1e3 * update:9.1f} {shares[0]:10.2f} {fit.seconds:6.2f} {shares[1]:10.2f}",
        flush=True,
    )


def operations(model, batch: int, steps: int) -> float:
    """Floating-point operations of the matrix products of one update on a batch of so many clips and timesteps."""
    total, is_first = 0.0, True
    for layer in model.layers:
        matrices = [weight for weight in layer.trainable_weights if len(weight.shape) > 1]
        if not matrices:
            continue
        shape = layer.input[0].shape if isinstance(layer.input, (list, tuple)) else layer.input.shape
        rows = batch * ((shape[1] or steps) if len(shape) == 3 else 1)
        total += sum(int(np.prod(weight.shape)) for weight in matrices) * rows * (4 if is_first else 6)
        is_first = False
    return total


def time_update(steps, clips: list[Clip], batch_size: int, settings: TrainSettings) -> float:
    """Seconds of an update, the median of some calls of many."""
    from sequence_models.clips.batches import make_batches
    from sequence_models.training.step import numbered

    table = steps.hold(steps.twin.standardised_rows(clips))
    batches = list(make_batches(numbered(clips), batch_size=batch_size, seed=0))
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        steps.updates(table, batches, [settings.learning_rate] * len(batches))
        seconds.append((time.perf_counter() - began) / len(batches))
    return float(np.median(seconds))


def random_clips(count: int, arguments: argparse.Namespace, task: str, *, seed: int) -> list[Clip]:
    """Clips of half to all of the timesteps."""
    rng, clips = np.random.default_rng(seed), []
    for row in range(count):
        length = int(rng.integers(arguments.steps // 2, arguments.steps + 1))
        labels = rng.integers(CLASSES, size=length) if task == MANY_TO_MANY else np.array(row % CLASSES)
        embeddings = rng.normal(size=(length, arguments.channels)).astype(np.float32)
        clips.append(Clip(f"{row:05d}", embeddings, np.arange(length) / 8, np.arange(length), labels))
    return clips


if __name__ == "__main__":
    main()
