"""Videos behind addresses: what is found, what is asked, and what a server can do wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT
from web_server import Behaviour, etag, web_server

from extract.errors import RemoteReadError, UnreadableVideoError, UsageError
from extract.records import Source, VideoItem
from extract.system.addresses import Address
from extract.videos import remote
from extract.videos.listing import find_videos, search_videos
from extract.videos.sources import recorded_place, source_of

pytest.importorskip("aiohttp")
pytest.importorskip("s3fs")
CONTENT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(remote, "BLOCK_BYTES", 50_000)
    monkeypatch.setattr(remote, "SMALLEST_REQUEST", 1000)


@pytest.fixture
def folder(tmp_path):
    for name in ("bucket/a.mp4", "bucket/hug/b.avi", "bucket/hug/note.txt", "bucket/[x]/c.mkv"):
        path = tmp_path / "served" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)
    return tmp_path / "served"


@pytest.fixture
def s3(folder, monkeypatch):
    """The same files as a bucket of S3."""
    does = Behaviour()
    with web_server(folder, does) as url:
        for name, value in {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield does
    remote.file_system(Address("s3://")).clear_instance_cache()  # it keeps the address of the server


def content_of(address: str) -> bytes:
    with remote.readable(Address(address)) as file, file.open() as reader:
        return reader.read()


@pytest.mark.parametrize(
    "does",
    [
        Behaviour(),
        Behaviour(has_ranges=False),
        Behaviour(has_etags=False, has_times=False),
        Behaviour(break_after=15_000),
        Behaviour(failures=3),
    ],
    ids=["ranges", "no ranges", "no etags", "connections break", "busy at first"],
)
def test_every_byte_comes_whatever_the_server_is_like(folder, does):
    with web_server(folder, does) as url:
        assert content_of(f"{url}/bucket/a.mp4") == CONTENT


def test_with_ranges_no_byte_is_sent_twice(folder):
    does = Behaviour()
    with web_server(folder, does) as url:
        content_of(f"{url}/bucket/a.mp4")
    assert does.sent == len(CONTENT)


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (Behaviour(has_ranges=False, break_after=60_000), "in 5 attempts (the connection broke)"),
        (Behaviour(dies_after=100_000), "in 5 attempts (HTTP status 503)"),
        (Behaviour(token="key=1"), "read (HTTP status 403)"),
    ],
    ids=["no ranges and connections break", "it dies half-way", "forbidden"],
)
def test_a_server_that_fails_is_an_error_with_its_reason(folder, does, reason):
    with web_server(folder, does) as url, pytest.raises(RemoteReadError) as caught:
        content_of(f"{url}/bucket/a.mp4?signature=secret")
    assert str(caught.value).startswith(f"{url}/bucket/a.mp4? cannot be read") and reason in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_a_server_refuses_for_good_is_asked_once(folder):
    does = Behaviour()
    with web_server(folder, does) as url, pytest.raises(RemoteReadError, match=r"\(HTTP status 404\)"):
        remote.look_up(Address(f"{url}/bucket/nothing.mp4"))
    assert [method for method, *_ in does.asked] == ["HEAD", "GET"]


def test_nobody_answers(monkeypatch):
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    with pytest.raises(RemoteReadError, match=r"cannot be read in 2 attempts \(Connect call failed "):
        remote.look_up(Address("http://127.0.0.1:9/a.mp4"))


def test_a_large_file_without_ranges_is_refused_in_a_sentence(folder, monkeypatch):
    monkeypatch.setattr(remote, "WHOLE_BYTES", 100_000)
    with (
        web_server(folder, Behaviour(has_ranges=False)) as url,
        pytest.raises(RemoteReadError, match=r"larger than 0 GiB, and its server cannot give parts of a file"),
    ):
        content_of(f"{url}/bucket/a.mp4")


def test_the_source_is_what_the_server_says(folder):
    path = folder / "bucket/a.mp4"
    os.utime(path, (1_700_000_000, 1_700_000_000))
    with web_server(folder) as url:
        source = source_of(VideoItem("a", Address(f"{url}/bucket/a.mp4?sig=secret")), with_digest=True)
        assert source == Source(f"{url}/bucket/a.mp4?", len(CONTENT), 1_700_000_000 * 10**9, f"etag:{etag(path)}")
    with web_server(folder, Behaviour(has_etags=False, has_times=False)) as url:
        source = source_of(VideoItem("a", Address(f"{url}/bucket/a.mp4")), with_digest=True)
        assert source == Source(f"{url}/bucket/a.mp4", len(CONTENT), 0, "")


def test_an_address_from_a_store_is_read_again_only_if_it_is_complete():
    assert recorded_place(Source("https://h/a.mp4", 1, 1)) == Address("https://h/a.mp4")
    assert recorded_place(Source("/videos/a.mp4", 1, 1)) == Path("/videos/a.mp4")
    with pytest.raises(UnreadableVideoError, match="was read with a query, which no store keeps"):
        recorded_place(Source("https://h/a.mp4?", 1, 1))
    with pytest.raises(UnreadableVideoError, match="is not supported"):
        recorded_place(Source("reference://x", 1, 1))


@pytest.mark.parametrize(
    ("target", "ids"),
    [
        ("s3://bucket", ["[x]/c.mkv", "a.mp4", "hug/b.avi"]),
        ("s3://bucket/", ["[x]/c.mkv", "a.mp4", "hug/b.avi"]),
        ("s3://bucket/hug/", ["b.avi"]),
        ("s3://bucket/**/*.avi", ["hug/b.avi"]),
        ("s3://bucket/hug/*", ["b.avi"]),
        ("s3://bucket/[x]/c.mkv", ["c.mkv"]),
        ("s3://bucket/hug/b.avi#t=1,2.5", ["b.avi#t=1,2.5"]),
    ],
)
def test_folders_globs_and_files_of_s3(s3, target, ids):
    items, left_out = search_videos(target)
    assert [item.clip_id for item in items] == ids
    assert all(str(item.path).startswith("s3://bucket/") for item in items)
    has_note = target.endswith(("bucket", "bucket/", "hug/", "hug/*"))
    assert len(left_out) == has_note


def test_a_listing_tells_what_planning_needs(s3, folder):
    (item,) = find_videos("s3://bucket/hug/*.avi")
    before = len(s3.asked)
    assert item.listed is not None and item.listed.digest == f"etag:{etag(folder / 'bucket/hug/b.avi')}"
    assert len(s3.asked) == before


def test_bytes_of_s3(s3):
    assert content_of("s3://bucket/[x]/c.mkv") == CONTENT


def test_nothing_there_is_a_sentence(s3):
    with pytest.raises(RemoteReadError, match=r"^s3://bucket/nothing/ cannot be read \(there is no such file\); check"):
        search_videos("s3://bucket/nothing/")
    with pytest.raises(UsageError, match=r"^s3://bucket/hug/\*.txt holds no videos \(1 other file\); looked for"):
        search_videos("s3://bucket/hug/*.txt")


def test_a_list_mixes_addresses_and_files(tmp_path):
    (tmp_path / "d.avi").touch()
    table = tmp_path / "list.csv"
    table.write_text(
        "path,clip_id,start_seconds,end_seconds\nhttps://h:8/x/a%20b.mp4?sig=secret,,,\ns3://bucket/c.mp4,c,1,2\n"
        's3://bucket/c.mp4,,3,4\n"https://h/e.mp4#t=5,6",,,\nd.avi,,,\n'
    )
    assert {item.clip_id: (str(item.path), item.start_seconds) for item in find_videos(table)} == {
        "c": ("s3://bucket/c.mp4", 1.0),
        "bucket/c.mp4#t=3,4": ("s3://bucket/c.mp4", 3.0),
        "d.avi": (str(tmp_path / "d.avi"), 0.0),
        "h:8/x/a b.mp4": ("https://h:8/x/a%20b.mp4?", 0.0),
        "h/e.mp4#t=5,6": ("https://h/e.mp4", 5.0),
    }


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("https://host/videos/", "a web server does not list its files; give a CSV whose paths are addresses"),
        ("s3://bucket/list.csv", "a list of clips is read from a local file; copy it"),
        ("https://me:word@host/a.mp4", "https://...host/a.mp4: an address must not hold a name or password"),
        (Path("s3://bucket/a.mp4"), "s3:/bucket/a.mp4 has lost a slash after s3:; give an address as text"),
    ],
)
def test_an_address_that_cannot_be_used_is_a_sentence(target, message):
    with pytest.raises(UsageError) as caught:
        search_videos(target)
    assert message in str(caught.value) and "word" not in str(caught.value).replace("password", "")


def test_a_list_with_a_bad_address_names_the_line(tmp_path):
    (tmp_path / "list.csv").write_text("path\ngs://b/a.mp4\n")
    with pytest.raises(UsageError, match=r"list.csv line 2: gs://b/a.mp4: gs:// is not supported"):
        find_videos(tmp_path / "list.csv")


@pytest.mark.parametrize("missing", ["fsspec", "aiohttp"])
def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r"^https://h/a.mp4 is read through fsspec: pip install 'clipseq\[remote\]'$"):
        remote.look_up(Address("https://h/a.mp4"))


def test_local_videos_never_import_fsspec(tmp_path, make_video):
    make_video(tmp_path / "a.avi")
    code = (
        "import sys, pipeline\n"
        "assert pipeline.main(['scan', sys.argv[1]]) == 0\n"
        "assert not {'fsspec', 'aiohttp', 's3fs'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True, capture_output=True)
