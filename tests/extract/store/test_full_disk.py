"""What happens when the disk is full or read-only in the middle of a job."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from places import ROOT
from store_examples import SOURCE, append, assert_clip, make_store

from extract.errors import WriteError
from extract.store.reader import open_store
from extract.store.shard_writer import Part, write_shard
from extract.store.verify import verify
from extract.store.writer import StoreWriter

FILL = textwrap.dedent("""
    import sys
    import numpy as np
    from extract.errors import WriteError
    from extract.records import Source
    from extract.store.writer import StoreWriter
    if sys.argv[2] != "-":
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    try:
        with StoreWriter(sys.argv[1], {"backbone": "tiny"}, engine="keras") as writer:
            for number in range(40):
                rows = np.full((100 + 50 * number, 1000), number)
                indices = np.arange(len(rows))
                writer.append(f"clip{number:02d}", rows, indices, indices / 8, Source("a", 1, 1))
                writer.finish(f"clip{number:02d}", None)
                writer.seal()
    except WriteError as error:
        print(error)
        sys.exit(1)
""")


def fill(path, limit):
    code = [sys.executable, "-c", FILL, str(path), limit]
    result = subprocess.run(code, capture_output=True, text=True, cwd=ROOT)
    return result.returncode, result.stdout.strip()


def resume(path):
    """Finishes the job on a larger disk; returns how many clips had survived."""
    done = len(open_store(path))
    assert verify(path).is_sound
    assert fill(path, "-") == (0, "")
    assert len(open_store(path)) == 40
    assert verify(path).is_sound
    return done


@pytest.mark.skipif(os.name == "nt", reason="no limit of the file size")
def test_a_file_that_may_not_grow_fails_cleanly_and_resumes(tmp_path):
    code, sentence = fill(tmp_path / "f", "1000000")

    assert code == 1
    assert "could not be written (File too large); what was finished before is safe: free some space" in sentence
    assert sorted({entry.name[:6] for entry in (tmp_path / "f").iterdir()}) == ["recipe", "shard-"]
    assert resume(tmp_path / "f") == 8


def test_a_full_disk_fails_cleanly_and_resumes_when_copied_to_a_larger_one(small_disk, tmp_path):
    code, sentence = fill(small_disk / "f", "-")

    assert code == 1
    assert (
        "could not be written (No space left on device); what was finished before is safe: free some space" in sentence
    )
    assert verify(small_disk / "f").is_sound
    shutil.copytree(small_disk / "f", tmp_path / "copy")
    assert resume(tmp_path / "copy") >= 5


def test_a_read_only_disk_is_one_sentence(small_disk):
    make_store(small_disk / "f", {"a": 3})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    assert_clip(small_disk / "f", "a", 3)
    with pytest.raises(WriteError, match=r"could not be written \(Read-only file system\): change the permissions"):
        make_store(small_disk / "g")
    with pytest.raises(WriteError, match=r"f may not be written: change the permissions, or use another --output"):
        make_store(small_disk / "f", {"b": 3})


def test_a_disk_that_becomes_read_only_is_one_sentence(small_disk):
    writer = StoreWriter(small_disk / "f", {}, engine="keras")
    append(writer, "b", 0, 3)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(WriteError, match="Read-only file system"):
        writer.seal()
    with pytest.raises(WriteError, match="Read-only file system"):
        writer.fail("b", ValueError("x"), SOURCE)


@pytest.mark.parametrize("free_pages", range(4))
def test_hdf5_never_hears_of_a_full_disk_wherever_that_falls(small_disk, free_pages):
    """Seen once: a write that failed while HDF5 closed its file ended the process with a segmentation fault."""
    disk = os.statvfs(small_disk)
    (small_disk / "other").write_bytes(bytes((disk.f_bavail - free_pages) * disk.f_bsize))
    indices = np.arange(200)
    rows = [(np.ones((200, 16), np.float16), indices, indices / 8)]
    part = Part("a", SOURCE, 0, True, 0, 200, 0, "", lambda: rows)

    with pytest.raises(OSError) as caught:
        write_shard(small_disk / "s.h5", [part], recipe={}, made=[], dtype=np.dtype("float16"), row_shape=(16,))
    assert caught.value.errno == errno.ENOSPC
