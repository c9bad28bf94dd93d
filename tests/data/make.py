"""Makes the store, the packed store and the runs that every later version must read: python tests/data/make.py VERSION

They are made once per schema version, by the code of that day, and never again: `test_compatibility.py` opens, extends,
evaluates and predicts from each. Paths in run.json begin with HOME, which the tests put in its place.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

import extract.files
from extract.store_read import open_store
from pipeline import main

COLOURS = {"blue": (220, 60, 40), "red": (40, 60, 220)}  # BGR
FRAMES = 16
SMALL = ("--epochs", "40", "--hidden", "4", "--projection", "0", "--cv", "2", "--seeds", "1")


def write_clip(path: Path, colour: tuple[int, int, int], number: int, *, frames: int = FRAMES) -> None:
    """A plain picture of one colour, dark in its first half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 8, (32, 24))
    for frame in range(frames):
        light = (0.4 if frame < frames // 2 else 1.0) * (0.8 + 0.02 * number)
        writer.write(np.full((24, 32, 3), [round(light * value) for value in colour], np.uint8))
    writer.release()


def make(home: Path) -> None:
    """Everything below `home`."""
    clips = [f"{name}/{number}.avi" for name in COLOURS for number in range(6)]
    for clip in clips:
        name, number = clip.removesuffix(".avi").split("/")
        write_clip(home / "videos" / clip, COLOURS[name], int(number))
    (home / "videos" / "broken.avi").write_bytes(b"no video")
    groups = {clip: f"g{clip[-5]}" for clip in clips}
    rows = "".join(f"{clip},{clip.split('/')[0]},{groups[clip]}\n" for clip in clips)
    (home / "clips.csv").write_text(f"clip_id,label,group\n{rows}")
    rows = "".join(f"{clip},0,8,dark,{groups[clip]}\n{clip},8,16,bright,{groups[clip]}\n" for clip in clips)
    (home / "frames.csv").write_text(f"clip_id,start_frame,end_frame,label,group\n{rows}")
    run("extract", home / "videos", "--output", home / "store", "--backbone", "tiny", "--every", "1")
    run("pack", home / "store", home / "packed.h5")
    labels = {"clips": ("many-to-one", "lstm"), "frames": ("many-to-many", "lstm")}
    for name, (task, model) in labels.items():
        told = ("--labels", home / f"{name}.csv", "--task", task, "--model", model, "--run", home / f"run_{name}")
        run("train", home / "store", *told, *SMALL)
        run("evaluate", home / f"run_{name}")
        run("predict", home / f"run_{name}", home / "store", "--output", home / f"{name}.predictions.csv")
    store = open_store(home / "store")
    sums = {clip: float(np.sum(store.read(clip).embeddings, dtype=np.float64)) for clip in store.clip_ids}
    (home / "expected.json").write_text(json.dumps({"fingerprint": store.fingerprint, "sums": sums}, indent=1))
    for path in home.glob("run_*"):
        shutil.rmtree(path / "logs")
        text = (path / "run.json").read_text()
        (path / "run.json").write_text(text.replace(str(home.resolve()), "HOME"))
    for path in home.rglob("*.bouts.csv"):
        path.unlink()


def run(*arguments: object) -> None:
    """A verb; a clip that fails is part of it."""
    if main([str(argument) for argument in arguments]) and arguments[0] != "extract":
        raise SystemExit(f"{arguments} failed")


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "tensorflow"
    extract.files._host = lambda: "example"
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch, "home"))
        shutil.move(Path(scratch, "home"), Path(__file__).parent / sys.argv[1])
