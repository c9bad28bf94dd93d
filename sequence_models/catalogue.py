"""Every model by name, with its properties; imports no Keras."""

from __future__ import annotations

from dataclasses import dataclass

MANY_TO_ONE, MANY_TO_MANY = "many-to-one", "many-to-many"
FRAME_VARIATIONS = ("flip", "shift", "zoom", "rotation", "brightness", "contrast")


@dataclass(frozen=True)
class ModelTraits:
    """The properties of a model.

    Args:
        on_frames: It takes raw frames; the others take embeddings.
        framewise: It can give a label per timestep; the others give one per clip. For td_backbone_rnn and two_stream,
            this and all that follows depend on the model inside.
        parts: A recurrent network that runs over the means of a few equal parts of the clip, not over its timesteps.
        causal: It can be made to see no later timesteps.
        order_free: Its output does not depend on the order of the timesteps.
        compared: The tasks for which `clipseq compare` trains it unless other models are named. The rest never won on
            the developers' sets against a simpler or quicker model of their kind.
        takes: Of the settings that only few models take, those it takes.
    """

    on_frames: bool = False
    framewise: bool = False
    parts: bool = False
    causal: bool = False
    order_free: bool = False
    compared: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


TRAITS = {
    "lstm": ModelTraits(framewise=True, causal=True, compared=(MANY_TO_MANY,)),
    "bilstm": ModelTraits(framewise=True, compared=(MANY_TO_ONE, MANY_TO_MANY)),
    "gru": ModelTraits(framewise=True, causal=True),
    "bigru": ModelTraits(framewise=True),
    "lstm_parts": ModelTraits(parts=True),
    "bilstm_parts": ModelTraits(parts=True, compared=(MANY_TO_ONE,)),
    "gru_parts": ModelTraits(parts=True),
    "bigru_parts": ModelTraits(parts=True),
    "attention": ModelTraits(order_free=True, compared=(MANY_TO_ONE,)),
    "meanpool": ModelTraits(order_free=True, compared=(MANY_TO_ONE,)),
    "maxpool": ModelTraits(order_free=True),
    "pyramid": ModelTraits(compared=(MANY_TO_ONE,)),
    "probe": ModelTraits(),
    "mstcn": ModelTraits(framewise=True, causal=True, compared=(MANY_TO_MANY,)),
    "td_cnn_lstm": ModelTraits(framewise=True, causal=True, on_frames=True, takes=(*FRAME_VARIATIONS, "pool")),
    "td_cnn_flatten_lstm": ModelTraits(framewise=True, causal=True, on_frames=True, takes=FRAME_VARIATIONS),
    "td_convnet_gru": ModelTraits(framewise=True, causal=True, on_frames=True, takes=(*FRAME_VARIATIONS, "pool")),
    "td_cnn_avgpool": ModelTraits(order_free=True, on_frames=True, takes=(*FRAME_VARIATIONS, "pool")),
    "td_cnn_maxpool": ModelTraits(order_free=True, on_frames=True, takes=(*FRAME_VARIATIONS, "pool")),
    "conv3d": ModelTraits(on_frames=True, takes=(*FRAME_VARIATIONS, "fixed_frames")),
    "td_backbone_rnn": ModelTraits(framewise=True, on_frames=True, takes=(*FRAME_VARIATIONS, "start_from", "pool")),
    "two_stream": ModelTraits(framewise=True, on_frames=True, takes=(*FRAME_VARIATIONS, "pool")),
}
TWO_STREAM = "two_stream"


def models_with(**wanted: bool) -> tuple[str, ...]:
    """The models with certain traits, such as `models_with(on_frames=True, framewise=True)`, in table order."""
    return tuple(
        name
        for name, traits in TRAITS.items()
        if all(getattr(traits, trait) == value for trait, value in wanted.items())
    )


def takers(setting: str) -> tuple[str, ...]:
    """The models that take a setting; most settings are for all models."""
    few = tuple(name for name, traits in TRAITS.items() if setting in traits.takes)
    return few or tuple(TRAITS)


SETTINGS_OF_FEW = (*FRAME_VARIATIONS, "fixed_frames", "start_from", "pool")
MODEL_NAMES = models_with(on_frames=False)
RAW_MODEL_NAMES = models_with(on_frames=True)
COMPARED_MODELS = tuple(name for name, traits in TRAITS.items() if traits.compared)
STREAM_MODELS = tuple(name for name in RAW_MODEL_NAMES if name != TWO_STREAM)
