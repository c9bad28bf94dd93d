"""Which model can be exported in which format, and how far its probabilities are from those of `clipseq predict`.

    python benchmarks/export_table.py [--models A,B,C] [--formats A,B]

Every registered model of small sizes with random weights and statistics, for both tasks that it knows; models on
embeddings with all derived channels. Each is written in every format, loaded again in a fresh process without Clipseq,
and run on clips of 1, 17 and 41 timesteps, alone and as one padded batch. The table has the largest difference of a
probability, as `clipseq export` would find it; below it stands why a cell is empty.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from sequence_models.catalogue import MANY_TO_MANY, MANY_TO_ONE, TRAITS, TWO_STREAM
from sequence_models.export import export
from sequence_models.export.check import TOLERANCE, differences, make_trial
from sequence_models.export.graph import prediction_graph
from sequence_models.export.names import FORMATS
from sequence_models.models.build import DERIVING, build_model
from sequence_models.settings import TrainSettings

WIDTH, CLASSES, SIDE = 12, 3, 16
SMALL = {"hidden": 8, "projection": 6, "units": 8, "filters": "3,4", "dense": "5", "backbone": "tiny", "tcn_layers": 5}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(TRAITS), help="models of the table")
    parser.add_argument("--formats", default=",".join(FORMATS), help="formats of the table")
    arguments = parser.parse_args()
    formats, reasons = arguments.formats.split(","), {}
    print("| model | task |" + "".join(f" {name} |" for name in formats))
    print("|---|---|" + "---|" * len(formats))
    for name in arguments.models.split(","):
        for task in (MANY_TO_ONE, MANY_TO_MANY) if TRAITS[name].framewise else (MANY_TO_ONE,):
            found = cells(name, task, formats)
            shown = [f"{cell:.0e}" if isinstance(cell, float) else "" for cell in found.values()]
            print(f"| {name} | {task} | {' | '.join(shown)} |", flush=True)
            bad = {k: v for k, v in found.items() if not isinstance(v, float) or v > TOLERANCE}
            for form, cell in bad.items():
                reasons.setdefault((form, str(cell)), []).append(f"{name} {task}")
    for (form, reason), cases in reasons.items():
        print(f"\n{form}: {reason}\n  {', '.join(cases)}")


def cells(name: str, task: str, formats: Sequence[str]) -> dict[str, float | str]:
    """For each format the largest difference, or why there is none."""
    model = fitted(name, task)
    graph, trial = prediction_graph([model]), make_trial([model])
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(Path(export.__file__).with_name(export.SCRIPT), scratch)
        failures = export.write_formats(graph, Path(scratch), formats)
        written = {form: FORMATS[form] for form in formats if form not in failures}
        found = failures | differences(Path(scratch), written, trial)
    return {form: found[form] for form in formats}


def fitted(name: str, task: str) -> Any:
    """A model with random weights, statistics and reduction, as if it were trained."""
    more = {"derived": "position,delta,windows"} if not TRAITS[name].on_frames else {}
    more |= {"filters": "3,4,5,4"} if name == "td_convnet_gru" else {}
    settings = TrainSettings(task, name, **{**SMALL, **more})
    size = (SIDE, SIDE, 6 if name == TWO_STREAM else 3) if settings.on_frames else WIDTH
    model, rng = build_model(settings, embedding_dim=size, num_classes=CLASSES), np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + rng.normal(0, 0.05, variable.shape))
    for layer in _layers_named(model, "standardise"):
        layer.set_statistics(rng.normal(size=layer.mean.shape), rng.uniform(0.5, 2, layer.mean.shape))
    for layer in _layers_named(model, DERIVING):
        layer.center.assign(rng.normal(size=layer.center.shape))
        layer.axes.assign(np.diag(rng.uniform(0.5, 2, WIDTH)))
    return model


def _layers_named(model: Any, name: str) -> Iterator[Any]:
    return (layer for layer in model.layers if layer.name == name)


if __name__ == "__main__":
    main()
