"""What a training run is told: one flat record, checked when made. Imports no Keras, so a typo is answered at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from extract.errors import UsageError
from sequence_models.catalogue import (
    FRAME_VARIATIONS,
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
READOUTS = ("last", "mean", "max", "attention", "concat")
CONCAT_PARTS = 4
OPTIMIZERS = ("adam", "adamw", "sgd", "adadelta")
CHOICES = {
    "task": TASKS,
    "model": (*MODEL_NAMES, *RAW_MODEL_NAMES),
    "readout": READOUTS,
    "optimizer": OPTIMIZERS,
    "head": MODEL_NAMES,
    "stream": STREAM_MODELS,
}


@dataclass(frozen=True)
class DataSettings:
    """How labels and features are joined: what decides which clips and labels there are, apart from the files.

    Args:
        missing: "error", or "skip" to leave out labels without features.
        classes: The classes to use, in the order of their indices; None for all, sorted by name.
        labels_fps: Rate of the frames that start_frame and end_frame count, where it is not the video's own.
        labels_from: What they call the first frame of a clip, 0 or 1.
        labels_end: Whether end_frame is the first frame behind the interval, "exclusive", or its last, "inclusive".
        background: The class of timesteps between intervals, which segment metrics leave out; None leaves them
            unlabelled.
        keep: clip_ids to use, None for all.
        group_from: How to read the group out of the clip_id where the labels have none (see groups.py).
        alignment: "strict" refuses intervals outside the features and overlaps; "tolerant" reports them.

    Raises:
        UsageError: A value is out of its range or unknown.
    """

    missing: str = "error"
    classes: tuple[str, ...] | None = None
    labels_fps: float | None = None
    labels_from: int = 0
    labels_end: str = EXCLUSIVE
    background: str | None = None
    keep: tuple[str, ...] | None = None
    group_from: str | None = None
    alignment: str = STRICT

    def __post_init__(self) -> None:
        known = {"missing": ("error", "skip"), "labels_end": (EXCLUSIVE, INCLUSIVE), "alignment": (STRICT, TOLERANT)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise UsageError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)!r}; it must be {' or '.join(values)}."
                )
        if self.labels_from not in (0, 1):
            raise UsageError(f"--labels-from is {self.labels_from}; it must be 0 or 1.")
        if self.labels_fps is not None and not 0 < self.labels_fps < float("inf"):
            raise UsageError(f"--labels-fps is {self.labels_fps:g}; it must be above 0.")

    @property
    def renumbers(self) -> bool:
        """Whether frames count in another way than from 0 to the one behind the last."""
        return bool(self.labels_from) or self.labels_end == INCLUSIVE


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides how a model is built and trained, apart from the data and the seed.

    Args:
        task: "many-to-one" (one label per clip) or "many-to-many" (one label per timestep).
        model: On embeddings one of `MODEL_NAMES`; on raw frames one of `RAW_MODEL_NAMES`.
        readout: How a many-to-one model turns its timesteps into one vector, over real timesteps only: "last" (of a
            bidirectional model: the last of each direction), "mean", "max", "attention", or "concat", which keeps the
            order of equal parts of the clip. The models attention, meanpool, maxpool and pyramid leave it unused.
        hidden: Units of each recurrent layer, per direction; channels of mstcn.
        layers: Recurrent layers on top of each other.
        projection: Width that embeddings are projected to first; 0 = none. mstcn projects to `hidden` instead.
        steps: A recurrent many-to-one model averages the clip to this many equal parts before the recurrence; 0 = not
            at all, but 4 parts for the read-out concat.
        multi_label: Classes of many-to-many may overlap: each gets its own yes or no (sigmoid), with a threshold that
            is chosen on validation.
        stride: Only every stride-th timestep goes in, at a phase drawn anew in every epoch; a prediction takes all
            phases, so that every timestep still gets an answer.
        window: Seconds of the sliding windows that training and prediction see instead of whole clips; what is said
            about overlapping windows is averaged, per clip or per timestep. 0 = whole clips.
        hop: Seconds from one window to the next; 0 = half a window.
        chunk: Many-to-many training without windows cuts longer clips into chunks of this many timesteps, at new
            places in every epoch; a prediction sees the whole clip. 0 = never.
        causal: A timestep may only see those before it, as for a live stream: many-to-many with lstm, gru, mstcn, or
            a raw-frame model with such a recurrence.
        tcn_stages: Stages of mstcn; each refines the labels of the one before.
        tcn_layers: Dilated residual layers per stage of mstcn; layer i looks 2 ** i timesteps far.
        dropout: Share of units dropped, the same ones at every timestep of a clip.
        channel_dropout: Share of embedding channels dropped over a whole clip.
        label_smoothing: Share of every target that is spread over all classes.
        smoothing_loss: Weight of T-MSE, which keeps neighbouring timesteps of many-to-many alike; 0 = none.
        crop: The largest share of a training clip that is cut away at its ends, anew in every epoch.
        speed: The largest change of a training clip's speed, up or down, as a share.
        frame_drop: Share of a training clip's timesteps left out.
        epochs: The most epochs to train.
        patience: Epochs without a better validation score before training stops.
        batch_size: Clips per training step.
        optimizer: One of `OPTIMIZERS`.
        learning_rate: Step size of the optimizer, constant.
        weight_decay: Decoupled weight decay per unit of learning rate.
        class_weight_power: Examples of a class weigh count ** -power; 0 = all alike.
        flip: Raw frames of half of the training clips are mirrored left to right; wrong where sides matter.
        shift: The largest shift of raw frames, as a share of height and width.
        zoom: The largest zoom of raw frames, in or out, as a share.
        rotation: The largest rotation of raw frames, either way, as a share of a full turn.
        brightness: The largest change of brightness of raw frames, as a share of white.
        contrast: The largest change of contrast of raw frames, as a share.
        filters: Channels of the convolutions of a raw-frame model, such as 16,32; "" = the model's own.
        units: Units of the recurrence of a raw-frame model of its own; 0 = the model's own, 64 or 128.
        dense: Widths of the dense layers of td_convnet_gru; "" = 1024,512,128,64.
        fixed_frames: conv3d flattens clips of exactly this many timesteps; 0 = averages what it finds in clips of any
            length.
        backbone: The image model inside td_backbone_rnn, by the names of clipseq extract.
        backbone_weights: Where that backbone begins: "pretrained", "random", or a weights file.
        trainable_layers: How many of the backbone's last layers are trained, or "all".
        update_batchnorm: Statistics of the backbone's batch normalisation follow the training frames; without it they
            stay as they were.
        head: The model on embeddings that td_backbone_rnn ends in: one of `MODEL_NAMES`.
        start_from: A run of that head on embeddings of the same backbone, where td_backbone_rnn begins.
        stream: The model that two_stream has once on RGB and once on optical flow: one of `STREAM_MODELS`.

    Raises:
        UsageError: A name is unknown or a number is out of its range.
    """

    task: str = MANY_TO_ONE
    model: str = "bilstm"
    readout: str = "concat"
    hidden: int = 48
    layers: int = 1
    projection: int = 64
    steps: int = 0
    multi_label: bool = False
    stride: int = 1
    window: float = 0.0
    hop: float = 0.0
    chunk: int = 512
    causal: bool = False
    tcn_stages: int = 3
    tcn_layers: int = 8
    dropout: float = 0.5
    channel_dropout: float = 0.3
    label_smoothing: float = 0.0
    smoothing_loss: float = 0.15
    crop: float = 0.0
    speed: float = 0.0
    frame_drop: float = 0.0
    epochs: int = 60
    patience: int = 20
    batch_size: int = 16
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    class_weight_power: float = 0.25
    flip: bool = False
    shift: float = 0.0
    zoom: float = 0.0
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    filters: str = ""
    units: int = 0
    dense: str = ""
    fixed_frames: int = 0
    backbone: str = "efficientnet_lite0"
    backbone_weights: str = PRETRAINED
    trainable_layers: str = "9"
    update_batchnorm: bool = False
    head: str = "bilstm"
    start_from: str = ""
    stream: str = "td_cnn_lstm"

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            _check_name(name, getattr(self, name), known)
        for name in ("stride", "hidden", "layers", "tcn_stages", "tcn_layers", "epochs", "patience", "batch_size"):
            _check_range(name, getattr(self, name), 1, float("inf"))
        shares = ("dropout", "channel_dropout", "label_smoothing", "crop", "speed", "frame_drop")
        for name in (*shares, *FRAME_VARIATIONS[1:]):
            _check_range(name, getattr(self, name), 0, 0.95)
        for name in (
            "projection",
            "steps",
            "window",
            "hop",
            "chunk",
            "smoothing_loss",
            "weight_decay",
            "class_weight_power",
            "units",
            "fixed_frames",
        ):
            _check_range(name, getattr(self, name), 0, float("inf"))
        _check_range("learning_rate", self.learning_rate, 1e-8, 100)
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
    def parts(self) -> int:
        """How many equal parts a many-to-one clip is averaged to; 0 = it keeps all its timesteps."""
        return self.steps or (CONCAT_PARTS if self.readout == "concat" else 0)

    @property
    def hop_seconds(self) -> float:
        """Seconds from one window to the next."""
        return self.hop or self.window / 2

    def _check_combinations(self) -> None:
        if self.hop and not self.window:
            raise UsageError(f"--hop needs --window; hop {self.hop:g} s is the step from one window to the next.")
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
        if self.steps and (self.task == MANY_TO_MANY or not traits.recurrent):
            raise UsageError(
                f"steps {self.steps} averages a clip before the recurrence of a many-to-one model; "
                f"leave it at 0 for {model}, {self.task}."
            )
        if self.causal and (not traits.causal or self.task == MANY_TO_ONE):
            causal = models_with(causal=True, on_frames=traits.on_frames)
            raise UsageError(
                f"model {model}, {self.task}, cannot be causal; choose one of {', '.join(causal)} for many-to-many."
            )
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


def _check_name(field: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise UsageError(f"{field} {value!r} is unknown; choose one of {', '.join(known)}.")


def _check_widths(field: str, text: str) -> None:
    if text and not all(part.isdecimal() and int(part) for part in text.split(",")):
        raise UsageError(
            f"{field} must be whole numbers with commas between them, such as 16,32, got {text!r}; "
            f"choose another --{field}."
        )


def _check_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        limit = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
        raise UsageError(f"{field} must be {limit}, got {value}; choose another --{field.replace('_', '-')}.")
