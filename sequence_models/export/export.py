"""A run -> a folder of files for programs without Clipseq, each checked before it is kept."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from extract.errors import ExportError, UsageError
from extract.system.files import reason_of, write_json, write_text
from extract.system.folders import refuse_taken_folder, sealed_folder
from extract.system.quiet_start import keras_backend
from sequence_models.export.backbone import backbone_of
from sequence_models.export.card import card, describe
from sequence_models.export.check import TOLERANCE, Trial, differences, make_trial
from sequence_models.export.graph import FRAMES, prediction_graph
from sequence_models.export.keras import write_keras
from sequence_models.export.litert import has_recurrence, write_litert
from sequence_models.export.names import FORMATS
from sequence_models.export.onnx import import_onnx, write_onnx
from sequence_models.export.savedmodel import traced_function, write_savedmodel
from sequence_models.runs.checks import refuse_to_predict
from sequence_models.runs.fitted import predicting_decision, predicting_models
from sequence_models.runs.results import read_metrics
from sequence_models.runs.run import Run

log = logging.getLogger(__name__)
SCRIPT = "run_model.py"


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Args:
        folder: Where it is.
        differences: For each format that was kept, the largest difference of a probability to our predictions.
        failures: For each other one, a sentence that says why not.
    """

    folder: Path
    differences: dict[str, float]
    failures: dict[str, str]


def export_run(
    run: Run, folder: Path, formats: Sequence[str], *, with_backbone: bool = False, weights: Path | None = None
) -> Exported:
    """Write what `predict` does with a run as files of some formats, with a script and a model card.

    Args:
        run: A trained run.
        folder: A new folder, or an empty one.
        formats: Keys of `FORMATS`.
        with_backbone: Take frames in place of embeddings.
        weights: The backbone's weights file, if it was extracted with one.

    Returns:
        What was kept. The folder is there if that is anything.

    Raises:
        UsageError: A library that a format needs is not installed, or another Keras backend is in use.
        RunError: The run is not trained, or changed since.
        ExportError: The run cannot be exported, in none of the formats.
        BackboneError: The weights of the backbone are missing.
        WriteError: The folder cannot be written, or is not empty.
    """
    refuse_taken_folder(folder)
    refuse_to_predict(run)
    _check_formats(formats)
    _check_run(run)
    backbone = backbone_of(run, weights=weights).build() if with_backbone else None
    models = predicting_models(run)
    graph = prediction_graph(models, backbone=backbone)
    return _export(run, graph, make_trial(models, backbone=backbone), folder, formats)


def _export(run: Run, graph: Any, trial: Trial, folder: Path, formats: Sequence[str]) -> Exported:
    with sealed_folder(folder) as temporary:
        shutil.copyfile(Path(__file__).with_name(SCRIPT), temporary / SCRIPT)
        failures = write_formats(graph, temporary, formats)
        written = {name: FORMATS[name] for name in formats if name not in failures}
        found = differences(temporary, written, trial) if written else {}
        kept: dict[str, float] = {}
        for name, difference in found.items():
            if isinstance(difference, float) and difference <= TOLERANCE:
                kept[name] = difference
                continue
            _remove(temporary / written[name])
            failures[name] = _refused(name, run, difference)
        if not kept:
            raise ExportError("; ".join(failures.values()))
        files = {name: _file_facts(temporary / FORMATS[name], kept[name]) for name in kept}
        main = trial.batches[0].get(FRAMES)
        facts = describe(run, files, width=run.embedding_dim if main is None else main.shape[2:])
        write_json(temporary / "export.json", facts)
        write_text(temporary / "README.md", card(run, facts))
    return Exported(folder, kept, failures)


def write_formats(graph: Any, folder: Path, formats: Sequence[str]) -> dict[str, str]:
    """Write a graph in some formats, under their names in `FORMATS`.

    Args:
        graph: From `prediction_graph`.
        folder: Where to write them.
        formats: Keys of `FORMATS`.

    Returns:
        For each format that the graph cannot be written in, a sentence that says why.
    """
    traced = cache(partial(traced_function, graph))  # one for all formats
    writers: dict[str, Callable[[Path], None]] = {
        "keras": partial(write_keras, graph),
        "savedmodel": partial(write_savedmodel, traced),
        "onnx": partial(write_onnx, traced),
        "litert": partial(write_litert, traced),
    }
    failures = {}
    for name in formats:
        if name == "litert" and has_recurrence(graph):
            failures[name] = (
                "litert cannot hold this model: it runs over time step by step, which takes operations of TensorFlow "
                "that LiteRT lacks; choose another --format, or a model without a recurrence"
            )
            continue
        log.info("writing %s", name)
        try:
            writers[name](folder / FORMATS[name])
        except OSError:
            raise
        except Exception as error:  # of converters, whose exceptions are of any kind
            _remove(folder / FORMATS[name])
            failures[name] = f"{name} cannot hold this model ({reason_of(error)[:200]}); choose another --format"
    return failures


def _check_formats(formats: Sequence[str]) -> None:
    if keras_backend() != "tensorflow" and (others := [name for name in formats if name != "keras"]):
        raise UsageError(
            f"--format {others[0]} is made by TensorFlow, but KERAS_BACKEND is {keras_backend()}; "
            "set KERAS_BACKEND=tensorflow, which can use any run"
        )
    if "onnx" in formats:
        import_onnx()


def _check_run(run: Run) -> None:
    predicting_decision(run)  # damaged records are better found before the work
    if (run.path / "metrics.json").exists():
        read_metrics(run.path)
    if run.settings.window:
        raise ExportError(
            f"{run.path} was trained with --window {run.settings.window:g}, and no exported file cuts clips into "
            "windows of seconds yet; export it as one file for clipseq predict, or train without --window"
        )


def _refused(name: str, run: Run, difference: float | str) -> str:
    if isinstance(difference, str):
        return f"{name} of {run.settings.model} does not run when loaded again ({difference[:300]}), so it was not kept"
    return (
        f"{name} of {run.settings.model} differs from clipseq predict by {difference:.2g} (at most {TOLERANCE:g} is "
        "allowed), so it was not kept"
    )


def _file_facts(path: Path, difference: float) -> Mapping[str, Any]:
    """Name, size and digest of a file, or of all files of a folder in the order of their names."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    digest, size = hashlib.sha256(), 0
    for file in files:
        content = file.read_bytes()
        digest.update(content)
        size += len(content)
    return {"file": path.name, "sha256": digest.hexdigest(), "bytes": size, "largest_difference": difference}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
