"""Is a GPU computing what the CPU computes, and who waits for whom? Prints one JSON object; on a CPU it says so.

    python benchmarks/gpu_check.py [--backbone efficientnet_lite0] [--videos DIR] [--batches 32,128,512] > check.json
    KERAS_BACKEND=jax python benchmarks/gpu_check.py

embeddings      the largest difference to those that the same backend computes on the CPU (in a process that sees no
                GPU), as a share of the largest number; in float32, and where there is a GPU in tf32
padding         the largest change of probabilities when 24 timesteps of padding are added, and of a clip alone against
                the same clip in a batch: masked recurrent models, padded on the right
model           frames/s of the backbone alone at each batch size, with copying to the device and back
copying         GB/s of a batch of pictures to the device and back, without a model
extraction      of --videos, or of the demo's clips: frames/s of decoding and of the backbone, and who waits
training        updates/s of bilstm on clips of 48 and of 512 timesteps, on this device and on the CPU, and of several
                fits one after the other
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from extract.system.quiet_start import has_gpu, import_keras_quietly, keras_backend

CPU_ONLY = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
ROWS, PADDING, CHANNELS = 64, 24, 1280
MODELS = ("lstm", "bilstm", "gru", "bigru")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--videos", type=Path, help="for the extraction (the demo's clips, rendered)")
    parser.add_argument("--batches", default="32,128,512", help="batch sizes of the backbone")
    parser.add_argument("--only", choices=("rows", "training"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only == "rows":
        np.save(arguments.output, rows_of(arguments.backbone, "float32"))
        return
    if arguments.only == "training":
        print(json.dumps(training()))
        return
    print(json.dumps(check(arguments), indent=2))


def check(arguments: argparse.Namespace) -> dict:
    """All of it."""
    import_keras_quietly()
    import keras

    on_gpu = has_gpu()
    on_cpu, batches = on_cpu_alone("training"), [int(size) for size in arguments.batches.split(",")]
    return {
        "device": device(),
        "on_gpu": on_gpu,
        "backend": f"{keras_backend()} {sys.modules[keras_backend()].__version__}, keras {keras.__version__}",
        "embeddings": embeddings(arguments.backbone, on_gpu),
        "padding": padding(),
        "model_frames_per_second": {batch: model_rate(arguments.backbone, batch) for batch in batches},
        "copying_gb_per_second": copying(),
        "extraction": extraction(arguments.backbone, arguments.videos),
        "training_updates_per_second": {"here": training(), "cpu": on_cpu if on_gpu else "the same"},
    }


def device() -> str:
    """The name of what computes."""
    if not has_gpu():
        return f"CPU, {os.cpu_count()} cores: nothing here says how a GPU does"
    if keras_backend() == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    if keras_backend() == "torch":
        import torch

        return torch.cuda.get_device_name()
    import tensorflow as tf

    return str(tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])["device_name"])


def rows_of(name: str, precision: str) -> np.ndarray:
    """Embeddings of random pictures, by Keras."""
    from extract.backbones.registry import load_backbone
    from extract.engines.registry import make_engine

    engine = make_engine(load_backbone(name), kind="keras", batch_size=ROWS, precision=precision)
    return engine(pictures(ROWS, engine.frame_shape))


def pictures(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random pictures, smooth enough that a network sees something in them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, shape[0] // 8, shape[1] // 8, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : shape[0], : shape[1]])


def embeddings(name: str, on_gpu: bool) -> dict:
    """The largest difference to the CPU, as a share of the largest number."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        on_cpu_alone("rows", "--backbone", name, "--output", str(path))
        expected = np.load(path)
    found = {"float32": rows_of(name, "float32")}
    if on_gpu:
        found["tf32"] = rows_of(name, "tf32")
    largest = float(np.abs(expected).max())
    return {precision: float(np.abs(rows - expected).max()) / largest for precision, rows in found.items()}


def on_cpu_alone(only: str, *more: str):
    """The same measurement in a process that sees no GPU."""
    command = [sys.executable, __file__, "--only", only, *more]
    done = subprocess.run(command, env={**os.environ, **CPU_ONLY}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"on the CPU alone: {done.stderr.strip()}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def padding() -> dict:
    """The largest changes of probabilities by padding and by company."""
    from sequence_models.models.build import build_model
    from sequence_models.settings import TrainSettings

    rng, lengths = np.random.default_rng(0), np.array([31, 17, 5, 1])
    values = rng.normal(size=(4, 31, 64)).astype(np.float32)
    mask = np.arange(31) < lengths[:, None]
    values[~mask] = 0
    wider = np.pad(values, ((0, 0), (0, PADDING), (0, 0))), np.pad(mask, ((0, 0), (0, PADDING)))
    changes = {}
    for task in ("many-to-one", "many-to-many"):
        for name in MODELS:
            model = build_model(TrainSettings(task, name), embedding_dim=64, num_classes=3, seed=0)

            def said(values: np.ndarray, mask: np.ndarray, model=model) -> np.ndarray:
                return np.asarray(model([values, mask], training=False)).astype(np.float64)

            together, padded = said(values, mask), said(*wider)
            if task == "many-to-many":
                together, padded = together * mask[..., None], padded[:, :31] * mask[..., None]
            alone = max(
                float(np.abs(said(values[k : k + 1, :n], mask[k : k + 1, :n]) - _of_clip(together, k, n, task)).max())
                for k, n in enumerate(lengths)
            )
            changes[f"{name} {task}"] = {"padding": float(np.abs(padded - together).max()), "alone": alone}
    return changes


def _of_clip(together: np.ndarray, clip: int, length: int, task: str) -> np.ndarray:
    return together[clip : clip + 1, :length] if task == "many-to-many" else together[clip : clip + 1]


def model_rate(name: str, batch: int, seconds: float = 3.0) -> float:
    """Frames per second of the engine with this batch size, called by as many threads as it asks for."""
    from concurrent.futures import ThreadPoolExecutor

    from extract.backbones.registry import load_backbone
    from extract.engines.registry import make_engine

    engine = make_engine(load_backbone(name), kind="keras", batch_size=batch)
    frames = pictures(batch, engine.frame_shape)
    engine(frames)
    began, calls = time.perf_counter(), 0
    with ThreadPoolExecutor(engine.streams) as pool:
        while time.perf_counter() - began < seconds:
            list(pool.map(engine, [frames] * engine.streams))
            calls += engine.streams
    return round(calls * batch / (time.perf_counter() - began), 1)


def copying(batch: int = 128, repeats: int = 20) -> dict:
    """GB/s of pictures to the device, and back."""
    import keras

    frames = pictures(batch, (224, 224, 3))
    to, back = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        there = keras.ops.convert_to_tensor(frames)
        float(keras.ops.convert_to_numpy(keras.ops.cast(there[-1, -1, -1, -1], "float32")))  # waits for the copy
        to.append(time.perf_counter() - began)
        began = time.perf_counter()
        keras.ops.convert_to_numpy(there)
        back.append(time.perf_counter() - began)
    return {name: round(frames.nbytes / 1e9 / min(seconds), 2) for name, seconds in (("to", to), ("back", back))}


def extraction(name: str, videos: Path | None) -> dict:
    """A whole job, and who waited."""
    from extract.demo import render_demo
    from extract.embed.timing import StageSeconds, bottleneck_line
    from extract.jobs.job import extract
    from extract.jobs.settings import ExtractSettings
    from extract.videos.listing import find_videos

    with tempfile.TemporaryDirectory() as folder:
        if videos is None:
            render_demo(Path(folder) / "demo")
            videos = Path(folder) / "demo" / "clips"
        items, seconds, began = find_videos(videos), StageSeconds(), time.perf_counter()
        settings = ExtractSettings(output=Path(folder) / "features", backbone=name, engine="keras")
        failed = sum(result.status == "failed" for result in extract(items, settings, seconds=seconds))
        spent = time.perf_counter() - began
    rate = {
        "clips": len(items),
        "failed": failed,
        "frames": seconds.frames,
        "frames_per_second": round(seconds.frames / spent, 1),
    }
    return {**rate, "who_waits": bottleneck_line(seconds)}


def training(updates: int = 100) -> dict:
    """Updates per second of bilstm, and of three fits one after the other."""
    import_keras_quietly()
    from sequence_models.records import Clip
    from sequence_models.settings import TrainSettings
    from sequence_models.training.fit import fit_model

    rng, found = np.random.default_rng(0), {}

    def clips(count: int, steps: int, per_frame: bool) -> list[Clip]:
        made = []
        for k in range(count):
            labels = np.arange(steps) // 16 % 3 if per_frame else np.array(k % 3)
            values = rng.normal(size=(steps, CHANNELS)).astype(np.float32)
            made.append(Clip(f"{count}-{k}", values, np.arange(steps) / 8, np.arange(steps), labels))
        return made

    for task, steps in (("many-to-one", 48), ("many-to-many", 512)):
        settings = TrainSettings(task, "bilstm", updates=updates, patience_updates=updates)
        train, validation = (clips(count, steps, task == "many-to-many") for count in (32, 8))
        began = time.perf_counter()
        for fit in range(3):
            if fit == 1:
                began = time.perf_counter()  # the first compiles
            with tempfile.TemporaryDirectory() as folder:
                places = {"checkpoint": Path(folder) / "m.weights.h5", "log": Path(folder) / "log.csv"}
                fit_model(train, validation, settings, num_classes=3, seed=fit, quiet=True, **places)
        found[f"{task}, {steps} timesteps"] = round(2 * updates / (time.perf_counter() - began), 1)
    return found


if __name__ == "__main__":
    main()
