"""What grows with the number of clips: peak memory and seconds of loading, training, a baseline and predictions.

A synthetic store of clips of 1,280 channels is made for each number of clips, worked on, and deleted: 2.5 GB for 60,000
clips of 16 timesteps. Each number of clips has a process of its own, for embeddings that stay in the store
(`--memory 0`) and, up to 13,000 clips, for embeddings in memory. RssAnon is what a process holds; the pages of mapped
files, which the system takes back when it needs them, are not in it. The second form trains on one store in both ways,
in turns, and prints the ratio of their rates; the store is taken out of the system's cache before each turn. The third
is stage one: so many links to one video of 4 frames, with the backbone `tiny`.

    python benchmarks/beyond_memory.py FOLDER [60 600 6000 60000]
    python benchmarks/beyond_memory.py FOLDER ratio 6000
    python benchmarks/beyond_memory.py FOLDER extract 60 600 6000
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

STEPS, DIM, CLASSES, UPDATES = 16, 1280, 6, 60
MOST_HELD = 13_000  # clips
TURNS = 4
COLUMNS = ("clips", "embeddings", "store GB", "load s", "statistics s", "ms/update", "baseline s", "predict s")
PEAK = "anon GB"


def make(path: Path, clips: int) -> None:
    """A store of random embeddings whose class is told by their mean, written with the store's own writer."""
    from extract.records import Source
    from extract.store.writer import StoreWriter

    rng = np.random.default_rng(0)
    block = rng.normal(size=(64 * STEPS, DIM)).astype(np.float16)
    centres = rng.normal(size=(CLASSES, DIM)).astype(np.float16) / 16
    steps = np.arange(STEPS)
    with StoreWriter(path, {"backbone": "synthetic", "sampling": "fps=8"}, engine="keras") as writer:
        for number in range(clips):
            start, label = int(rng.integers(len(block) - STEPS)), number % CLASSES
            rows = block[start : start + STEPS] + centres[label]
            name = f"class{label}/{number:07d}.mp4"
            writer.append(name, rows, steps * 3, steps / 8, Source(name, number, number, ""))
            writer.finish(name, None)


def forget(path: Path) -> None:
    """Take the store out of the system's cache, so that reading it means reading the disk."""
    import os

    for shard in path.glob("*.h5"):
        descriptor = os.open(shard, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


class Peak:
    """The most anonymous memory of this process, looked at a hundred times a second."""

    def __init__(self) -> None:
        self.bytes = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            self.bytes = max(self.bytes, *(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")))
            time.sleep(0.01)


def work(path: Path, memory: float, updates: int) -> None:
    """Load, train, fit a baseline and predict; prints one record."""
    peak, said = Peak(), {}
    from sequence_models.clips.loading import load_clips
    from sequence_models.models.baselines import fit_baseline
    from sequence_models.prediction.predict import predict
    from sequence_models.settings import TrainSettings
    from sequence_models.training.fit import fit_model
    from sequence_models.training.statistics import embedding_statistics

    began = time.perf_counter()

    def note(name: str) -> None:
        nonlocal began
        said[name] = round(time.perf_counter() - began, 2)
        said[f"{name} GB"] = round(peak.bytes / 1e9, 2)
        began = time.perf_counter()

    forget(path)
    clips = load_clips([path], None, task="many-to-one", memory=memory).clips
    note("load s")
    forget(path)
    embedding_statistics(clips)
    note("statistics s")
    forget(path)
    settings = TrainSettings(model="bilstm", updates=updates, batch_size=32)
    with tempfile.TemporaryDirectory() as folder:
        files = {"checkpoint": Path(folder) / "a.weights.h5", "log": Path(folder) / "a.csv"}
        result = fit_model(clips, (), settings, num_classes=CLASSES, seed=0, quiet=True, **files)
    note("fit s")
    said["ms/update"] = round(1e3 * result.update_seconds / result.updates, 1)
    forget(path)
    fit_baseline("meanpool_logreg", clips, CLASSES, seed=0)
    note("baseline s")
    forget(path)
    predict(result.model, clips)
    note("predict s")
    print(json.dumps(said | {PEAK: round(peak.bytes / 1e9, 2)}))


def ratio(path: Path, count: int) -> None:
    """The rate of training on a store relative to training in memory, the median over turns."""
    from sequence_models.clips.loading import load_clips
    from sequence_models.settings import TrainSettings
    from sequence_models.training.fit import fit_model

    settings, found = TrainSettings(model="bilstm", updates=UPDATES, batch_size=64), []
    try:
        make(path, count)
        ways = [load_clips([path], None, task="many-to-one", memory=memory).clips for memory in (100, 0)]
        with tempfile.TemporaryDirectory() as folder:
            files = {"checkpoint": Path(folder) / "a.weights.h5", "log": Path(folder) / "a.csv"}
            for turn in range(TURNS + 1):
                seconds = []
                for clips in ways:
                    forget(path)
                    result = fit_model(clips, (), settings, num_classes=CLASSES, seed=turn, quiet=True, **files)
                    seconds.append(result.update_seconds / result.updates)
                print(
                    f"turn {turn}: in memory {1e3 * seconds[0]:.1f} ms, in store {1e3 * seconds[1]:.1f} ms", flush=True
                )
                found += [seconds[0] / seconds[1]] if turn else []  # the first compiles
        print(f"training from the store runs at {np.median(found):.2f} of the rate in memory")
    finally:
        shutil.rmtree(path, ignore_errors=True)


def extract(folder: Path, count: int) -> None:
    """Extract so many links to one small video with the backbone `tiny`; prints seconds and peak."""
    import cv2

    folder.mkdir()
    frame = np.zeros((32, 32, 3), np.uint8)
    writer = cv2.VideoWriter(str(folder / "one.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 8, (32, 32))
    for _ in range(4):
        writer.write(frame)
    writer.release()
    for number in range(1, count):
        (folder / f"{number:07d}.avi").hardlink_to(folder / "one.avi")
    peak, began = Peak(), time.perf_counter()
    import pipeline

    code = pipeline.main(
        ["extract", str(folder), "--output", f"{folder}-features", "--backbone", "tiny", "--every", "1"]
    )
    seconds = time.perf_counter() - began
    print(f"code {code}: {count} clips, {seconds:.1f} s, {peak.bytes / 1e9:.3f} GB in this process")


def main() -> None:
    """Make, measure, delete, and print the table."""
    if sys.argv[1] == "one":
        extract(Path(sys.argv[2]), int(sys.argv[3]))
        return
    if sys.argv[1] == "work":
        work(Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
        return
    folder = Path(sys.argv[1])
    if sys.argv[2:3] == ["ratio"]:
        ratio(folder / "synthetic-ratio", int(sys.argv[3]))
        return
    if sys.argv[2:3] == ["extract"]:
        for number in sys.argv[3:]:
            path = folder / f"videos-{number}"
            try:
                subprocess.run([sys.executable, __file__, "one", str(path), number], check=True)
            finally:
                shutil.rmtree(path, ignore_errors=True)
                shutil.rmtree(f"{path}-features", ignore_errors=True)
        return
    counts = list(map(int, sys.argv[2:])) or [60, 600, 6000, 60000]
    print(*COLUMNS, PEAK, sep="\t")
    for count in counts:
        path = folder / f"synthetic-{count}"
        try:
            make(path, count)
            size = sum(file.stat().st_size for file in path.iterdir()) / 1e9
            for memory in (0, 100) if count <= MOST_HELD else (0,):
                command = [sys.executable, __file__, "work", str(path), str(memory), str(UPDATES)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr)
                said = json.loads(done.stdout.splitlines()[-1])
                row = {"clips": count, "embeddings": "in memory" if memory else "in store", "store GB": round(size, 2)}
                print(*[(row | said)[name] for name in (*COLUMNS, PEAK)], sep="\t", flush=True)
                print(said, file=sys.stderr)
        finally:
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main()
