"""Timesteps one by one -> predictions, as soon as they are decided; the same as of the whole clip at once.

For causal models with one label per timestep: `models.stream` remembers what a model has seen, and derived channels
and labels are decided from the last few timesteps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from extract.errors import RunError, UsageError
from sequence_models.clips.derived import DerivedStream
from sequence_models.prediction.calibrate import calibrated
from sequence_models.prediction.postprocess import Decision, log_scores
from sequence_models.prediction.viterbi import OnlineDecoder
from sequence_models.records import Prediction
from sequence_models.settings import MANY_TO_MANY, WINDOWS, TrainSettings


def refuse_to_stream(settings: TrainSettings, decision: Decision | None) -> None:
    """Raises if predictions of a timestep depend on later ones.

    Raises:
        UsageError: Names the setting and what to train instead.
        RunError: The run's decisions look ahead, though its model does not.
    """
    if settings.task != MANY_TO_MANY or not settings.causal:
        raise UsageError(
            f"the run's model is {settings.model} for {settings.task}, which sees a whole clip before it decides; "
            "train one with --task many-to-many --causal --model lstm, gru or mstcn"
        )
    if settings.window:
        raise UsageError(
            f"the run averages windows of {settings.window:g} s, the last of which depends on the end of the "
            "recording; train without --window"
        )
    looks_ahead = decision and (decision.median > 1 or any(decision.minimum_steps) or _waits_for_end(decision))
    if looks_ahead:
        raise RunError(f"the run decides labels by {decision}, which sees later timesteps; train it again")


class LivePredictor:
    """The models of a run, fed with one timestep after the other.

    Args:
        models: Whose mean predicts; from `load_model`.
        settings: Theirs; see `refuse_to_stream`.
        decision: How labels are decided; None: by the probabilities alone.
    """

    def __init__(self, models: Sequence[Any], settings: TrainSettings, decision: Decision | None) -> None:
        from sequence_models.models.build import DERIVING
        from sequence_models.models.stream import StreamedModel

        self._settings, self._decision = settings, decision
        self._models = [StreamedModel(model, streams=settings.stride) for model in models]
        has_windows = WINDOWS in settings.derived_names
        self._reductions = [model.get_layer(DERIVING).reduction() if has_windows else None for model in models]
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next timestep is the first of a clip. `finish` gives the last labels before."""
        for model in self._models:
            model.restart()
        self._count = 0
        self._deriving = [DerivedStream(self._settings, each) for each in self._reductions]
        self._undecided: deque[Prediction] = deque()
        how = self._decision
        self._decoder = OnlineDecoder(np.array(how.prices), how.lag or 0) if how and how.prices else None

    def push(self, row: np.ndarray, pts_seconds: float) -> list[Prediction]:
        """Take the next timestep.

        Args:
            row: Embedding (D,), or a frame uint8 (H, W, C), as a store would hold it.
            pts_seconds: Its time, later than that of the one before.

        Returns:
            Predictions of one timestep each, for the oldest timesteps that had none: here one, or none while labels
            wait for later timesteps.
        """
        stream = self._count % self._settings.stride
        self._count += 1
        squash = expit if self._settings.multi_label else softmax
        rows = [row if self._settings.on_frames else each.push(row, pts_seconds) for each in self._deriving]
        said = [squash(model.logits(each, stream=stream)) for model, each in zip(self._models, rows, strict=True)]
        mean = np.asarray(np.mean(said, axis=0), np.float32)
        return self._decided(Prediction("", mean[None], self._settings.multi_label))

    def finish(self) -> list[Prediction]:
        """After the last timestep: the predictions of those that still wait."""
        labels = self._decoder.finish() if self._decoder else []
        return [self._next(label) for label in labels]

    def _decided(self, prediction: Prediction) -> list[Prediction]:
        if self._decision is None:
            return [prediction]
        if self._decoder is None:
            return self._decision.apply([prediction])
        [prediction] = calibrated([prediction], self._decision.temperature)
        self._undecided.append(prediction)
        label = self._decoder.push(log_scores(prediction.probabilities, self._decision.log_prior)[0])
        return [] if label is None else [self._next(label)]

    def _next(self, label: int) -> Prediction:
        return replace(self._undecided.popleft(), decided=np.array([label]))


def _waits_for_end(decision: Decision) -> bool:
    return bool(decision.prices) and decision.lag is None
