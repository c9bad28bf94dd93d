"""How long N workers take for a million videos, where more of them stop helping, and whether that really happens.

    python benchmarks/cluster_model.py plan [--clips 1000000 --clip-seconds 30 ...]
    python benchmarks/cluster_model.py check [--workers 1 2 4]

`plan` computes: clips are given to whoever is free, the longest first, to workers as fast as the slower of decoding and
backbone, on storage that all of them share, and some of them die. It measures nothing: give your own rates, from
`clipseq scan` and the last lines of `clipseq extract` on a few hundred of your videos.

`check` runs real extractions with Ray on this machine, and compares them with the same model. Cores cannot be had four
times over, so the backbone of these workers only waits, as for a GPU of its own (`--device-rate` frames/s): decoding of
pictures of 16 x 16 pixels, packing, writing, giving out and collecting are the real ones. The rate of a worker is that
of a run of one worker on other clips. The time counts from the first worker that is ready; how much later the others
are is taken from the run.
"""

from __future__ import annotations

import argparse
import heapq
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WAITING_BACKBONE = """
import os, time
from dataclasses import replace
import numpy as np
from extract.backbones.registry import load_backbone
from extract.engines.engine import Engine
from extract.jobs import worker

def compute(frames):
    time.sleep(len(frames) / float(os.environ["CLUSTER_MODEL_RATE"]))
    return np.ones((len(frames), 16), np.float32)

def load(*, weights, image_size, pool):
    worker.engine_for = lambda backbone, settings: Engine("waits", "keras", 32, backbone.frame_shape, compute)
    return replace(load_backbone("tiny", image_size=image_size, pool=pool), name="waits")
"""


@dataclass(frozen=True)
class Job:
    """What is to be done, and by what. Rates are of one worker on its own; bytes per second are of all videos together.

    Args:
        clips, clip_seconds, spread: How many, how long on average, standard deviation of the logarithm.
        fps, video_fps: Frames taken, and frames that must be decoded, a second.
        video_bytes: A second of video.
        row_bytes: An embedding with its time and index.
        cores, decode_ms: Of a worker; processor time to decode a frame.
        device_rate: Frames/s of a worker's GPU; 0 = the backbone shares the cores and takes `backbone_ms` of one.
        backbone_ms: See there.
        storage_rate, network_rate: Bytes/s that the storage gives to all workers, and that reach one of them.
        start_seconds, flush_seconds: To start a worker, and between two shards.
        deaths_a_day, price: Of a worker; price of an hour.
    """

    clips: int
    clip_seconds: float
    spread: float
    fps: float
    video_fps: float
    video_bytes: float
    row_bytes: float
    cores: int
    decode_ms: float
    device_rate: float
    backbone_ms: float
    storage_rate: float
    network_rate: float
    start_seconds: float
    flush_seconds: float
    deaths_a_day: float
    price: float

    @property
    def frame_bytes(self) -> float:
        """Read and written for an embedded frame."""
        return self.video_bytes / self.fps + self.row_bytes

    def limits(self, workers: int) -> dict[str, float]:
        """What bounds the frames/s of all workers together -> the bound."""
        decode_ms = self.decode_ms * self.video_fps / self.fps + (0 if self.device_rate else self.backbone_ms)
        alive = 1 - self.deaths_a_day * (self.start_seconds + self.flush_seconds / 2) / 86400
        bounds = {
            "cores": workers * alive * self.cores * 1000 / decode_ms,
            "network of a worker": workers * alive * self.network_rate / self.frame_bytes,
            "shared storage": self.storage_rate / self.frame_bytes,
        }
        return bounds | ({"GPU": workers * alive * self.device_rate} if self.device_rate else {})

    def lengths(self) -> np.ndarray:
        """Frames of each clip, float64 (clips,), the longest first."""
        drawn = np.random.default_rng(0).lognormal(0.0, self.spread, self.clips)
        return np.sort(drawn)[::-1] * self.clip_seconds * self.fps / drawn.mean()

    def longest_alone(self, frames: float) -> float:
        """Seconds of one clip, which one thread decodes."""
        return frames * self.decode_ms * self.video_fps / self.fps / 1000


def makespan(frames: Sequence[float] | np.ndarray, slots: int, rate: float, *, free_at: Sequence[float] = ()) -> float:
    """Seconds until all clips are done, if whoever is free takes the next one.

    Args:
        frames: Of each clip, in the order in which they are given out.
        slots: How many are worked on at once.
        rate: Frames/s of all slots together.
        free_at: When each slot begins, if not all do at once.
    """
    each = rate / slots
    free = sorted(free_at) or [0.0] * slots
    for count in frames:
        heapq.heapreplace(free, free[0] + count / each)
    return max(free)


def plan(job: Job, workers: Sequence[int]) -> None:
    """Print a row for each number of workers."""
    lengths = job.lengths()
    total = lengths.sum()
    print(
        f"{job.clips:,} clips, {total / 1e6:,.0f} million frames, {total * job.video_bytes / job.fps / 1e12:,.2f} TB "
        f"to read, {total * job.row_bytes / 1e9:,.0f} GB to write"
    )
    print("workers   hours  of ideal  bound by              deaths  price of a million clips")
    first = 0.0
    for count in workers:
        bounds = job.limits(count)
        bound = min(bounds, key=lambda name: bounds[name])
        seconds = makespan(lengths, count * job.cores, bounds[bound])
        if job.longest_alone(lengths[0]) > seconds:
            bound, seconds = "the longest clip", job.longest_alone(lengths[0])
        seconds += job.start_seconds + job.flush_seconds
        first = first or seconds * count
        price = seconds / 3600 * count * job.price * 1e6 / job.clips
        deaths = job.deaths_a_day * count * seconds / 86400
        print(
            f"{count:7,} {seconds / 3600:7.2f}  {first / (seconds * count):8.0%}  {bound:20}  {deaths:6.1f}  "
            f"{price:,.0f}"
        )


def check(workers: Sequence[int], *, clips: int, device_rate: float) -> None:
    """Print what the model says and what a run takes, for each number of workers."""
    with tempfile.TemporaryDirectory(prefix="model-") as name:
        folder = Path(name)
        _install_waiting_backbone(folder / "site", device_rate)
        import ray

        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        ray.init(num_cpus=max(workers), include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        counts = np.clip(np.random.default_rng(1).lognormal(4.3, 0.6, clips), 10, 600).astype(int)
        some = counts[::4]
        seconds, _ = run(folder, "calibration", some, 1)
        rate = some.sum() / seconds
        print(
            f"one worker, {some.sum():,} frames of other clips: {rate:.1f} frames/s (its device alone {device_rate:g})"
        )
        print("workers  predicted    real  difference")
        for count in workers:
            real, ready = run(folder, f"run{count}", counts, count)
            predicted = makespan(np.sort(counts)[::-1], count, count * rate, free_at=ready)
            print(f"{count:7} {predicted:8.1f} s {real:6.1f} s  {real / predicted - 1:+10.1%}", flush=True)
        ray.shutdown()


def run(folder: Path, name: str, counts: np.ndarray, workers: int) -> tuple[float, list[float]]:
    """Seconds of an extraction, from the first worker that is ready to the last clip on disk; when each was ready."""
    from extract.jobs.batch import extract_videos
    from extract.jobs.settings import ExtractSettings
    from extract.videos.rule import SamplingRule

    for number, count in enumerate(counts):
        write_video(folder / name / f"{number}.avi", int(count))
    settings = ExtractSettings(
        output=folder / f"{name}-store",
        backbone="waits",
        sampling=SamplingRule("every", 1),
        ray="auto",
        ray_workers=workers,
    )
    ready, ended = _Times("is ready"), 0.0

    def note(result: object, batch: object) -> None:
        nonlocal ended
        ended = time.perf_counter()

    logging.getLogger("extract").addHandler(ready)
    batch = extract_videos(folder / name, settings, tell=print, on_result=note)
    logging.getLogger("extract").removeHandler(ready)
    if batch.done != len(counts) or len(ready.seconds) != workers:
        sys.exit(f"{name}: {batch.done} of {len(counts)} clips by {len(ready.seconds)} of {workers} workers")
    first = min(ready.seconds)
    return ended - first, [each - first for each in ready.seconds]


class _Times(logging.Handler):
    """When messages with a text came."""

    def __init__(self, text: str) -> None:
        super().__init__(logging.INFO)
        self._text = text
        self.seconds: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.seconds.append(time.perf_counter())


def write_video(path: Path, frames: int) -> None:
    """Frames of 16 x 16 pixels."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (16, 16))
    for number in range(frames):
        writer.write(np.full((16, 16, 3), number % 256, np.uint8))
    writer.release()


def _install_waiting_backbone(site: Path, rate: float) -> None:
    """As pip would, here and for the workers."""
    (site / "waits-1.dist-info").mkdir(parents=True)
    (site / "waits-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: waits\nVersion: 1\n")
    (site / "waits-1.dist-info" / "entry_points.txt").write_text("[clipseq.backbones]\nwaits = waiting_backbone:load\n")
    (site / "waiting_backbone.py").write_text(WAITING_BACKBONE)
    root = Path(__file__).resolve().parents[1]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), str(site)])
    os.environ["CLUSTER_MODEL_RATE"] = str(rate)
    sys.path[:0] = [str(root), str(site)]
    logging.getLogger("extract").setLevel(logging.INFO)


def main() -> None:
    """Parse the arguments, and plan or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    planned = verbs.add_parser("plan", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    defaults = {
        **{"clips": 1_000_000, "clip_seconds": 30.0, "spread": 0.8, "fps": 8.0, "video_fps": 30.0},
        **{"video_bytes": 250e3, "row_bytes": 1280 * 2 + 16.0, "cores": 16, "decode_ms": 1.9},
        **{"device_rate": 6800.0, "backbone_ms": 5.5, "storage_rate": 1e9, "network_rate": 1.25e9},
        **{"start_seconds": 60.0, "flush_seconds": 60.0, "deaths_a_day": 1.0, "price": 3.0},
    }
    for name, value in defaults.items():
        planned.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=" ")
    planned.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 128])
    checked = verbs.add_parser("check", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    checked.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="how many, one run each")
    checked.add_argument("--clips", type=int, default=96, help="of 10 to 600 frames")
    checked.add_argument("--device-rate", type=float, default=100.0, help="frames/s")
    given = vars(parser.parse_args())
    verb, workers = given.pop("verb"), given.pop("workers")
    if verb == "plan":
        plan(Job(**given), workers)
    else:
        check(workers, **given)


if __name__ == "__main__":
    main()
