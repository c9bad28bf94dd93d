"""Features in HDF5 of other tools: SLEAP's analysis export, and DeepEthogram's _outputs.h5.

Only datasets that lie inside the file are read: links and datasets that point to other files are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from extract.errors import UnstorableClipError
from extract.store.feature_files import FeatureFile
from extract.store.numpy_arrays import BLOCK_BYTES
from extract.store.table_features import POINT, points_text
from extract.system.files import MALFORMED, check_regular, reason_of

SLEAP_ORDER = ("track", "xy", "node", "frame")  # of files without a `dims` attribute: sleap/info/write_tracking_h5.py
STREAMS = ("spatial_features", "flow_features")  # deepethogram/feature_extractor/inference.py
MOST_COMPRESSED = 1100  # times: deflate reaches 1032
MOST_NAMES = 10_000


@contextmanager
def open_hdf5(path: Path, key: str | None) -> Iterator[FeatureFile]:
    """Open an HDF5 file of features.

    Args:
        path: The file.
        key: The model whose features to take of a DeepEthogram file that holds several.

    Raises:
        UnstorableClipError: It is malformed, or of no known tool.
    """
    try:
        check_regular(path)
        with h5py.File(path, "r") as file:
            yield _features(path, file, key)
    except MALFORMED as error:
        reason = reason_of(error)
        raise UnstorableClipError(f"{path} cannot be read as features ({reason}): export it again.") from error


def _features(path: Path, file: h5py.File, key: str | None) -> FeatureFile:
    if "tracks" in file and "node_names" in file:
        return _sleap(path, file)
    groups = [name for name in file if all(f"{name}/{stream}" in file for stream in STREAMS)]
    if groups:
        return _deepethogram(path, file, groups, key)
    if any(f"{name}/table" in file or f"{name}/axis0" in file for name in file):
        raise UnstorableClipError(
            f"{path} is a DeepLabCut .h5, whose names are pickled and would run code: give the CSV instead "
            "(save_as_csv=True, or deeplabcut.analyze_videos_converth5_to_csv)."
        )
    held = ", ".join(list(file)[:5]) or "nothing"
    raise UnstorableClipError(
        f"{path} holds {held}, which is neither SLEAP's analysis export nor DeepEthogram's _outputs.h5: save the "
        "features as .npy or CSV."
    )


def _sleap(path: Path, file: h5py.File) -> FeatureFile:
    """Animals, keypoints and likelihoods by name; the stored order of axes is the file's own."""
    tracks, nodes = _dataset(file, "tracks"), _names(file, "node_names")
    order = _axes(tracks)
    animals = _names(file, "track_names") or ["animal"]
    sizes = dict(zip(order, tracks.shape, strict=True))
    if (sizes["track"], sizes["node"], sizes["xy"]) != (len(animals), len(nodes), 2):
        raise UnstorableClipError(
            f"{path} has tracks of {dict(sizes)}, but names of {len(animals)} tracks and {len(nodes)} nodes: export it "
            "again from SLEAP."
        )
    scores = _dataset(file, "point_scores") if "point_scores" in file else None
    flat = [axis for axis in order if axis != "xy"]
    if scores is not None and scores.shape != tuple(sizes[axis] for axis in flat):
        shapes = f"point_scores {scores.shape} beside tracks {tracks.shape}"
        raise UnstorableClipError(f"{path} has {shapes}: export it again.")
    coordinates = POINT if scores is not None else POINT[:2]
    count, width = sizes["frame"], len(animals) * len(nodes) * len(coordinates)

    def blocks() -> Iterator[np.ndarray]:
        step = max(1, BLOCK_BYTES // (8 * width))
        for start in range(0, count, step):
            part = _frames(tracks, order, start, start + step).transpose(_to(order, ("frame", "track", "node", "xy")))
            if scores is not None:
                likelihood = _frames(scores, flat, start, start + step).transpose(_to(flat, ("frame", "track", "node")))
                part = np.concatenate([part, likelihood[..., None]], axis=-1)
            yield np.ascontiguousarray(part.reshape(len(part), width), np.float64)

    several = animals if len(animals) > 1 else [""]
    columns = [f"{animal} {node} {what}".strip() for animal in several for node in nodes for what in coordinates]
    made_of = points_text(animals, nodes, coordinates)
    return FeatureFile(path, "SLEAP analysis", width, blocks, tuple(columns), made_of)


def _axes(tracks: h5py.Dataset) -> list[str]:
    """The names of the four axes as stored."""
    dims = tracks.attrs.get("dims")
    order = json.loads(dims) if isinstance(dims, (str, bytes)) else list(SLEAP_ORDER)
    if sorted(order) != sorted(SLEAP_ORDER) or tracks.ndim != 4:
        raise ValueError(f"tracks {tracks.shape} have the axes {order}, not {', '.join(SLEAP_ORDER)}")
    return order


def _to(order: list[str], wanted: tuple[str, ...]) -> list[int]:
    return [order.index(axis) for axis in wanted]


def _frames(dataset: h5py.Dataset, order: list[str], start: int, end: int) -> np.ndarray:
    return dataset[tuple(slice(start, end) if axis == "frame" else slice(None) for axis in order)]


def _deepethogram(path: Path, file: h5py.File, groups: list[str], key: str | None) -> FeatureFile:
    if key is not None and key not in groups:
        raise UnstorableClipError(f"{path} has no features of {key!r}, only of {', '.join(groups)}: check --key.")
    if key is None and len(groups) > 1:
        raise UnstorableClipError(f"{path} has features of {', '.join(groups)}: choose one with --key.")
    streams = [_dataset(file, f"{key or groups[0]}/{name}") for name in STREAMS]
    shapes = [stream.shape for stream in streams]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][0]:
        raise UnstorableClipError(f"{path} has features of {shapes[0]} and {shapes[1]}: extract them again.")
    width = sum(shape[1] for shape in shapes)

    def blocks() -> Iterator[np.ndarray]:
        step = max(1, BLOCK_BYTES // (4 * width))
        for start in range(0, shapes[0][0], step):
            yield np.concatenate([stream[start : start + step] for stream in streams], axis=1)

    made_of = f"{shapes[0][1]} spatial and {shapes[1][1]} flow features of {key or groups[0]}"
    return FeatureFile(path, "DeepEthogram outputs", width, blocks, made_of=made_of)


def _names(file: h5py.File, name: str) -> list[str]:
    dataset = _dataset(file, name)
    if dataset.shape == (0,):  # a single animal has no name
        return []
    if dataset.ndim != 1 or dataset.shape[0] > MOST_NAMES or not h5py.check_string_dtype(dataset.dtype):
        raise ValueError(f"{name} is {dataset.dtype} {dataset.shape}, not a list of names")
    names = [bytes(each).decode("utf-8") if isinstance(each, bytes) else str(each) for each in dataset[:]]
    if len(set(names)) < len(names):
        raise ValueError(f"{name} holds a name twice")
    return names


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of this very file that holds what it declares."""
    for end in [n for n, letter in enumerate(name) if letter == "/"] + [len(name)]:
        if not isinstance(file.get(name[:end], getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is missing or only a link")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} is not stored in this file")
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    if declared > MOST_COMPRESSED * max(dataset.id.get_storage_size(), 1):
        raise ValueError(f"{name} declares {declared:,} bytes but holds {dataset.id.get_storage_size():,}")
    return dataset
