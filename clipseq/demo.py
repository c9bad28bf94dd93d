"""`clipseq demo`: renders a labelled example and runs its two job files, which lie beside it to be read and changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from clipseq.job import Predict, run_job
from clipseq.job_file import read_job
from extract.demo import render_demo
from extract.system.files import write_text
from sequence_models.experiments.summary import order_sentence
from sequence_models.report.store import write_store_report

JOBS = {
    "clips": """\
# One label per clip: the order of the frames is the label. Change it, then: clipseq run clips.toml
[extract]
videos = "clips"
output = "features_clips"

[train]
labels = "labels.csv"
task = "many-to-one"
run = "runs/clips"
model = "lstm_parts"        # better here than lstm
learning-rate = 3e-3
updates = 400
cv = "4"
seeds = 2
""",
    "segments": """\
# One label per frame. Only 32 recordings, so the model is small. Change it, then: clipseq run segments.toml
[extract]
videos = "segments"
output = "features_segments"

[train]
labels = "segments.csv"
task = "many-to-many"
run = "runs/segments"
model = "bilstm"
hidden = 32
projection = 16
dropout = 0.2
channel-dropout = 0.6
learning-rate = 3e-3
updates = 600
cv = "4"
""",
}


def run_demo(folder: Path, *, say: Callable[[str], None], predict: Predict) -> int:
    """Render the example, write its job files unless they are there, and run them.

    Args:
        folder: Where to.
        say: Called with every line.
        predict: As for `run_job`.

    Returns:
        The exit code.
    """
    say(f"Rendering labelled clips from two photographs into {folder}/")
    render_demo(folder)
    for name, text in JOBS.items():
        path = folder / f"{name}.toml"
        if not path.exists():
            write_text(path, text)
        say(f"\nclipseq run {path}")
        job = read_job(path)
        with chdir(folder):
            code = run_job(job, say=say, predict=predict)
        if code:
            return code
    say("\n" + order_sentence(folder / "runs/clips", against="meanpool_logreg"))
    stored = write_store_report(folder / "features_clips")
    say(f"\nReport of the feature store: {stored}")
    say(f"Per-frame report: {folder / 'runs/segments/report.html'}\nReport: {folder / 'runs/clips/report.html'}")
    return 0
