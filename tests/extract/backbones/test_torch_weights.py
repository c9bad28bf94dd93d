"""The restricted reader of torch's old format: right numbers from honest files, one error type from all others."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import types
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extract.backbones.torch_weights import MAGIC_NUMBER, read_torch_weights
from extract.errors import BackboneError


class FloatStorage:
    pass


FloatStorage.__module__, FloatStorage.__qualname__ = "torch", "FloatStorage"


def _rebuild_tensor_v2(*arguments):
    return arguments


_rebuild_tensor_v2.__module__ = "torch._utils"


class Storage:
    def __init__(self, key, values, declared=None):
        self.key, self.values, self.declared = key, values, declared or len(values)


class Tensor:
    def __init__(self, storage, offset, shape, strides, state=None):
        self.arguments, self.state = (storage, offset, shape, strides, False, OrderedDict()), state

    def __reduce__(self):
        return _rebuild_tensor_v2, self.arguments, self.state


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return ("storage", FloatStorage, value.key, "cpu", value.declared, None) if isinstance(value, Storage) else None


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Writes a state dictionary as torch before 1.6 did."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage, utils._rebuild_tensor_v2 = FloatStorage, _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def write(state, storages=(), little_endian=True) -> Path:
        path = tmp_path / "weights.pth"
        with path.open("wb") as file:
            for value in (MAGIC_NUMBER, 1001, {"little_endian": little_endian}):
                pickle.dump(value, file, protocol=2)
            Pickler(file, protocol=2).dump(state)
            pickle.dump([storage.key for storage in storages], file, protocol=2)
            for storage in storages:
                file.write(struct.pack("<q", len(storage.values)) + np.asarray(storage.values, "<f4").tobytes())
        return path

    return write


def test_strides_are_honoured_so_a_transposed_kernel_comes_out_right(save):
    storage = Storage("0", [0, 1, 2, 3, 4, 5])
    path = save(OrderedDict(kernel=Tensor(storage, 0, (2, 3), (1, 2))), [storage])
    assert read_torch_weights(path)["kernel"].tolist() == [[0, 2, 4], [1, 3, 5]]


def test_offsets_scalars_and_shared_storages_are_read(save):
    storage = Storage("7", [10, 11, 12, 13])
    tensors = OrderedDict(b=Tensor(storage, 2, (2,), (1,)), a=Tensor(storage, 1, (), ()))
    weights = read_torch_weights(save(tensors, [storage]))
    assert list(weights) == ["b", "a"]
    assert weights["b"].tolist() == [12, 13] and weights["a"].shape == () and weights["a"] == 11


def test_arrays_are_contiguous_and_of_the_stored_type(save):
    storage = Storage("0", [1, 2, 3, 4])
    array = read_torch_weights(save(OrderedDict(a=Tensor(storage, 0, (2, 2), (1, 2))), [storage]))["a"]
    assert array.dtype == np.float32 and array.flags.c_contiguous and array.flags.owndata


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((3,), (1,), 2),
        ((2, 2), (3, 1), 0),
        ((4,), (1,), -1),
        ((2,), (-1,), 2),
        ((1 << 40,), (0,), 0),
        ((2, 2), (1,), 0),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(save, shape, strides, offset):
    storage = Storage("0", [1, 2, 3, 4])
    with pytest.raises(BackboneError, match=r"weights\.pth is not a trustworthy torch weights file: a tensor"):
        read_torch_weights(save(OrderedDict(a=Tensor(storage, offset, shape, strides)), [storage]))


def test_a_checked_tensor_cannot_be_rewritten_by_the_pickle(save):
    storage = Storage("0", [1, 2, 3, 4])
    tensor = Tensor(storage, 0, (2,), (1,), state={"strides": (1 << 40,)})
    with pytest.raises(BackboneError, match="no attribute '__dict__'"):
        read_torch_weights(save(OrderedDict(a=tensor), [storage]))


def test_a_pickle_that_calls_the_system_is_refused_before_it_runs(save, tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was-here"),)

    with pytest.raises(BackboneError, match=r"asks for (posix|nt) mkdir"):
        read_torch_weights(save(OrderedDict(a=Attack())))
    assert not (tmp_path / "was-here").exists()


def test_a_whole_pickled_network_is_refused_by_name(save):
    with pytest.raises(BackboneError, match=r"it asks for collections Counter; use another file"):
        read_torch_weights(save(Counter(a=1)))


def test_other_pickle_operations_are_refused(tmp_path):
    path = tmp_path / "new.pth"
    path.write_bytes(pickle.dumps(MAGIC_NUMBER, protocol=4))
    with pytest.raises(BackboneError, match="it uses the pickle operation FRAME"):
        read_torch_weights(path)


def test_a_memo_index_that_would_eat_the_memory_is_refused(tmp_path):
    path = tmp_path / "memo.pth"
    path.write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")
    with pytest.raises(BackboneError, match="numbers more objects than weights can have"):
        read_torch_weights(path)


def test_tuples_that_lie_deep_in_one_another_do_not_end_the_process(tmp_path):
    """Hashing them, as a key of a dictionary, would overflow the stack of C."""
    path = tmp_path / "deep.pth"
    path.write_bytes(pickle.dumps(MAGIC_NUMBER, protocol=2) + b"\x80\x02})" + b"\x85" * 2_000_000 + b"Ks.")
    with pytest.raises(BackboneError, match="its tuples are nested more deeply than weights need"):
        read_torch_weights(path)


def test_tensors_that_share_a_storage_take_no_more_memory_than_the_file_has(save):
    shared = Storage("0", np.zeros(1000, np.float32))
    with pytest.raises(BackboneError, match=r"its tensors take 400,000 bytes, but the file has \d"):
        read_torch_weights(save({str(k): Tensor(shared, 0, (1000,), (1,)) for k in range(100)}, [shared]))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([], "holds no dictionary of tensors"),
        (OrderedDict(), "holds no dictionary of tensors"),
        (OrderedDict(epoch=3), "entry 'epoch' is not a tensor"),
    ],
)
def test_what_is_no_dictionary_of_tensors_is_named(save, state, message):
    with pytest.raises(BackboneError, match=message):
        read_torch_weights(save(state))


def test_a_big_endian_file_is_refused(save):
    storage = Storage("0", [1])
    with pytest.raises(BackboneError, match="not written on a little-endian machine"):
        read_torch_weights(save(OrderedDict(a=Tensor(storage, 0, (1,), (1,))), [storage], little_endian=False))


def test_a_storage_longer_than_its_data_is_refused(save):
    storage = Storage("0", [1, 2], declared=1 << 40)
    with pytest.raises(BackboneError, match="storage '0' does not have the length that its tensors give"):
        read_torch_weights(save(OrderedDict(a=Tensor(storage, 0, (2,), (1,))), [storage]))


def test_a_storage_that_is_missing_is_refused(save):
    storage = Storage("0", [1, 2])
    with pytest.raises(BackboneError, match="its storages do not match its tensors"):
        read_torch_weights(save(OrderedDict(a=Tensor(storage, 0, (2,), (1,))), []))


def test_the_zip_format_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "zip.pth"
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(BackboneError, match=r"zip format.*_use_new_zipfile_serialization=False"):
        read_torch_weights(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BackboneError, match=r"none\.pth: the weights cannot be read \(No such file or directory\)"):
        read_torch_weights(tmp_path / "none.pth")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_gives_weights_or_one_sentence_never_another_error(save, tmp_path, data):
    storage = Storage("0", list(range(12)))
    tensors = OrderedDict(a=Tensor(storage, 0, (2, 3), (1, 2)), b=Tensor(storage, 6, (6,), (1,)))
    content = bytearray(save(tensors, [storage]).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        weights = read_torch_weights(damaged)
    except BackboneError as error:
        assert "\n" not in str(error)
    else:
        assert all(array.size <= 12 for array in weights.values())
