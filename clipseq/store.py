"""A feature store as a mapping from clip_id to the embeddings of that clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipseq.tables import data_frame
from extract.records import ClipEmbeddings
from extract.store import reader
from extract.store.recipe import kind_of_features
from extract.text import counted
from sequence_models.clips.loading import ClipSet, load_clips
from sequence_models.settings import MANY_TO_ONE, DataSettings

if TYPE_CHECKING:
    import pandas as pd


def open_store(path: str | Path) -> FeatureStore:
    """Open a feature store.

    Args:
        path: A folder that `extract` or `clipseq import-features` wrote, or a packed file.

    Raises:
        StoreError: Nothing is there, or it is no store, or it is damaged.

    Example:
        >>> store = clipseq.open_store("features")
        >>> store
        FeatureStore('features': 24 clips, 122 timesteps, embeddings of tiny, 16 numbers each)
        >>> store["rise/0.avi"].embeddings.shape
        (4, 16)
        >>> "rise/0.avi" in store, len(store), sorted(store)[:2]
        (True, 24, ['fall/0.avi', 'fall/1.avi'])
    """
    return FeatureStore(path)


class FeatureStore(Mapping[str, ClipEmbeddings]):
    """A store as it was when opened: clip_id -> embeddings, frame_indices, pts_seconds and truth; see `open_store`.

    Args:
        path: The folder, or a packed file.

    Attributes:
        path: The same.
        recipe: What determines the numbers: backbone, sampling and so on.

    Example:
        >>> store = clipseq.FeatureStore("features")
        >>> [len(clip) for clip_id, clip in store.items() if clip_id.endswith("/0.avi")], store.embedding_dim
        ([4, 4], 16)
    """

    def __init__(self, path: str | Path) -> None:
        self._store = reader.open_store(path)
        self.path: Path = self._store.path
        self.recipe: dict[str, object] = self._store.recipe

    def __getitem__(self, clip_id: str) -> ClipEmbeddings:
        """One clip: embeddings float32 (T, D) or raw frames uint8 (T, H, W, C), frame_indices int64 (T,), pts_seconds
        float64 (T,), and the truth record of its video, None for imported features.

        Raises:
            UnknownClipError: The store has no such clip; also a KeyError.
            DamagedShardError: Its rows cannot be read.
        """
        clip = self._store.read(clip_id)
        return (
            clip if clip.embeddings.dtype == np.uint8 else replace(clip, embeddings=clip.embeddings.astype(np.float32))
        )

    def __iter__(self) -> Iterator[str]:
        """The clip_ids of all complete clips, sorted."""
        return iter(self._store.clip_ids)

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._store

    def __eq__(self, other: object) -> bool:
        return self is other  # that of mappings would read every row

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        steps = counted(sum(self._store.lengths().values()), "timestep")
        shape = self._store.row_shape
        width = f"{shape[0]} numbers each" if len(shape) == 1 else " x ".join(map(str, shape)) or "empty"
        held = f"{counted(self, 'clip')}, {steps}, {kind_of_features(self.recipe)}, {width}"
        return f"FeatureStore({str(self.path)!r}: {held})"

    @property
    def embedding_dim(self) -> int:
        """D.

        Raises:
            StoreError: The store holds raw frames, or no clip.
        """
        return self._store.embedding_dim

    def labelled(
        self, labels: str | Path | None = None, *, task: str = MANY_TO_ONE, data: DataSettings | None = None
    ) -> ClipSet:
        """The clips with their labels, as training sees them.

        Args:
            labels: A label file; None: the folders are the classes.
            task: "many-to-one" or "many-to-many".
            data: How labels and features are joined; None for the defaults.

        Returns:
            `clips`, each with `embeddings` (T, D) and `labels` () or (T,), class numbers with -1 = unlabelled; their
            names in `vocabulary`; and `notes` on what was left out. Embeddings that do not fit in memory stay in the
            store: slice them, then `numpy.asarray` reads.

        Raises:
            LabelError: Labels and clips do not match.

        Example:
            >>> labelled = clipseq.open_store("features").labelled("labels.csv")
            >>> labelled.vocabulary, len(labelled.clips), int(labelled.clips[0].labels)
            (('fall', 'rise'), 24, 0)
        """
        return load_clips([self.path], None if labels is None else Path(labels), task=task, data=data)

    def to_pandas(self) -> pd.DataFrame:
        """All embeddings as one table with a row per timestep; it takes as much memory as they do.

        Returns:
            The columns clip_id, frame_index, pts_seconds and 0, 1, ... D - 1, float32.

        Raises:
            UsageError: pandas is not installed.
            StoreError: The store holds raw frames, or no clip.

        Example:
            >>> clipseq.open_store("features").to_pandas().shape
            (122, 19)
        """
        numbers = range(self.embedding_dim)
        clips = list(self.values())
        rows = np.concatenate([clip.embeddings for clip in clips])
        columns: dict[Any, Any] = {
            "clip_id": np.repeat([clip.clip_id for clip in clips], [len(clip) for clip in clips]),
            "frame_index": np.concatenate([clip.frame_indices for clip in clips]),
            "pts_seconds": np.concatenate([clip.pts_seconds for clip in clips]),
        }
        return data_frame(columns | {number: rows[:, number] for number in numbers})

    def to_tf_dataset(
        self,
        labels: str | Path | None = None,
        *,
        batch_size: int,
        task: str = MANY_TO_ONE,
        seed: int | None = None,
        data: DataSettings | None = None,
    ) -> Any:
        """Padded batches for a model of your own in TensorFlow or Keras.

        Args:
            labels, task, data: As for `labelled`, which also gives the names of the classes.
            batch_size: B; the last batch has the remaining clips.
            seed: Shuffles the clips anew in every pass; None keeps their order.

        Returns:
            A tf.data.Dataset of ((embeddings, mask), y): float32 (B, T, D), bool (B, T), True = real, and int32 (B,) or
            (B, T). y is -1 on padding and where there is no label (`ignore_class=-1` in Keras' loss).

        Raises:
            LabelError: Labels and clips do not match.
            UsageError: batch_size is below 1.

        Example:
            >>> for (embeddings, mask), y in clipseq.open_store("features").to_tf_dataset("labels.csv", batch_size=16):
            ...     print(embeddings.shape, mask.shape, y.shape)
            (16, 8, 16) (16, 8) (16,)
            (8, 8, 16) (8, 8) (8,)
        """
        from sequence_models.clips.tf_datasets import tf_dataset

        found = self.labelled(labels, task=task, data=data)
        return tf_dataset(found.clips, num_classes=len(found.vocabulary), batch_size=batch_size, seed=seed)
