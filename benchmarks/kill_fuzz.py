"""Kills real extractions at random moments, restarts them, and checks the store after every kill.

    python benchmarks/kill_fuzz.py [--kills 200] [--seed 0] [--flush-seconds 0.5]

Every try is `clipseq extract` in a process forked from this one, which has only imported it, on many short clips and a
long one. It gets SIGKILL, or in one try of four SIGTERM or Ctrl-C, which must seal what is gathered. Then:

    corrupt    a shard or a digest is wrong, a row is not that of the uninterrupted run, or a row is sealed twice
    lost       a row that was sealed is not any more, or a signal did not seal what was gathered

Every store that gets complete must hold what an uninterrupted run holds, byte for byte; then a fresh one is begun. The
engine is LiteRT, which alone promises the same bytes in two runs.

    python benchmarks/kill_fuzz.py --verbs train,evaluate,compare,report,predict,pack,import [--kills 200] [--seed 0]

kills these verbs instead, as `kill_verbs.py` describes.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from forked import Count, Forked
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

import extract.jobs.batch
import extract.jobs.job  # so that the forked processes need not
from extract.decode import rules
from extract.records import ClipEmbeddings
from extract.store.reader import Store, open_store
from extract.store.recipe import read_recipe
from extract.store.schema import SHARD_PATTERN
from extract.store.verify import verify
from extract.system.files import TEMPORARY_PATTERN
from extract.videos.listing import find_videos
from extract.videos.sources import source_of

RECIPE = ("--backbone", "tiny", "--every", "1", "--engine", "litert", "--decode-threads", "2")
SIGNALS = (signal.SIGKILL,) * 6 + (signal.SIGTERM, signal.SIGINT)
AIMED_SHARE = 0.2  # of the tries wait for a shard that is being written
MOMENTS = (
    "before the first frame of a run, no shard yet",
    "before the first sealed shard",
    "before the first frame of a run, shards there",
    "between shards",
    "while a shard was written",
)
LONG_FRAMES = 5000
STUCK_SECONDS = 120.0


@dataclass
class Tally:
    """What was seen so far."""

    moments: Counter = field(default_factory=Counter)
    signals: Counter = field(default_factory=Counter)
    completed: int = 0
    kills: int = 0
    late: int = 0  # after the first sealed shard of the store
    problems: dict[str, list[str]] = field(default_factory=lambda: {"corrupt": [], "lost": [], "different": []})


class Fuzz:
    """One data set, its uninterrupted extraction, and the stores that are killed.

    Args:
        folder: Where everything goes.
        rng: Decides when and how to kill.
        short_clips: Number of short clips.
        flush_seconds: How often a run seals; it is killed at a random moment within three times that.
    """

    def __init__(self, folder: Path, rng: random.Random, *, short_clips: int, flush_seconds: float) -> None:
        self._folder = folder
        self._flush_seconds = flush_seconds
        self._rng = rng
        self._tally = Tally()
        self._patience = 3 * flush_seconds
        make_clips(folder / "videos", short_clips, seed=rng.randrange(1 << 30))
        self._sources = {i.clip_id: source_of(i, with_digest=True) for i in find_videos(folder / "videos")}
        self._begin("whole")  # the first converts the backbone, once
        self._run_to_the_end()
        self._begin("reference")
        began = time.monotonic()
        self._run_to_the_end()
        self.run_seconds = time.monotonic() - began
        reference = open_store(self._store)
        self._reference = {clip_id: reference.read(clip_id) for clip_id in reference.clip_ids}
        self.frames = sum(map(len, self._reference.values()))
        whole = open_store(folder / "whole")
        if not all(same(whole.read(clip_id), self._reference[clip_id]) for clip_id in self._sources):
            sys.exit("two uninterrupted runs differ: the check has no ground to stand on")

    def kill(self, times: int, bar: tqdm) -> Tally:
        """Kills until it was done so many times, lets the last extraction end, and returns what was seen."""
        self._begin("store-0")
        while self._tally.kills < times:
            if self._one_try():
                bar.update()
            bar.set_postfix_str(f"{self._tally.completed} completed, {self._count_problems()} problems", refresh=False)
        self._run_to_the_end()
        self._complete()
        return self._tally

    def _begin(self, name: str) -> None:
        self._store = self._folder / name
        self._sealed: dict[str, int] = {}  # clip_id -> rows

    def _start(self) -> Forked:
        command = ["extract", str(self._folder / "videos"), "--output", str(self._store), *RECIPE]
        command += ["--flush-seconds", str(self._flush_seconds)]
        self._embedded = Count()
        return Forked(command, self._folder / "log.txt", prepare=partial(_share_frames, self._embedded))

    def _run_to_the_end(self) -> None:
        run = self._start()
        run.wait(STUCK_SECONDS)
        if run.code != 0:
            run.send(signal.SIGKILL, patience=STUCK_SECONDS)
            sys.exit(f"an extraction ended with {run.code}: {(self._folder / 'log.txt').read_text()[-2000:]}")

    def _one_try(self) -> bool:
        """Starts the extraction, kills it, checks; returns whether it was killed before it ended by itself."""
        had_shards = self._has_shards()
        run, number = self._start(), self._rng.choice(SIGNALS)
        run.wait(self._rng.uniform(0, self._patience))
        if self._rng.random() < AIMED_SHARE:
            run.wait(4 * self._flush_seconds, until=lambda: any(self._store.glob(TEMPORARY_PATTERN)))
            time.sleep(self._rng.uniform(0, 0.004))
        frames = self._embedded.value
        was_alive = not run.ended()
        run.send(number, patience=STUCK_SECONDS)
        if run.code == 0:  # it was done before the signal came
            self._check(None)
            self._complete()
            return False
        self._check(frames if run.code in (130, 143) else None)
        if was_alive:
            self._note(number, run, had_shards)
        else:
            self._problem("lost", f"a run ended by itself with {run.code}")
        return was_alive

    def _note(self, number: int, run: Forked, had_shards: bool) -> None:
        writing = any(f"-{run.pid}-" in path.name for path in self._store.glob(TEMPORARY_PATTERN))
        late = had_shards or self._has_shards()
        early_run = self._embedded.value == 0
        moment = 4 if writing else 2 * late if early_run else 3 if late else 1
        self._tally.moments[MOMENTS[moment]] += 1
        self._tally.signals[signal.Signals(number).name] += 1
        self._tally.kills += 1
        self._tally.late += late

    def _has_shards(self) -> bool:
        return any(self._store.glob(SHARD_PATTERN))

    def _complete(self) -> None:
        store = open_store(self._store)
        missing = [c for c in self._reference if c not in store or not same(store.read(c), self._reference[c])]
        if missing or len(store) != len(self._reference) or store.failures():
            self._problem("different", f"{len(missing)} clips of a complete store, such as {missing[:3]}")
        shutil.rmtree(self._store)
        self._tally.completed += 1
        self._begin(f"store-{self._tally.completed}")

    def _check(self, gathered: int | None) -> None:
        """Reads everything that is sealed; `gathered`: rows that a signal had to seal at least."""
        if not self._store.is_dir() or read_recipe(self._store) is None:
            sealed: dict[str, int] = {}
        else:
            report, store = verify(self._store), open_store(self._store)
            if not report.is_sound or store.damaged:
                self._problem("corrupt", f"{report.damages} {store.damaged}")
            sealed = self._sealed_rows(store)
        fewer = {clip_id: rows for clip_id, rows in self._sealed.items() if sealed.get(clip_id, 0) < rows}
        if fewer:
            self._problem("lost", f"sealed rows of {fewer}")
        new = sum(sealed.values()) - sum(self._sealed.values())
        if gathered is not None and new < gathered:
            self._problem("lost", f"a signal sealed {new} rows of {gathered}")
        # On a busy machine a long clip may need longer than that to come to its first new frame.
        self._patience = 3 * self._flush_seconds if new else 1.2 * self._patience
        self._sealed = sealed

    def _sealed_rows(self, store: Store) -> dict[str, int]:
        """Rows of every clip that a restart would not do again, after comparing each with the uninterrupted run."""
        sealed = store.lengths()
        for clip_id in sealed:
            if not same(store.read(clip_id), self._reference[clip_id]):
                self._problem("corrupt", f"{clip_id} differs from the uninterrupted run")
        for clip_id in store.unfinished():
            sealed[clip_id] = store.partial(clip_id, self._sources[clip_id], rules=rules.VERSION).rows
        in_shards = sum(int(shard.columns["length"].sum()) for shard in store.shards)
        if in_shards != sum(sealed.values()):
            self._problem("corrupt", f"{in_shards} rows are sealed for {sum(sealed.values())}: some were done again")
        return sealed

    def _problem(self, kind: str, what: str) -> None:
        self._tally.problems[kind].append(what)
        tqdm.write(f"kill {self._tally.kills}: {kind}: {what}")

    def _count_problems(self) -> int:
        return sum(map(len, self._tally.problems.values()))


def same(one: ClipEmbeddings, other: ClipEmbeddings) -> bool:
    """Whether two clips are equal, byte for byte."""
    pairs = [(getattr(clip, name) for clip in (one, other)) for name in ("embeddings", "frame_indices", "pts_seconds")]
    return all((a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()) for a, b in pairs)


def make_clips(folder: Path, short_clips: int, *, seed: int) -> None:
    """Short clips of 5 to 40 frames in two folders, and a long one; every frame is different."""
    rng = np.random.default_rng(seed)
    for number in range(short_clips):
        write_clip(folder / f"short{number % 2}" / f"{number:04d}.avi", int(rng.integers(5, 41)), rng)
    write_clip(folder / "long.avi", LONG_FRAMES, rng)


def write_clip(path: Path, frames: int, rng: np.random.Generator) -> None:
    """A blob of changing colour that wanders over a dark picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 32))
    for _ in range(frames):
        picture = np.zeros((32, 32, 3), np.uint8)
        top, left = rng.integers(0, 24, 2)
        picture[top : top + 8, left : left + 8] = rng.integers(40, 256, 3)
        writer.write(picture)
    writer.release()


def preload() -> None:
    """Imports what takes seconds and runs nothing of it: no thread may run where a process forks."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        from extract.system.quiet_start import quiet_tensorflow

        quiet_tensorflow()
    tqdm.monitor_interval = 0
    cv2.setNumThreads(1)


def _share_frames(frames: Count) -> None:
    """Lets the parent of this process know how many rows it has embedded and appended."""
    show = extract.jobs.batch._FrameBar.show

    def show_and_share(bar: object, progress: extract.jobs.job.Progress) -> None:
        frames.value = progress.frames
        show(bar, progress)

    extract.jobs.batch._FrameBar.show = show_and_share


def report(tally: Tally, seconds: float) -> None:
    """Prints the histogram and the closing line."""
    print(f"when the {tally.kills} kills fell:")
    for moment in MOMENTS:
        count = tally.moments[moment]
        print(f"  {moment:<46}{count:4d}  {'#' * round(60 * count / max(1, tally.kills))}")
    print(f"after the first sealed shard: {tally.late} of {tally.kills}")
    print("signals: " + "  ".join(f"{name} {count}" for name, count in sorted(tally.signals.items())))
    print(f"{tally.completed} stores completed in {seconds:.0f} s")
    corrupt, lost, different = (len(tally.problems[kind]) for kind in ("corrupt", "lost", "different"))
    outcome = f"{different} different" if different else "identical"
    print(f"{tally.kills} kills, {corrupt} corrupt, {lost} lost, {outcome}")


def main() -> int:
    """Runs it; the exit code is 1 where anything was corrupt, lost or different."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short-clips", type=int, default=1200)
    parser.add_argument("--flush-seconds", type=float, default=0.5)
    parser.add_argument("--verbs", metavar="A,B", help="kill these verbs in place of extract")
    settings = parser.parse_args()
    if settings.verbs:
        from kill_verbs import fuzz_verbs

        return fuzz_verbs(settings.verbs.split(","), kills=settings.kills, seed=settings.seed)
    preload()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CLIPSEQ_CACHE"] = str(Path(folder) / "cache")
        rng = random.Random(settings.seed)
        fuzz = Fuzz(Path(folder), rng, short_clips=settings.short_clips, flush_seconds=settings.flush_seconds)
        print(f"{settings.short_clips + 1} clips, {fuzz.frames} frames, uninterrupted in {fuzz.run_seconds:.1f} s")
        with tqdm(total=settings.kills, unit=" kills", dynamic_ncols=True) as bar:
            tally = fuzz.kill(settings.kills, bar)
    report(tally, time.monotonic() - began)
    return 1 if any(tally.problems.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
