"""Decodes every frame of every file in a folder and compares the counts with `expected.csv`.

    python benchmarks/odd_files.py ../shared/data/odd_videos

`expected.csv` (file, frames_ffmpeg_cli, frames_pyav) says what two independent decoders get. Exit code 1 where a file
has no frame, as for an extraction; 2 where ours differs from both on more than three files.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import NamedTuple

from extract.decode import DecodeSettings, open_clip
from extract.errors import VideoError
from extract.records import VideoItem
from extract.sampling import SamplingRule

SETTINGS = DecodeSettings(SamplingRule.parse("every=1"), image_size=8)
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


def decode(path: Path) -> tuple[int, str]:
    """(frames, remark): what came out of one file, and what the record or the error says."""
    try:
        with open_clip(VideoItem(path.name, path), SETTINGS) as reader:
            frames = sum(len(chunk) for chunk in reader)
    except VideoError as error:
        return 0, f"{type(error).__name__}: {str(error).replace(f'{path.parent}/', '')}"
    truth = reader.truth
    lost = [f"lost {start:.2f}-{end:.2f} s" for start, end in truth.lost_spans]
    declared = [] if truth.declared_frames in (None, frames) else [f"declared {truth.declared_frames}"]
    return frames, "; ".join([truth.decoder, *declared, *lost, *truth.notes])


def measure(folder: Path) -> list[Outcome]:
    """One outcome per line of expected.csv."""
    outcomes = []
    with open(folder / "expected.csv", encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            began = time.monotonic()
            frames, remark = decode(folder / "videos" / row["file"])
            expected = (row["frames_ffmpeg_cli"], row["frames_pyav"])
            outcomes.append(Outcome(row["file"], expected, frames, time.monotonic() - began, remark))
    return outcomes


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
