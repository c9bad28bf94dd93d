"""A folder as users have it: videos of two classes told apart by order alone, their labels, and a feature store."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import pipeline

JOB = """\
[extract]
videos = "videos"
output = "features"
backbone = "tiny"
every = 2

[train]
labels = "labels.csv"
task = "many-to-one"
run = "runs/first"
model = "meanpool"
updates = 5

[predict]
target = "videos"
output = "predictions.csv"
"""


def write_ramp(path: Path, *, rising: bool, frames: int, level: int) -> None:
    """Grey levels that rise or fall: the same frames in opposite order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12, (32, 32))
    ramp = np.linspace(20 + level, 200 + level, frames)
    for grey in ramp if rising else ramp[::-1]:
        writer.write(np.full((32, 32, 3), grey, np.uint8))
    writer.release()


def make_project(folder: Path, *, clips_per_class: int = 12) -> Path:
    """videos/<class>/<number>.avi, labels.csv, segments.csv (the class of every frame), and features/ of `tiny`."""
    labels, segments = ["clip_id,label"], ["clip_id,start_frame,end_frame,label"]
    for number in range(clips_per_class):
        frames = 8 + number % 5
        for name in ("rise", "fall"):
            write_ramp(folder / f"videos/{name}/{number}.avi", rising=name == "rise", frames=frames, level=4 * number)
            labels.append(f"{name}/{number}.avi,{name}")
            segments.append(f"{name}/{number}.avi,0,{frames},{name}")
    (folder / "labels.csv").write_text("\n".join(labels))
    (folder / "segments.csv").write_text("\n".join(segments))
    extract = ["extract", str(folder / "videos"), "--output", str(folder / "features"), "--backbone", "tiny"]
    assert pipeline.main([*extract, "--every", "2"]) == 0
    return folder
