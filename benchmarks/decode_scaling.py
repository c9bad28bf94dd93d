"""Decoding alone (packets, pictures, resize) with more and more workers: frames per second, and how far from linear.

    python benchmarks/decode_scaling.py VIDEOS [--workers 1,2,4,8,16] [--every 1] [--clips N] [--seconds S] [--rounds 3]

Linear is the rate of one worker times the workers, or times the cores where there are fewer of them. Give it at least
as many clips of like length as workers: a clip is decoded by one of them. Rounds take turns; the best of each counts.
Per second of processor time is what does not depend on whatever else the machine does. `--threads N` gives each worker
so many threads of FFmpeg.
"""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2

from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.errors import VideoError
from extract.records import VideoItem
from extract.system.cores import usable_cores
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule


def main() -> None:
    """Decodes all clips with each number of workers and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos")
    parser.add_argument("--workers", default="1,2,4,8,16")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    add_limits(parser)
    arguments = parser.parse_args()
    items, cores = chosen_clips(arguments), usable_cores()
    settings = DecodeSettings(
        sampling=SamplingRule("every", arguments.every), image_size=arguments.image_size, threads=arguments.threads
    )
    counts = [int(text) for text in arguments.workers.split(",")]
    rates: dict[int, float] = dict.fromkeys(counts, 0.0)
    cheapest: dict[int, float] = dict.fromkeys(counts, 0.0)
    for _ in range(arguments.rounds):
        for workers in counts:
            spent = time.process_time()
            frames, seconds = decode_all(items, settings, workers=workers)
            cheapest[workers] = max(cheapest[workers], frames / (time.process_time() - spent))
            rates[workers] = max(rates[workers], frames / seconds)
    print(f"{len(items)} clips, {frames:,} frames, {cores} cores")
    for workers, rate in rates.items():
        share = rate / (rates[counts[0]] / counts[0] * min(workers, cores))
        note = "" if workers <= cores else f"  (this machine has {cores} cores: no more than x{cores} can be seen)"
        computed = f"{cheapest[workers]:8.0f} per second of processor time"
        print(f"{workers:>3} workers  {rate:8.0f} frames/s  {share:.2f} of linear  {computed}{note}")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Flags that keep a trial short."""
    parser.add_argument("--every", type=int, default=1, help="sample every Nth frame")
    parser.add_argument("--clips", type=int, help="only so many clips, spread over the list")
    parser.add_argument("--seconds", type=float, help="only the first seconds of every clip")


def chosen_clips(arguments: argparse.Namespace) -> list[VideoItem]:
    """The clips of VIDEOS within the limits that the flags set."""
    items = find_videos(arguments.videos)
    if arguments.clips and arguments.clips < len(items):
        items = [items[k * len(items) // arguments.clips] for k in range(arguments.clips)]
    if arguments.seconds:
        items = [replace(item, end_seconds=item.start_seconds + arguments.seconds) for item in items]
    return items


def decode_all(items: Sequence[VideoItem], settings: DecodeSettings, *, workers: int) -> tuple[int, float]:
    """Decodes every sampled frame as the job does, and drops it.

    Returns:
        How many frames, and the seconds it took.
    """
    cv2.setNumThreads(1)  # as the job does
    waiting: queue.SimpleQueue[VideoItem] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    frames = [0] * workers

    def work(number: int) -> None:
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                with open_clip(item, settings) as reader:
                    frames[number] += sum(len(chunk) for chunk in reader)
            except VideoError as error:
                print(f"left out: {error}", file=sys.stderr)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(frames), time.perf_counter() - began


if __name__ == "__main__":
    main()
