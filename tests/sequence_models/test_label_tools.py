"""From videos and labels of an annotation tool to predictions that it reads, by the commands of docs/labels.md."""

import csv
import json
import shutil

import numpy as np
import pytest
from label_examples import joined
from video_files import write_video

import pipeline
from extract.decode.redraw import video_facts
from sequence_models.labels.reading import read_label_source
from sequence_models.runs.files import read_arrays
from sequence_models.settings import DataSettings

RATE, CLASSES = 10, ("dark", "bright")
HEADER = (
    "Observation id,Observation date,Description,Observation type,Source,Time offset (s),Coding duration,"
    "Media duration (s),FPS (frame/s),Subject,Observation duration,Behavior,Behavioral category,Behavior type,"
    "Start (s),Stop (s),Duration (s),Media file name,Image index start,Image index stop\n"
)
TOOLS = {"boris": ("events.csv", {}), "elan": ("eaf", {"tiers_as_classes": True})}


def run(*words):
    return pipeline.main([str(word) for word in words])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Streams joined from single clips of one class, the class of every frame, and labels of BORIS and ELAN; a run."""
    home, rng = tmp_path_factory.mktemp("tools"), np.random.default_rng(3)
    lines, truth = [HEADER], {}
    for number in range(6):
        lengths, classes = rng.integers(5, 12, 5), [(k + number) % 2 for k in range(5)]
        truth[f"cage{number}.mp4"] = frames = np.repeat(classes, lengths)
        pictures = [np.full((32, 32, 3), 40 + 150 * k, np.uint8) for k in frames]
        write_video(home / "videos" / f"cage{number}.mp4", pictures, rate=RATE)
        media, seconds = f"/lab/cage{number}.mp4", len(frames) / RATE
        ends = np.cumsum(lengths)
        lines += [
            f"day{number},2025-03-04,,Media file,player #1:{media},0,{seconds},{seconds:.3f},{RATE}.000,"
            f"No focal subject,9,{CLASSES[k]},,STATE,{start / RATE:.3f},{end / RATE:.3f},1,{media},{start},{end}\n"
            for k, start, end in zip(classes, ends - lengths, ends, strict=True)
        ]
    (home / "events.csv").write_text("".join(lines))
    assert run("convert-labels", home / "events.csv", home / "eaf", "--to", "elan") == 0
    take = ("--backbone", "tiny", "--every", "1", "--output", home / "features")
    assert run("extract", home / "videos", *take) == 0
    train = ("--task", "many-to-many", "--updates", "20", "--model", "bilstm", "--jobs", "1", "--run", home / "run")
    assert run("train", home / "features", "--labels", home / "events.csv", *train) == 0
    return home, truth


@pytest.mark.parametrize("tool", TOOLS)
def test_on_streams_of_joined_clips_no_timestep_differs_from_the_truth(project, tool):
    home, truth = project
    labels, more = TOOLS[tool]
    clips = joined([home / "features"], home / labels, task="many-to-many", **more)
    for clip in clips.clips:
        assert [clips.vocabulary[k] for k in clip.labels] == [CLASSES[k] for k in truth[clip.clip_id]]
    assert len(clips.clips) == len(truth)


@pytest.mark.parametrize("tool", TOOLS)
def test_predictions_come_back_in_the_format_that_the_labels_came_in(project, tool, capsys):
    home, truth = project
    labels, more = TOOLS[tool]
    output = home / f"predicted-{tool}{'' if tool == 'elan' else '.csv'}"
    assert run("predict", home / "run", home / "features", "--output", output, "--to", tool) == 0
    table = read_label_source(output, DataSettings(**more))
    assert {row.clip_id for row in table.rows} == set(truth) and {row.label for row in table.rows} <= set(CLASSES)
    assert run("show-labels", home / labels, "--against", output, *(["--tiers-as-classes"] if more else [])) == 0
    assert "kappa" in capsys.readouterr().out


@pytest.fixture
def new_video(project, tmp_path):
    home, _ = project
    shutil.copy(home / "videos" / "cage1.mp4", tmp_path / "new.mp4")
    return home / "run", tmp_path / "new.mp4"


def test_a_prediction_beside_the_video_replaces_only_predictions(new_video, capsys):
    made, video = new_video
    beside = video.with_name("new.predictions.csv")
    for _ in range(2):
        assert run("predict", made, video, "--beside") == 0
    assert len(beside.read_text().splitlines()) == 1 + len(video_facts(video).pts_seconds)
    assert run("predict", made, video, "--beside", "--to", "elan") == 0
    assert video.with_name("new.predictions.eaf").exists()
    beside.write_text("mine\n")
    for more in ([], ["--to", "elan"]):
        assert run("predict", made, video, "--beside", *more) == 2
        assert "exists already; remove it, or use --output" in capsys.readouterr().err
    assert beside.read_text() == "mine\n"


def test_a_prediction_drawn_on_the_video_and_its_table_say_the_same(new_video, tmp_path, capsys):
    made, video = new_video
    output = ("--annotate", tmp_path / "out.mp4", "--output", tmp_path / "p.jsonl", "--every-frame")
    assert run("predict", made, video, *output) == 0
    said = capsys.readouterr().out
    count = len(video_facts(video).pts_seconds)
    assert f"wrote {tmp_path / 'out.mp4'}: {count} frames" in said
    np.testing.assert_array_equal(video_facts(tmp_path / "out.mp4").pts_seconds, video_facts(video).pts_seconds)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(count))


def test_evaluate_writes_its_test_predictions_as_csv(project):
    home, truth = project
    assert run("evaluate", home / "run") == 0
    with (home / "run" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    arrays = read_arrays(home / "run" / "predictions.npz", again="")
    assert len(rows) == len(arrays["truth"])
    for name in {row["clip_id"] for row in rows}:
        assert [row["truth"] for row in rows if row["clip_id"] == name] == [CLASSES[k] for k in truth[name]]


def test_several_videos_are_not_embedded_in_vain(project, tmp_path, capsys):
    home, _ = project
    assert run("predict", home / "run", home / "videos", "--annotate", tmp_path / "x.mp4") == 2
    said = capsys.readouterr().err
    assert "--annotate writes one video, but 6 are given; give a single one" in said and "frames" not in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "say where predictions go: --output FILE.csv, --beside, or --annotate OUT.mp4"),
        (["--output", "x.txt"], "must end in .csv, .jsonl, .parquet"),
        (["--annotate", "x.avi"], "must end in .mp4 or .mov"),
        (["--annotate", "x.mp4"], "--annotate writes one video, but 6 clips are predicted; give a single video"),
        (["--output", "x", "--to", "elan", "--every-frame"], "--every-frame is for tables of labels per frame, but"),
    ],
)
def test_what_cannot_be_written_is_said_first(project, words, sentence, capsys, tmp_path):
    home, _ = project
    words = [str(tmp_path / word) if word.startswith("x") else word for word in words]
    assert run("predict", home / "run", home / "features", *words) == 2
    assert sentence in capsys.readouterr().err and not list(tmp_path.iterdir())
