"""Synthetic run directories, evaluated but never trained, for tests of what reads them."""

import csv
import json
import shutil

import numpy as np

from extract.store.recipe import fingerprint
from sequence_models.runs.files import write_arrays, write_record
from sequence_models.runs.run import Run, create_run
from sequence_models.settings import DataSettings, TrainSettings
from sequence_models.splits.folds import Fold

RECIPE = {"backbone": "efficientnet_lite0", "sampling": "every=3"}


def make_run(
    run, *, task="many-to-one", vocabulary=("hug", "kick", "push"), folds=2, groups=4, epochs=3, **predictions
):
    """Writes an evaluated run directory with random predictions; returns it."""
    rng = np.random.default_rng(0)
    run.mkdir(parents=True)
    ids = write_random_predictions(run, rng, task=task, num_classes=len(vocabulary), **predictions)
    group_of = {clip_id: f"seq{k % groups:02d}" for k, clip_id in enumerate(ids)}
    parts = []
    for fold in range(folds):
        test = tuple(clip_id for k, clip_id in enumerate(ids) if k % groups % folds == fold)
        rest = tuple(clip_id for clip_id in ids if clip_id not in test)
        parts.append(Fold(f"fold{fold}", rest[1:], rest[:1], test))
    write_facts(run, task=task, vocabulary=vocabulary, folds=tuple(parts), group_of=group_of)
    for part in parts if epochs else ():
        write_log(run / "logs" / f"{part.name}-seed0.csv", epochs, rng)
    write_metrics(run, task)
    return run


def make_multilabel_run(run, *, vocabulary=("hug", "kick", "never")):
    """Writes an evaluated multi-label run of two clips whose labels and decisions are fixed; returns it."""
    run.mkdir(parents=True)
    ids, folds = ["a.mp4", "b.mp4"], (Fold("split", (), (), ("a.mp4", "b.mp4")),)
    first, second = np.zeros((2, 6, len(vocabulary)), int)
    first[:4, 0] = first[2:, 1] = second[:3, 1] = 1
    second[5] = -1  # unlabelled
    decided = [first.copy(), np.zeros_like(second)]  # the first is right, the second finds nothing
    write_predictions(run, ids, [first, second], [np.full((6, len(vocabulary)), 0.4)] * 2, decided=decided)
    settings = TrainSettings(task="many-to-many", model="bilstm", multi_label=True)
    write_facts(run, settings=settings, vocabulary=vocabulary, folds=folds, group_of=dict.fromkeys(ids, ""))
    score = {"value": 0.5, "protocol": "pooled", "ci95": [0.25, 0.75]}
    scores = {"mean_average_precision": score, "macro_f1": score, "coverage": {**score, "value": 11 / 12}}
    per_class = {"per_class_ap": {"hug": {"value": 0.81}}, "per_class_f1": {"hug": {"value": 0.72}}}
    write_metrics(
        run,
        test={**scores, **per_class},
        before_postprocessing={**scores, "macro_f1": {**score, "value": 0.375}},
        baselines={"majority": scores, "framewise_logreg_postprocessed": scores},
        against={},
        validation={"model": scores},
    )
    return run


def write_random_predictions(run, rng, *, task, num_classes, num_clips=12, steps=1, noise=1.0, name="hug/clip{}.avi"):
    """Clips of half to all of `steps` timesteps, with labels in runs of 12; returns their ids."""
    lengths = rng.integers((steps + 1) // 2, steps + 1, num_clips) if task == "many-to-many" else [1] * num_clips
    truths = [np.repeat(rng.integers(0, num_classes, n // 12 + 1), 12)[:n] for n in lengths]
    scores = [3 * np.eye(num_classes)[t] + smooth(rng.normal(0, 3 * noise, (len(t), num_classes))) for t in truths]
    ids = [name.format(k) for k in range(num_clips)]
    write_predictions(run, ids, truths, [np.exp(s) / np.exp(s).sum(1, keepdims=True) for s in scores])
    return ids


def write_predictions(run, ids, truths, probabilities, *, decided=None, step_seconds=0.125):
    decided = [rows.argmax(axis=1) for rows in probabilities] if decided is None else decided
    arrays = {
        "clip_ids": np.array(ids),
        "lengths": np.array([len(t) for t in truths]),
        "probabilities": np.concatenate(probabilities).astype(np.float32),
        "truth": np.concatenate(truths).astype(np.int64),
        "decided": np.concatenate(decided).astype(np.int64),
        "pts_seconds": np.concatenate([np.arange(len(t)) * step_seconds for t in truths]),
    }
    write_arrays(run / "predictions.npz", arrays)


def write_facts(
    run,
    *,
    task="many-to-one",
    settings=None,
    vocabulary,
    folds,
    group_of,
    test_opened=1,
    stores=("features/ut1",),
    recipe=None,
    data=None,
):
    recipe = RECIPE if recipe is None else recipe
    made = create_run(  # aside, since a run is never made among files that are there
        Run(
            path=run.with_name(f"{run.name}-facts"),
            settings=settings or TrainSettings(task=task, model="bilstm"),
            vocabulary=tuple(vocabulary),
            stores=stores,
            recipes=(recipe,),
            fingerprints=(fingerprint(recipe),),
            labels="labels.csv",
            data=data or DataSettings(),
            cv="" if len(folds) == 1 else str(len(folds)),
            folds=folds,
            seeds=1,
            clips={clip_id: {"group": group, "timesteps": 1} for clip_id, group in group_of.items()},
            embedding_dim=1280,
            test_opened=test_opened,
            versions={"keras": "3.15.1"},
        )
    )
    record = json.loads((made.path / "run.json").read_text(encoding="utf-8")) | {"run_id": ""}  # its files name none
    (made.path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    shutil.copytree(made.path, run, dirs_exist_ok=True)
    shutil.rmtree(made.path)


def write_metrics(run, task="many-to-one", **changes):
    names = ("accuracy", "macro_f1") if task == "many-to-one" else ("frame_accuracy", "macro_f1", "edit", "f1@25")
    scale = {"edit": 100, "f1@25": 100}

    def scores(value):
        score = {"protocol": "pooled over all test clips"}
        return {
            n: {**score, "value": value * scale.get(n, 1), "ci95": [0.5 * scale.get(n, 1), 0.9 * scale.get(n, 1)]}
            for n in names
        }

    lead = {"groups_better": 4, "groups": 4, "protocol": "accuracy minus the baseline's, in pairs over groups"}
    metrics = {
        "task": task,
        "test": {**scores(0.81), "confusion": [[1]], "per_class_f1": {"hug": {"value": 1}}, "note": "kept"},
        "validation": {"model": scores(0.88)},
        "baselines": {"majority": scores(0.17), "meanpool_logreg": scores(0.67)},
        "against": {
            "majority": {**lead, "difference": 0.64, "p": 0.01},
            "meanpool_logreg": {**lead, "difference": 0.14, "p": 0.125},
        },
    }
    write_record(run / "metrics.json", metrics | changes)


def write_log(path, epochs, rng):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["update", "pass", "loss", "validation_loss", "validation_score", "learning_rate", "seconds"])
        for epoch in range(1, epochs + 1):
            noise = rng.normal(0, 0.03, 2)
            loss, score = 1.6 * np.exp(-epoch / 12) + noise[0], 0.85 - 0.7 * np.exp(-epoch / 8) + noise[1]
            writer.writerow([10 * epoch, epoch, loss, loss + 0.01 * epoch, score, 0.001, 0.4])


def smooth(values, width=7):
    return np.apply_along_axis(lambda v: np.convolve(v, np.ones(width) / width**0.5, mode="same")[: len(v)], 0, values)


def one_hot(*classes, num_classes=3, sure=0.9):
    """Probabilities (T, K) that say these classes."""
    rest = (1 - sure) / (num_classes - 1)
    return np.full((len(classes), num_classes), rest) + np.eye(num_classes)[list(classes)] * (sure - rest)
