"""From videos to a report and predictions, with the tiny backbone and once with the real one."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest

import pipeline
from extract.errors import UsageError

pytestmark = pytest.mark.slow

NAMES = ("#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", "brackets [1] (a).avi", "späße 手.avi", "with spaces.avi")


def write_blocks(path, *, blocks):
    """Frames of one grey each at 10 frames/s: (grey, number of frames) by turns."""
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 32))
    for grey, frames in blocks:
        for _ in range(frames):
            writer.write(np.full((32, 32, 3), grey, np.uint8))
    writer.release()


def write_ramp(path, *, rising, frames, level):
    """Grey levels that rise or fall: the same frames in opposite order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12, (32, 32))
    ramp = np.linspace(20 + level, 200 + level, frames)
    for grey in ramp if rising else ramp[::-1]:
        writer.write(np.full((32, 32, 3), grey, np.uint8))
    writer.release()


def read_table(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two classes told apart by order alone, with names as data sets really have them, and a file that is no video."""
    folder = tmp_path_factory.mktemp("end_to_end") / "videos"
    for k in range(12):
        for rising, name in ((True, "rise"), (False, "fall")):
            file = NAMES[k % 4] if k < 4 else f"{k}.avi"
            write_ramp(folder / name / file, rising=rising, frames=8 + k % 5, level=4 * k)
    (folder / "rise" / "corrupt.avi").write_bytes(b"RIFF and then nothing")
    return folder


def test_from_videos_to_report(videos, tmp_path, capsys):
    home = tmp_path
    extract = ["extract", str(videos), "--output", str(home / "features"), "--backbone", "tiny", "--every", "1"]
    assert pipeline.main(extract) == 1  # the corrupt one
    assert capsys.readouterr().out.splitlines()[-1] == "done 24  skipped 0  failed 1"

    run = str(home / "run")
    train = ["train", str(home / "features"), "--task", "many-to-one", "--model", "lstm", "--readout", "last"]
    train += ["--cv", "3", "--seeds", "2", "--epochs", "60", "--run", run]
    assert pipeline.main(train) == 0
    printed = capsys.readouterr().out
    assert "corrupt.avi" in printed and "majority" in printed and "meanpool_logreg" in printed

    assert pipeline.main(["evaluate", run]) == 0
    metrics = json.loads((home / "run" / "metrics.json").read_text())
    accuracy = metrics["test"]["accuracy"]
    assert accuracy["value"] >= 0.9 and accuracy["protocol"] and len(accuracy["ci95"]) == 2
    assert metrics["baselines"]["meanpool_logreg"]["accuracy"]["value"] <= 0.7  # the same frames in another order
    assert metrics["test_clips"] == 24 and len(metrics["per_seed"]["accuracy"]) == 2

    assert pipeline.main(["report", run]) == 0
    assert "späße" in (home / "run" / "report.html").read_text(encoding="utf-8")

    table = home / "predictions.csv"
    assert pipeline.main(["predict", run, str(videos / "fall"), "--output", str(table)]) == 0
    rows = read_table(table)
    assert len(rows) == 12 and sum(row["label"] == "fall" for row in rows) >= 10

    from_store = home / "from_store.csv"
    assert pipeline.main(["predict", run, str(home / "features"), "--output", str(from_store)]) == 0
    by_id = {row["clip_id"]: row for row in read_table(from_store)}
    for row in rows:  # a clip alone, and among others
        assert abs(float(row["p_fall"]) - float(by_id[f"fall/{row['clip_id']}"]["p_fall"])) < 2e-3


def test_an_interrupted_cross_validation_goes_on_where_it_stopped(videos, tmp_path, capsys, monkeypatch):
    import sequence_models.experiments.tasks as experiment

    home = tmp_path
    pipeline.main(["extract", str(videos), "--output", str(home / "features"), "--backbone", "tiny", "--every", "1"])
    train = ["train", str(home / "features"), "--task", "many-to-one", "--cv", "3", "--epochs", "2"]
    train += ["--run", str(home / "interrupted")]
    real, fitted = experiment.fit_model, []

    def interrupted(*arguments, **more):
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(more["checkpoint"].name)
        return real(*arguments, **more)

    monkeypatch.setattr(experiment, "fit_model", interrupted)
    assert pipeline.main(train) == 130
    assert pipeline.main(["evaluate", str(home / "interrupted")]) == 1
    assert "is not fully trained (2 of 4 fits are missing)" in capsys.readouterr().err

    def counted(*arguments, **more):
        fitted.append(more["checkpoint"].name)
        return real(*arguments, **more)

    monkeypatch.setattr(experiment, "fit_model", counted)
    assert pipeline.main(train) == 0
    assert len(fitted) == len(set(fitted)) == 4
    assert pipeline.main(["evaluate", str(home / "interrupted")]) == 0


def test_per_frame_labels_from_videos_to_predictions(tmp_path, capsys):
    rows = ["clip_id,start_seconds,end_seconds,label"]
    for k in range(8):
        up, down = 8 + k % 3, 10
        write_blocks(tmp_path / "videos" / f"{k}.avi", blocks=((40 + k, up), (200 + k, down)))
        rows += [f"{k}.avi,0,{up / 10},dark", f"{k}.avi,{up / 10},{(up + down) / 10},light"]
    (tmp_path / "segments.csv").write_text("\n".join(rows))
    features, run = str(tmp_path / "features"), str(tmp_path / "run")
    pipeline.main(["extract", str(tmp_path / "videos"), "--output", features, "--backbone", "tiny", "--every", "1"])
    train = ["train", features, "--labels", str(tmp_path / "segments.csv"), "--task", "many-to-many", "--run", run]
    assert pipeline.main([*train, "--epochs", "30"]) == 0
    assert pipeline.main(["evaluate", run]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["frame_accuracy"]["value"] >= 0.9
    assert {"before_postprocessing", "at_label_frames"} < metrics.keys()
    assert "framewise_logreg_postprocessed" in metrics["baselines"]
    bouts = read_table(tmp_path / "run" / "bouts.csv")
    assert {row["of"] for row in bouts} == {"truth", "prediction"}
    assert {row["count"] for row in bouts if row["of"] == "truth"} == {"1"}
    table = tmp_path / "p.csv"
    assert pipeline.main(["predict", run, str(tmp_path / "videos"), "--output", str(table)]) == 0
    lines = read_table(table)
    assert len(lines) == sum(18 + k % 3 for k in range(8))
    assert lines[0]["pts_seconds"] == "0.000" and lines[1]["pts_seconds"] == "0.100"
    for line in lines:  # what post-processing changed does not contradict the probabilities unsaid
        probabilities = {name[2:]: float(value) for name, value in line.items() if name.startswith("p_")}
        assert probabilities[line["raw_label"]] == max(probabilities.values())
    changed = sum(line["label"] != line["raw_label"] for line in lines)
    said = f"post-processing changed {changed} of {len(lines)} labels"
    assert (said in capsys.readouterr().out) == (changed > 0)
    with pytest.raises(
        UsageError, match=r"--output p.txt must end in .csv, .jsonl, .parquet: the ending says what is written"
    ):
        pipeline.run_predict(pipeline.make_parser().parse_args(["predict", run, features, "--output", "p.txt"]))
    assert len(read_table(tmp_path / "p.bouts.csv")) == 2 * 8
    assert pipeline.main(["report", run]) == 0


def test_overlapping_labels_and_sparse_features_are_scored_at_every_original_frame(tmp_path):
    rows = ["clip_id,start_frame,end_frame,label"]
    for k in range(8):
        write_blocks(tmp_path / "videos" / f"{k}.avi", blocks=((30, 9 + k % 3), (120, 9), (220, 9)))
        change, end = 9 + k % 3, 27 + k % 3
        rows += [f"{k}.avi,{change},{end},lit", f"{k}.avi,{change + 9},{end},bright"]  # bright is always lit too
    (tmp_path / "segments.csv").write_text("\n".join(rows))
    features, run = str(tmp_path / "features"), str(tmp_path / "run")
    pipeline.main(["extract", str(tmp_path / "videos"), "--output", features, "--backbone", "tiny", "--every", "3"])
    train = ["train", features, "--labels", str(tmp_path / "segments.csv"), "--task", "many-to-many", "--run", run]
    assert pipeline.main([*train, "--multi-label", "--epochs", "60", "--learning-rate", "0.01"]) == 0
    assert pipeline.main(["evaluate", run]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["mean_average_precision"]["value"] >= 0.9
    tested = len(json.loads((tmp_path / "run" / "run.json").read_text())["folds"][0]["test"])
    assert f"share of {metrics_frames(metrics)} timesteps" in metrics["at_label_frames"]["coverage"]["protocol"]
    assert 27 * tested <= metrics_frames(metrics) <= 29 * tested
    table = tmp_path / "p.csv"
    assert pipeline.main(["predict", run, features, "--output", str(table)]) == 0
    assert {row["label"] for row in read_table(table)} >= {"", "bright|lit"}
    assert pipeline.main(["report", run]) == 0


def metrics_frames(metrics):
    return int(metrics["at_label_frames"]["coverage"]["protocol"].split()[2])


def test_the_real_backbone_tells_two_photographs_apart(tmp_path):
    from sklearn.datasets import load_sample_image

    from extract.store.reader import open_store

    for name in ("china.jpg", "flower.jpg"):
        writer = cv2.VideoWriter(str(tmp_path / f"{name}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 8, (224, 224))
        picture = np.ascontiguousarray(load_sample_image(name)[:400, :400, ::-1])
        for shift in range(4):
            writer.write(cv2.resize(picture[shift * 4 :, shift * 4 :], (224, 224), interpolation=cv2.INTER_AREA))
        writer.release()
    assert pipeline.main(["extract", str(tmp_path), "--output", str(tmp_path / "f"), "--batch-size", "4"]) == 0
    store = open_store(tmp_path / "f")
    china, flower = (store.read(f"{name}.jpg.avi").embeddings.astype(np.float64) for name in ("china", "flower"))
    assert china.shape == flower.shape == (4, 1280)

    def similarity(a, b):
        return (a @ b) / np.linalg.norm(a) / np.linalg.norm(b)

    assert similarity(china[0], china[3]) > 0.8 > similarity(china[0], flower[0]) + 0.3
