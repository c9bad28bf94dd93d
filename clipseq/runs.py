"""Stage two: training, comparing and reopening runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from clipseq.extraction import failures_of
from clipseq.options import CompareOptions, TrainOptions, arguments_of
from clipseq.prediction import Predictions, stores_to_predict
from clipseq.store import FeatureStore
from clipseq.tables import Steps, data_frame, steps_table
from extract.errors import RunError
from extract.jobs.batch import extract_videos
from extract.jobs.settings import ExtractSettings
from extract.system.quiet_start import import_keras_quietly
from extract.system.terminal import progress_bars
from extract.text import counted
from sequence_models.arguments import add_compare, add_train, compare_arguments, train_arguments
from sequence_models.experiments.verbs import compare_models, train_run
from sequence_models.report.run import read_predictions
from sequence_models.runs.checks import refuse_comparison
from sequence_models.runs.results import read_comparison, read_metrics, read_validation
from sequence_models.runs.run import MODEL, read_run
from sequence_models.scoring.confidence import shown_interval
from sequence_models.settings import TrainSettings

if TYPE_CHECKING:
    import pandas as pd

AnyStore = str | Path | FeatureStore


def train(
    store: AnyStore | Sequence[AnyStore],
    labels: str | Path | None = None,
    *,
    task: str,
    run: str | Path,
    progress: bool = False,
    **options: Unpack[TrainOptions],
) -> Run:
    """Train a sequence model, with baselines for comparison; continues a run that was interrupted.

    Args:
        store: A feature store, or several of the same clips, joined per frame.
        labels: A label file; None: the folders are the classes.
        task: "many-to-one", one label per clip, or "many-to-many", one per timestep.
        run: The folder where the results go.
        progress: Show progress bars.
        options: The flags of `clipseq train`, such as model, cv, seeds, group_from, hidden and updates. `jobs` is 1
            unless you say how many processes may train at once; a script that does needs `if __name__ == "__main__":`.

    Returns:
        The trained run; its test split is not opened yet.

    Raises:
        LabelError, SplitError, RunError, UsageError: The data, the options or an existing run do not fit.

    Example:
        >>> run = clipseq.train("features", "labels.csv", task="many-to-one", run="runs/first", updates=60)
        >>> run
        Run('runs/first', bilstm, many-to-one, 24 clips, classes fall, rise; validation macro-F1 ...)
    """
    given = {"jobs": 1, **options, "stores": _paths(store), "labels": labels, "task": task, "run": run}
    said: list[str] = []
    with progress_bars(progress):
        done = train_run(**train_arguments(arguments_of(add_train, given)), say=said.append)
    return Run(done.path, notes=tuple(said))


def compare(
    store: AnyStore | Sequence[AnyStore],
    labels: str | Path | None = None,
    *,
    task: str,
    run: str | Path,
    progress: bool = False,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """Train many models on the same folds and seeds, open the test split once, and tell whether order matters.

    Args:
        store, labels, task, run, progress: As for `train`.
        options: The flags of `clipseq compare`, such as models, grid, cv, seeds and inner; `jobs` as for `train`.

    Raises:
        As for `train`.

    Example:
        >>> options = {"models": ["meanpool", "lstm"], "updates": 9, "inner": 1}
        >>> found = clipseq.compare("features", task="many-to-one", run="runs/all", **options)
        >>> found
        Comparison('runs/all', models meanpool, lstm)
        >>> list(found.to_pandas().columns)[:3]
        ['model', 'kind', 'accuracy']
    """
    given = {"jobs": 1, **options, "stores": _paths(store), "labels": labels, "task": task, "run": run}
    said: list[str] = []
    with progress_bars(progress):
        done = compare_models(**compare_arguments(arguments_of(add_compare, given)), say=said.append)
    return Comparison(done.path, notes=tuple(said))


def open_run(path: str | Path) -> Run:
    """Open a run that `train` or `clipseq train` wrote.

    Raises:
        RunError: It is missing or damaged, or holds a comparison.

    Example:
        >>> clipseq.open_run("runs/first").settings.model
        'bilstm'
    """
    return Run(path)


class Run:
    """A trained run.

    Args:
        path: The run directory.
        notes: What training said about data, cost and scores.

    Attributes:
        path, notes: The same.
        settings: How its models are built and trained.
        classes: Class names, in the order of the probabilities.

    Example:
        >>> run = clipseq.Run("runs/first")
        >>> run.classes, run.settings.updates, sorted(run.metrics["validation"])[:2]
        (('fall', 'rise'), 60, ['majority', 'meanmaxstd_logreg'])
    """

    def __init__(self, path: str | Path, *, notes: tuple[str, ...] = ()) -> None:
        self._run = read_run(path)
        refuse_comparison(self._run, "open")
        self.path, self.notes = Path(path), notes
        self.settings: TrainSettings = self._run.settings
        self.classes: tuple[str, ...] = self._run.vocabulary

    def __repr__(self) -> str:
        scores = self.metrics
        validation = scores["validation"].get(MODEL)
        known = f"validation {_shown(validation, 'macro_f1')}" if validation else "not trained to the end"
        test = f"test {_shown(scores['test'], 'macro_f1')}" if "test" in scores else "not evaluated"
        what = f"{self.settings.model}, {self.settings.task}, {counted(self._run.clips, 'clip')}"
        return f"Run({str(self.path)!r}, {what}, classes {', '.join(self.classes)}; {known}; {test})"

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json, every score with its protocol; before `evaluate` only "validation".

        Raises:
            RunError: A file is damaged.
        """
        if (self.path / "metrics.json").exists():
            return read_metrics(self.path)
        return {"validation": read_validation(self._run)}

    def evaluate(self, *, memory: float | None = None) -> dict[str, Any]:
        """Open the test split and score it; the run counts how often.

        Args:
            memory: What embeddings may take in memory, in GB; None: what is free, less 2 GB.

        Returns:
            As `metrics`, with "test" and "baselines".

        Raises:
            RunError: Training has not finished, or data or weights have changed since.

        Example:
            >>> scores = clipseq.open_run("runs/first").evaluate()
            >>> scores["test"]["accuracy"]["protocol"]
            'share of 5 clips whose most probable class is right, ...'
        """
        import_keras_quietly()
        from sequence_models.experiments.evaluate import evaluate

        return evaluate(self.path, memory=memory)

    def predict(
        self,
        target: AnyStore | Sequence[AnyStore],
        *,
        features: str | Path | None = None,
        weights: Sequence[str | Path] = (),
        memory: float | None = None,
        progress: bool = False,
    ) -> Predictions:
        """Predict the clips of a store, or videos directly, with the mean of the run's models.

        Args:
            target: A feature store (one for each that the run was trained on), or videos as for `extract`.
            features: Folder that keeps the embeddings of the videos for next time.
            weights: Weights files of backbones that were extracted with one.
            memory: As for `evaluate`.
            progress: Show a progress bar while videos are embedded.

        Raises:
            RunError: The store was made with another recipe, or the run has no model for new clips.
            UsageError: Videos cannot be embedded as the run's were.

        Example:
            >>> predictions = clipseq.open_run("runs/first").predict("features")
            >>> predictions
            Predictions(24 clips, classes fall, rise)
            >>> list(predictions.to_pandas().columns)
            ['clip_id', 'label', 'p_fall', 'p_rise']
        """
        import_keras_quietly()
        from sequence_models.runs.fitted import predict_clips

        failed: dict[str, str] = {}

        def embed(videos: str | Path, settings: ExtractSettings) -> None:
            failed.update(failures_of(extract_videos(videos, settings, tell=lambda line: None)))

        kept = None if features is None else Path(features)
        how: dict[str, Any] = {"features": kept, "weights": [Path(file) for file in weights], "embed": embed}
        with progress_bars(progress), stores_to_predict(self._run, _paths(target), **how) as stores:
            clips, predictions = predict_clips(self._run, stores, memory=memory)
        return Predictions(clips, predictions, self._run, failed)

    def to_pandas(self) -> pd.DataFrame:
        """The predictions of the test clips, after `evaluate`: a row per clip, or per timestep for many-to-many.

        Returns:
            The columns clip_id, pts_seconds (or timesteps, many-to-many only), truth, label, and p_<class>.

        Raises:
            RunError: The run was not evaluated.
            UsageError: pandas is not installed.

        Example:
            >>> table = clipseq.open_run("runs/first").to_pandas()
            >>> list(table.columns)
            ['clip_id', 'truth', 'label', 'p_fall', 'p_rise']
        """
        read_metrics(self.path)
        clips = read_predictions(self._run)
        parts = [Steps(c.clip_id, c.pts_seconds, c.predicted, c.probabilities, c.truth) for c in clips]
        return steps_table(parts, self._run)

    def report(self) -> Path:
        """Write one HTML file about the evaluated run; returns its path.

        Raises:
            RunError: The run was not evaluated.

        Example:
            >>> clipseq.open_run("runs/first").report().name
            'report.html'
        """
        import_keras_quietly()
        from sequence_models.report.page import write_report

        return write_report(self.path)


class Comparison:
    """A finished comparison of models.

    Args:
        path: The run directory.
        notes: What the comparison said about data, cost and scores; the last is the table with the verdict.

    Attributes:
        path, notes: The same.
        models: Model -> the folders of its runs inside, which `open_run` opens.

    Raises:
        RunError: It is missing or damaged, or not a comparison.

    Example:
        >>> found = clipseq.Comparison("runs/all")
        >>> found.models
        {'meanpool': ['meanpool'], 'lstm': ['lstm']}
        >>> clipseq.open_run(found.path / "lstm").settings.model
        'lstm'
    """

    def __init__(self, path: str | Path, *, notes: tuple[str, ...] = ()) -> None:
        self.path, self.notes = Path(path), notes
        self.models: dict[str, list[str]] = read_comparison(self.path)
        if not self.models:
            read_run(self.path)
            raise RunError(f"{path} is the run of a single model, or was not compared to the end; use open_run")

    def __repr__(self) -> str:
        return f"Comparison({str(self.path)!r}, models {', '.join(self.models)})"

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: "models", "baselines", "test" of those that the folds chose, "verdict".

        Raises:
            RunError: The comparison was not finished.
        """
        return read_metrics(self.path)

    def to_pandas(self) -> pd.DataFrame:
        """A row per model and baseline: its name, kind and test scores, each score as a number.

        Raises:
            RunError: The comparison was not finished.
            UsageError: pandas is not installed.
        """
        metrics = self.metrics
        rows = [(name, kind[:-1], row) for kind in ("models", "baselines") for name, row in metrics[kind].items()]
        scores = [name for name, score in rows[0][2].items() if isinstance(score, dict) and "value" in score]
        columns: dict[str, Any] = {"model": [name for name, _, _ in rows], "kind": [kind for _, kind, _ in rows]}
        columns |= {score: [row.get(score, {}).get("value") for _, _, row in rows] for score in scores}
        return data_frame(columns | {"seconds": [row["seconds"] for _, _, row in rows]})


def _paths(stores: AnyStore | Sequence[AnyStore]) -> list[str | Path]:
    several = [stores] if isinstance(stores, (str, Path, FeatureStore)) else stores
    return [store.path if isinstance(store, FeatureStore) else store for store in several]


def _shown(scores: dict[str, Any], name: str) -> str:
    """A score with its interval; multi-label runs have mean average precision beside it."""
    interval = shown_interval(scores[name])
    brackets = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{name.replace('_f1', '-F1')} {scores[name]['value']:.3f}{brackets}"
