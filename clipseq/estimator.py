"""A sequence model as a scikit-learn estimator, for clips that are arrays in memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from extract.errors import ClipError, LabelError, RunError, SplitError, UsageError
from extract.system.quiet_start import import_keras_quietly
from extract.system.typed_json import parse_json
from sequence_models.clips.batches import check_clips
from sequence_models.labels.intervals import UNLABELLED
from sequence_models.records import Clip, Prediction
from sequence_models.runs.files import read_arrays, write_arrays
from sequence_models.settings import MANY_TO_ONE, TrainSettings
from sequence_models.splits.balance import TRAIN, divide, group_clips

OWN = ("validation_share", "random_state")  # parameters that are not settings of a model
SAVED = "classes", "embedding_dim", "parameters"  # arrays of a saved estimator beside its weights
Labels = Sequence[Any] | np.ndarray


class SequenceEstimator(ClassifierMixin, BaseEstimator):
    """A masked sequence model with the interface of scikit-learn.

    It works in `cross_val_score`, `GridSearchCV`, `Pipeline` and `clone`. X is a list of arrays (T, D) of any lengths.
    With task="many-to-one", y has one class per clip; with "many-to-many" it is a list with one sequence of T classes
    per clip. The best weights are those with the best macro-F1 on the part of the clips that `fit` holds out, whole
    groups at a time; `cross_val_score(..., params={"groups": groups})` hands groups on to it.

    `check_estimator` does not pass, since its X is one array (n, D), not a list of arrays (T, D): what it feeds is
    refused with ClipError. What does not depend on that holds: parameters are stored as given and checked in `fit`,
    fitted attributes end in an underscore, the same `random_state` gives the same numbers, and an estimator that is
    not fitted raises NotFittedError. There are no sample weights, and `random_state` is a whole number. A list of label
    sequences is no target type of scikit-learn: for many-to-many, splitters are not stratified (`cv=5` is KFold), and
    scorers by name do not work, `score` does. Predictions are neither calibrated nor post-processed, unlike those of
    `train`.

    Args:
        task: "many-to-one" or "many-to-many".
        model: A model on embeddings, such as bilstm, lstm_parts, mstcn, attention or meanpool.
        validation_share: Share of the clips that `fit` holds out; 0 trains on all of them and keeps the last weights.
        random_state: For the weights, the order of the clips and the part held out.
        others: As for `clipseq train --help`.

    Attributes:
        classes_: The classes, sorted, in the order of the probabilities.
        n_features_in_: D.
        validation_rows_: Which clips `fit` held out.
        validation_score_: Macro-F1 on them at the best update; None if there are none.
        best_update_: The update with the best weights.

    Example:
        >>> estimator = clipseq.SequenceEstimator(model="lstm", updates=60).fit(X, y)
        >>> estimator.classes_.tolist(), estimator.predict(X[:2]).tolist()
        (['fall', 'rise'], ['fall', 'fall'])
        >>> estimator.predict_proba(X[:2]).shape
        (2, 2)
        >>> estimator.save("estimator.npz")
        >>> same = clipseq.SequenceEstimator.load("estimator.npz")
        >>> bool((same.predict_proba(X) == estimator.predict_proba(X)).all())
        True
    """

    def __init__(
        self,
        *,
        task: str = MANY_TO_ONE,
        model: str = "bilstm",
        readout: str = "attention",
        hidden: int = 48,
        layers: int = 1,
        projection: int = 64,
        parts: int = 4,
        stride: int = 1,
        chunk: int | None = None,
        derived: str = "",
        causal: bool = False,
        tcn_stages: int = 3,
        tcn_layers: int = 8,
        dropout: float = 0.5,
        channel_dropout: float = 0.3,
        label_smoothing: float = 0.0,
        smoothing_loss: float = 0.15,
        crop: float = 0.0,
        speed: float = 0.0,
        frame_drop: float = 0.0,
        updates: int | None = None,
        patience_updates: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        warmup_updates: int = 0,
        weight_decay: float = 0.0,
        class_weight_power: float = 0.25,
        validation_share: float = 0.2,
        random_state: int = 0,
    ) -> None:
        given = dict(locals())
        for name in self._get_param_names():
            setattr(self, name, given[name])

    def fit(self, X: Sequence[np.ndarray], y: Labels, groups: Labels | None = None) -> SequenceEstimator:
        """Train the model.

        Args:
            X: Arrays (T, D), one per clip.
            y: A class per clip, or for many-to-many a sequence of T classes per clip.
            groups: The group of each clip; those of one group are held out together. None: each is its own.

        Raises:
            UsageError: A parameter is out of range.
            ClipError, LabelError: X and y do not fit each other or the task.
            SplitError: Nothing can be held out without losing a class from training.
        """
        import_keras_quietly()
        from sequence_models.training.fit import fit_model

        settings, seed = self._settings(), self._seed()
        self.classes_, labels = _encoded(y, settings.task)
        clips = _clips(X, labels, groups)
        self.n_features_in_ = check_clips(clips, num_classes=len(self.classes_))
        self.validation_rows_ = self._held_out(clips)
        held_out = set(self.validation_rows_.tolist())
        with tempfile.TemporaryDirectory(prefix="clipseq-") as folder:
            result = fit_model(
                [clip for row, clip in enumerate(clips) if row not in held_out],
                [clip for row, clip in enumerate(clips) if row in held_out],
                settings,
                num_classes=len(self.classes_),
                seed=seed,
                checkpoint=Path(folder) / "best.weights.h5",
                log=Path(folder) / "log.csv",
                quiet=True,
            )
        self.values_ = result.values
        self.best_update_, self.validation_score_ = result.best_update, result.best_score
        return self

    def predict(self, X: Sequence[np.ndarray]) -> Any:
        """The most probable classes.

        Args:
            X: Arrays (T, D), one per clip.

        Returns:
            An array (n,); for many-to-many a list of arrays (T,).

        Raises:
            ClipError: A clip has another width, no timestep, or a number that is not finite.
            NotFittedError: `fit` was not called.
        """
        said = [self.classes_[each.labels] for each in self._predictions(X)]
        return said if self._settings().task != MANY_TO_ONE else np.array(said, self.classes_.dtype)

    def predict_proba(self, X: Sequence[np.ndarray]) -> Any:
        """The probabilities of the classes, float32 (n, K), for many-to-many a list of (T, K); raises as `predict`."""
        said = [each.probabilities for each in self._predictions(X)]
        if self._settings().task != MANY_TO_ONE:
            return said
        return np.stack(said) if said else np.empty((0, len(self.classes_)), np.float32)

    def score(self, X: Sequence[np.ndarray], y: Labels) -> float:
        """Accuracy over all clips, for many-to-many over all timesteps of all clips; raises as `predict`."""
        said = self.predict(X)
        if len(said) != len(y):
            raise LabelError(f"X has {len(said)} clips, but y {len(y)}")
        right = [np.atleast_1d(np.asarray(true) == one) for true, one in zip(y, said, strict=True)]
        return float(np.concatenate(right).mean())

    def save(self, path: str | Path) -> None:
        """Write parameters and weights to one file, without pickle; an existing file is replaced.

        Raises:
            WriteError: It cannot be written.
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        facts = (self.classes_, np.array(self.n_features_in_), np.array(json.dumps(self._parameters())))
        weights = {f"value{number}": value for number, value in enumerate(self.values_)}
        write_arrays(Path(path), dict(zip(SAVED, facts, strict=True)) | weights)

    @classmethod
    def load(cls, path: str | Path) -> SequenceEstimator:
        """Read a file from `save`; it runs no code.

        Raises:
            RunError: It is missing, damaged, or not from `save`.
        """
        arrays = read_arrays(Path(path), again="save the estimator again")
        try:
            classes, embedding_dim, parameters = (arrays[name] for name in SAVED)
            estimator = cls(**parse_json(str(parameters)))
            estimator.classes_, estimator.n_features_in_ = classes, int(embedding_dim)
            estimator.values_ = tuple(arrays[f"value{number}"] for number in range(len(arrays) - len(SAVED)))
            estimator._check_values()
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise RunError(f"{path} was not written by SequenceEstimator.save ({error}); save it again") from None
        return estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        if self.get_params()["task"] != MANY_TO_ONE:  # label sequences cannot be stratified
            tags.estimator_type, tags.classifier_tags = None, None
        return tags

    def _parameters(self) -> dict[str, Any]:
        """The parameters as plain Python values; grids often hold NumPy's."""
        return {
            name: value.item() if isinstance(value, np.generic) else value for name, value in self.get_params().items()
        }

    def _settings(self) -> TrainSettings:
        settings = TrainSettings(**{name: value for name, value in self._parameters().items() if name not in OWN})
        if settings.on_frames:
            raise UsageError(f"model {settings.model} takes raw frames; choose one on embeddings, such as bilstm")
        return settings

    def _seed(self) -> int:
        seed = self._parameters()["random_state"]
        if type(seed) is not int or seed < 0:
            raise UsageError(f"random_state is {seed!r}; it must be a whole number of at least 0")
        return seed

    def _held_out(self, clips: Sequence[Clip]) -> np.ndarray:
        """The numbers of the validation clips, int64 (V,)."""
        share = self._parameters()["validation_share"]
        if not isinstance(share, (int, float)) or not 0 <= share < 1:
            raise UsageError(f"validation_share is {share!r}; it must be from 0 to less than 1")
        if share == 0:
            return np.empty(0, np.int64)
        groups = group_clips(clips, [str(name) for name in self.classes_])
        rng, everything = np.random.default_rng(self._seed()), np.arange(len(groups.names))
        try:
            parts = divide("fit", groups, everything, (1 - share, share), rng)
        except SplitError as error:
            raise SplitError(
                f"{error} Or give validation_share=0: train on all clips, keep the last weights."
            ) from None
        number_of = {clip.clip_id: row for row, clip in enumerate(clips)}
        held_out = [members for members, part in zip(groups.members, parts, strict=True) if part != TRAIN]
        return np.sort([number_of[clip_id] for members in held_out for clip_id in members])

    def _predictions(self, X: Sequence[np.ndarray]) -> list[Prediction]:
        check_is_fitted(self)
        import_keras_quietly()
        from sequence_models.models.build import Architecture
        from sequence_models.models.compiled import compiled
        from sequence_models.prediction.predict import predict_loaded

        twin = compiled(Architecture(self._settings(), self.n_features_in_, len(self.classes_)))
        twin.assign(self.values_)
        return predict_loaded(twin, _clips(X, [np.array(UNLABELLED)] * len(X), None))

    def _check_values(self) -> None:
        """Raises ValueError if the weights do not fit the parameters."""
        import_keras_quietly()
        from sequence_models.models.build import Architecture
        from sequence_models.models.compiled import fresh_values

        wanted = fresh_values(Architecture(self._settings(), self.n_features_in_, len(self.classes_)), self._seed())
        if [value.shape for value in wanted] != [value.shape for value in self.values_]:
            raise ValueError("its weights do not fit its parameters")


def _encoded(y: Labels, task: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The sorted classes, and the class numbers of every clip, () or (T,)."""
    clips = [np.asarray(labels) for labels in y]
    wanted = 0 if task == MANY_TO_ONE else 1
    for row, labels in enumerate(clips):
        if labels.ndim != wanted:
            needs = "one class" if wanted == 0 else "a sequence of one class per timestep"
            raise LabelError(f"y[{row}] has the shape {labels.shape}, but task {task} takes {needs} for each clip")
    if not clips:
        raise LabelError("there are no clips; give at least one with a label")
    kinds = {labels.dtype.kind if labels.dtype.kind != "O" else _kind_of(labels) for labels in clips}
    if len(kinds) != 1 or not kinds <= set("biuU"):
        raise LabelError("y must be text, or whole numbers, or booleans, the same for all clips")
    classes, numbers = np.unique(
        np.concatenate([np.atleast_1d(np.array(c.tolist())) for c in clips]), return_inverse=True
    )
    if len(classes) < 2:
        raise LabelError(f"y has only one class ({classes[0]}), but training needs at least two")
    if wanted == 0:
        return classes, [np.array(number, np.int64) for number in numbers]
    return classes, np.split(numbers.astype(np.int64), np.cumsum([len(labels) for labels in clips])[:-1])


def _kind_of(labels: np.ndarray) -> str:
    """The kind of an array of Python objects."""
    kinds = {np.asarray(label).dtype.kind for label in labels.ravel().tolist()}
    return kinds.pop() if len(kinds) == 1 else "O"


def _clips(X: Sequence[np.ndarray], labels: Sequence[np.ndarray], groups: Labels | None) -> list[Clip]:
    if not len(X) == len(labels) == (len(X) if groups is None else len(groups)):
        given = f"{len(labels)} labels" + ("" if groups is None else f" and {len(groups)} groups")
        raise LabelError(f"there are {len(X)} clips, but {given}; give one for each clip")
    clips = []
    for row, (clip, label) in enumerate(zip(X, labels, strict=True)):
        rows = np.asarray(clip)
        if rows.ndim != 2 or rows.dtype.kind not in "biuf":
            raise ClipError(f"X[{row}] must be numbers (T, D), one row per timestep, got {rows.dtype} {rows.shape}")
        if label.ndim and len(label) != len(rows):
            raise LabelError(f"y[{row}] has {len(label)} labels for the {len(rows)} timesteps of X[{row}]")
        steps, group = np.arange(len(rows)), "" if groups is None else f"group {groups[row]}"
        kind = rows.dtype if rows.dtype == np.float16 else np.float32
        clips.append(Clip(f"X[{row}]", rows.astype(kind), steps.astype(np.float64), steps, label, group))
    return clips
