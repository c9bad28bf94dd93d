"""What test clips share with training clips: near-duplicates, and places."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sequence_models.clips.buffers import stays_in_store
from sequence_models.clips.scenes import CLEAR_SILHOUETTE, find_scenes
from sequence_models.records import Clip, Prediction
from sequence_models.runs.run import Run
from sequence_models.scoring.predictions import score_predictions
from sequence_models.settings import MANY_TO_ONE
from sequence_models.splits.near_duplicates import pairs_across

log = logging.getLogger(__name__)


def split_checks(
    run: Run, clips: Mapping[str, Clip], truth: Sequence[Clip], said: Mapping[str, Sequence[Prediction]]
) -> dict[str, Any]:
    """What of the test clips is known from training, for metrics.json.

    Args:
        run: A trained run.
        clips: clip_id -> clip, all of the run.
        truth: The test clips, pooled over the folds.
        said: Name -> their predictions.

    Returns:
        "doctor", the near-duplicates across the parts of each fold, and scores without the test clips that have one;
        and for labels of whole clips "scenes". Nothing on raw frames: both compare embeddings, and all of them at once.
    """
    if run.settings.on_frames or not isinstance(run.embedding_dim, int):
        return {}
    if stays_in_store(truth):
        log.warning("near-duplicates are not looked for, since the embeddings do not fit in memory; see --memory")
        return {}
    record = {"doctor": _near_duplicates(run, clips, truth, said)}
    if run.settings.task == MANY_TO_ONE and (scenes := scenes_record([*clips.values()], run.recipes)):
        record["scenes"] = scenes
    return record


def scenes_record(clips: Sequence[Clip], recipes: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """How many places the clips seem to be of, how many hold several classes, and how clearly they are apart.

    Args:
        clips: With labels ().
        recipes: Of their stores.

    Returns:
        {} if no places stand out.
    """
    scenes = find_scenes(clips, recipes)
    if scenes is None:
        return {}
    return {
        "clips": len(clips),
        "places": len(set(scenes.places.values())),
        "with_several_classes": scenes.with_several_classes(clips),
        "silhouette": round(scenes.silhouette, 3),
        "is_clear": scenes.silhouette >= CLEAR_SILHOUETTE,
        "protocol": "average linkage of the angles between mean embeddings, number of places by silhouette",
    }


def _near_duplicates(
    run: Run, clips: Mapping[str, Clip], truth: Sequence[Clip], said: Mapping[str, Sequence[Prediction]]
) -> dict[str, Any]:
    """Near-duplicates across the parts of each fold, and scores without the test clips that have one."""
    across = pairs_across(run.folds, list(clips.values()))
    copies = {(fold, pair.clip_id) for fold, pairs in across.items() for pair in pairs}
    tested = [(fold.name, clip_id) for fold in run.folds for clip_id in fold.test]
    kept = [row for row, key in enumerate(tested) if key not in copies]
    record: dict[str, Any] = {
        "pairs": [{"fold": fold, **asdict(pair)} for fold, pairs in across.items() for pair in pairs],
        "test_clips": len(tested),
        "test_clips_without": len(kept),
        "protocol": "near-duplicates of training or validation clips in the embeddings, by alignment in time",
    }
    if copies and kept:
        rest = [truth[row] for row in kept]
        record["without"] = {
            name: score_predictions(rest, [each[row] for row in kept], run.vocabulary, background=run.background)
            for name, each in said.items()
        }
    return record
