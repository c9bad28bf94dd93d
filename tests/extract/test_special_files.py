"""Pipes, sockets and devices in the place of files: each fails at once and alone, and nothing waits for them."""

import os
import signal
import socket

import numpy as np
import pytest
from store_examples import make_store

from extract.store.reader import open_store
from pipeline import main

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no pipes in the file system")


@pytest.fixture(autouse=True)
def no_waiting():
    """Whoever opens a pipe that nobody writes to would wait for ever."""

    def stop(signum, frame):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_special(path, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as made:
            before = os.getcwd()
            os.chdir(path.parent)  # the name of a socket may not be long
            made.bind(path.name)
            os.chdir(before)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_a_special_file_among_videos_fails_alone(tmp_path, make_video, kind, capsys):
    make_video(tmp_path / "v" / "good.avi", frames=3)
    make_special(tmp_path / "v" / "bad.mp4", kind)
    told = ["extract", str(tmp_path / "v"), "--output", str(tmp_path / "f"), "--backbone", "pixels"]
    assert main(told) == 1
    said = capsys.readouterr()
    assert "done 1  skipped 0  failed 1" in said.out
    assert f"it is a {kind}, not a regular file" in said.err or "is not a regular file" in said.err


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_a_special_file_among_features_fails_alone(tmp_path, kind, capsys):
    make_special(tmp_path / "in" / "bad.npy", kind)
    np.save(tmp_path / "in" / "good.npy", np.ones((3, 2)))
    assert main(["import-features", str(tmp_path / "in"), "--output", str(tmp_path / "f")]) == 1
    said = capsys.readouterr()
    assert "done 1  skipped 0  failed 1" in said.out and f"it is a {kind}, not a regular file" in said.err


@pytest.mark.parametrize("name", ["shard-x-000000.h5", ".index.npz"])
def test_a_special_file_in_a_store_does_not_hide_the_rest(tmp_path, name):
    make_store(tmp_path / "f", {"a": 3})
    make_special(tmp_path / "f" / name, "pipe")
    assert open_store(tmp_path / "f").lengths() == {"a": 3}


@pytest.mark.parametrize("name", ["recipe.json", "failures-x.jsonl"])
def test_a_special_file_in_a_store_is_named(tmp_path, name, capsys):
    make_store(tmp_path / "f", {"a": 3})
    (tmp_path / "f" / name).unlink(missing_ok=True)
    make_special(tmp_path / "f" / name, "pipe")
    assert main(["info", str(tmp_path / "f")]) == 1
    assert f"{name} " in (said := capsys.readouterr().err) and "it is a pipe, not a regular file" in said


@pytest.mark.parametrize("flag", ["--labels", "--clips"])
def test_a_special_file_of_labels_or_clips_is_named(tmp_path, flag, capsys):
    make_store(tmp_path / "f", {"a": 3})
    make_special(tmp_path / "x.csv", "pipe")
    told = ["train", str(tmp_path / "f"), "--task", "many-to-one", "--run", str(tmp_path / "r"), flag]
    assert main([*told, str(tmp_path / "x.csv")]) in (1, 2)
    assert "x.csv cannot be read (it is a pipe, not a regular file)" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("verb", ["evaluate", "report"])
def test_a_special_run_json_is_named(tmp_path, verb, capsys):
    make_special(tmp_path / "r" / "run.json", "pipe")
    assert main([verb, str(tmp_path / "r")]) == 1
    assert "run.json cannot be read (it is a pipe, not a regular file)" in capsys.readouterr().err


def test_nothing_is_written_over_a_pipe(tmp_path, capsys):
    make_store(tmp_path / "f", {"a": 3})
    make_special(tmp_path / "out" / "a.npy", "pipe")
    assert main(["export-features", str(tmp_path / "f"), str(tmp_path / "out")]) == 1
    assert "a.npy is a pipe, but a file must be written there" in capsys.readouterr().err
