"""A store of very many clips: seconds and peak memory to open it, look clips up, plan a rerun, tell and verify.

    python benchmarks/large_store.py [--shards 1000] [--clips-per-shard 1000] [--failures 10000] [--folder DIR] [--keep]

The tables are synthetic, the files real: every clip has one row, a source and a truth record. Each step runs in a
process of its own, so that its peak is its own; it is VmHWM, so Linux only, and includes what Python and NumPy take.
"plan" asks no disk and no server: its clips come with what a listing says of them. Its own checks: every clip is found,
is reused, and the sampled ones are sound. 1,000,000 clips take 1 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

RECIPE: dict[str, object] = {"backbone": "tiny", "sampling": "fps=8", "image_size": 8}
LOOKED_UP = 10_000
SAMPLED = 1_000
BYTES, CHANGED_NS, ETAG = 1000, 10**18, "etag:" + "0" * 32


def main() -> None:
    """Makes the store, measures each step, prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--clips-per-shard", type=int, default=1000)
    parser.add_argument("--failures", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where the store is made, or was made and kept by an earlier run")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.step:
        measure(settings.step, settings.folder)
        return
    folder = settings.folder or Path(tempfile.mkdtemp())
    try:
        if not (folder / "recipe.json").exists():
            make_store(folder, settings.shards, settings.clips_per_shard, settings.failures)
        print(f"{settings.shards:,} shards, {settings.shards * settings.clips_per_shard:,} clips")
        (folder / ".index.npz").unlink(missing_ok=True)
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            told = json.loads(done.stdout.splitlines()[-1])
            spent = f"{told['seconds']:9.2f} s {told['cpu_seconds']:9.2f} s of CPU"
            print(f"{step:24} {spent} {told['peak_mb']:9,.0f} MB   {told['said']}", flush=True)
    finally:
        if not settings.keep:
            shutil.rmtree(folder)


def make_store(folder: Path, num_shards: int, clips_per_shard: int, num_failures: int) -> None:
    """One shard as the writer makes it, copied with other names in its table."""
    import h5py
    import numpy as np

    from extract.decode import rules
    from extract.records import Source, VideoTruth
    from extract.store.failures import Failure, ledger_line
    from extract.store.shard import open_shard, table_digest
    from extract.store.writer import StoreWriter

    truth = VideoTruth("pyav 18.1.0", "h264", 320, 240, declared_frames=9, decoded_frames=9, duration_seconds=1.0)
    with StoreWriter(folder, RECIPE, engine="keras", flush_seconds=1e9, rules=rules.VERSION) as writer:
        for number in range(clips_per_shard):
            clip_id = name_of(number)
            source = Source(f"s3://bucket/{clip_id}", BYTES, CHANGED_NS, ETAG)
            writer.append(clip_id, np.ones((1, 8), np.float32), np.zeros(1), np.zeros(1), source)
            writer.finish(clip_id, truth)
    (template,) = folder.glob("shard-*.h5")
    shard = open_shard(template)
    for number in range(1, num_shards):
        path = folder / f"shard-copy-{number:06d}.h5"
        shutil.copyfile(template, path)
        first = number * clips_per_shard
        names = [name_of(first + k) for k in range(clips_per_shard)]
        columns = dict(shard.columns)
        columns["clip_id"] = np.array(names, shard.columns["clip_id"].dtype)
        columns["path"] = np.array([f"s3://bucket/{name}" for name in names], shard.columns["path"].dtype)
        with h5py.File(path, "r+") as file:
            for name in ("clip_id", "path"):
                file[f"clips/{name}"][...] = columns[name].astype(file[f"clips/{name}"].dtype)
            file.attrs.modify("digest", np.bytes_(table_digest(shard.attributes, columns, shard.embeddings)))
    lines = [
        ledger_line(Failure(f"bad/{k:08d}.mp4", "NoFramesError", f"bad/{k:08d}.mp4: no frame", BYTES, k, k))
        for k in range(num_failures)
    ]
    (folder / "failures-a-1-b.jsonl").write_bytes(b"".join(lines))


def name_of(number: int) -> str:
    """A clip's name, of equal length for all."""
    return f"group{number % 100:02d}/video_{number:010d}.mp4"


def measure(step: str, folder: Path) -> None:
    """Runs one step and prints its record."""
    import h5py  # noqa: F401 - what every command that opens a store has loaded
    import numpy  # noqa: F401

    import extract.jobs.plan
    import extract.store.verify  # noqa: F401

    began, computed = time.perf_counter(), time.process_time()
    said = STEPS[step](folder)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - computed
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    peak_mb = int(peak.split()[1]) / 1024
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb, "said": said}))


def open_it(folder: Path) -> str:
    """Opens the store."""
    from extract.store.reader import open_store

    return f"{len(open_store(folder)):,} clips"


def look_up(folder: Path) -> str:
    """Reads random clips."""
    from extract.store.reader import open_store

    store = open_store(folder)
    began = time.perf_counter()
    for clip_id in random.Random(0).choices(store.clip_ids, k=LOOKED_UP):
        assert len(store.read(clip_id)) == 1
    return f"of which {time.perf_counter() - began:.2f} s for {LOOKED_UP:,} clips"


def plan(folder: Path) -> str:
    """Decides what a rerun does with every clip."""
    from extract.jobs.plan import decide_clips
    from extract.records import Source, VideoItem
    from extract.store.reader import open_store
    from extract.system.addresses import Address

    store = open_store(folder)
    began = time.perf_counter()
    items = [
        VideoItem(clip_id, Address(path), listed=Source(path, BYTES, CHANGED_NS, ETAG))
        for clip_id in store.clip_ids
        for path in [f"s3://bucket/{clip_id}"]
    ]
    reused = sum(decision.action == "reuse" for _, decision in decide_clips(items, store))
    assert reused == len(store)
    return f"of which {time.perf_counter() - began:.2f} s after opening"


def info(folder: Path) -> str:
    """What `clipseq info` gathers."""
    from extract.jobs.plan import outdated_warning
    from extract.store.reader import open_store

    store = open_store(folder)
    began = time.perf_counter()
    summary = store.summary()
    outdated_warning(store)
    return f"of which {time.perf_counter() - began:.2f} s after opening; {summary['failed']:,} failed"


def verify_sample(folder: Path) -> str:
    """`clipseq verify --sample`."""
    from extract.store.verify import verify

    report = verify(folder, sample=SAMPLED)
    assert report.is_sound
    return f"{report.num_clips:,} clips"


STEPS: dict[str, Callable[[Path], str]] = {
    "open, no index": open_it,
    "open": open_it,
    "look up": look_up,
    "plan a rerun": plan,
    "info": info,
    f"verify --sample {SAMPLED}": verify_sample,
}


if __name__ == "__main__":
    main()
