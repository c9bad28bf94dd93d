import os

import pytest
from places import dead_pid
from store_examples import LENGTHS, RECIPE, SOURCE, add_clip, append, change_row, content, make_store, shard_of

from extract.errors import DamagedShardError, StoreError, UsageError
from extract.store.pack import pack
from extract.store.reader import open_store
from extract.store.recipe import is_store
from extract.store.writer import StoreWriter
from extract.system import files


@pytest.fixture
def directory(tmp_path):
    """Clips in one part, in three parts, in two versions, unfinished, and failed."""
    with StoreWriter(tmp_path / "f", RECIPE, engine="keras") as writer:
        writer.add_seconds("model", 2.0)
        append(writer, "long", 0, 3)
        add_clip(writer, "a", 5)
        writer.seal()
        append(writer, "long", 3, 4)
        add_clip(writer, "a", 4)
        writer.seal()
        append(writer, "long", 4, 9)
        writer.finish("long", None)
        append(writer, "unfinished", 0, 2)
        writer.fail("bad.mp4", ValueError("broken"), SOURCE)
    return tmp_path / "f"


def test_a_packed_store_gives_the_same_bytes(directory, tmp_path):
    packed = pack(directory, tmp_path / "out" / "packed.h5")

    assert content(packed.path) == content(directory)
    assert (packed.num_clips, packed.num_frames) == (2, 13)
    assert packed.num_bytes == os.path.getsize(packed.path)
    assert open_store(packed.path).recipe == RECIPE


def test_a_packed_clip_is_one_contiguous_part(directory, tmp_path):
    store = open_store(pack(directory, tmp_path / "packed.h5").path)

    assert [len(store.parts(clip_id)) for clip_id in store.clip_ids] == [1, 1]


def test_a_packed_store_keeps_failures_engines_and_seconds(directory, tmp_path):
    before, after = open_store(directory), open_store(pack(directory, tmp_path / "packed.h5").path)

    assert after.failures() == before.failures()
    assert after.summary()["engines"] == ["keras"]
    assert after.summary()["seconds"] == {"model": 2.0}
    assert after.summary()["kind"] == "packed"


def test_packing_a_packed_store_changes_nothing(directory, tmp_path):
    pack(directory, tmp_path / "one.h5")
    pack(tmp_path / "one.h5", tmp_path / "two.h5")

    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_an_existing_file_is_never_replaced(directory, tmp_path):
    (tmp_path / "packed.h5").write_text("precious")

    with pytest.raises(StoreError, match=r"packed\.h5 exists already: choose another name or remove it"):
        pack(directory, tmp_path / "packed.h5")
    assert (tmp_path / "packed.h5").read_text() == "precious"


def test_a_packed_store_has_an_ending_by_which_it_is_known(directory, tmp_path):
    with pytest.raises(UsageError, match=r"packed\.txt must end in \.h5 or \.hdf5"):
        pack(directory, tmp_path / "packed.txt")

    assert is_store(pack(directory, tmp_path / "packed.hdf5").path)


def test_damaged_rows_are_not_packed(tmp_path):
    make_store(tmp_path / "f")
    change_row(shard_of(tmp_path / "f"), "hug/a.mp4")

    with pytest.raises(DamagedShardError, match=r"the digest of hug/a\.mp4 is wrong"):
        pack(tmp_path / "f", tmp_path / "packed.h5")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["f"]


def test_a_store_with_a_damaged_shard_is_not_packed(tmp_path):
    make_store(tmp_path / "f", LENGTHS)
    (tmp_path / "f" / "shard-x-1-y-000000.h5").touch()

    with pytest.raises(DamagedShardError, match=r"has damaged shards: run `clipseq verify .* --repair`"):
        pack(tmp_path / "f", tmp_path / "packed.h5")


def test_an_empty_store_is_not_packed(tmp_path):
    with StoreWriter(tmp_path / "f", RECIPE, engine="keras"):
        pass

    with pytest.raises(StoreError, match="holds no complete clip to pack"):
        pack(tmp_path / "f", tmp_path / "packed.h5")


def test_a_kill_while_the_file_got_its_name_leaves_no_copy_for_ever(directory, tmp_path):
    packed = pack(directory, tmp_path / "packed.h5").path
    other = tmp_path / f".tmp-{files._host()}-{dead_pid()}-abc-packed.h5"
    os.link(packed, other)
    os.utime(other, (0, 0))

    with pytest.raises(StoreError, match="exists already"):
        pack(directory, packed)

    assert not other.exists()
