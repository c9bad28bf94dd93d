import numpy as np
import pytest
from store_examples import LENGTHS, TRUTH, append, make_store, rows_of

from extract.errors import DamagedShardError
from extract.store.lazy_rows import LazyRows, join_channels
from extract.store.reader import open_store
from extract.store.writer import StoreWriter


def counted(values):
    """Rows of an array, and the list of what was read of them."""
    read = []

    def reader(rows):
        read.append(rows.tolist())
        return values[rows]

    return LazyRows(reader, np.arange(len(values)), values.shape[1:], values.dtype), read


def test_choosing_reads_nothing_and_asking_reads_only_what_was_chosen():
    rows, read = counted(np.arange(40, dtype=np.uint8).reshape(10, 2, 2, 1))
    chosen = rows[2:9][np.array([0, 3, 3])]
    assert (chosen.shape, chosen.ndim, len(chosen), read) == ((3, 2, 2, 1), 4, 3, [])
    assert np.asarray(chosen)[:, 0, 0, 0].tolist() == [8, 20, 20]
    assert read == [[2, 5, 5]]


def test_lazy_rows_fill_an_array_and_take_another_type():
    rows, _ = counted(np.array([[1, 2], [3, 4]], np.uint8))
    batch = np.zeros((1, 3, 2), np.uint8)
    batch[0, :2] = rows
    assert batch.tolist() == [[[1, 2], [3, 4], [0, 0]]]
    assert np.asarray(rows, np.float32).dtype == np.float32


def test_clips_of_two_stores_lie_side_by_side_in_the_channels():
    colour, read = counted(np.full((4, 2, 2, 3), 7, np.uint8))
    flow, _ = counted(np.arange(16, dtype=np.uint8).reshape(4, 2, 2, 1))
    both = join_channels([colour[1:], flow[1:]])
    assert both.shape == (3, 2, 2, 4)
    assert np.asarray(both[1:2])[0, 0, 0].tolist() == [7, 7, 7, 8]
    assert read == [[2]]


@pytest.mark.parametrize("rows", ([0, 1, 2], [5, 6, 7], [9, 2, 2, 3, 8], []))
def test_a_store_gives_any_rows_of_a_clip_of_several_parts(tmp_path, rows):
    with StoreWriter(tmp_path / "s", {"backbone": "tiny"}, engine="keras") as writer:
        for first, last in ((0, 3), (3, 7), (7, 10)):
            append(writer, "a.mp4", first, last)
            writer.seal()
        writer.finish("a.mp4", TRUTH)
    clip = open_store(tmp_path / "s").read_lazily("a.mp4")
    assert clip.pts_seconds.tolist() == (np.arange(10) / 8).tolist()
    np.testing.assert_array_equal(clip.embeddings[np.array(rows, np.int64)], rows_of("a.mp4", 10)[rows])


def test_rows_that_cannot_be_read_name_the_clip(tmp_path):
    store = open_store(make_store(tmp_path / "s", {"a.mp4": 3}))
    clip = store.read_lazily("a.mp4")
    path = store.shards[0].path
    path.write_bytes(path.read_bytes()[: store.shards[0].embeddings.offset + 4])
    with pytest.raises(DamagedShardError, match=r"^a.mp4: .*it ends before its rows do"):
        np.asarray(clip.embeddings)


def test_a_clip_read_lazily_is_the_clip(tmp_path):
    store = open_store(make_store(tmp_path / "s"))
    for clip_id, length in LENGTHS.items():
        np.testing.assert_array_equal(np.asarray(store.read_lazily(clip_id).embeddings), rows_of(clip_id, length))
