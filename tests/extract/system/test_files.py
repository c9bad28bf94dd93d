import errno
import os
import time

import pytest
from places import dead_pid

from extract.errors import WriteError
from extract.system import files
from extract.system.files import remove_stale_temporaries, sealed_file, write_error, writer_id


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def temporary(path, host, pid, *, age_seconds):
    file = path / f".tmp-{host}-{pid}-abc-shard-x.h5"
    file.write_bytes(b"half")
    os.utime(file, (time.time() - age_seconds,) * 2)
    return file.name


def test_a_file_appears_whole_under_its_name(tmp_path):
    with sealed_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("hello")
        assert names(tmp_path) == [temporary.name]

    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "hello"


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), sealed_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt

    assert names(tmp_path) == []


def test_exclusive_never_replaces(tmp_path):
    (tmp_path / "a.txt").write_text("first")

    with pytest.raises(FileExistsError), sealed_file(tmp_path / "a.txt", exclusive=True) as temporary:
        temporary.write_text("second")

    assert (tmp_path / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_exclusive_works_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with sealed_file(tmp_path / "a.txt", exclusive=True) as temporary:
        temporary.write_text("first")
    with pytest.raises(FileExistsError), sealed_file(tmp_path / "a.txt", exclusive=True) as temporary:
        temporary.write_text("second")

    assert (tmp_path / "a.txt").read_text() == "first"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "x"),
         "f could not be written (No space left on device); what was finished before is safe: "
         "free some space or move the folder to a larger disk, then run the same command again."),
        (OSError(errno.EROFS, "x"),
         "f could not be written (Read-only file system): change the permissions, or write somewhere else."),
        (RuntimeError("Can't decrement id ref count (unable to extend file properly, errno = 27, error message = 'x')"),
         "f could not be written (File too large); what was finished before is safe: "
         "free some space or move the folder to a larger disk, then run the same command again."),
        (RuntimeError("odd\nlines"), "f could not be written (odd); what was finished before is safe."),
    ],
)  # fmt: skip
def test_a_failed_write_is_one_sentence(tmp_path, error, sentence):
    assert str(write_error(tmp_path / "f", error)) == f"{tmp_path}/{sentence}"


def test_an_error_while_writing_becomes_a_store_error(tmp_path):
    with pytest.raises(WriteError, match=r"a\.txt could not be written \(No space"), sealed_file(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "full")


def test_writers_have_names_of_their_own():
    first, second = writer_id(), writer_id()

    assert first != second
    assert first.split("-")[1] == str(os.getpid())
    assert first.count("-") == 2


def test_only_what_dead_writers_left_is_removed(tmp_path):
    host, pid = files._host(), dead_pid()
    stale = [
        temporary(tmp_path, host, pid, age_seconds=700),
        temporary(tmp_path, "elsewhere", 1, age_seconds=8 * 24 * 3600),
    ]
    kept = [
        temporary(tmp_path, host, os.getpid(), age_seconds=700),
        temporary(tmp_path, host, f"0{pid}", age_seconds=10),
        temporary(tmp_path, "other", 1, age_seconds=700),
        "notes.txt",
    ]
    (tmp_path / "notes.txt").touch()

    remove_stale_temporaries(tmp_path)

    assert names(tmp_path) == sorted(kept)
    assert not set(stale) & set(names(tmp_path))


def test_what_a_killed_writer_left_goes_when_its_folder_is_written_to_again(tmp_path):
    temporary(tmp_path, files._host(), dead_pid(), age_seconds=3600)
    young = temporary(tmp_path, files._host(), os.getpid(), age_seconds=3600)

    files.write_text(tmp_path / "report.html", "whole")

    assert names(tmp_path) == [young, "report.html"]
