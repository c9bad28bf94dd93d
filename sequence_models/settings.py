"""The settings of a training run: one flat record, checked on creation. Imports no Keras, so typos fail at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from extract.errors import UsageError
from extract.options import check_options, option
from sequence_models.catalogue import (
    MANY_TO_MANY,
    MANY_TO_ONE,
    MODEL_NAMES,
    RAW_MODEL_NAMES,
    SETTINGS_OF_FEW,
    STREAM_MODELS,
    TRAITS,
    TWO_STREAM,
    models_with,
    takers,
)

TASKS = (MANY_TO_ONE, MANY_TO_MANY)
WRITTEN_FORMATS = ("intervals", "frames", "boris", "deepethogram", "mstcn", "elan", "audacity")  # of labels
STRICT, TOLERANT = "strict", "tolerant"
EXCLUSIVE, INCLUSIVE = "exclusive", "inclusive"
PRETRAINED, RANDOM = "pretrained", "random"  # backbone_weights that are not files
ALL_LAYERS = "all"
POOLS = ("avg", "max")
RANGE = "range"  # frame_scaling
READOUTS = ("attention", "mean", "max", "last")
CONSTANT, PLATEAU, COSINE = SCHEDULES = ("constant", "plateau", "cosine")
POSITION, DELTA, WINDOWS = DERIVED = ("position", "delta", "windows")
OPTIMIZERS = ("adam", "adamw", "sgd", "adadelta")
SHARE: dict[str, Any] = {"low": 0, "high": 0.95}


@dataclass(frozen=True)
class DataSettings:
    """How labels and features are joined: with the files, this determines the clips and their labels.

    Raises:
        UsageError: A value is unknown or out of range.
    """

    missing: str = option("error", "labels that match no clip: an error, or skipped", choices=("error", "skip"))
    classes: tuple[str, ...] | None = None  # in index order; None: all, sorted by name
    label_format: str | None = option(None, "format of the label file, if it is not recognised by itself", kind=str)
    subject: str | None = option(None, "use the labels of this subject only (BORIS, ELAN participant)", kind=str)
    annotator: str | None = option(None, "use the labels of this annotator only", kind=str)
    tier: str | None = option(None, "the ELAN tier whose texts are the classes", kind=str)
    tiers_as_classes: bool = option(False, "the names of ELAN tiers are the classes")
    point_width: float | None = option(
        None, "make point events intervals of this length around them; without it they are left out", kind=float,
        metavar="SECONDS",
    )  # fmt: skip
    labels_fps: float | None = option(
        None, "rate at which the label file counts frames, if not the video's own", kind=float
    )
    labels_from: int = option(0, "number of a clip's first frame in the label file", choices=(0, 1))
    labels_end: str = option(
        EXCLUSIVE, "end_frame is the frame after the interval, or its last one", choices=(EXCLUSIVE, INCLUSIVE)
    )
    background: str | None = option(
        None, "class of frames outside all intervals, ignored by segment scores; without it they are unlabelled",
        kind=str,
    )  # fmt: skip
    keep: tuple[str, ...] | None = None  # clip_ids to use; None: all of them
    group_from: str | None = option(
        None,
        "take the group from the clip_id: what this captures; N: its Nth folder; scenes: the place, found in "
        "the embeddings",
        kind=str,
        metavar="REGEX",
    )
    blocks: int | None = option(
        None,
        "cut every recording with per-frame labels into N blocks in time, with gaps between them, and treat each as a "
        "recording (10 for a single recording, else none)",
        kind=int,
        low=2,
    )
    alignment: str = option(
        STRICT,
        "reject intervals that overlap or lie outside the features, or keep what fits and report the rest",
        choices=(STRICT, TOLERANT),
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.labels_fps is not None and not 0 < self.labels_fps < float("inf"):
            raise UsageError(f"--labels-fps is {self.labels_fps:g}; it must be greater than 0.")
        if self.point_width is not None and not 0 < self.point_width < float("inf"):
            raise UsageError(f"--point-width is {self.point_width:g}; it must be greater than 0.")

    @property
    def renumbers(self) -> bool:
        """Whether frames are not counted from 0 to one past the last."""
        return bool(self.labels_from) or self.labels_end == INCLUSIVE


@dataclass(frozen=True)
class TrainSettings:
    """Everything that determines how a model is built and trained, apart from the data and the seed.

    Every field is a flag of `clipseq train`, and its text below is that flag's help.

    Raises:
        UsageError: A name is unknown, a number is out of range, or two settings are incompatible.
    """

    task: str = option(MANY_TO_ONE, "one label per clip, or one per timestep", choices=TASKS)
    model: str = option(
        "bilstm",
        f"on embeddings: {', '.join(MODEL_NAMES)}; on raw frames: {', '.join(RAW_MODEL_NAMES)}",
        choices=(*MODEL_NAMES, *RAW_MODEL_NAMES),
        metavar="NAME",
    )
    readout: str = option(
        "attention",
        "how a many-to-one model turns its timesteps into one vector; last takes the last output of each direction. "
        "Not used by attention, meanpool, maxpool, pyramid and the *_parts models",
        choices=READOUTS,
    )
    hidden: int = option(48, "units per direction of each recurrent layer; channels of mstcn", low=1)
    layers: int = option(1, "number of stacked recurrent layers", low=1)
    projection: int = option(
        64, "width to project embeddings to first, 0 = no projection; mstcn projects to --hidden instead", low=0
    )
    parts: int = option(
        4, "number of equal parts that the *_parts models average a clip into before the recurrence", low=1
    )
    multi_label: bool = option(
        False,
        "many-to-many classes may overlap: each is decided separately (sigmoid), with a threshold chosen on validation",
    )
    stride: int = option(
        1,
        "train on every Nth timestep only, with a new offset in every pass; prediction runs all offsets, so that every "
        "timestep is predicted",
        low=1,
    )
    window: float = option(
        0.0,
        "length of sliding windows for training and prediction; predictions of overlapping windows are averaged, per "
        "clip or per timestep; 0 = whole clips",
        low=0,
        metavar="SECONDS",
    )
    hop: float = option(0.0, "step from one window to the next; 0 = half a window", low=0, metavar="SECONDS")
    window_frames: int = option(
        0,
        "take exactly N timesteps of every window, spread over its time, of many-to-one models; 0 = all that are in it",
        low=0,
    )
    chunk: int | None = option(
        None,
        "without windows, many-to-many training cuts longer clips into chunks of this many timesteps, at new places in "
        "every pass; prediction sees whole clips; 0 = never (512, down to 64 for small data sets)",
        kind=int,
        low=0,
    )
    derived: str = option(
        "",
        "channels to add to the embeddings, comma-separated: position, where in its recording a timestep is; delta, "
        "how much each channel has changed since the timestep before; windows, means and deviations over windows of "
        "17, 65 and 257 timesteps (none)",
        metavar="A,B",
    )
    causal: bool = option(
        False,
        "a timestep sees only itself and earlier ones, as in a live stream: many-to-many with lstm, gru, mstcn, or a "
        "raw-frame model with such a recurrence",
    )
    lag: int = option(
        0, "how many timesteps a causal model may wait before it decides a label, to filter out brief errors", low=0
    )
    threshold: str = option(
        "",
        "threshold of the second of two classes, chosen on validation: f1 for its best F1, or precision=P for the "
        "lowest threshold with that precision (0.5)",
        metavar="RULE",
    )
    tcn_stages: int = option(3, "stages of mstcn; each refines the labels of the previous one", low=1)
    tcn_layers: int = option(8, "dilated residual layers per stage of mstcn; layer i has dilation 2 ** i", low=1)
    dropout: float = option(0.5, "fraction of units dropped, the same ones at every timestep of a clip", **SHARE)
    channel_dropout: float = option(0.3, "fraction of embedding channels dropped for a whole clip", **SHARE)
    label_smoothing: float = option(0.0, "fraction of each target spread over all classes", **SHARE)
    smoothing_loss: float = option(
        0.15, "weight of T-MSE, which keeps neighbouring timesteps similar in many-to-many; 0 = none", low=0
    )
    crop: float = option(0.0, "largest fraction of a training clip cut off at its ends, new in every pass", **SHARE)
    speed: float = option(0.0, "largest change of a training clip's speed, up or down, as a fraction", **SHARE)
    frame_drop: float = option(0.0, "fraction of a training clip's timesteps left out", **SHARE)
    updates: int | None = option(
        None, "maximum number of weight updates (1200, or 12 passes over the clips if that is more)", kind=int,
        low=1,
    )  # fmt: skip
    patience_updates: int | None = option(
        None,
        "stop after this many updates without a better validation score or loss (150, or 3 passes if those are more)",
        kind=int,
        low=1,
    )
    epochs: int | None = option(
        None, "maximum number of passes over the training clips, if you prefer to count those", kind=int, low=1
    )
    batch_size: int | None = option(
        None, "clips, windows or chunks per update (4 to 64, depending on how many there are)", kind=int, low=1
    )
    optimizer: str = option("adam", "the optimizer", choices=OPTIMIZERS)
    learning_rate: float = option(1e-3, "learning rate, the maximum of its schedule", low=1e-8, high=100)
    schedule: str = option(
        "constant",
        "the learning rate stays constant, halves when validation stops improving (plateau), or falls to 0 as a cosine",
        choices=SCHEDULES,
    )
    warmup_updates: int = option(0, "number of updates over which the learning rate rises from 0", low=0)
    weight_decay: float = option(0.0, "decoupled weight decay, per unit of learning rate", low=0)
    class_weight_power: float = option(0.25, "weight examples of a class by count ** -power; 0 = all equal", low=0)
    flip: bool = option(
        False, "mirror the raw frames of half of the training clips left to right; wrong if left and right matter"
    )
    shift: float = option(0.0, "largest shift of raw frames, as a fraction of height and width", **SHARE)
    zoom: float = option(0.0, "largest zoom of raw frames, in or out, as a fraction", **SHARE)
    rotation: float = option(0.0, "largest rotation of raw frames, either way, as a fraction of a full turn", **SHARE)
    brightness: float = option(0.0, "largest brightness change of raw frames, as a fraction of white", **SHARE)
    contrast: float = option(0.0, "largest contrast change of raw frames, as a fraction", **SHARE)
    filters: str = option(
        "",
        "channels of a raw-frame model's convolutions, such as 16,32; default: the model's own",
        metavar="N,N",
    )
    pool: str | None = option(
        None,
        "how a raw-frame model's CNN or backbone makes a vector of a frame (max for td_convnet_gru, avg for others)",
        kind=str,
        choices=POOLS,
    )
    frame_scaling: str = option(
        "training",
        "what a raw-frame model makes of 0..255: mean 0 and deviation 1 of each channel in the training frames, or "
        "the range -1..1",
        choices=("training", RANGE),
    )
    units: int = option(0, "units of a raw-frame model's own recurrence; 0 = the model's default, 64 or 128", low=0)
    dense: str = option("", "widths of the dense layers of td_convnet_gru; default: 1024,512,128,64", metavar="N,N")
    fixed_frames: int = option(
        0, "conv3d flattens clips of exactly this many timesteps; 0 = average clips of any length", low=0
    )
    backbone: str = option("efficientnet_lite0", "the image model inside td_backbone_rnn; help lists all")
    backbone_weights: str = option(
        PRETRAINED, "initial weights of that backbone: pretrained, random, or a weights file", metavar="WEIGHTS"
    )
    trainable_layers: str = option("9", "how many of the backbone's last layers to train, or all", metavar="N")
    update_batchnorm: bool = option(
        False, "update the statistics of the backbone's batch normalisation on the training frames"
    )
    head: str = option(
        "bilstm",
        f"the model on embeddings that follows the backbone in td_backbone_rnn: {', '.join(MODEL_NAMES)}",
        choices=MODEL_NAMES,
        metavar="NAME",
    )
    start_from: str = option(
        "", "start td_backbone_rnn from a run of that head on embeddings of the same backbone", metavar="RUN"
    )
    stream: str = option(
        "td_cnn_lstm",
        f"the model that two_stream uses once on RGB and once on optical flow: {', '.join(STREAM_MODELS)}",
        choices=STREAM_MODELS,
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("filters", "dense"):
            _check_widths(name, getattr(self, name))
        if self.trainable_layers != ALL_LAYERS and not self.trainable_layers.isdecimal():
            raise UsageError(
                f"trainable_layers must be a whole number of last layers, or {ALL_LAYERS}, got "
                f"{self.trainable_layers!r}; choose another --trainable-layers."
            )
        self._check_combinations()

    @property
    def on_frames(self) -> bool:
        """Whether the model takes raw frames; the others take embeddings."""
        return TRAITS[self.model].on_frames

    @property
    def sequence_model(self) -> str:
        """The model that determines what is possible over time: the head of a backbone, the model inside two_stream."""
        model = self.stream if self.model == TWO_STREAM else self.model
        return self.head if model == "td_backbone_rnn" else model

    @property
    def derived_names(self) -> tuple[str, ...]:
        """The names in `derived`."""
        return tuple(self.derived.split(",")) if self.derived else ()

    @property
    def hop_seconds(self) -> float:
        """Seconds from one window to the next."""
        return self.hop or self.window / 2

    def _check_combinations(self) -> None:
        if self.hop and not self.window:
            raise UsageError(f"--hop needs --window; hop {self.hop:g} s is the step from one window to the next.")
        if self.window_frames and (not self.window or self.task == MANY_TO_MANY):
            raise UsageError(
                f"window_frames {self.window_frames} takes so many timesteps of every --window of a many-to-one model; "
                "give a --window, or leave it out."
            )
        if self.hop > self.window:
            raise UsageError(
                f"hop {self.hop:g} s must not be longer than the window, {self.window:g} s, or timesteps are missed; "
                "give a longer --window, or a smaller --hop."
            )
        if self.multi_label and self.task == MANY_TO_ONE:
            raise UsageError("multi_label is for overlapping labels per timestep; use it with --task many-to-many.")
        model, traits = self.sequence_model, TRAITS[self.sequence_model]
        if self.task == MANY_TO_MANY and not traits.framewise:
            framewise = models_with(framewise=True, on_frames=traits.on_frames)
            raise UsageError(
                f"model {model} gives one label per clip and cannot do many-to-many; "
                f"choose one of {', '.join(framewise)}."
            )
        if self.causal and (not traits.causal or self.task == MANY_TO_ONE):
            causal = models_with(causal=True, on_frames=traits.on_frames)
            raise UsageError(
                f"model {model} cannot be causal for {self.task}; choose one of {', '.join(causal)} for many-to-many."
            )
        if self.threshold and not re.fullmatch(r"f1|precision=(0?\.\d+|1(\.0+)?)", self.threshold):
            raise UsageError(f"threshold {self.threshold!r} is unknown; give f1 or precision=P with P up to 1.")
        if unknown := [name for name in self.derived_names if name not in DERIVED]:
            raise UsageError(f"derived {unknown[0]!r} is unknown; choose from {', '.join(DERIVED)}.")
        if self.derived and traits.on_frames:
            raise UsageError(
                f"derived channels are added to embeddings, but model {model} takes raw frames; leave --derived out."
            )
        if self.lag and not self.causal:
            raise UsageError(f"lag {self.lag} needs --causal; other models see the whole clip before they decide.")
        for name in SETTINGS_OF_FEW:
            model = self.stream if name == "pool" and self.model == TWO_STREAM else self.model
            if getattr(self, name) and model not in takers(name):
                raise UsageError(
                    f"{name} is for {', '.join(takers(name))}, but model is {model}; choose one of them, or leave "
                    f"--{name.replace('_', '-')} out."
                )
        if self.fixed_frames and (self.crop or self.speed or self.frame_drop):
            raise UsageError(
                f"fixed_frames {self.fixed_frames} cannot be combined with crop, speed or frame_drop, which change the "
                "number of frames; leave it or them at 0."
            )


def _check_widths(field: str, text: str) -> None:
    if text and not all(part.isdecimal() and int(part) for part in text.split(",")):
        raise UsageError(
            f"{field} must be positive whole numbers separated by commas, such as 16,32, got {text!r}; "
            f"choose another --{field}."
        )
