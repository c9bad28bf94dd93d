"""The options of the functions, typed for editors and type checkers: the flags of the verbs of the same names.

What they mean is told by `clipseq VERB --help`; what they may be is checked by the same records.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from extract.command_line import named_arguments


class ExtractOptions(TypedDict, total=False):
    """Options of `extract`."""

    backbone: str
    spec: Sequence[str]
    weights: str | Path | None
    pool: str
    image_size: int | None
    channels: int | None
    fps: float | None
    every: int | None
    num_frames: int | None
    first_frames: int | None
    skip_frames: int
    fit: str
    input: str | Sequence[str]
    deinterlace: bool
    on_corrupt: str
    precision: str
    engine: str
    batch_size: int | None
    decode_threads: int | None
    flush_seconds: float
    retry_failed: bool
    rehash: bool
    max_failures: str | int | None
    part: str | None
    ray: str
    ray_workers: int | None


class ExperimentOptions(TypedDict, total=False):
    """Options of `train` and `compare`."""

    jobs: int | None
    memory: float | None
    ray: str
    classes: str | Sequence[str] | None
    clips: str | Path | None
    missing: str
    label_format: str | None
    subject: str | None
    annotator: str | None
    tier: str | None
    tiers_as_classes: bool
    point_width: float | None
    labels_fps: float | None
    labels_from: int
    labels_end: str
    background: str | None
    group_from: str | None
    blocks: int | None
    alignment: str
    split: str | Path | None
    cv: str | int | None
    readout: str
    hidden: int
    layers: int
    projection: int
    parts: int
    multi_label: bool
    stride: int
    window: float
    hop: float
    window_frames: int
    chunk: int | None
    derived: str
    causal: bool
    lag: int
    threshold: str
    tcn_stages: int
    tcn_layers: int
    dropout: float
    channel_dropout: float
    label_smoothing: float
    smoothing_loss: float
    crop: float
    speed: float
    frame_drop: float
    updates: int | None
    patience_updates: int | None
    epochs: int | None
    batch_size: int | None
    optimizer: str
    learning_rate: float
    schedule: str
    warmup_updates: int
    weight_decay: float
    class_weight_power: float
    flip: bool
    shift: float
    zoom: float
    rotation: float
    brightness: float
    contrast: float
    filters: str
    pool: str | None
    frame_scaling: str
    units: int
    dense: str
    fixed_frames: int
    backbone: str
    backbone_weights: str
    trainable_layers: str
    update_batchnorm: bool
    head: str
    start_from: str
    stream: str
    seeds: int
    inner: int | None


class TrainOptions(ExperimentOptions, total=False):
    """Options of `train`."""

    model: str
    tensorboard: bool


class CompareOptions(ExperimentOptions, total=False):
    """Options of `compare`."""

    models: str | Sequence[str]
    frames_store: str | Path | Sequence[str | Path]
    grid: Sequence[str]


def arguments_of(add_verb: Callable[[Any], argparse.ArgumentParser], given: Mapping[str, Any]) -> argparse.Namespace:
    """The arguments of a verb from options by name, checked as on the command line.

    Args:
        add_verb: Adds the verb's parser, such as `add_train`.
        given: As for `named_arguments`.

    Raises:
        UsageError: As from `named_arguments`.
    """
    return named_arguments(add_verb(argparse.ArgumentParser().add_subparsers()), given)
