"""How fast stage two trains: what bucketing by length saves, and what reading the store costs.

    python benchmarks/train_speed.py [--clips 600] [--passes 3] [--ut STORE]

Writes a store of clips with log-normal lengths (median 40 timesteps, sigma 0.8) and 1,280 float16 channels to a
temporary folder. One pass of `bilstm` is then timed with batches bucketed by length and with every batch padded to
the longest clip, alternately, after one pass each that compiles. With --ut, a store of UT-Interaction set 1, it also
times 10 folds x 5 seeds of `bilstm`, leave one sequence out, from the command line to the last fit. The store is read
five times, from the page cache since it was just written.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from extract.records import Source
from extract.store.reader import open_store
from extract.store.writer import StoreWriter
from extract.system.quiet_start import import_keras_quietly
from sequence_models.clips.batches import make_batches
from sequence_models.records import Clip
from sequence_models.settings import TrainSettings

CHANNELS, CLASSES, READINGS, BATCH = 1280, 6, 5, 16
LEAVE_ONE_SEQUENCE_OUT = ("--group-from", r"_seq(\d+)", "--cv", "leave-one-group-out", "--seeds", "5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--passes", type=int, default=3, help="timed passes of each kind")
    parser.add_argument("--ut", type=Path, help="feature store of UT-Interaction set 1")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), arguments.clips)
        clips, reading = read_clips(store)
        compare(clips, reading, passes=arguments.passes)
    if arguments.ut:
        time_cross_validation(arguments.ut)


def make_store(folder: Path, count: int) -> Path:
    """A store of random clips whose lengths are log-normal."""
    rng = np.random.default_rng(0)
    lengths = np.maximum(1, rng.lognormal(np.log(40), 0.8, count)).astype(int)
    with StoreWriter(folder / "store", {"backbone": "random numbers"}, engine="none") as writer:
        for row, length in enumerate(lengths):
            clip_id, steps = f"{row:05d}", np.arange(length)
            embeddings = rng.normal(size=(length, CHANNELS)).astype(np.float16)
            writer.append(clip_id, embeddings, steps, steps / 8, Source(clip_id, row, row))
            writer.finish(clip_id, None)
            writer.seal_if_due()
    print(f"{count} clips, {lengths.sum():,} timesteps, the longest {lengths.max()}, median {np.median(lengths):.0f}")
    return folder / "store"


def read_clips(path: Path) -> tuple[list[Clip], float]:
    """Every clip of the store with a label, and the seconds that opening and reading took: the median of some times."""
    times = []
    for _ in range(READINGS):
        began = time.perf_counter()
        store = open_store(path)
        found = [store.read(clip_id) for clip_id in store.clip_ids]
        times.append(time.perf_counter() - began)
    clips = [
        Clip(each.clip_id, each.embeddings, each.pts_seconds, each.frame_indices, np.array(row % CLASSES))
        for row, each in enumerate(found)
    ]
    return clips, float(np.median(times))


def compare(clips: list[Clip], reading: float, *, passes: int) -> None:
    """Time passes of both kinds by turns, so that a busy machine slows both."""
    import_keras_quietly()
    from sequence_models.models.build import Architecture
    from sequence_models.training.step import trainer

    settings = TrainSettings(model="bilstm", readout="mean")
    steps_of = trainer(Architecture(settings, CHANNELS, CLASSES))
    longest = max(map(len, clips))
    seconds: dict[str, list[float]] = {"bucketed": [], "padded": []}
    padded_steps: dict[str, int] = {}
    for number in range(passes + 1):
        for kind, pad_to in (("bucketed", None), ("padded", longest)):
            began, steps = time.perf_counter(), 0
            for batch in make_batches(clips, batch_size=BATCH, seed=(0, number), pad_to=pad_to):
                steps_of.update(steps_of.twin.standardised(batch))
                steps += batch.mask.size
            if number:  # the first one compiles
                seconds[kind].append(time.perf_counter() - began)
            padded_steps[kind] = steps
    real = sum(map(len, clips))
    for kind, each in seconds.items():
        rate = real / np.median(each)
        print(f"{kind:9s} {np.median(each):7.2f} s a pass  {rate:9,.0f} timesteps/s  {padded_steps[kind] / real:.2f} x")
    ratio = np.median(seconds["padded"]) / np.median(seconds["bucketed"])
    print(f"bucketing is {ratio:.1f} times faster")
    share = 100 * reading / np.median(seconds["bucketed"])
    print(f"reading the store takes {reading:.2f} s, {share:.1f} % of one pass; it happens once per run")


def time_cross_validation(store: Path) -> None:
    """Ten folds with five seeds, as a user types it."""
    pipeline = Path(__file__).parents[1] / "pipeline.py"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(pipeline), "train", str(store), "--task", "many-to-one", "--model", "bilstm"]
        began = time.perf_counter()
        subprocess.run([*command, *LEAVE_ONE_SEQUENCE_OUT, "--run", f"{folder}/run"], check=True, capture_output=True)
        print(f"10 folds x 5 seeds and 5 models of all clips: {time.perf_counter() - began:.0f} s, start to end")


if __name__ == "__main__":
    main()
