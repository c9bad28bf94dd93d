from itertools import pairwise

import numpy as np
import pytest
from store_examples import RECIPE, SOURCE

from extract.store.shard import open_shard
from extract.store.shard_writer import Part, RowsDigest, write_shard


def blocks(length, *cuts):
    rows = (np.arange(length * 2).reshape(length, 2).astype("<f2"), np.arange(length), np.arange(length) / 8)
    bounds = [0, *cuts, length]
    return [tuple(array[a:b] for array in rows) for a, b in pairwise(bounds)]


def digest(found, truth=b""):
    hasher = RowsDigest()
    for block in found:
        hasher.update(block)
    return hasher.hexdigest(truth)


def part(length, found, **changes):
    fields = {"clip_id": "a", "source": SOURCE, "part": 0, "last_part": True, "first_row": 0, "written_ns": 1}
    return Part(**{**fields, "length": length, "truth_json": "", "blocks": lambda: found, **changes})


def write(path, parts):
    write_shard(path, parts, recipe=RECIPE, made=[], dtype=np.dtype("float16"), row_shape=(2,))


def test_the_digest_does_not_depend_on_how_the_rows_are_cut():
    assert digest(blocks(9)) == digest(blocks(9, 2, 3, 8)) == digest(blocks(9, 1))


@pytest.mark.parametrize("column", [0, 1, 2])
def test_the_digest_covers_rows_indices_times_and_truth(column):
    changed = [list(block) for block in blocks(9)]
    changed[0][column] = changed[0][column].copy()
    changed[0][column][4] += 1

    assert digest(changed) != digest(blocks(9))
    assert digest(blocks(9), b"{}") != digest(blocks(9))


def test_the_same_parts_make_the_same_file(tmp_path):
    for name, cuts in (("one.h5", ()), ("two.h5", (3, 5))):
        write(tmp_path / name, [part(9, blocks(9, *cuts)), part(4, blocks(4), clip_id="ü", truth_json='{"a": "ü"}')])

    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    assert open_shard(tmp_path / "one.h5").texts("clip_id") == ["a", "ü"]


@pytest.mark.parametrize("length", [8, 10])
def test_blocks_that_do_not_have_the_promised_rows_are_an_error(tmp_path, length):
    with pytest.raises((ValueError, TypeError), match=r"do not have|broadcast"):
        write(tmp_path / "x.h5", [part(length, blocks(9))])


def test_an_existing_file_is_never_written_over(tmp_path):
    (tmp_path / "x.h5").write_text("precious")

    with pytest.raises(FileExistsError):
        write(tmp_path / "x.h5", [part(9, blocks(9))])
