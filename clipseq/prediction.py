"""What is to be predicted, stores or videos, and what a run says about it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from clipseq.tables import Steps, steps_table
from extract.errors import UsageError
from extract.jobs.recipe import settings_from_recipe
from extract.jobs.settings import ExtractSettings
from extract.store.recipe import is_store
from extract.text import counted
from sequence_models.records import Clip, Prediction
from sequence_models.runs.checks import refuse_to_predict
from sequence_models.runs.run import Run
from sequence_models.settings import MANY_TO_ONE

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def stores_to_predict(
    run: Run,
    targets: Sequence[str | Path],
    *,
    features: Path | None,
    weights: Sequence[Path],
    embed: Callable[[str | Path, ExtractSettings], Any],
) -> Iterator[list[str | Path]]:
    """The stores that hold what is to be predicted; videos are embedded first, with the recipes stored in the run.

    Args:
        run: A trained run.
        targets: A store for each store that it was trained on, or videos.
        features: Folder that keeps the embeddings of the videos; None = they are not kept.
        weights: Weights files of backbones that were extracted with one.
        embed: Brings a store up to date with videos.

    Raises:
        UsageError: Several videos were given, or they cannot be embedded as the run's were.
        RunError: The run has no models for new clips.
    """
    if all(map(is_store, targets)):
        yield list(targets)
        return
    if len(targets) > 1:
        raise UsageError("give one VIDEOS, or one store for each store that the run was trained on")
    refuse_to_predict(run)  # before extracting the videos in vain
    with tempfile.TemporaryDirectory(prefix="clipseq-") as scratch:
        home = features or Path(scratch)
        all_settings = [
            settings_from_recipe(recipe, home / f"{number}", weights=weights)
            for number, recipe in enumerate(run.recipes)
        ]
        for settings in all_settings:
            embed(targets[0], settings)
        yield [settings.output for settings in all_settings]


class Predictions(Sequence[Prediction]):
    """What a run says about clips: a sequence of `Prediction`, one per clip, with `clip_id` and `probabilities`.

    Args:
        clips: The clips.
        predictions: One per clip, in the same order.
        run: The run that made them.
        failed: clip_id -> why a video could not be embedded, and so not predicted.

    Attributes:
        classes: Class names, in the order of the probabilities.

    Example:
        >>> predictions = clipseq.open_run("runs/first").predict("features")
        >>> predictions[0].clip_id, predictions[0].probabilities.shape, predictions.failed
        ('fall/0.avi', (2,), {})
    """

    def __init__(
        self, clips: Sequence[Clip], predictions: Sequence[Prediction], run: Run, failed: dict[str, str]
    ) -> None:
        self._clips, self._predictions, self._run = tuple(clips), tuple(predictions), run
        self.failed, self.classes = failed, run.vocabulary

    def __len__(self) -> int:
        return len(self._predictions)

    @overload
    def __getitem__(self, row: int) -> Prediction: ...

    @overload
    def __getitem__(self, row: slice) -> Sequence[Prediction]: ...

    def __getitem__(self, row: int | slice) -> Prediction | Sequence[Prediction]:
        return self._predictions[row]

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"Predictions({counted(self, 'clip')}, classes {', '.join(self.classes)}{failed})"

    def to_pandas(self) -> pd.DataFrame:
        """A table with a row per clip, or per timestep for many-to-many.

        Returns:
            The columns of the CSV of `clipseq predict`: clip_id, label, and p_<class> for every class; for many-to-many
            also frame, pts_seconds (timesteps, if the features have no rate) and raw_label, the decision without
            post-processing.

        Raises:
            UsageError: pandas is not installed.
        """
        per_step = self._run.settings.task != MANY_TO_ONE
        parts = [
            Steps(
                clip.clip_id,
                clip.pts_seconds,
                said.labels,
                said.probabilities,
                frames=clip.frame_indices if per_step else None,
                raw_labels=said.raw_labels if per_step else None,
            )
            for clip, said in zip(self._clips, self._predictions, strict=True)
        ]
        return steps_table(parts, self._run)
