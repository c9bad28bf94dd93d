"""What a training run is told: one flat record, checked when made. Imports no Keras, so a typo is answered at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from extract.errors import UsageError
from extract.options import check_options, option
from sequence_models.catalogue import (
    MODEL_NAMES,
    RAW_MODEL_NAMES,
    SETTINGS_OF_FEW,
    STREAM_MODELS,
    TRAITS,
    TWO_STREAM,
    models_with,
    takers,
)

MANY_TO_ONE, MANY_TO_MANY = "many-to-one", "many-to-many"
TASKS = (MANY_TO_ONE, MANY_TO_MANY)
STRICT, TOLERANT = "strict", "tolerant"
EXCLUSIVE, INCLUSIVE = "exclusive", "inclusive"
PRETRAINED, RANDOM = "pretrained", "random"  # backbone_weights that are no file
ALL_LAYERS = "all"
READOUTS = ("attention", "mean", "max", "last")
CONSTANT, PLATEAU, COSINE = SCHEDULES = ("constant", "plateau", "cosine")
POSITION = "position"
DERIVED = (POSITION,)
OPTIMIZERS = ("adam", "adamw", "sgd", "adadelta")
SHARE: dict[str, Any] = {"low": 0, "high": 0.95}


@dataclass(frozen=True)
class DataSettings:
    """How labels and features are joined: what decides which clips and labels there are, apart from the files.

    Raises:
        UsageError: A value is out of its range or unknown.
    """

    missing: str = option("error", "labels that fit no clip: an error, or left out", choices=("error", "skip"))
    classes: tuple[str, ...] | None = None  # in the order of their indices; None: all, sorted by name
    labels_fps: float | None = option(
        None, "rate of the frames that the label file counts, where it is not the video's own", kind=float
    )
    labels_from: int = option(0, "the number of a clip's first frame in the label file", choices=(0, 1))
    labels_end: str = option(
        EXCLUSIVE, "end_frame is the frame behind the interval, or its last one", choices=(EXCLUSIVE, INCLUSIVE)
    )
    background: str | None = option(
        None, "class of frames outside all intervals, which segment scores leave out; without it they have no label",
        kind=str,
    )  # fmt: skip
    keep: tuple[str, ...] | None = None  # clip_ids to use; None: all
    group_from: str | None = option(
        None, "the group is what this captures in the clip_id; N: its Nth folder", kind=str, metavar="REGEX"
    )
    blocks: int | None = option(
        None,
        "cut every recording into N blocks in time, with gaps between them, as if each were a recording; of per-frame "
        "labels (10 of a single recording, else none)",
        kind=int,
        low=2,
    )
    alignment: str = option(
        STRICT,
        "refuse intervals that overlap or lie outside the features, or keep what fits and report the rest",
        choices=(STRICT, TOLERANT),
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.labels_fps is not None and not 0 < self.labels_fps < float("inf"):
            raise UsageError(f"--labels-fps is {self.labels_fps:g}; it must be above 0.")

    @property
    def renumbers(self) -> bool:
        """Whether frames count in another way than from 0 to the one behind the last."""
        return bool(self.labels_from) or self.labels_end == INCLUSIVE


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides how a model is built and trained, apart from the data and the seed.

    Every field is a flag of `clipseq train`, and its text below is that flag's help.

    Raises:
        UsageError: A name is unknown, a number is out of its range, or two settings exclude each other.
    """

    task: str = option(MANY_TO_ONE, "one label per clip, or one per timestep", choices=TASKS)
    model: str = option(
        "bilstm",
        f"on embeddings {', '.join(MODEL_NAMES)}; on raw frames {', '.join(RAW_MODEL_NAMES)}",
        choices=(*MODEL_NAMES, *RAW_MODEL_NAMES),
        metavar="NAME",
    )
    readout: str = option(
        "attention",
        "how a many-to-one model turns its timesteps into one vector; last is the last of each direction. attention, "
        "meanpool, maxpool, pyramid and the models on parts do not use it",
        choices=READOUTS,
    )
    hidden: int = option(48, "units of each recurrent layer, per direction; channels of mstcn", low=1)
    layers: int = option(1, "recurrent layers on top of each other", low=1)
    projection: int = option(
        64, "width that embeddings are projected to first, 0 for none; mstcn projects to --hidden instead", low=0
    )
    parts: int = option(
        4, "how many equal parts lstm_parts and its sisters average a clip to before the recurrence", low=1
    )
    multi_label: bool = option(
        False,
        "classes of many-to-many may overlap: each gets its own yes or no (sigmoid), with a threshold that is chosen "
        "on validation",
    )
    stride: int = option(
        1,
        "train on every Nth timestep only, from a new start in every pass; a prediction takes all starts in turn, so "
        "that every timestep gets an answer",
        low=1,
    )
    window: float = option(
        0.0,
        "length of the sliding windows that training and prediction see instead of whole clips; overlapping answers "
        "are averaged, per clip or per timestep; 0 = whole clips",
        low=0,
        metavar="SECONDS",
    )
    hop: float = option(0.0, "from one window to the next; 0 = half a window", low=0, metavar="SECONDS")
    window_frames: int = option(
        0,
        "take exactly N timesteps of every window, spread over its time, of many-to-one models; 0 = all that are in it",
        low=0,
    )
    chunk: int | None = option(
        None,
        "many-to-many training without windows cuts longer clips into chunks of this many timesteps, at new places in "
        "every pass; a prediction sees the whole clip; 0 = never (512, of small sets as few as 64)",
        kind=int,
        low=0,
    )
    derived: str = option(
        "", f"channels beside the embeddings, separated by commas: {', '.join(DERIVED)} (none)", metavar="A,B"
    )
    causal: bool = option(
        False,
        "a timestep sees only those before it, as in a live stream: many-to-many with lstm, gru, mstcn, or a raw-frame "
        "model with such a recurrence",
    )
    lag: int = option(
        0, "timesteps that the labels of a causal model may wait for, so that brief mistakes are seen as such", low=0
    )
    threshold: str = option(
        "",
        "where the second of two classes begins, chosen on validation: f1, its best F1, or precision=P, the lowest "
        "threshold with that precision (a probability of 0.5)",
        metavar="RULE",
    )
    tcn_stages: int = option(3, "stages of mstcn; each refines the labels of the one before", low=1)
    tcn_layers: int = option(8, "dilated residual layers per stage of mstcn; layer i looks 2 ** i timesteps far", low=1)
    dropout: float = option(0.5, "share of units dropped, the same ones at every timestep of a clip", **SHARE)
    channel_dropout: float = option(0.3, "share of embedding channels dropped over a whole clip", **SHARE)
    label_smoothing: float = option(0.0, "share of every target that is spread over all classes", **SHARE)
    smoothing_loss: float = option(
        0.15, "weight of T-MSE, which keeps neighbouring timesteps of many-to-many alike; 0 = none", low=0
    )
    crop: float = option(
        0.0, "the largest share of a training clip that is cut away at its ends, anew in every pass", **SHARE
    )
    speed: float = option(0.0, "the largest change of a training clip's speed, up or down, as a share", **SHARE)
    frame_drop: float = option(0.0, "share of a training clip's timesteps that are left out", **SHARE)
    updates: int | None = option(
        None, "the most updates of the weights (1200, or 12 passes over the clips if those are more)", kind=int,
        low=1,
    )  # fmt: skip
    patience_updates: int | None = option(
        None,
        "stop after this many updates without a better validation score or loss (150, or 3 passes if those are more)",
        kind=int,
        low=1,
    )
    epochs: int | None = option(
        None, "the most passes over the training clips, for those who think in them", kind=int, low=1
    )
    batch_size: int | None = option(
        None, "clips, windows or chunks per update (4 to 64, by how many there are)", kind=int, low=1
    )
    optimizer: str = option("adam", "the optimizer", choices=OPTIMIZERS)
    learning_rate: float = option(1e-3, "step size of the optimizer, the highest of its schedule", low=1e-8, high=100)
    schedule: str = option(
        "constant",
        "the learning rate stays, is halved where validation gets no better (plateau), or falls to 0 as a cosine",
        choices=SCHEDULES,
    )
    warmup_updates: int = option(0, "updates over which the learning rate rises from 0", low=0)
    weight_decay: float = option(0.0, "decoupled weight decay, per unit of learning rate", low=0)
    class_weight_power: float = option(0.25, "examples of a class weigh count ** -power; 0 = all alike", low=0)
    flip: bool = option(
        False, "mirror raw frames of half of the training clips left to right; wrong where sides matter"
    )
    shift: float = option(0.0, "the largest shift of raw frames, as a share of height and width", **SHARE)
    zoom: float = option(0.0, "the largest zoom of raw frames, in or out, as a share", **SHARE)
    rotation: float = option(0.0, "the largest rotation of raw frames, either way, as a share of a full turn", **SHARE)
    brightness: float = option(0.0, "the largest change of brightness of raw frames, as a share of white", **SHARE)
    contrast: float = option(0.0, "the largest change of contrast of raw frames, as a share", **SHARE)
    filters: str = option(
        "",
        "channels of the convolutions of a raw-frame model, such as 16,32; without it the model's own",
        metavar="N,N",
    )
    units: int = option(
        0, "units of the recurrence of a raw-frame model of its own; 0 = the model's own, 64 or 128", low=0
    )
    dense: str = option("", "widths of the dense layers of td_convnet_gru; without it 1024,512,128,64", metavar="N,N")
    fixed_frames: int = option(
        0, "conv3d flattens clips of exactly this many timesteps; 0 = it averages clips of any length", low=0
    )
    backbone: str = option("efficientnet_lite0", "the image model inside td_backbone_rnn; help names all")
    backbone_weights: str = option(
        PRETRAINED, "where that backbone begins: pretrained, random, or a weights file", metavar="WEIGHTS"
    )
    trainable_layers: str = option("9", "how many of the backbone's last layers are trained, or all", metavar="N")
    update_batchnorm: bool = option(
        False, "let statistics of the backbone's batch normalisation follow the training frames"
    )
    head: str = option(
        "bilstm",
        f"the model on embeddings that td_backbone_rnn ends in: {', '.join(MODEL_NAMES)}",
        choices=MODEL_NAMES,
        metavar="NAME",
    )
    start_from: str = option(
        "", "a run of that head on embeddings of the same backbone, where td_backbone_rnn begins", metavar="RUN"
    )
    stream: str = option(
        "td_cnn_lstm",
        f"the model that two_stream has once on RGB and once on optical flow: {', '.join(STREAM_MODELS)}",
        choices=STREAM_MODELS,
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("filters", "dense"):
            _check_widths(name, getattr(self, name))
        if self.trainable_layers != ALL_LAYERS and not self.trainable_layers.isdecimal():
            raise UsageError(
                f"trainable_layers must be a whole number of the last layers, or {ALL_LAYERS}, got "
                f"{self.trainable_layers!r}; choose another --trainable-layers."
            )
        self._check_combinations()

    @property
    def on_frames(self) -> bool:
        """Whether the model takes raw frames; the others take embeddings."""
        return TRAITS[self.model].on_frames

    @property
    def sequence_model(self) -> str:
        """The model that decides what can be done over time: the head of a backbone, the one inside two_stream."""
        model = self.stream if self.model == TWO_STREAM else self.model
        return self.head if model == "td_backbone_rnn" else model

    @property
    def derived_names(self) -> tuple[str, ...]:
        """What `derived` names."""
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
                f"hop {self.hop:g} must not be longer than the window, {self.window:g} s, or timesteps are never seen; "
                "give a --window of at least that, or a smaller --hop."
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
                f"model {model}, {self.task}, cannot be causal; choose one of {', '.join(causal)} for many-to-many."
            )
        if self.threshold and not re.fullmatch(r"f1|precision=(0?\.\d+|1(\.0+)?)", self.threshold):
            raise UsageError(f"threshold {self.threshold!r} is unknown; give f1 or precision=P with P up to 1.")
        if unknown := [name for name in self.derived_names if name not in DERIVED]:
            raise UsageError(f"derived {unknown[0]!r} is unknown; choose among {', '.join(DERIVED)}.")
        if self.derived and traits.on_frames:
            raise UsageError(f"derived channels stand beside embeddings, and model {model} takes raw frames.")
        if self.lag and not self.causal:
            raise UsageError(f"lag {self.lag} is for --causal; the labels of other models wait for the whole clip.")
        for name in SETTINGS_OF_FEW:
            if getattr(self, name) and self.model not in takers(name):
                raise UsageError(
                    f"{name} is for {', '.join(takers(name))}, and model is {self.model}; choose one of them, or leave "
                    f"--{name.replace('_', '-')} out."
                )
        if self.fixed_frames and (self.crop or self.speed or self.frame_drop):
            raise UsageError(
                f"fixed_frames {self.fixed_frames} goes without crop, speed and frame_drop, which change the number of "
                "frames; leave it or them at 0."
            )


def _check_widths(field: str, text: str) -> None:
    if text and not all(part.isdecimal() and int(part) for part in text.split(",")):
        raise UsageError(
            f"{field} must be whole numbers with commas between them, such as 16,32, got {text!r}; "
            f"choose another --{field}."
        )
