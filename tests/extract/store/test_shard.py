import os
import random

import h5py
import numpy as np
import pytest
from store_examples import LENGTHS, make_store

from extract.errors import ClipseqError, DamagedShardError, SchemaError
from extract.store.reader import open_store
from extract.store.shard import ShardFile, open_shard, salvage_clip_ids
from extract.store.verify import verify

HUGE = 10**12


@pytest.fixture
def shard(tmp_path):
    make_store(tmp_path)
    return next(tmp_path.glob("shard-*.h5"))


def replace(file, name, **settings):
    del file[name]
    file.create_dataset(name, **settings)


def change(file, name, value):
    file[name][:] = value


def external_link(file):
    with h5py.File(file.filename + ".other", "w") as other:
        other.create_dataset("embeddings", shape=(15, 4), dtype="<f2")
    del file["embeddings"]
    file["embeddings"] = h5py.ExternalLink(file.filename + ".other", "embeddings")


def soft_link(file):
    del file["clips/start"]
    file["clips/start"] = h5py.SoftLink("/frame_index")


def external_storage(file):
    del file["embeddings"]
    file.create_dataset("embeddings", shape=(15, 4), dtype="<f2", external=[("/etc/passwd", 0, 120)])


def virtual(file):
    layout = h5py.VirtualLayout(shape=(15, 4), dtype="<f2")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(15, 4))
    del file["embeddings"]
    file.create_virtual_dataset("embeddings", layout)


def group_for_dataset(file):
    del file["pts_seconds"]
    file.create_group("pts_seconds")


def dataset_for_group(file):
    del file["clips"]
    file.create_dataset("clips", data=np.zeros(3))


def scalar(file):
    del file["frame_index"]
    file["frame_index"] = 3


HOSTILE = {
    "no embeddings": lambda f: f.__delitem__("embeddings"),
    "no column": lambda f: f.__delitem__("clips/part"),
    "no table": lambda f: f.__delitem__("clips"),
    "external link": external_link,
    "soft link": soft_link,
    "external storage": external_storage,
    "virtual dataset": virtual,
    "chunked": lambda f: replace(f, "embeddings", data=np.zeros((15, 4), "<f2"), chunks=(5, 4)),
    "compressed": lambda f: replace(f, "embeddings", data=np.zeros((15, 4), "<f2"), compression="gzip"),
    "group for a dataset": group_for_dataset,
    "dataset for a group": dataset_for_group,
    "scalar": scalar,
    "int8 embeddings": lambda f: replace(f, "embeddings", data=np.zeros((15, 4), "i1")),
    "big-endian times": lambda f: replace(f, "pts_seconds", data=np.zeros(15, ">f8")),
    "five dimensions": lambda f: replace(f, "embeddings", data=np.zeros((15, 1, 1, 1, 4), "<f2")),
    "never allocated": lambda f: replace(f, "embeddings", shape=(HUGE, 4), dtype="<f2"),
    "variable-length text": lambda f: replace(f, "clips/clip_id", data=["a", "b", "c"], dtype=h5py.string_dtype()),
    "objects": lambda f: replace(f, "clips/clip_id", shape=(3,), dtype=h5py.ref_dtype),
    "column too short": lambda f: replace(f, "clips/part", data=np.zeros(2, "<i8")),
    "fewer times than rows": lambda f: replace(f, "pts_seconds", data=np.zeros(14)),
    "start behind the end": lambda f: change(f, "clips/start", HUGE),
    "length beyond the end": lambda f: change(f, "clips/length", [5, 3, HUGE]),
    "lengths that wrap around": lambda f: change(f, "clips/length", [2**62, 2**62, 2**62]),
    "negative length": lambda f: change(f, "clips/length", [-5, 13, 7]),
    "overlapping rows": lambda f: change(f, "clips/start", 0),
    "negative part": lambda f: change(f, "clips/part", -1),
    "truth beyond the end": lambda f: change(f, "clips/truth_end", HUGE),
    "truth that runs backwards": lambda f: change(f, "clips/truth_end", [9, 5, 7]),
    "another clip's name": lambda f: change(f, "clips/clip_id", b"x"),
    "another recipe": lambda f: f.attrs.modify("recipe_json", np.bytes_(b"{}")),
    "no digest": lambda f: f.attrs.__delitem__("digest"),
    "a number for a text": lambda f: f.attrs.__setitem__("fingerprint", 3),
    "variable-length attribute": lambda f: f.attrs.__setitem__("fingerprint", "x"),
    "an array of versions": lambda f: f.attrs.__setitem__("schema_version", [1, 1]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_malformed_shard_is_refused_and_named(shard, name):
    with h5py.File(shard, "r+") as file:
        HOSTILE[name](file)

    with pytest.raises(
        DamagedShardError, match=rf"{shard.name} is damaged \(.+\)\. Run `clipseq verify --repair` on the store"
    ):
        open_shard(shard)
    assert list(open_store(shard.parent).damaged) == [shard.name]
    assert not verify(shard.parent).is_sound


def test_a_user_block_is_refused(shard):
    content = shard.read_bytes()
    with h5py.File(shard, "w", userblock_size=512) as file:
        file.attrs["schema_version"] = np.int64(1)
    assert content

    with pytest.raises(ClipseqError):
        open_shard(shard)


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (2, "has schema 2, but this clipseq reads only up to 1: upgrade clipseq"),
        (0, "schema version 0 does not exist"),
    ],
)
def test_another_schema_is_one_sentence(shard, version, sentence):
    with h5py.File(shard, "r+") as file:
        file.attrs.modify("schema_version", np.int64(version))

    with pytest.raises(SchemaError, match=sentence):
        open_shard(shard)


def test_hdf5_of_something_else_is_no_store(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = [1, 2]

    with pytest.raises(SchemaError, match=r"x\.h5 is an HDF5 file, but not a clipseq store"):
        open_store(tmp_path / "x.h5")


def test_random_damage_is_found_or_harmless(shard):
    content, rng = shard.read_bytes(), random.Random(0)
    sound = {clip_id: open_store(shard.parent).read(clip_id).embeddings.tobytes() for clip_id in LENGTHS}
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 4])):
            damaged[rng.randrange(len(damaged) if rng.random() < 0.5 else 2500)] ^= 1 << rng.randrange(8)
        shard.write_bytes(damaged)
        if verify(shard.parent).is_sound:
            store = open_store(shard.parent)
            assert {clip_id: store.read(clip_id).embeddings.tobytes() for clip_id in store.clip_ids} == sound


def test_names_are_salvaged_from_a_shard_that_was_cut_off(shard):
    shard.write_bytes(shard.read_bytes()[:-200])

    assert sorted(salvage_clip_ids(shard)) == sorted(LENGTHS)
    shard.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\xff" * 60)
    assert salvage_clip_ids(shard) == []


def test_the_layout_is_plain_hdf5(shard):
    with h5py.File(shard) as file:
        assert file["embeddings"].dtype == np.float16
        assert file["embeddings"].chunks is None
        assert [name.decode() for name in file["clips/clip_id"][:]] == list(LENGTHS)
        assert file["clips/length"][:].tolist() == list(LENGTHS.values())
        assert file.attrs["schema_version"] == 1


def test_reading_works_without_preadv(shard, monkeypatch):
    monkeypatch.delattr(os, "preadv")
    opened = open_shard(shard)

    rows = ShardFile(shard).read(opened.embeddings, 5, 3)

    assert rows.shape == (3, 4)
    np.testing.assert_array_equal(rows, open_store(shard.parent).read("clap/#20_ü [x].avi").embeddings)
