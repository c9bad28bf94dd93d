"""What several inputs in one job cost: rgb, difference and flow together, and each alone, by turns.

    python benchmarks/extract_inputs.py VIDEOS [--every 3] [--backbone efficientnet_lite0] [--clips N] [--rounds 3]

The limit is each alone less all decoding but one: decoding once, making the pictures of each input, and a model pass
for each. Both wall-clock and processor seconds are printed, the median of the rounds; on a busy machine only ratios
of processor seconds say something.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from decode_scaling import add_limits, chosen_clips, decode_all

from extract.backbones.registry import load_backbone
from extract.jobs.job import extract
from extract.jobs.settings import ExtractSettings
from extract.system.cores import usable_cores
from extract.videos.rule import SamplingRule

INPUTS = ("rgb", "diff", "flow")


def main() -> None:
    """Measures by turns and prints seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--rounds", type=int, default=3)
    add_limits(parser)
    arguments = parser.parse_args()
    items, size = chosen_clips(arguments), load_backbone(arguments.backbone).image_size
    settings = ExtractSettings(Path(), arguments.backbone, sampling=SamplingRule("every", arguments.every))

    def job(*inputs: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            several = inputs if len(inputs) > 1 else ()
            wanted = replace(settings, output=Path(folder) / "f", input=inputs[0], inputs=several)
            assert all(result.status == "done" for result in extract(items, wanted))

    works: dict[str, Callable[[], object]] = {
        "decoding": lambda: decode_all(items, settings.decode_settings(size), workers=usable_cores()),
        **{name: lambda name=name: job(name) for name in INPUTS},  # type: ignore[misc]
        "together": lambda: job(*INPUTS),
    }
    job("rgb")  # the model is converted, the files are read
    rounds = np.array([[_seconds_of(work) for work in works.values()] for _ in range(arguments.rounds)])
    for kind, of_kind in zip(("wall-clock", "processor"), np.moveaxis(rounds, 2, 0), strict=True):
        decoding, *alone, together = of_kind.T
        ratios = together / (np.sum(alone, axis=0) - (len(INPUTS) - 1) * decoding)
        shown = ", ".join(f"{name} {np.median(each):.1f}" for name, each in zip(works, of_kind.T, strict=True))
        saved = np.median(together / np.sum(alone, axis=0))
        print(f"{kind} seconds: {shown}; together over each alone {saved:.3f}")
        print(f"    together over the limit {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def _seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
