"""Extracts every frame of every file in a folder with the tiny backbone and compares the counts with `expected.csv`.

    python benchmarks/odd_files.py ../shared/data/odd_videos

`expected.csv` (file, frames_ffmpeg_cli, frames_pyav) says what two independent decoders get. Exit code 1 where a file
has no frame, as for an extraction; 2 where ours differs from both on more than three files.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from extract.jobs.job import extract
from extract.jobs.settings import ExtractSettings
from extract.records import VideoTruth
from extract.store.reader import open_store
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule

MOST_DIFFERENT = 3
SLOW_SECONDS = 60.0


class Outcome(NamedTuple):
    """One line of the table."""

    file: str
    expected: tuple[str, str]
    frames: int
    seconds: float
    remark: str

    @property
    def agreed(self) -> bool:
        """Whether the two independent decoders agree on a number above zero."""
        return self.expected[0] == self.expected[1] and self.expected[0].isdigit() and int(self.expected[0]) > 0

    @property
    def differs(self) -> bool:
        """Whether ours is another number although they agree."""
        return self.agreed and self.frames != int(self.expected[0])


def remark_of(truth: VideoTruth | None, frames: int) -> str:
    """What the truth record of a clip says."""
    if truth is None:
        return ""
    lost = [f"lost {start:.2f}-{end:.2f} s" for start, end in truth.lost_spans]
    declared = [] if truth.declared_frames in (None, frames) else [f"declared {truth.declared_frames}"]
    return "; ".join([truth.decoder, *declared, *lost, *truth.notes])


def extract_all(folder: Path, store_path: Path) -> dict[str, tuple[int, float, str]]:
    """(frames, seconds since the result before, remark) of every clip, by its name, from the job and its store."""
    settings = ExtractSettings(store_path, backbone="tiny", sampling=SamplingRule("every", 1), decode_threads=1)
    failures: dict[str, str] = {}
    seconds: dict[str, float] = {}
    before = time.monotonic()
    for result in extract(find_videos(folder / "videos"), settings):
        seconds[result.clip_id], before = time.monotonic() - before, time.monotonic()
        if result.status == "failed":
            failures[result.clip_id] = result.reason.replace(f"{folder / 'videos'}/", "")
    store = open_store(store_path)
    if store.failures().keys() != failures.keys():
        raise SystemExit("the failures in the store are not those that the job reported")
    lengths = store.lengths()
    return {
        name: (lengths.get(name, 0), spent, failures.get(name) or remark_of(store.truth(name), lengths[name]))
        for name, spent in seconds.items()
    }


def measure(folder: Path) -> list[Outcome]:
    """One outcome per line of expected.csv."""
    with tempfile.TemporaryDirectory() as store:
        ours = extract_all(folder, Path(store, "features"))
    with open(folder / "expected.csv", encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    return [Outcome(row["file"], (row["frames_ffmpeg_cli"], row["frames_pyav"]), *ours[row["file"]]) for row in rows]


def main(folder: Path) -> int:
    """Print the table and its last line; returns the exit code."""
    outcomes = measure(folder)
    print(f"{'file':58} {'ffmpeg':>7} {'PyAV':>7} {'ours':>7} {'s':>6}  remark")
    for outcome in outcomes:
        mark = "!" if outcome.differs else " "
        first, second = outcome.expected
        name = outcome.file if len(outcome.file) <= 58 else f"...{outcome.file[-55:]}"
        print(f"{name:58} {first:>7} {second:>7} {outcome.frames:>7} {outcome.seconds:6.2f} {mark}{outcome.remark}")
    agreed, different = [o for o in outcomes if o.agreed], [o for o in outcomes if o.differs]
    failed, slow = [o for o in outcomes if not o.frames], [o for o in outcomes if o.seconds > SLOW_SECONDS]
    print(
        f"files {len(outcomes)}  agreed above zero {len(agreed)}  of these equal {len(agreed) - len(different)}  "
        f"different {len(different)}  without a frame {len(failed)}  slower than {SLOW_SECONDS:g} s {len(slow)}"
    )
    return 2 if len(different) > MOST_DIFFERENT else int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
