"""Pads clips of similar length to one shape and marks the real steps. The only place that pads.

Padding goes to the right, lengths are rounded up to a few distinct values, and every batch has the requested number of
rows: rows beyond the last clip have one real step of zeros (cuDNN rejects rows without any) and zero weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from extract.errors import ClipError, LabelError
from sequence_models.clips.augmentation import Augmentation, FrameAugmentation, augment_clip, vary_frames
from sequence_models.records import Clip, EmbeddingDim, PaddedBatch

SHORTEST = 8
MOST_CHANNELS = 6  # RGB plus optical flow
LENGTH_JITTER = 0.2  # sorting by length alone would give every pass the same batches


def check_clips(clips: Sequence[Clip], *, num_classes: int, embedding_dim: EmbeddingDim | None = None) -> EmbeddingDim:
    """Check that clips can be batched together.

    Args:
        clips: At least one clip; embeddings that stay in their store were checked when they were loaded.
        num_classes: K; labels must lie in -1..K-1.
        embedding_dim: The expected D or (H, W, C); None takes that of the first clip.

    Returns:
        D, or (H, W, C) of raw frames, shared by all clips.

    Raises:
        ClipError: There is no clip, or one has no timesteps, another D, or non-finite values.
        LabelError: A class index is out of range.
    """
    if not clips:
        raise ClipError("There are no clips to batch; give at least one.")
    embedding_dim = clips[0].embedding_dim if embedding_dim is None else embedding_dim
    for clip in clips:
        _check_clip(clip, num_classes, embedding_dim)
    return embedding_dim


def check_batch(batch: PaddedBatch, *, embedding_dim: EmbeddingDim, label_shape: tuple[int, ...]) -> None:
    """Check that a batch fits a model: the error from Keras would name some layer deep inside.

    Args:
        batch: The batch.
        embedding_dim: D, or (H, W, C) of raw frames.
        label_shape: What follows (batch,) in the shape of the targets: (), (T,) or (T, K).

    Raises:
        ClipError: The axes of frames or embeddings have another order or size.
        LabelError: The targets have another shape.
    """
    rows, steps = batch.mask.shape
    if isinstance(embedding_dim, tuple):
        axes, wanted = "(batch, timesteps, height, width, channels)", (rows, steps, *embedding_dim)
    else:
        axes, wanted = "(batch, timesteps, features)", (rows, steps, embedding_dim)
    if batch.embeddings.shape != wanted:
        raise ClipError(f"the model takes {axes} = {wanted}, got {batch.embeddings.shape}; transpose the axes.")
    targets = (rows, *label_shape)
    if batch.labels.shape != targets:
        raise LabelError(
            f"with {axes} = {wanted} the model takes targets {targets}, got {batch.labels.shape}; "
            "give labels for the model's task."
        )


def padded_length(steps: int) -> int:
    """Round a length up to 8, 12, 16, 24, 32, 48, 64, ...: at most half is padding, and distinct shapes are few."""
    length = SHORTEST
    while length < steps:
        length *= 2
    return length * 3 // 4 if length > SHORTEST and length * 3 // 4 >= steps else length


def pad_clips(clips: Sequence[Clip], *, rows: int, steps: int, class_weights: np.ndarray | None = None) -> PaddedBatch:
    """Pad clips to one shape.

    Args:
        clips: At most B clips of at most T timesteps each, with labels of one kind: (), (T,) or (T, K).
        rows: B.
        steps: T.
        class_weights: (K,) weight per example of each class, not for labels (T, K); None = 1.

    Returns:
        The batch, clips in the order given.
    """
    per_step, classes = clips[0].labels.ndim > 0, clips[0].labels.shape[1:]
    dtype = np.float32 if clips[0].embeddings.ndim == 2 else np.uint8
    embeddings = np.zeros((rows, steps, *clips[0].embeddings.shape[1:]), dtype)  # (B, T, D) or (B, T, H, W, C)
    mask = np.zeros((rows, steps), bool)
    mask[:, 0] = True
    labels = np.full((rows, steps, *classes) if per_step else rows, -1, np.float32 if classes else np.int32)
    for row, clip in enumerate(clips):
        embeddings[row, : len(clip)] = clip.embeddings
        mask[row, : len(clip)] = True
        labels[(row, slice(len(clip))) if per_step else row] = clip.labels
    known = labels.min(axis=-1) >= 0 if classes else labels >= 0
    sample_weight, labels = known.astype(np.float32), np.maximum(labels, 0)
    if class_weights is not None:
        sample_weight *= class_weights[labels]
    return PaddedBatch(embeddings, mask, labels, sample_weight)


def make_batches(
    clips: Sequence[Clip],
    *,
    batch_size: int,
    seed: int | Sequence[int] | None = None,
    class_weights: np.ndarray | None = None,
    pad_to: int | None = None,
    augmentation: Augmentation | None = None,
    frame_augmentation: FrameAugmentation | None = None,
) -> Iterator[PaddedBatch]:
    """Batch clips of similar length.

    Args:
        clips: Any number of clips, checked by `check_clips`.
        batch_size: B of every batch; for raw frames the last batch only has the remaining rows, since filling it with
            zeros would change batch-normalisation statistics.
        seed: Shuffles clips and batches; None keeps the order of the clips.
        class_weights: (K,) weight per example of each class; None = 1.
        pad_to: T of every batch, at least the longest clip; None rounds up each batch's longest by `padded_length`.
        augmentation: How clips vary from pass to pass, drawn with `seed`; None = no variation.
        frame_augmentation: How raw frames vary, each clip in its own way; also drawn with `seed`.

    Yields:
        Padded batches that contain every clip once.
    """
    if augmentation is not None and seed is not None:
        rng = np.random.default_rng(seed)
        clips = [augment_clip(clip, augmentation, rng) for clip in clips]
    pictures = np.random.default_rng(seed).integers(2**31, size=len(clips))  # a seed per clip
    for rows in _bucket(clips, batch_size, seed):
        chosen = [clips[row] for row in rows]
        if frame_augmentation and seed is not None:
            chosen = [vary_frames(clips[row], frame_augmentation, int(pictures[row])) for row in rows]
        steps = pad_to or padded_length(max(map(len, chosen)))
        full = batch_size if chosen[0].embeddings.ndim == 2 else len(chosen)
        yield pad_clips(chosen, rows=full, steps=steps, class_weights=class_weights)


def class_weights(labels: np.ndarray, *, num_classes: int, power: float) -> np.ndarray:
    """Give rare classes more weight: count ** -power, scaled so that labelled examples have mean weight 1.

    Args:
        labels: int (n,) class indices, -1 = unlabelled.
        num_classes: K.
        power: 0 = all examples equal, 1 = all classes have the same total weight.

    Returns:
        float32 (K,); 1 for a class without examples.
    """
    counts = np.bincount(labels[labels >= 0], minlength=num_classes).astype(np.float64)
    weights = np.maximum(counts, 1) ** -power
    scale = counts.sum() / max((counts * weights).sum(), 1e-12)
    return np.where(counts > 0, weights * scale, 1.0).astype(np.float32)


def _bucket(clips: Sequence[Clip], batch_size: int, seed: int | Sequence[int] | None) -> list[np.ndarray]:
    order = np.arange(len(clips))
    if seed is not None:
        rng = np.random.default_rng(seed)
        lengths = np.array([len(clip) for clip in clips])
        order = np.argsort(lengths * np.exp(rng.normal(0, LENGTH_JITTER, len(clips))))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if seed is not None:
        rng.shuffle(batches)
    return batches


def _check_clip(clip: Clip, num_classes: int, embedding_dim: EmbeddingDim) -> None:
    if len(clip) == 0:
        raise ClipError(f"{clip.clip_id} has no timesteps; leave it out or extract it again.")
    if isinstance(embedding_dim, tuple):
        _check_frames(clip, embedding_dim)
    elif clip.embedding_dim != embedding_dim:
        raise ClipError(
            f"{clip.clip_id} has embeddings of width {clip.embedding_dim}, but {embedding_dim} is expected; "
            "use clips of one recipe."
        )
    elif isinstance(clip.embeddings, np.ndarray) and not np.isfinite(clip.embeddings).all():
        raise ClipError(f"{clip.clip_id} has non-finite embeddings; extract or import it again.")
    if clip.labels.size and not -1 <= clip.labels.min() <= clip.labels.max() < num_classes:
        wrong = clip.labels.max() if clip.labels.max() >= num_classes else clip.labels.min()
        raise LabelError(
            f"{clip.clip_id} has class index {wrong}, outside -1..{num_classes - 1}; "
            "label it with the run's vocabulary."
        )


def _check_frames(clip: Clip, row_shape: tuple[int, ...]) -> None:
    """Raw frames are 0..255, and so finite; but their axes can be in the wrong order."""
    if clip.embedding_dim != row_shape or row_shape[-1] > MOST_CHANNELS or clip.embeddings.dtype != np.uint8:
        height, width, channels = row_shape if row_shape[-1] <= MOST_CHANNELS else ("H", "W", f"1 to {MOST_CHANNELS}")
        raise ClipError(
            f"{clip.clip_id} has frames of {clip.embeddings.dtype} {clip.embeddings.shape}; a raw-frame model takes "
            "uint8 (batch, timesteps, height, width, channels), so for each clip "
            f"(timesteps, {height}, {width}, {channels}); transpose the axes, or use clips of one recipe."
        )
