"""Extraction from a web server: the same rows as from disk, or a failed clip with its reason."""

from __future__ import annotations

import numpy as np
import pytest
from video_files import moving_frames, write_video
from web_server import Behaviour, web_server

from extract.decode.frames import frames_of
from extract.errors import RemoteReadError, UnreadableVideoError
from extract.jobs.batch import extract_videos, extraction_work
from extract.jobs.plan import explain
from extract.jobs.settings import ExtractSettings
from extract.preview.scan import scan_videos
from extract.preview.sheet import sheet_of_store
from extract.store.reader import open_store
from extract.videos import remote
from extract.videos.listing import find_videos
from extract.videos.rule import SamplingRule

pytest.importorskip("aiohttp")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(remote, "BLOCK_BYTES", 20_000)
    monkeypatch.setattr(remote, "SMALLEST_REQUEST", 2000)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for name, count in (("a.mp4", 40), ("b.avi", 25), ("c.mkv", 30)):
        codec = "mpeg4" if name == "b.avi" else "libx264"
        noise = np.random.default_rng(count).integers(0, 40, (count, 96, 128, 3), np.uint8)
        write_video(folder / name, [*(np.stack(moving_frames(count)) // 2 + noise)], codec=codec)
    return folder


@pytest.fixture(scope="module")
def rows(videos, tmp_path_factory):
    """Of each video, as extracted from disk."""
    output = tmp_path_factory.mktemp("local") / "f"
    assert extract_videos(videos, settings_of(output), tell=print).done == 3
    return {clip_id: open_store(output).read(clip_id) for clip_id in ("a.mp4", "b.avi", "c.mkv")}


def settings_of(output, **more):
    return ExtractSettings(output=output, backbone="tiny", sampling=SamplingRule("every", 2), engine="keras", **more)


def listed(folder, url, query=""):
    table = folder / "list.csv"
    table.write_text("path,clip_id\n" + "".join(f"{url}/{n}{query},{n}\n" for n in ("a.mp4", "b.avi", "c.mkv")))
    return table


def batch_of(table, output, **more):
    return extract_videos(table, settings_of(output, **more), tell=print)


@pytest.mark.parametrize(
    "does",
    [Behaviour(), Behaviour(has_ranges=False), Behaviour(break_after=9000)],
    ids=["ranges", "no ranges", "connections break"],
)
def test_the_rows_are_those_of_the_same_videos_on_disk(videos, rows, tmp_path, does):
    with web_server(videos, does) as url:
        table = listed(tmp_path, url)
        assert batch_of(table, tmp_path / "f").done == 3
        store = open_store(tmp_path / "f")
        for clip_id, clip in rows.items():
            found = store.read(clip_id)
            assert (found.embeddings == clip.embeddings).all() and found.truth == clip.truth
            assert (found.pts_seconds == clip.pts_seconds).all()
        does.asked.clear()
        assert batch_of(table, tmp_path / "f").skipped == 3
        assert [method for method, *_ in does.asked] == ["HEAD"] * 3


def test_a_server_that_dies_half_way_costs_those_clips_alone_and_the_next_run_goes_on(videos, rows, tmp_path):
    size = (videos / "a.mp4").stat().st_size
    with web_server(videos, Behaviour(dies_after=size)) as url:
        batch = batch_of(listed(tmp_path, url), tmp_path / "f", decode_threads=1)
        assert batch.done + batch.num_failed == 3 and batch.num_failed >= 1
        assert all("(HTTP status 503)" in reason for reason in batch.failed.values())
        failed = open_store(tmp_path / "f").failures()
        assert {failure.error for failure in failed.values()} == {RemoteReadError.__name__}
    with web_server(videos) as url:
        table = listed(tmp_path, url)
        work = extraction_work(table, settings_of(tmp_path / "f"))
        assert work == [(clip_id, "it failed before and is tried again") for clip_id in batch.failed]
        assert batch_of(table, tmp_path / "f").done == len(batch.failed)
    store = open_store(tmp_path / "f")
    assert not store.failures()
    assert all((store.read(clip_id).embeddings == clip.embeddings).all() for clip_id, clip in rows.items())


def test_half_a_file_is_never_taken_for_a_whole_one(videos, tmp_path):
    """FFmpeg takes a failed read for the end of the file."""
    for share in (0.3, 0.6, 0.9):
        with web_server(videos, Behaviour(dies_after=int((videos / "a.mp4").stat().st_size * share))) as url:
            (tmp_path / "list.csv").write_text(f"path\n{url}/a.mp4\n")
            assert batch_of(tmp_path / "list.csv", tmp_path / f"f{share}").num_failed == 1


def test_another_etag_is_another_video_although_size_and_time_are_the_same(videos, tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    content = bytearray((videos / "b.avi").read_bytes())
    (served / "b.avi").write_bytes(content)
    with web_server(served, Behaviour(has_times=False)) as url:
        (tmp_path / "list.csv").write_text(f"path\n{url}/b.avi\n")
        assert batch_of(tmp_path / "list.csv", tmp_path / "f").done == 1
        (clip_id,) = open_store(tmp_path / "f").clip_ids
        assert "has not changed since the extraction, by the server's ETag." in explain(
            clip_id, open_store(tmp_path / "f")
        )
        content[-1] ^= 1
        (served / "b.avi").write_bytes(content)
        assert extraction_work(tmp_path / "list.csv", settings_of(tmp_path / "f")) == [
            (clip_id, "the file's content has changed since the extraction")
        ]
        assert "its server names no time" in explain(clip_id, open_store(tmp_path / "f"))


def test_a_signature_is_stored_nowhere(videos, tmp_path):
    query = "X-Amz-Signature=5ec4e7"
    with web_server(videos, Behaviour(token=query)) as url:
        table = listed(tmp_path, url, f"?{query}")
        with table.open("a") as file:
            file.write(f"{url}/nothing.mp4?{query},d\n")
        batch = batch_of(table, tmp_path / "f")
        assert (batch.done, batch.num_failed) == (3, 1)
        store = open_store(tmp_path / "f")
        assert store.source("a.mp4").path == f"{url}/a.mp4?"
        assert batch_of(table, tmp_path / "f").skipped == 3
        with pytest.raises(UnreadableVideoError, match="was read with a query, which no store keeps"):
            frames_of(store.read("a.mp4"), [0], source=store.source("a.mp4"))
        assert "give the videos instead of the store" in explain("a.mp4", store)
    for path in (tmp_path / "f").iterdir():
        assert b"5ec4e7" not in path.read_bytes(), path


def test_frames_sheets_and_scans_read_from_the_server(videos, rows, tmp_path):
    with web_server(videos) as url:
        table = listed(tmp_path, url)
        assert batch_of(table, tmp_path / "f").done == 3
        store = open_store(tmp_path / "f")
        frames = frames_of(store.read("a.mp4"), [3, 9], source=store.source("a.mp4"))
        assert frames.frame_indices.tolist() == [6, 18] and frames.frames.shape == (2, 96, 128, 3)
        sheet = sheet_of_store(store, tmp_path / "sheet.png")
        assert sheet.clips == 3 and not sheet.problems
        scanned = list(scan_videos(find_videos(table), SamplingRule("every", 2)))
    assert [(clip.path, clip.sampled_frames, clip.error) for clip in scanned] == [
        (f"{url}/{clip_id}", len(clip), "") for clip_id, clip in rows.items()
    ]


def test_spans_of_one_video(videos, tmp_path):
    with web_server(videos) as url:
        (tmp_path / "list.csv").write_text(f'path,clip_id\n"{url}/a.mp4#t=1,2",one\n"{url}/a.mp4#t=2,4",two\n')
        assert batch_of(tmp_path / "list.csv", tmp_path / "f").done == 2
        assert open_store(tmp_path / "f").lengths() == {"one": 5, "two": 10}
