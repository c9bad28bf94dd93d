"""From stores of raw frames to a report and predictions, on the command line."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from frame_clips import moving_clips
from frame_stores import write_embeddings, write_frames

import pipeline
from sequence_models.runs.run import read_run

pytestmark = pytest.mark.slow

SIZES = ["--filters", "8,8", "--units", "16", "--learning-rate", "0.01", "--batch-size", "8", "--dropout", "0"]
GROUPS = ["--group-from", r"(\d+-\d+)-"]
ONE, FRAMES = ["--task", "many-to-one"], ["--task", "many-to-many"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("raw")
    clips = moving_clips(48)
    write_frames(home / "frames", clips)
    write_frames(home / "flow", moving_clips(48, motion="flow"), input="flow")
    write_embeddings(home / "cache", clips)
    lines = [f"{side}/0-{k}-{s}.mp4,0,0.75,{side}" for k in range(0, 48, 2) for s, side in enumerate(("right", "left"))]
    (home / "labels.csv").write_text("clip_id,start_seconds,end_seconds,label\n" + "\n".join(lines), encoding="utf-8")
    return home


def test_frames_are_trained_evaluated_reported_and_predicted(home, capsys):
    run = home / "lstm"
    train = ["train", str(home / "frames"), *ONE, "--model", "td_cnn_lstm", "--run", str(run), *SIZES, *GROUPS]
    assert pipeline.main([*train, "--epochs", "14", "--brightness", "0.1"]) == 0
    assert pipeline.main(["evaluate", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"]["value"] >= 0.9
    assert metrics["baselines"]["meanpool_logreg"]["accuracy"]["value"] == 0.5  # both classes have the same frames
    assert pipeline.main(["report", str(run)]) == 0
    assert read_run(run).embedding_dim == (16, 16, 3)
    output = home / "predictions.csv"
    assert pipeline.main(["predict", str(run), str(home / "frames"), "--output", str(output)]) == 0
    rows = list(csv.DictReader(output.read_text(encoding="utf-8").splitlines()))
    assert np.mean([row["clip_id"].startswith(row["label"]) for row in rows]) >= 0.9


def test_two_stores_make_two_streams(home):
    """In the order of their names, as a wildcard gives them, flow comes before the frames."""
    run, stores = home / "streams", [str(home / "flow"), str(home / "frames")]
    how = ["--model", "two_stream", "--stream", "td_cnn_avgpool", "--epochs", "8", "--shift", "0.05"]
    assert pipeline.main(["train", *stores, *ONE, *how, "--run", str(run), *SIZES, *GROUPS]) == 0
    assert pipeline.main(["evaluate", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"]["value"] >= 0.9
    assert read_run(run).embedding_dim == (16, 16, 6)
    assert [store.rpartition("/")[2] for store in read_run(run).stores] == ["frames", "flow"]
    assert pipeline.main(["predict", str(run), *stores, "--output", str(home / "streams.csv")]) == 0


def test_every_frame_gets_its_label_from_windows_of_frames(home):
    run, labels = home / "per_frame", ["--labels", str(home / "labels.csv")]
    how = ["--model", "td_cnn_lstm", "--epochs", "3", "--window", "0.5", "--stride", "2", "--crop", "0.2"]
    train = ["train", str(home / "frames"), *FRAMES, *labels, *how, "--run", str(run), *SIZES, *GROUPS]
    assert pipeline.main(train) == 0
    assert pipeline.main(["evaluate", str(run)]) == 0
    arrays = np.load(run / "predictions.npz")
    assert arrays["probabilities"].shape == (arrays["lengths"].sum(), 2)


def test_frames_and_embeddings_are_compared_on_the_same_folds(home, capsys):
    run, frames = home / "compared", ["--frames-store", str(home / "frames")]
    how = ["--models", "lstm,td_cnn_lstm,td_cnn_avgpool", "--epochs", "1", "--cv", "2", "--run", str(run)]
    assert pipeline.main(["compare", str(home / "cache"), *frames, *ONE, *how, *SIZES, *GROUPS]) == 0
    assert "\ntd_cnn_lstm " in capsys.readouterr().out
    models = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["models"]
    assert [models[name]["knows_order"] for name in ("lstm", "td_cnn_lstm", "td_cnn_avgpool")] == [True, True, False]
    assert all(models[name]["seconds"] > 0 and models[name]["single_seeds"] for name in models)
    cached, raw = read_run(run / "lstm"), read_run(run / "td_cnn_lstm")
    assert (cached.embedding_dim, raw.embedding_dim) == (16, (16, 16, 3)) and cached.folds == raw.folds
    assert cached.test_opened == raw.test_opened == 1
    assert pipeline.main(["compare", str(home / "cache"), *ONE, *how, *SIZES, *GROUPS]) == 2
    assert "model td_cnn_lstm takes raw frames" in capsys.readouterr().err
    how[1] = "gru"
    assert pipeline.main(["compare", str(home / "cache"), *ONE, *how, *SIZES, *GROUPS]) == 1
    assert "has td_cnn_lstm on raw frames; give --frames-store again" in capsys.readouterr().err


def test_optical_flow_given_last_is_for_two_stream_alone(home, capsys):
    run, stores = home / "with_flow", ["--frames-store", str(home / "frames"), str(home / "flow")]
    how = ["--stream", "td_cnn_avgpool", "--epochs", "8", "--cv", "2", "--run", str(run), *ONE, *SIZES, *GROUPS]
    cache = ["compare", str(home / "cache")]
    assert pipeline.main([*cache, *stores, "--models", "td_cnn_avgpool,two_stream", *how]) == 0
    assert read_run(run / "td_cnn_avgpool").embedding_dim == (16, 16, 3)
    assert read_run(run / "two_stream").embedding_dim == (16, 16, 6)
    models = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["models"]
    assert models["two_stream"]["accuracy"]["value"] >= 0.9 > 0.6 > models["td_cnn_avgpool"]["accuracy"]["value"]
    capsys.readouterr()
    assert pipeline.main([*cache, *stores[:2], "--models", "td_cnn_avgpool", *how]) == 1
    assert "two_stream" in capsys.readouterr().err


def test_frame_by_frame_both_stores_must_hold_the_same_frames(home, tmp_path, capsys):
    others = [replace(clip, frame_indices=2 * clip.frame_indices) for clip in moving_clips(48)]
    write_frames(tmp_path / "few", others)
    how = [
        "--models",
        "lstm,td_cnn_lstm",
        "--labels",
        str(home / "labels.csv"),
        "--run",
        str(tmp_path / "run"),
        *GROUPS,
    ]
    assert pipeline.main(["compare", str(home / "cache"), "--frames-store", str(tmp_path / "few"), *FRAMES, *how]) == 1
    assert re.search(r"holds other frames of .* \(6\) than the embeddings \(6\); to", capsys.readouterr().err)


def test_frames_of_other_clips_are_no_frames_of_a_comparison(home, tmp_path, capsys):
    write_frames(tmp_path / "few", moving_clips(40))
    how = ["--models", "lstm,conv3d", "--run", str(tmp_path / "run"), *GROUPS]
    assert pipeline.main(["compare", str(home / "cache"), "--frames-store", str(tmp_path / "few"), *ONE, *how]) == 1
    assert "/few lacks 8 of 48 clips (first: left/0-40-1.mp4); extract the same videos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stores", "how", "message"),
    [
        (
            ["frames"],
            ["--model", "bilstm"],
            "model bilstm takes embeddings, but {home}/frames holds raw frames of 16 x 16 x 3; choose one of "
            "td_cnn_lstm, td_cnn_flatten_lstm, td_convnet_gru, td_cnn_avgpool, td_cnn_maxpool, conv3d, "
            "td_backbone_rnn, two_stream, or extract embeddings with another --backbone.",
        ),
        (
            ["cache"],
            ["--model", "conv3d"],
            "model conv3d takes raw frames, but {home}/cache holds embeddings of width 16; choose one of lstm, "
            "bilstm, gru, bigru, lstm_parts, bilstm_parts, gru_parts, bigru_parts, attention, meanpool, maxpool, "
            "pyramid, probe, mstcn, or extract frames with --backbone pixels.",
        ),
        (
            ["frames", "flow"],
            ["--model", "two_stream", "--flip"],
            "flip would change the motion that optical flow encodes; leave --flip out, or train on RGB frames "
            "only (--shift and --zoom may stay).",
        ),
        (
            ["frames", "frames"],
            ["--model", "two_stream"],
            "model two_stream takes RGB frames and optical flow, but the stores hold rgb, rgb; give one that was "
            "extracted with --input flow too.",
        ),
    ],
)
def test_a_model_and_a_store_that_do_not_fit_are_refused(home, capsys, stores, how, message):
    told = ["train", *(str(home / store) for store in stores), *ONE, *how, "--run", str(home / "refused")]
    assert pipeline.main(told) == 2
    assert capsys.readouterr().err.strip() == "clipseq train: " + message.format(home=home)
    assert not (home / "refused").exists()
