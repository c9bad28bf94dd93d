"""How near an extraction comes to the speed of its parts, and what the usual ways of calling a model cost.

    python benchmarks/extract_throughput.py VIDEOS [--every 1] [--backbone efficientnet_lite0] [--clips N] [--seconds S]

One run, the same files, every measurement in a process of its own, by turns `--rounds` times; the best of each counts,
since whatever else the machine does only takes time.

    decoding alone    packets, pictures and resize, on all cores
    model alone       as many full batches as the job has, of frames of these videos
    end to end        the job: plan, decode, embed, write the store; from the call to the sealed store
    efficiency        CPU: (decoding + model) / end to end, in seconds. GPU: end-to-end rate / the smaller rate
    predict           model.predict on one frame at a time, and on all frames of one video at a time: on a sample of
                      the frames, without decoding, which is in their favour
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from decode_scaling import add_limits, chosen_clips, decode_all

from extract.decode.reader import open_clip
from extract.decode.settings import DecodeSettings
from extract.errors import VideoError
from extract.system.cores import usable_cores
from extract.videos.rule import SamplingRule

CHILD = "--measure"
MODEL_BATCHES = 8  # different batches that the model sees by turns


def main() -> None:
    """Measures everything, each in a fresh process, and prints the table."""
    arguments = _parser().parse_args()
    if arguments.measure:
        print(json.dumps(MEASUREMENTS[arguments.measure](arguments)))
        return
    _measure("start", arguments)  # converts the model where that has not been done, and warms the file cache
    names = ("decoding", "model", "job")
    rounds = [{name: _measure(name, arguments) for name in names} for _ in range(arguments.rounds)]
    seconds = {name: min(turn[name]["seconds"] for turn in rounds) for name in names}
    print(f"{rounds[0]['job']['clips']} clips, {usable_cores()} cores, {rounds[0]['job']['engine']}")
    frames = rounds[0]["job"]["frames"]
    for name, text in zip(names, ("decoding alone", "model alone", "end to end"), strict=True):
        _line(text, frames, seconds[name])
    _line_of_efficiency(seconds, "GPU" in rounds[0]["job"]["engine"])
    for name, text in (("single", "predict, one frame a call"), ("video", "predict, one video a call")):
        if not arguments.predict_frames or arguments.backbone.endswith((".onnx", ".tflite")):  # no model.predict
            break
        sample = _measure(name, arguments)
        ratio = frames / seconds["job"] / (sample["frames"] / sample["seconds"])
        _line(text, sample["frames"], sample["seconds"], f"(a sample)  end to end is {ratio:.1f} times as fast")
    print(f"peak memory {max(turn['job']['peak_mb'] for turn in rounds):.0f} MB")
    print(f"first embedding {min(turn['job']['first_seconds'] for turn in rounds):.1f} s after the command")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--spec", action="append", default=[], metavar="KEY=VALUE", help="of a file:MODEL backbone")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--decode-threads", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--predict-frames", type=int, default=200, help="given to predict one at a time; 0: no predict")
    parser.add_argument("--predict-videos", type=int, default=6, help="videos given to predict, spread over the list")
    add_limits(parser)
    parser.add_argument(CHILD, dest="measure", choices=tuple(MEASUREMENTS), help=argparse.SUPPRESS)
    return parser


def _measure(name: str, arguments: argparse.Namespace) -> dict:
    """One measurement in a process of its own, so that none is warm from, or as fat as, another."""
    began = time.time()
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:], CHILD, name], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.strip()}")
    result = json.loads(done.stdout.splitlines()[-1])
    if "first_at" in result:
        result["first_seconds"] = result["first_at"] - began
    return result


def _line(text: str, frames: int, seconds: float, more: str = "") -> None:
    print(f"{text:<27} {frames:>7,} frames {seconds:8.2f} s {frames / seconds:8.0f} frames/s  {more}".rstrip())


def _line_of_efficiency(seconds: dict[str, float], is_gpu: bool) -> None:
    parts = (seconds["decoding"], seconds["model"])
    efficiency = (max(parts) if is_gpu else sum(parts)) / seconds["job"]
    rule = "end-to-end rate over the smaller rate" if is_gpu else "decoding plus model, over end to end"
    print(f"efficiency {efficiency:.2f}  ({rule})")


def _settings(arguments: argparse.Namespace, output: Path):
    from extract.jobs.settings import ExtractSettings

    names = ("backbone", "weights", "engine", "precision", "batch_size", "decode_threads")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    rule = SamplingRule("every", arguments.every)
    return ExtractSettings(output=output, sampling=rule, spec=tuple(arguments.spec), **given)


def _backbone(arguments: argparse.Namespace):
    from extract.backbones.registry import load_backbone

    backbone = load_backbone(arguments.backbone, weights=arguments.weights, spec=arguments.spec)
    if len(backbone.frame_shape) > 3:
        sys.exit(f"{arguments.backbone} takes windows of frames, which this script does not measure")
    return backbone


def _engine(arguments: argparse.Namespace):
    from extract.engines.registry import make_engine

    settings = _settings(arguments, Path())
    return make_engine(
        _backbone(arguments), kind=settings.engine, batch_size=settings.batch_size, precision=settings.precision
    )


def _decode_settings(arguments: argparse.Namespace) -> DecodeSettings:
    size = _backbone(arguments).image_size
    return DecodeSettings(sampling=SamplingRule("every", arguments.every), image_size=size)


def _videos(arguments: argparse.Namespace, count: int | None = None) -> Iterator[np.ndarray]:
    """All frames of each video, uint8 (T, S, S, 3); of `count` videos, spread over the list."""
    items = chosen_clips(arguments)
    step = max(1, len(items) // count) if count else 1
    for item in items[::step][:count]:
        try:
            with open_clip(item, _decode_settings(arguments)) as reader:
                yield np.concatenate([chunk.frames for chunk in reader])
        except VideoError as error:
            print(f"left out: {error}", file=sys.stderr)


def _some_frames(arguments: argparse.Namespace, count: int) -> np.ndarray:
    """The first frames of the videos, uint8 (count, S, S, 3), again from the first where they have fewer."""
    frames: list[np.ndarray] = []
    for item in chosen_clips(arguments):
        try:
            with open_clip(item, _decode_settings(arguments)) as reader:
                for chunk in reader:
                    frames += list(chunk.frames)
                    if len(frames) >= count:
                        return np.stack(frames[:count])
        except VideoError as error:
            print(f"left out: {error}", file=sys.stderr)
    return np.stack([frames[k % len(frames)] for k in range(count)])


def measure_start(arguments: argparse.Namespace) -> dict:
    """Converts the model where that has not been done, and reads all files once."""
    _engine(arguments)
    decode_all(chosen_clips(arguments), _decode_settings(arguments), workers=usable_cores())
    return {}


def measure_decoding(arguments: argparse.Namespace) -> dict:
    """Decoding alone, on all cores."""
    frames, seconds = decode_all(chosen_clips(arguments), _decode_settings(arguments), workers=usable_cores())
    return {"frames": frames, "seconds": seconds}


def measure_model(arguments: argparse.Namespace) -> dict:
    """The engine alone, for as many frames as the videos give."""
    frames, _ = decode_all(chosen_clips(arguments), _decode_settings(arguments), workers=usable_cores())
    engine = _engine(arguments)
    batches = _some_frames(arguments, MODEL_BATCHES * engine.batch_size)
    batches = batches.reshape(MODEL_BATCHES, engine.batch_size, *batches.shape[1:])
    engine(batches[0])
    with ThreadPoolExecutor(engine.streams) as threads:  # as the job does it
        each = [batches[number % MODEL_BATCHES] for number in range(math.ceil(frames / engine.batch_size))]
        seconds = _seconds_of(lambda: list(threads.map(engine, each)))
    return {"frames": frames, "seconds": seconds}


def measure_job(arguments: argparse.Namespace) -> dict:
    """The whole job into a fresh store."""
    from extract.jobs.job import extract
    from extract.jobs.results import Progress
    from extract.store.reader import open_store

    firsts: list[float] = []

    def note(progress: Progress) -> None:
        if progress.frames and not firsts:
            firsts.append(time.time())

    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(arguments, Path(folder) / "features")
        items = chosen_clips(arguments)
        seconds = _seconds_of(lambda: list(extract(items, settings, on_progress=note)))
        summary = open_store(settings.output).summary()
    return {
        "frames": summary["frames"], "clips": summary["clips"], "engine": ", ".join(summary["engines"]),
        "seconds": seconds, "peak_mb": _peak_mb(), "first_at": firsts[0],
    }  # fmt: skip


def measure_single(arguments: argparse.Namespace) -> dict:
    """`model.predict(frames[None, k])`, as the video example of keras.io does it."""
    model = _backbone(arguments).build()
    frames = _some_frames(arguments, arguments.predict_frames)
    model.predict(frames[:1], verbose=0)
    seconds = _seconds_of(lambda: [model.predict(frame[None], verbose=0) for frame in frames])
    return {"frames": len(frames), "seconds": seconds}


def measure_video(arguments: argparse.Namespace) -> dict:
    """`model.predict(all frames of a video)`."""
    model = _backbone(arguments).build()
    videos = list(_videos(arguments, arguments.predict_videos))
    model.predict(videos[0][:32], verbose=0)
    seconds = _seconds_of(lambda: [model.predict(video, verbose=0) for video in videos])
    return {"frames": sum(map(len, videos)), "seconds": seconds}


def _seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak_mb() -> float:
    """VmHWM: unlike ru_maxrss it does not begin with the memory of the parent. Linux only."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)) * 1024 / 1e6


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], dict]] = {
    "start": measure_start,
    "decoding": measure_decoding,
    "model": measure_model,
    "job": measure_job,
    "single": measure_single,
    "video": measure_video,
}

if __name__ == "__main__":
    main()
