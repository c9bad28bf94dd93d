"""A run of one clip whose store was made from a real video, for tests of what shows its frames."""

import numpy as np
from run_factory import one_hot, write_facts, write_metrics, write_predictions
from video_files import grey_frames, write_video

from extract.records import Source, VideoItem
from extract.store.writer import StoreWriter
from extract.videos.sources import source_of
from sequence_models.report.run import ReportedClip
from sequence_models.splits.folds import Fold

STORE = {"backbone": "tiny", "sampling": "every=3", "image_size": 8}
LENGTH = 12


def clip(name, truth, predicted, probabilities):
    truth, predicted = np.array(truth), np.array(predicted)
    return ReportedClip(name, "", "", truth, predicted, probabilities, np.arange(len(truth)) / 8)


def made_run(folder, *, recipe=STORE, rows=None, task="many-to-one", name="a.mp4", write=True):
    """A run with one clip that is wrong (per frame: from timestep 4 to 8) and its store, made from a real video."""
    path = folder / "videos" / name
    write_video(path, grey_frames(3 * LENGTH, height=120, width=240), rate=10)
    source = source_of(VideoItem(name, path), with_digest=True) if write else Source("nowhere", 0, 0)
    rows = np.zeros((LENGTH, 4), np.float32) if rows is None else rows
    places = 3 * np.arange(LENGTH)
    dtype = rows.dtype.name
    with StoreWriter(folder / "store", recipe, engine="keras", dtype=dtype) as writer:
        writer.append(name, rows, places, places / 10, source)
        writer.finish(name, None)
    run = folder / "run"
    run.mkdir(parents=True)
    if task == "many-to-one":
        truth, said = np.array([0]), one_hot(1, sure=0.8)
    else:
        truth = np.zeros(LENGTH, int)
        said = one_hot(*[0] * 4, *[1] * 4, *[0] * 4, sure=0.7)
    write_predictions(run, [name], [truth], [said], step_seconds=0.3)
    write_facts(
        run, task=task, vocabulary="abc", folds=(Fold("split", (), (), (name,)),), group_of={name: ""},
        stores=(str(folder / "store"),), recipe=recipe,
    )  # fmt: skip
    write_metrics(run, task)
    return run
