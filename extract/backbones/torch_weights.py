"""Reads weights files in the old torch pickle format as named NumPy arrays, without torch.

The file may come from anywhere, so it is treated as data: only tensors and the dictionary around them are accepted,
every opcode is checked before anything is unpickled, and sizes are checked against the file's own length. Strides are
honoured: torch stores transposed kernels as views, and reading them in raw order gives a model that predicts nonsense.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from extract.errors import BackboneError
from extract.system.files import read_regular

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}

# What torch's own writer (pickle protocol 2) uses for a dictionary of tensors, without opcodes that call anything else.
_OPCODES = frozenset(
    {
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    }
)
_GLOBALS = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"} | {f"torch {name}" for name in STORAGE_DTYPES}
_MAX_MEMO = 1_000_000
_MAX_NESTING = 16  # of tuples in tuples; torch's own writer needs 3, and thousands crash the process when hashed
_MALFORMED = (
    pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    MemoryError, RecursionError,
)  # fmt: skip


class _Storage(NamedTuple):  # a tuple, because pickle can overwrite the fields of any object with a __dict__
    key: str
    dtype: str
    num_elements: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StateUnpickler(pickle.Unpickler):
    """Accepts only the names in `_GLOBALS`; tensors come out as descriptions, without data."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _checked_tensor(storage, offset, shape, strides)
        if module == "torch" and name in STORAGE_DTYPES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, description: Any) -> _Storage:
        kind, storage_type, key, _, num_elements, view = description
        if kind != "storage" or view is not None or not isinstance(key, str) or not _is_count(num_elements):
            raise pickle.UnpicklingError("a storage is not described as in torch files")
        return _Storage(key, STORAGE_DTYPES[storage_type], num_elements)


def read_torch_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dictionary saved by torch before 1.6 (or with the zip format turned off).

    Args:
        path: The `.pth` file.

    Returns:
        Name -> array, C-contiguous, in the order of the file.

    Raises:
        BackboneError: The file is missing, not in this format, damaged, or holds anything but tensors.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise BackboneError(f"{path}: the weights cannot be read ({error.strerror}); check the path") from error
    if content.startswith(b"PK"):
        raise BackboneError(
            f"{path} is a torch file in the zip format, but only the older format can be read: save it again with "
            "torch.save(state_dict, path, _use_new_zipfile_serialization=False)"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools warns about odd escapes in names that are refused anyway
            return _read_tensors(content)
    except _MALFORMED as error:
        reason = str(error) or type(error).__name__
        raise BackboneError(f"{path} is not a trustworthy torch weights file: {reason}; use another file") from error


def _read_tensors(content: bytes) -> dict[str, np.ndarray]:
    stream = io.BytesIO(content)
    if _load(stream) != MAGIC_NUMBER or _load(stream) != PROTOCOL_VERSION:
        raise ValueError("it does not start like a torch file")
    system = _load(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it was not written on a little-endian machine")
    state = _load(stream)
    if not isinstance(state, dict) or not state:
        raise ValueError("it holds no dictionary of tensors")
    wanted: dict[str, _Storage] = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise ValueError(f"entry {str(name)[:80]!r} is not a tensor")
        if wanted.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise ValueError(f"storage {tensor.storage.key[:80]!r} has two different descriptions")
    asked = sum(math.prod(tensor.shape) * np.dtype(tensor.storage.dtype).itemsize for tensor in state.values())
    if asked > len(content):  # tensors that share a storage would each take the memory of the whole storage
        raise ValueError(f"its tensors take {asked:,} bytes, but the file has {len(content):,}")
    storages = _read_storages(stream, wanted)
    return {name: _strided(storages[tensor.storage.key], tensor) for name, tensor in state.items()}


class _Nesting:
    """Tracks how deeply tuples are nested, on a stack of depths parallel to the unpickler's."""

    _MARK = -1

    def __init__(self) -> None:
        self._stack: list[int] = []
        self._memo: dict[int, int] = {}

    def take(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Tracks one operation; raises ValueError if the nesting gets too deep."""
        stack, name = self._stack, opcode.name
        if name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            stack.append(self._MARK)
        else:
            below, taken = list(opcode.stack_before), []
            if pickletools.markobject in below:
                below = below[: below.index(pickletools.markobject)]
                while stack[-1] != self._MARK:
                    taken.append(stack.pop())
                stack.pop()
            taken += [stack.pop() for _ in below]
            depth = max(taken, default=0)
            if name.startswith("TUPLE") and (depth := depth + 1) > _MAX_NESTING:
                raise ValueError("its tuples are nested more deeply than weights need")
            stack += [depth] * len(opcode.stack_after)


def _load(stream: io.BytesIO) -> object:
    """Unpickles the next object of the stream after checking that all its opcodes are harmless."""
    start, nesting = stream.tell(), _Nesting()
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            raise ValueError(f"it uses the pickle operation {opcode.name}")
        if opcode.name == "GLOBAL" and argument not in _GLOBALS:
            raise ValueError(f"it asks for {str(argument)[:80]}")
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > _MAX_MEMO:
            raise ValueError("it numbers more objects than weights can have")
        nesting.take(opcode, argument)
    stream.seek(start)
    return _StateUnpickler(stream).load()


def _read_storages(stream: io.BytesIO, wanted: dict[str, _Storage]) -> dict[str, np.ndarray]:
    """The raw data after the pickles: for each key its length, then its elements."""
    keys = _load(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(wanted):
        raise ValueError("its storages do not match its tensors")
    storages = {}
    for key in keys:
        storage = wanted[key]
        if int.from_bytes(stream.read(8), "little") != storage.num_elements:
            raise ValueError(f"storage {key[:80]!r} does not have the length that its tensors give")
        size = storage.num_elements * np.dtype(storage.dtype).itemsize
        data = stream.read(size)
        if len(data) != size:
            raise ValueError("it is truncated")
        storages[key] = np.frombuffer(data, storage.dtype)
    return storages


def _checked_tensor(storage: object, offset: object, shape: object, strides: object) -> _Tensor:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise pickle.UnpicklingError("a tensor is not described as in torch files")
    if len(shape) != len(strides) or not all(_is_count(value) for value in (offset, *shape, *strides)):
        raise pickle.UnpicklingError("a tensor is not described as in torch files")
    tensor = _Tensor(storage, int(offset), shape, strides)  # type: ignore[call-overload]
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    # A tensor larger than its storage repeats elements (stride 0): a few bytes could demand all available memory.
    if math.prod(shape) > storage.num_elements or (math.prod(shape) and last >= storage.num_elements):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return tensor


def _strided(storage: np.ndarray, tensor: _Tensor) -> np.ndarray:
    strides = [stride * storage.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)
    return np.array(view, order="C")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**62
