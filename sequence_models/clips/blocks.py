"""Cuts a recording into blocks in time, each a separate clip, so that a single recording can be split.

recording   |....labelled....................................|........
blocks          [------]  [------]  [------]  [------]          the gaps between them are left out
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from extract.errors import LabelError
from sequence_models.records import Clip

BLOCKS = 10  # for a single recording
GAP_SHARE = 0.1  # of a block, left out between two: neighbouring timesteps on both sides of a split look alike
FEWEST_STEPS = 3  # per block


def cut_into_blocks(clips: Iterable[Clip], count: int) -> tuple[Clip, ...]:
    """Cut clips into blocks with equal numbers of labelled timesteps.

    Args:
        clips: With labels (T,) or (T, K).
        count: Blocks per clip.

    Returns:
        Per clip, `count` clips named `clip_id#t=start,end` by the times of their first and last timestep, in the group
        of the clip, or in one named after it; anything before the first or after the last label is left out.

    Raises:
        LabelError: A clip has too few labelled timesteps.
    """
    return tuple(block for clip in clips for block in _blocks(clip, count))


def blocks_note(clips: Iterable[Clip]) -> str:
    """What `cut_into_blocks` did, and what it means for the scores."""
    blocks = list(clips)
    recordings = {block.group for block in blocks}
    which = f"of {len(recordings)} recordings" if len(recordings) > 1 else f"of one recording, {next(iter(recordings))}"
    length = int(np.median([len(block) for block in blocks]))
    return (
        f"{len(blocks)} blocks in time {which}, of about {length:,} timesteps, "
        f"with gaps of {100 * GAP_SHARE:.0f} % between them: scores tell how well the rest of a recording is labelled "
        "if part of it is known, not how well a new recording would be"
    )


def _blocks(clip: Clip, count: int) -> list[Clip]:
    known = np.flatnonzero((clip.labels if clip.labels.ndim == 1 else clip.labels.min(axis=1)) >= 0)
    if len(known) < FEWEST_STEPS * count:
        raise LabelError(
            f"{clip.clip_id} has {len(known)} labelled timesteps, too few for {count} blocks of at least "
            f"{FEWEST_STEPS}; label more of it, or give a smaller --blocks."
        )
    places = np.linspace(0, len(known), count + 1).astype(int)
    edges = [*known[places[:-1]].tolist(), int(known[-1]) + 1]
    blocks = []
    for number in range(count):
        start, stop = edges[number], edges[number + 1]
        margin = int((stop - start) * GAP_SHARE / 2)
        blocks.append(_part(clip, start + margin * (number > 0), stop - margin * (number < count - 1)))
    return blocks


def _part(clip: Clip, start: int, stop: int) -> Clip:
    times = clip.pts_seconds[[start, stop - 1]]
    part = replace(
        clip,
        clip_id=f"{clip.clip_id}#t={times[0]:.3f},{times[1]:.3f}",
        embeddings=clip.embeddings[start:stop],
        pts_seconds=clip.pts_seconds[start:stop],
        frame_indices=clip.frame_indices[start:stop],
        labels=clip.labels[start:stop],
        group=clip.group or clip.clip_id,
        label_steps=None,
        frame_labels=None,
        rows_digest=f"{clip.rows_digest}[{start}:{stop}]" if clip.rows_digest else "",
    )
    if clip.label_steps is None or clip.frame_labels is None:
        return part
    inside = (clip.label_steps >= start) & (clip.label_steps < stop)
    return replace(part, label_steps=clip.label_steps[inside] - start, frame_labels=clip.frame_labels[inside])
