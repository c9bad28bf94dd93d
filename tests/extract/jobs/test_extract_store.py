"""`clipseq extract` and its store under hardship: a full disk, and several processes on one store."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from places import ROOT

from extract.store.reader import open_store
from extract.store.verify import verify

pytestmark = pytest.mark.slow

RECIPE = ("--backbone", "tiny", "--every", "1", "--engine", "litert", "--batch-size", "8")  # the same to the bit


def start(videos, output, *more):
    command = [sys.executable, "pipeline.py", "extract", str(videos), "--output", str(output), *RECIPE, *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """Exit code, last line of the output, all error lines."""
    out, err = process.communicate()
    return process.returncode, (out.splitlines() or [""])[-1], err.splitlines()


def counts(line):
    """{"done": 3, ...} of a closing line."""
    words = line.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def contents(store_path):
    store = open_store(store_path)
    return {clip_id: store.read(clip_id).embeddings.tobytes() for clip_id in store.clip_ids}


def assert_each_clip_once(videos, tmp_path):
    """The store of several processes holds what one process alone makes of the same videos."""
    assert end(start(videos, tmp_path / "alone"))[0] == 0
    assert verify(tmp_path / "f").is_sound
    assert len(contents(tmp_path / "alone")) == 12
    assert contents(tmp_path / "f") == contents(tmp_path / "alone")
    assert open_store(tmp_path / "f").unfinished() == {}
    code, line, _ = end(start(videos, tmp_path / "f"))
    assert (code, counts(line)) == (0, {"done": 0, "skipped": 12, "failed": 0})


@pytest.fixture
def videos(tmp_path, make_video):
    for k in range(12):
        make_video(tmp_path / "videos" / f"{k}.avi", frames=10 + k, step=5 + k)
    return tmp_path / "videos"


def test_an_extraction_onto_a_full_disk_is_one_sentence_and_resumes_on_a_larger_one(small_disk, tmp_path, make_video):
    (small_disk / "other").write_bytes(bytes(4_900_000))  # the rest of the 5 MB is less than 40 shards need
    for k in range(40):
        make_video(tmp_path / "videos" / f"{k}.avi", frames=100, step=2)
    often = ("--flush-seconds", "0.01", "--decode-threads", "1")

    code, _, errors = end(start(tmp_path / "videos", small_disk / "f", *often))

    assert code == 1 and len(errors) == 1, errors
    assert errors[0].startswith(f"clipseq extract: {small_disk / 'f'}")
    assert "(No space left on device); what was finished before is safe: free some space or move" in errors[0]
    assert verify(small_disk / "f").is_sound
    survived = len(open_store(small_disk / "f"))
    assert 0 < survived < 40
    shutil.copytree(small_disk / "f", tmp_path / "copy")
    code, line, errors = end(start(tmp_path / "videos", tmp_path / "copy"))
    assert (code, errors, counts(line)) == (0, [], {"done": 40 - survived, "skipped": survived, "failed": 0})
    assert verify(tmp_path / "copy").is_sound
    assert open_store(tmp_path / "copy").lengths() == {f"{k}.avi": 100 for k in range(40)}


def test_two_parts_at_once_share_the_clips(videos, tmp_path):
    both = [start(videos, tmp_path / "f", "--part", part, "--flush-seconds", "0.05") for part in ("1/2", "2/2")]
    ended = [end(process) for process in both]

    assert [(code, errors) for code, _, errors in ended] == [(0, []), (0, [])]
    assert sum(counts(line)["done"] for _, line, _ in ended) == 12
    assert_each_clip_once(videos, tmp_path)


def test_two_processes_with_the_same_list_end_with_each_clip_once(videos, tmp_path):
    ended = [end(process) for process in [start(videos, tmp_path / "f", "--flush-seconds", "0.05") for _ in range(2)]]

    assert [(code, errors) for code, _, errors in ended] == [(0, []), (0, [])]
    assert_each_clip_once(videos, tmp_path)
