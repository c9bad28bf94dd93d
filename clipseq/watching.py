"""A run and a camera, stream or file -> labels as they are decided."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipseq.live_labels import LiveLabel
from extract.backbones.backbone import Backbone
from extract.decode.live import Interruption, LiveFrames, LiveReader, live_source, open_live
from extract.embed.windows import WindowCutter, window_rule
from extract.engines.engine import Engine
from extract.engines.registry import make_engine
from extract.errors import BackboneError, RunError
from extract.jobs.job import backbone_of
from extract.jobs.recipe import recipe_of, settings_from_recipe
from extract.jobs.settings import ExtractSettings
from extract.records import SampledFrames
from extract.store.recipe import fingerprint
from extract.system.quiet_start import import_keras_quietly
from sequence_models.prediction.live import LivePredictor, refuse_to_stream
from sequence_models.prediction.tables import label_names
from sequence_models.records import Prediction
from sequence_models.runs.checks import refuse_to_predict
from sequence_models.runs.run import Run


@dataclass(frozen=True)
class _Timestep:
    """A timestep whose label is not decided yet."""

    pts_seconds: float
    frame: int
    part: int
    arrived: float
    picture: np.ndarray


class Watch:
    """Labels of a source, as they are decided: a context manager to iterate over.

    Args:
        run: A run with a causal model for labels per timestep, on features that Clipseq extracted.
        source: A file, an address such as udp://127.0.0.1:5000, or the number of a camera.
        format: FFmpeg's name of the input format, if the source is another device.
        weights: Weights files of backbones that were extracted with one.
        patience_seconds: How long to try again when a camera or stream does not come, or is interrupted.

    Raises:
        UsageError: The run needs what comes later, or cannot be applied to videos.
        RunError: The run has no models for new clips.
        BackboneError, VideoError: As for `clipseq extract`.
    """

    def __init__(
        self,
        run: Run,
        source: str,
        *,
        format: str = "",
        weights: Sequence[Path] = (),
        patience_seconds: float,
    ) -> None:
        opened = live_source(source, format=format)
        refuse_to_stream(run.settings, None)
        refuse_to_predict(run)
        import_keras_quietly()
        from sequence_models.runs.fitted import predicting_decision, predicting_models

        decision = predicting_decision(run)
        refuse_to_stream(run.settings, decision)
        settings = [settings_from_recipe(recipe, Path(), weights=weights) for recipe in run.recipes]
        backbones = [backbone_of(each) for each in settings]
        _refuse_other_recipe(run, settings, backbones)
        self._run = run
        self._reader = open_live(  # checks the source before models are loaded
            opened,
            [each.decode_settings(backbone.image_size) for each, backbone in zip(settings, backbones, strict=True)],
            patience_seconds=patience_seconds,
        )
        self._embedders = [_Embedder(*each) for each in zip(settings, backbones, strict=True)]
        self._predictor = LivePredictor(predicting_models(run), run.settings, decision)
        self._waiting: deque[_Timestep] = deque()
        self._rows: list[deque[tuple[_Timestep, np.ndarray]]] = [deque() for _ in self._embedders]
        self._warm_up()

    @property
    def reader(self) -> LiveReader:
        """What reads the source; counts what was dropped and damaged."""
        return self._reader

    def __enter__(self) -> Watch:
        self._reader.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._reader.__exit__(*error)

    def __iter__(self) -> Iterator[LiveLabel | Interruption]:
        part = 0
        for item in self._reader:
            if isinstance(item, Interruption):
                yield from self._finish(part)
                yield item
                continue
            if item.part != part:
                yield from self._finish(part)
                part = item.part
            yield from self._take(item)
        yield from self._finish(part)

    def _take(self, item: LiveFrames) -> Iterator[LiveLabel]:
        for embedder, frames, rows in zip(self._embedders, item.frames, self._rows, strict=True):
            rows.extend(embedder.take(frames, item))
        yield from self._predict()

    def _predict(self) -> Iterator[LiveLabel]:
        """Take the timesteps that are there in every store."""
        while all(self._rows):
            parts = [rows.popleft() for rows in self._rows]
            timestep = parts[0][0]
            self._waiting.append(timestep)
            row = np.concatenate([row for _, row in parts], axis=-1)
            yield from map(self._said, self._predictor.push(row, timestep.pts_seconds))

    def _finish(self, part: int) -> Iterator[LiveLabel]:
        """The end of a part: what is still to be said, and forgetting it."""
        for embedder, rows in zip(self._embedders, self._rows, strict=True):
            rows.extend(embedder.finish(part))
        yield from self._predict()
        yield from map(self._said, self._predictor.finish())
        self._predictor.restart()
        for rows in self._rows:
            rows.clear()

    def _said(self, prediction: Prediction) -> LiveLabel:
        step, names = self._waiting.popleft(), self._run.vocabulary
        label, raw = (label_names(each, names)[0] for each in (prediction.labels, prediction.raw_labels))
        probabilities = dict(zip(names, map(float, prediction.probabilities[0]), strict=True))
        delay = time.monotonic() - step.arrived
        return LiveLabel(step.pts_seconds, step.frame, label, raw, probabilities, delay, step.part, step.picture)

    def _warm_up(self) -> None:
        """One timestep through everything, so that the first real one is not late; engines have had theirs."""
        width = self._run.embedding_dim
        row = np.zeros(width, np.uint8 if isinstance(width, tuple) else np.float16)
        self._predictor.push(row, 0.0)
        self._predictor.restart()


class _Embedder:
    """Frames to the rows of one store."""

    def __init__(self, settings: ExtractSettings, backbone: Backbone) -> None:
        self._engine, self._dtype = _engine(settings, backbone), backbone.stored_dtype
        self._rule = window_rule(backbone)
        self._cutter = WindowCutter(self._rule) if self._rule else None
        self._arrived = 0.0

    def take(self, frames: SampledFrames, item: LiveFrames) -> Iterator[tuple[_Timestep, np.ndarray]]:
        """The rows that the next frame completes."""
        self._arrived = item.arrived
        for each in self._cutter.take(frames) if self._cutter else [frames]:
            yield self._row(each, item.part)

    def finish(self, part: int) -> list[tuple[_Timestep, np.ndarray]]:
        """After the last frame: the row of a clip that is shorter than a window."""
        if self._cutter is None or self._rule is None:
            return []
        rest, self._cutter = list(self._cutter.end()), WindowCutter(self._rule)
        return [self._row(each, part) for each in rest]

    def _row(self, frames: SampledFrames, part: int) -> tuple[_Timestep, np.ndarray]:
        row = self._engine(np.repeat(frames.frames, self._engine.batch_size, axis=0))[0].astype(self._dtype)
        picture = frames.frames[0] if frames.frames.ndim == 4 else frames.frames[0, -1]
        at, index = float(frames.pts_seconds[0]), int(frames.frame_indices[0])
        return _Timestep(at, index, part, self._arrived, picture), row


def _engine(settings: ExtractSettings, backbone: Backbone) -> Engine:
    """An engine for one picture at a time; a model file may fix another number, and then computes one picture often."""
    kind, precision = settings.engine, settings.precision
    try:
        return make_engine(backbone, kind=kind, precision=precision, batch_size=1)
    except BackboneError:
        if backbone.file is None:
            raise
        return make_engine(backbone, kind=kind, precision=precision)


def _refuse_other_recipe(run: Run, settings: Sequence[ExtractSettings], backbones: Sequence[Backbone]) -> None:
    """Raises if frames cannot be embedded as those were that the run was trained on."""
    here = [fingerprint(recipe_of(*each)) for each in zip(settings, backbones, strict=True)]
    if here != list(run.fingerprints):
        raise RunError(
            f"{run.path} was trained on features of an earlier recipe, which this version cannot make; extract and "
            "train again"
        )
