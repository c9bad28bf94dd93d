"""The report: right numbers, one file, and nothing that a clip's name can break."""

import csv
import json

import numpy as np

from sequence_models.runs import Run, create_run
from sequence_models.settings import TrainSettings
from sequence_models.splits import Fold


def make_run(
    run,
    *,
    task="many-to-one",
    vocabulary=("hug", "kick", "push"),
    num_clips=12,
    steps=1,
    folds=2,
    groups=4,
    epochs=15,
    noise=1.0,
    name=lambda k: f"hug/clip{k:03d}.avi",
    seed=0,
):
    """Writes a synthetic evaluated run directory; returns it."""
    rng = np.random.default_rng(seed)
    many = task == "many-to-many"
    lengths = rng.integers(max(1, steps // 2), steps + 1, num_clips) if many else np.ones(num_clips, int)
    ids = [name(k) for k in range(num_clips)]
    truth = [make_truth(rng, int(n), len(vocabulary)) for n in lengths]
    scores = [
        3 * np.eye(len(vocabulary))[t] + smooth(rng.normal(0, 3 * noise, (len(t), len(vocabulary)))) for t in truth
    ]
    probabilities = np.concatenate([np.exp(s) / np.exp(s).sum(1, keepdims=True) for s in scores]).astype(np.float32)
    run.mkdir(parents=True)
    np.savez(
        run / "predictions.npz",
        clip_ids=np.array(ids),
        lengths=lengths,
        probabilities=probabilities,
        truth=np.concatenate(truth),
        pts_seconds=np.concatenate([np.arange(n) / 8.0 for n in lengths]),
    )
    group = {clip_id: f"seq{k % groups:02d}" for k, clip_id in enumerate(ids)}
    parts = []
    for fold in range(folds):
        test = [c for k, c in enumerate(ids) if k % groups % folds == fold]
        rest = [c for c in ids if c not in test]
        parts.append(Fold(f"fold{fold}", tuple(rest[1:]), tuple(rest[:1]), tuple(test)))
    create_run(
        Run(
            path=run,
            settings=TrainSettings(task=task),
            vocabulary=tuple(vocabulary),
            stores=("features/ut1",),
            recipes=({"backbone": "efficientnet_lite0", "sampling": "every=3", "image_size": 224},),
            fingerprints=("9f2c4b",),
            labels="labels.csv",
            load={"missing": "error"},
            cv=str(folds) if folds > 1 else "",
            folds=tuple(parts),
            seeds=1,
            background=None,
            clips={c: {"label": None, "group": g} for c, g in group.items()},
            embedding_dim=1280,
            test_opened=1,
            versions={"keras": "3.15.1"},
        )
    )
    for part in parts if epochs else ():
        write_log(run / "logs" / f"{part.name}-seed0.csv", epochs, rng)
    right = float(np.mean(np.concatenate(truth) == probabilities.argmax(1)))
    (run / "metrics.json").write_text(json.dumps(make_metrics(task, right)), encoding="utf-8")
    return run


def make_truth(rng, steps, num_classes):
    """Segments of random classes, (steps,)."""
    return np.repeat(rng.integers(0, num_classes, steps // 12 + 1), 12)[:steps]


def smooth(values, width=7):
    return np.apply_along_axis(lambda v: np.convolve(v, np.ones(width) / width**0.5, mode="same")[: len(v)], 0, values)


def make_metrics(task, right):
    protocol = "pooled over all test clips of all folds; interval by group bootstrap"
    score = lambda value: {"value": value, "protocol": protocol, "ci95": [value - 0.1, min(1.0, value + 0.08)]}  # noqa: E731
    names = ("accuracy", "macro_f1") if task == "many-to-one" else ("frame_accuracy", "macro_f1", "edit", "f1@25")
    return {
        "task": task,
        "test": {
            **{n: score(right - 0.01 * k) for k, n in enumerate(names)},
            "confusion": [[1]],
            "per_class_f1": {"hug": 1},
        },
        "validation": {"accuracy": score(0.9)},
        "baselines": {
            "majority": {n: score(0.17) for n in names},
            "meanpool_logreg": {n: score(0.55) for n in names},
        },
    }


def write_log(path, epochs, rng):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "loss", "validation_loss", "validation_score", "learning_rate", "seconds"])
        for epoch in range(1, epochs + 1):
            loss = 1.6 * np.exp(-epoch / 12) + rng.normal(0, 0.03)
            score = 0.85 - 0.7 * np.exp(-epoch / 8) + rng.normal(0, 0.03)
            writer.writerow([epoch, loss, loss + 0.01 * epoch, score, 0.001, 0.4])
