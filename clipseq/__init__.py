"""Clipseq in Python: embed videos once, train sequence models on the embeddings, in a few lines.

    import clipseq

    clipseq.extract("videos", "features")
    run = clipseq.train("features", "labels.csv", task="many-to-one", run="runs/first")
    run.evaluate()
    run.to_pandas()

Nothing is loaded before it is used, and nothing is printed unless asked for (`progress=True`). Everything raises
`ClipseqError` with one sentence that names the next step. docs/python.md has an example of every name.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from clipseq.neighbours import refuse_hidden

if TYPE_CHECKING:
    from clipseq.estimator import SequenceEstimator
    from clipseq.extraction import Extraction, extract
    from clipseq.prediction import Predictions
    from clipseq.runs import Comparison, Run, compare, open_run, train
    from clipseq.store import FeatureStore, open_store
    from extract import __version__ as __version__
    from extract.errors import (
        BackboneError,
        ClipError,
        ClipseqError,
        LabelError,
        RunError,
        SplitError,
        StoreError,
        TooManyFailuresError,
        UsageError,
        VideoError,
        WriteError,
    )

_HOMES = {
    "clipseq.estimator": ("SequenceEstimator",),
    "clipseq.extraction": ("Extraction", "extract"),
    "clipseq.prediction": ("Predictions",),
    "clipseq.runs": ("Comparison", "Run", "compare", "open_run", "train"),
    "clipseq.store": ("FeatureStore", "open_store"),
    "extract": ("__version__",),
    "extract.errors": (
        *("BackboneError", "ClipError", "ClipseqError", "LabelError", "RunError", "SplitError", "StoreError"),
        *("TooManyFailuresError", "UsageError", "VideoError", "WriteError"),
    ),
}

__all__ = [  # noqa: RUF022 (in the order of use)
    "extract",
    "Extraction",
    "open_store",
    "FeatureStore",
    "train",
    "open_run",
    "Run",
    "Predictions",
    "compare",
    "Comparison",
    "SequenceEstimator",
    "ClipseqError",
    "UsageError",
    "VideoError",
    "TooManyFailuresError",
    "BackboneError",
    "StoreError",
    "WriteError",
    "LabelError",
    "ClipError",
    "SplitError",
    "RunError",
]

refuse_hidden()

if not TYPE_CHECKING:  # so that type checkers know the names above and no others

    def __getattr__(name):
        """Import a name when it is used for the first time."""
        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'clipseq' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__, "__version__"})
