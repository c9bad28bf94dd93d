"""How long it takes to read 10,000 labelled intervals of 500 clips, in every format that is written.

    python benchmarks/label_reading.py

Intervals of half a second, or 12 frames at 25 frames/s, of 7 classes, 20 in each clip, one after the other. Formats
with a file per clip have 500 files. Seconds are of processor time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

from sequence_models.labels.formats.contract import WriteOptions
from sequence_models.labels.formats.registry import OWN_FORMATS, WRITTEN
from sequence_models.labels.reading import read_label_source
from sequence_models.labels.table import BY_SECONDS, LabelRow, LabelTable
from sequence_models.labels.writing import write_labels
from sequence_models.settings import DataSettings

CLIPS, INTERVALS, CLASSES, RATE = 500, 10_000, 7, 25.0


def main() -> None:
    """Prints a line per format."""
    spans = [(f"{k % CLIPS:03}.mp4", f"c{k % CLASSES}", k // CLIPS) for k in range(INTERVALS)]
    rows = tuple(LabelRow(clip, label, 0, start=start, end=start + 0.48) for clip, label, start in spans)
    options = WriteOptions(rates=dict.fromkeys((clip for clip, _, _ in spans), RATE), background="none")
    for name in WRITTEN:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "labels"
            done = write_labels(LabelTable(Path("drawn"), BY_SECONDS, rows), path, OWN_FORMATS[name], options)
            before = time.process_time()
            read = read_label_source(path, DataSettings())
            seconds = time.process_time() - before
        print(f"{name:<14}{len(done.files):>4} files  {len(read.rows):>6} rows  {seconds:.2f} s")


if __name__ == "__main__":
    main()
